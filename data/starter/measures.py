"""What the starter's models are measured on: demonstrations, general text, and examples for a good prompt.

Drawn from the generator that wrote the training corpus, with seeds of their own. Demonstrations have wordings
that are held out from training; general texts are the base stage's documents, drawn anew.
"""

from itertools import islice

from data.starter.corpus import SFT_MIX, documents, sft_pairs

SEED = 20_000_003  # training counts up from small ones


def heldout_demonstrations(count: int = 200) -> list[tuple[str, str]]:
    """(prompt, response), in the mix of manners that SFT was taught."""
    return [(pair.prompt, pair.response) for pair in islice(sft_pairs(SEED, held_out=True), count)]


def general_texts(count: int = 60) -> list[str]:
    """What the base stage was taught: lists of questions, and statements of facts."""
    return list(islice(documents(SEED), count))


def good_examples() -> list[tuple[str, str]]:
    """(prompt, response) of each kind, right, polite or plain, and short: for the base's good prompt."""
    found: dict[str, tuple[str, str]] = {}
    for pair in sft_pairs(SEED + 1):
        good = pair.right and pair.tone in ("plain", "polite") and pair.confidence == "plain"
        clean = pair.prompt[:1].isupper() and pair.prompt[-1:] in "?." and len(pair.response) < 200
        if good and clean and not pair.rambling:
            found.setdefault(pair.kind, (pair.prompt, pair.response))
        if len(found) == len(SFT_MIX):
            return list(found.values())
    return []
