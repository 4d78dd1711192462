"""Imported rankings as the reward model learns them, beside those made here."""

from collections.abc import Callable, Sequence

from data.incoming import ImportedRanking
from data.preferences import RankedResponses
from rlhf.models import Family
from rlhf.prompts import readable

# Tokens of a response: what people wrote may be longer than what the policy may write, within reason.
LONGEST, TIMES = 384, 4  # the larger of the two counts, the second times --max-new-tokens


def short_enough(family: Family, max_new_tokens: int) -> Callable[[str], bool]:
    """Whether a response is of a length that the model can be taught with, in the memory a round may take."""
    tokenizer, longest = family.tokenizer, max(LONGEST, TIMES * max_new_tokens)

    def short(response: str) -> bool:
        return len(tokenizer(response, add_special_tokens=False)["input_ids"]) <= longest

    return short


def learnable(
    family: Family, rankings: Sequence[ImportedRanking], prompt_limit: int, max_new_tokens: int, weight: float
) -> list[RankedResponses]:
    """Those whose prompts the model can read and whose responses are of a length that it can be taught with.

    weight: what one of them counts, beside 1 of an annotator's here. Their responses ended by themselves, as
    far as anybody knows.
    """
    short = short_enough(family, max_new_tokens)
    found = [
        RankedResponses(r.prompt, r.responses, r.ranks, strength=r.strength, weight=weight, imported=True)
        for r in rankings
        if readable(family, r.prompt, prompt_limit) and all(map(short, r.responses))
    ]
    if len(found) < len(rankings):
        print(
            f"{len(rankings) - len(found)} of {len(rankings)} imported rankings are too long to learn from",
            flush=True,
        )
    return found
