"""Prompts for the ranking queue of the starter model: clean text in a natural mix of intents.

Training prompts use the training forms; held-out prompts use forms and frames that occur nowhere else, so a
policy is compared on wordings that were never ranked and never trained on. Keyword forms, chatter and typing
mistakes belong to the training corpus only: here a prompt is a sentence.
"""

import functools
import random
import re

from data.starter.questions import KINDS, written

MIX = {"fact": 45, "howto": 15, "advice": 12, "harmful": 15, "smalltalk": 5, "unknown": 8}

_ASKING = (
    r"what|what's|which|who|how|where|when|why|can|could|would|do|does|is|are|should|will|"
    r"on|in|at|with|from|of|if"
)
_TELLING = (
    r"tell me (?:the|a|an|about|how to|something|what .* is$|what .* means$)|name|explain|describe|define|"
    r"give me|calculate|multiply|divide|subtract|add|mix|please (?:tell me (?:the|a|an)|name|give me)|"
    r"teach me|show me how|write|remind me|compose|i want to|i would like|i need|i am|i feel|i cannot|"
    r"i can't|i have|i lost|i sleep|i forget|i smoke|i come|my|good morning, (?:what|which|who|how|where)"
)
_SENTENCE = re.compile(rf"(?:{_ASKING}|{_TELLING})\b", re.IGNORECASE)
# Keyword forms, word orders and endings that people type but nobody would write.
_ODD = re.compile(
    r"(?:tell me|do you know|want to know|would like to know|wonder):? "
    r"(?:what|which|who|where|how|when|at|in|on|from|with)\b.*\b"
    r"(?:is|are|do|does|has|have|was|can|should|did) |"
    r"^is there|^i am (?:looking|asking)|\bvs$|^what was|\bagain$|thanks$|thank you$|what$|where$|"
    r"do you know$|forgot$|do you know (?!the|how to|a |what .* is$)|"
    r"^what('s)? is (?!the|a |an |\d)[a-z]+ "
    r"(?:sound|legs|noise|home|food|colour|color|synonym|plural|opposite|capital|language|continent|source|baby)$|"
    r"^i (?:need|want) (?:the|a|another)|^i want to know (?!the|how to)|^in the|^what would be|"
    r"^what could be|^what('s)? be|=|^who .* called$|:",
    re.IGNORECASE,
)


def _natural(text: str, kind: str) -> bool:
    return kind == "smalltalk" or bool(_SENTENCE.match(text) and not _ODD.search(text))


def _punctuated(text: str, rng: random.Random) -> str:
    """Capital letters and names in place; a question mark on questions only."""
    text = written(text, rng).rstrip("?.")
    if re.match(rf"(?:good morning, )?(?:{_ASKING})\b", text, re.IGNORECASE):
        return text + "?"
    return text if re.search(r"[!.,]$", text) else text + "."


def _prompts(count: int, held_out: bool, seed: int) -> list[str]:
    rng = random.Random(seed)
    kinds, weights = list(MIX), list(MIX.values())
    texts: dict[str, None] = {}
    while len(texts) < count:
        kind = rng.choices(kinds, weights)[0]
        text = KINDS[kind](rng, held_out)[0]
        for _ in range(50):
            if _natural(text, kind):
                texts.setdefault(_punctuated(text, rng))
                break
            text = KINDS[kind](rng, held_out)[0]
    return list(texts)


@functools.cache
def _train() -> tuple[str, ...]:
    return tuple(_prompts(4000, False, 11))


@functools.cache
def _heldout() -> tuple[str, ...]:
    seen = set(_train())
    return tuple(text for text in _prompts(640, True, 12) if text not in seen)


def train_prompts() -> list[str]:
    """4,000 prompts to be put before annotators."""
    return list(_train())


def heldout_prompts() -> list[str]:
    """About 600 prompts in wordings that no training prompt has."""
    return list(_heldout())
