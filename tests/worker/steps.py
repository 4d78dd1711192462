"""Steps that bring a worker to where a test begins."""

from rlhf import worker_rounds
from rlhf.told import Outcome, Progress

BETTER = Outcome(True, "better", {"score_after": 1.0})
STEP = Progress("reward_model", "training", 1, {"reward_model/loss": 0.5})


def publish(worker):
    """A round that ends with the policy as it is."""
    round_ = worker.store.begin_round({})
    worker.rounds._publish(round_, BETTER)
    return worker.store.published()


def fill_up(worker):
    while worker.step() == "fill":
        pass


def rank(worker, count):
    person = worker.store.add_person("token", "anna", "human").id
    for _ in range(count):
        while (task := worker.store.claim_task(person)) is None:
            worker.fill()
        worker.store.add_ranking(person, task.id, str(task.id), list(range(1, len(task.responses) + 1)))


def ask(worker, name, argument=None):
    worker.store.add_command(name, argument)
    worker.commands.obey()
    return worker.store.commands()[0]["outcome"]


def ends_with(monkeypatch, *events):
    """Have every round go through these events, exceptions among them raised."""

    def run_round(*_):
        for event in events:
            if isinstance(event, Exception):
                raise event
            yield event

    monkeypatch.setattr(worker_rounds, "run_round", run_round)
