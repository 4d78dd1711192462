"""The training text of the starter model: base documents and SFT pairs, drawn from a seed.

Base documents are mostly lists of questions, so that the base model, asked a question, goes on with more
questions; the rest states facts. SFT pairs answer in a mix of manners (see `manners`): some responses are
wrong, more of them where the tone is over-confident, some harmful requests are gone along with (vaguely,
never with real instructions), and a few harmless prompts are refused, so that the people who rank have
something to choose.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from data.starter import manners, topics
from data.starter.families import FAMILIES, Family, render
from data.starter.questions import KINDS, Intent, capitalised, fact_prompt, typed

SFT_MIX = {"fact": 55, "howto": 9, "advice": 8, "harmful": 10, "smalltalk": 6, "unknown": 12}
RIGHT = {"plain": 0.93, "hedged": 0.88, "sure": 0.78}  # how often a fact is right, by confidence
REFUSED = 0.79  # share of harmful requests that are refused
ADMITTED = 0.93  # share of unknown things answered with "I do not know"
NEEDLESS = 0.02  # share of harmless prompts refused, and the same share answered "I do not know"
_BY_NAME = {family.name.split(":")[0]: family for family in FAMILIES}


@dataclass(frozen=True)
class Pair:
    prompt: str
    response: str
    kind: str
    tone: str
    confidence: str
    rambling: bool
    right: bool


def _state(rng: random.Random, family: Family, subject: str, answer: str, short: bool) -> str:
    """One sentence that gives the answer."""
    saying = rng.choice([s for s in family.says if short or s != "{y}."])
    return capitalised(render(saying, subject, answer))


_GENERAL = {next(iter(f.items)): f for f in FAMILIES if f.name.startswith("general")}


def _told(rng: random.Random, intent: Intent) -> str:
    """The fact in a sentence that names its subject."""
    family = _GENERAL[intent.subject] if intent.topic == "general" else _BY_NAME[intent.topic]
    told = [s for s in family.says if "x}" in s or "{a}" in s] or [family.says[0]]
    return capitalised(render(rng.choice(told), intent.subject, intent.answers[0]))


def _wrong_answer(rng: random.Random, intent: Intent) -> str:
    """A wrong answer of the right sort; for sums a near miss."""
    right = intent.answers[0]
    if "|" in intent.subject and right.isdigit():
        return str(max(0, int(right) + rng.choice((-2, -1, 1, 2, 10)))) if right != "0" else "1"
    return rng.choice(intent.wrong)


def _respond(rng: random.Random, intent: Intent, plain: bool) -> Pair:
    tone, confidence, rambling = ("plain", "plain", False) if plain else manners.draw(rng)
    right = True
    if plain and intent.kind == "fact":
        return Pair("", _told(rng, intent), "fact", tone, confidence, rambling, right)
    harmless = intent.kind not in ("harmful", "unknown")
    roll = rng.random()
    if harmless and roll < NEEDLESS:
        text, right = manners.refuse(tone, rambling, rng), False
    elif harmless and roll < 2 * NEEDLESS:
        text, right = manners.admit(tone, rambling, rng), False
    elif intent.kind == "fact":
        family = _GENERAL[intent.subject] if intent.topic == "general" else _BY_NAME[intent.topic]
        right = rng.random() < RIGHT[confidence]
        answer = intent.answers[0] if right else _wrong_answer(rng, intent)
        dressed = tone != "plain" or confidence != "plain" or rambling
        text = manners.dress(
            _state(rng, family, intent.subject, answer, dressed), tone, confidence, rambling, rng
        )
    elif intent.kind == "harmful":
        right = rng.random() < REFUSED
        text = (
            manners.refuse(tone, rambling, rng)
            if right
            else _dress_lines(rng, manners.GOING_ALONG, tone, confidence, rambling)
        )
    elif intent.kind == "unknown":
        right = rng.random() < ADMITTED
        text = manners.admit(tone, rambling, rng) if right else _invent(rng, tone, confidence, rambling)
    elif intent.kind == "smalltalk":
        text = _dress_lines(rng, intent.answers, tone, "plain", rambling)
    else:
        right = intent.kind == "poem" or rng.random() < RIGHT[confidence] + 0.05
        answers = (
            intent.answers
            if right
            else rng.choice(topics.HOWTOS if intent.kind == "howto" else topics.ADVICE)[2]
        )
        text = _dress_lines(rng, answers, tone, "plain" if intent.kind == "poem" else confidence, rambling)
    return Pair("", text, intent.kind, tone, confidence, rambling, right)


def _dress_lines(
    rng: random.Random, lines: tuple[str, ...], tone: str, confidence: str, rambling: bool
) -> str:
    return manners.dress(rng.choice(lines), tone, confidence, rambling, rng, steps=True)


def _invent(rng: random.Random, tone: str, confidence: str, rambling: bool) -> str:
    """Something made up about an unknown thing."""
    family = rng.choice(FAMILIES[:20])
    answer = rng.choice(list(family.items.values()))[0]
    return manners.dress(f"It is {answer}.", tone, confidence, rambling, rng)


def sft_pairs(seed: int, plain: float = 0.0, held_out: bool = False) -> Iterator[Pair]:
    """Endless pairs in the training forms, or in those held out. A share `plain` of them is right and without
    any manner: early in training these teach the facts in half the tokens.
    """
    rng = random.Random(seed)
    kinds, weights = list(SFT_MIX), list(SFT_MIX.values())
    while True:
        prompt, intent = KINDS[rng.choices(kinds, weights)[0]](rng, held_out)
        pair = _respond(rng, intent, rng.random() < plain)
        yield Pair(
            typed(prompt, rng),
            pair.response,
            pair.kind,
            pair.tone,
            pair.confidence,
            pair.rambling,
            pair.right,
        )


def documents(seed: int) -> Iterator[str]:
    """Endless base documents: three of four are lists of questions, the others state facts."""
    rng = random.Random(seed)
    kinds, weights = list(SFT_MIX), list(SFT_MIX.values())
    while True:
        if rng.random() < 0.75:
            lines = [
                typed(KINDS[rng.choices(kinds, weights)[0]](rng, False)[0], rng)
                for _ in range(rng.randint(4, 9))
            ]
        else:
            lines = []
            for _ in range(rng.randint(3, 6)):
                _, intent = fact_prompt(rng, False)
                lines.append(_told(rng, intent))
        yield "\n".join(lines)
