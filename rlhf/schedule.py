"""What the worker does next, decided from a few numbers."""


def next_action(
    *,
    claimable: int,
    wanted_tasks: int,
    new_rankings: int,
    threshold: int,
    paused: bool,
    filled: bool = False,
    resting: bool = False,
    sft: bool = False,
) -> str:
    """'fill', 'round', 'sft' or 'idle'.

    claimable: tasks on nobody's screen. filled: the last action was a fill. resting: the last fill made no
    task. sft: somebody has asked for a round on demonstrations. Tasks first: an annotator with nothing to
    rank is worse than a round a second later. But a due round waits for one fill at most, or it would never
    start where annotators are faster than the model.
    """
    due = (sft or new_rankings >= threshold) and not paused
    kind = "sft" if sft else "round"
    if due and filled:
        return kind
    if claimable < (least_tasks(wanted_tasks) if due else wanted_tasks) and not resting:
        return "fill"
    return kind if due else "idle"


def least_tasks(wanted: int) -> int:
    """How many tasks must be claimable while a round trains, or before it begins."""
    return min(wanted, max(2, wanted // 2))


FIRST_FILL, LARGEST_FILL = 2, 16  # tasks; all responses of a fill are sampled together


def next_fill(missing: int, in_a_row: int) -> int:
    """How many tasks to make at once, after so many fills in a row.

    Few at first, as somebody may be looking at an empty page, then twice as many each time: many together
    take little longer than few, and annotators who have taken all of those are fast.
    """
    wanted = min(missing, FIRST_FILL << min(in_a_row, 10), LARGEST_FILL)
    return max(1, wanted)  # leases that ran out meanwhile may leave nothing missing


LONGEST_REST = 60.0  # seconds


def next_rest(last: float, made: int) -> float:
    """Seconds to leave a policy alone that had nothing to choose between: 1, 2, 4 ... 60; 0 after a task."""
    return 0.0 if made else min(max(1.0, 2 * last), LONGEST_REST)
