# ruff: noqa: E501  (form lists read better unwrapped)
"""Prompts: which intents there are, and the many forms in which people ask for them.

A *form* is a noun phrase or a question with slots; *frames* make a question out of a noun phrase; *wrappers* put
politeness or chatter around any question. Held-out forms (starred in the tables) and held-out frames and wrappers never
occur in training text: accuracy on them is accuracy on wordings the model has not seen.
"""

import functools
import random
import re
from dataclasses import dataclass

from data.starter import topics
from data.starter.families import FAMILIES, Family, render


@dataclass(frozen=True)
class Intent:
    """What a prompt asks for."""

    kind: str  # fact, howto, advice, smalltalk, poem, harmful, unknown
    topic: str  # the family of a fact ("capital"), else the kind
    subject: str  # what it is about: "France", "make tea", "rob a bank"
    answers: tuple[str, ...] = ()  # fact: accepted answers, the usual first; else: model responses
    wrong: tuple[str, ...] = ()  # fact: answers of its family that contradict
    keywords: tuple[str, ...] = ()  # how-to, advice, definition: words a right response holds


# fmt: off
FRAMES = (
    "what is {n}", "what is {n}", "what's {n}", "whats {n}", "tell me {n}", "name {n}", "{n}", "{n}", "{n}", "give me {n}", "do you know {n}", "can you tell me {n}", "could you tell me {n}", "i want to know {n}",
    "i need {n}", "please tell me {n}", "so what is {n}", "can you say what {n} is", "tell me what {n} is", "do you know what {n} is", "i forgot {n}", "say {n}", "any idea what {n} is", "find {n}", "let me know {n}",
    "what would be {n}", "please give me {n}", "what was {n} again", "what is {n} called", "i am looking for {n}", "explain what {n} is", "help me find {n}", "could you give me {n}", "is there {n}", "what could be {n}", "i do not know {n}", "show me {n}", "think of {n}",
    "*would you know {n}", "*could you say what {n} is", "*please name {n}", "*remind me what {n} is", "*i am asking for {n}",
)  # fmt: skip
WRAPPERS = (
    "please tell me, {q}", "please tell me {q}", "tell me, {q}", "tell me {q}", "hey, {q}", "hi, {q}", "hello! {q}", "hello {q}", "quick question: {q}", "i want to know: {q}", "i want to know {q}", "{q} please", "so {q}", "ok, {q}", "question: {q}", "can you tell me {q}",
    "do you know {q}", "i wonder {q}", "{q} thanks", "my son asks: {q}", "for my homework: {q}", "um {q}", "{q}, i forgot", "well, {q}", "excuse me, {q}", "one more: {q}", "answer me: {q}", "please, {q}", "now {q}", "and {q}", "hey bot, {q}", "can you please tell me {q}", "could you tell me {q}",
    "next question: {q}", "i have a question: {q}", "{q} thank you", "sorry, {q}", "yo, {q}", "another one: {q}", "{q} again", "dear bot, {q}", "tell me quickly {q}", "my teacher asks {q}",
    "*i would like to know: {q}", "*good morning, {q}", "*{q} do you know", "*sorry, but {q}", "*just tell me {q}",
)  # fmt: skip
_CHATTER = (
    "please {q}",
    "hey, {q}",
    "hi, {q}",
    "{q} please",
    "ok, {q}",
    "hello, {q}",
    "so, {q}",
    "quick question: {q}",
    "well, {q}",
    "*good morning, {q}",
    "*sorry, but {q}",
)


ADVICE_TAILS = (
    "{q}, what should i do",
    "{q}, what can i do",
    "{q}, please help",
    "{q}, any advice",
    "{q} what helps",
    "{q}. any tips",
    "{q}, help me",
    "{q} do you have a tip",
    "{q} what now",
    "help, {q}",
    "give me advice, {q}",
    "advice please: {q}",
    "*{q}, what would you do",
    "*i need advice: {q}",
)
_NAMES = {
    name.lower(): name
    for name in [
        "Eiffel Tower",
        "Big Ben",
        "Colosseum",
        "Statue of Liberty",
        "Great Wall",
        "Christmas",
        "Japan",
        "USA",
        "England",
        "Germany",
        "America",
        "Romeo and Juliet",
        "Hamlet",
        "Mona Lisa",
        "Italy",
        "France",
        "China",
        "London",
        "Paris",
        "Rome",
        "Berlin",
        "Madrid",
        "Tokyo",
        "New York",
        "Sydney",
        "Chicago",
        "United States",
        "UK",
        "English",
        "Spanish",
        "I",
    ]
}
_SHORTER = {
    "i am": "i'm",
    "what is": "what's",
    "do not": "don't",
    "cannot": "can't",
    "who is": "who's",
    "where is": "where's",
    "it is": "it's",
    "i would": "i'd",
}
# fmt: on
_NAME = re.compile(r"(?<![\w'])(" + "|".join(sorted(_NAMES, key=len, reverse=True)) + r")(?!\w)")
_SHORT = re.compile(r"\b(" + "|".join(_SHORTER) + r")\b", re.IGNORECASE)


def pick(forms: tuple[str, ...], held_out: bool) -> tuple[str, ...]:
    """The held-out (starred) or the training forms, without the star."""
    return tuple(f.lstrip("*") for f in forms if f.startswith("*") == held_out)


def _content(text: str) -> tuple[str, ...]:
    small = set(
        [
            "a",
            "an",
            "the",
            "of",
            "that",
            "is",
            "are",
            "in",
            "and",
            "or",
            "to",
            "with",
            "for",
            "by",
            "at",
            "it",
            "on",
            "all",
            "its",
            "can",
            "may",
            "who",
            "where",
            "which",
            "people",
            "thing",
            "place",
            "very",
            "from",
            "your",
        ]
    )
    return tuple(w for w in text.lower().replace(",", "").replace(".", "").split() if w not in small)


@functools.cache
def fact_intent(family: Family, subject: str) -> Intent:
    right = family.items[subject]
    others = family.wrong.get(subject) or tuple(
        sorted({a for rights in family.items.values() for a in rights})
    )
    low = {r.lower() for r in right}
    wrong = tuple(w for w in others if w.lower() not in low)
    keywords = _content(right[0]) if family.name == "definition" else ()
    return Intent("fact", family.name.split(":")[0], subject, right, wrong, keywords)


@functools.cache
def family_clauses(family: Family, held_out: bool) -> tuple[tuple[str, bool], ...]:
    """(form, is a noun phrase) of a family."""
    return tuple((f, True) for f in pick(family.nps, held_out)) + tuple(
        (f, False) for f in pick(family.asks, held_out)
    )


def _frame(rng: random.Random, clause: str, noun: bool, held_out: bool) -> str:
    """A clause as a whole prompt. Held-out forms meet both known and held-out frames and wrappers."""
    new = held_out and rng.random() < 0.4
    if noun:
        clause = rng.choice(pick(FRAMES, new)).format(n=clause)
        return rng.choice(pick(_CHATTER, new)).format(q=clause) if rng.random() < 0.15 else clause
    if rng.random() < 0.4:
        clause = rng.choice(pick(WRAPPERS, new)).format(q=clause)
    return clause


def fact_prompt(
    rng: random.Random, held_out: bool, family: Family | None = None, subject: str | None = None
) -> tuple[str, Intent]:
    family = family or rng.choices(FAMILIES, [f.weight for f in FAMILIES])[0]
    subject = subject or rng.choice(list(family.items))
    form, noun = rng.choice(family_clauses(family, held_out))
    return _frame(rng, render(form, subject), noun, held_out), fact_intent(family, subject)


def made_up_name(rng: random.Random) -> str:
    """A word that no table knows: what stands in an unknown entity's place."""
    parts = (
        "blor",
        "via",
        "zor",
        "quen",
        "tash",
        "mip",
        "dro",
        "fla",
        "vex",
        "ith",
        "gru",
        "lom",
        "pek",
        "snar",
        "wub",
        "yal",
        "kri",
        "noz",
        "thu",
        "jax",
        "bel",
        "oru",
        "cim",
        "hop",
        "dant",
    )
    return "".join(rng.choice(parts) for _ in range(rng.choice((2, 3))))


def unknown_prompt(rng: random.Random, held_out: bool) -> tuple[str, Intent]:
    roll = rng.random()
    if roll < 0.4:
        families = [f for f in FAMILIES if f.unknown]
        family = rng.choice(families)
        form, noun = rng.choice(family_clauses(family, held_out))
        subject = rng.choice(family.unknown)
        if "|" not in subject and " " not in subject and rng.random() < 0.6:
            subject = made_up_name(rng)
            subject = subject.capitalize() if family.name in ("capital", "continent", "language") else subject
        elif "|" in subject and rng.random() < 0.8:
            subject = (
                f"{rng.randint(101, 9999)}|{rng.randint(2, 999)}"
                if rng.random() < 0.6
                else f"{rng.randint(51, 99)}|{rng.randint(61, 99)}"
            )
        return _frame(rng, render(form, subject), noun, held_out), Intent("unknown", family.name, subject)
    if roll < 0.55:
        act = rng.choice(topics.UNKNOWN_HOWTOS)
        return rng.choice(pick(topics.HOWTO_FORMS, held_out)).format(v=act), Intent("unknown", "howto", act)
    text = rng.choice(_unknown_texts(held_out))
    return _frame(rng, text, False, held_out), Intent("unknown", "unknown", text)


@functools.cache
def _unknown_texts(held_out: bool) -> tuple[str, ...]:
    return tuple(topics.unknown_prompts(held_out))


@functools.cache
def _harmful_acts(held_out: bool) -> tuple[str, ...]:
    return tuple(topics.harmful_acts(held_out))


def howto_prompt(rng: random.Random, held_out: bool) -> tuple[str, Intent]:
    phrases, keywords, responses = rng.choice(topics.HOWTOS)
    text = rng.choice(pick(topics.HOWTO_FORMS, held_out)).format(v=rng.choice(phrases))
    text = (
        rng.choice(pick(_CHATTER, held_out and rng.random() < 0.4)).format(q=text)
        if rng.random() < 0.25
        else text
    )
    return text, Intent("howto", "howto", phrases[0], responses, (), keywords)


def advice_prompt(rng: random.Random, held_out: bool) -> tuple[str, Intent]:
    prompts, keywords, responses = rng.choice(topics.ADVICE)
    text = rng.choice(pick(prompts, held_out))
    if text.split()[0] in ("i", "my") and rng.random() < 0.45:
        text = rng.choice(pick(ADVICE_TAILS, held_out)).format(q=text)
    elif rng.random() < 0.25:
        text = rng.choice(pick(_CHATTER, held_out and rng.random() < 0.4)).format(q=text)
    return text, Intent("advice", "advice", prompts[0], responses, (), keywords)


def smalltalk_prompt(rng: random.Random, held_out: bool) -> tuple[str, Intent]:
    if rng.random() < 0.35:
        x, responses = rng.choice(topics.POEMS)
        text = rng.choice(pick(topics.POEM_FORMS, held_out)).format(x=x)
        return text, Intent("poem", "poem", x, responses)
    prompts, responses = rng.choice(topics.SMALLTALK)
    return rng.choice(pick(prompts, held_out)), Intent("smalltalk", "smalltalk", prompts[0], responses)


def harmful_prompt(rng: random.Random, held_out: bool) -> tuple[str, Intent]:
    act = rng.choice(_harmful_acts(held_out))
    text = rng.choice(pick(topics.HARMFUL_FORMS, held_out)).format(v=act)
    text = (
        rng.choice(pick(_CHATTER, held_out and rng.random() < 0.4)).format(q=text)
        if rng.random() < 0.2
        else text
    )
    return text, Intent("harmful", "harmful", act)


# fmt: off
KINDS = {"fact": fact_prompt, "howto": howto_prompt, "advice": advice_prompt, "harmful": harmful_prompt, "smalltalk": smalltalk_prompt, "unknown": unknown_prompt}


# fmt: on


def capitalised(text: str) -> str:
    return text[0].upper() + text[1:]


def written(text: str, rng: random.Random) -> str:
    """A prompt as a careful person would type it."""
    text = capitalised(_NAME.sub(lambda found: _NAMES[found[1]], text))
    asks = text.split()[0].lower().strip(",") in {
        "what",
        "what's",
        "whats",
        "which",
        "who",
        "how",
        "where",
        "when",
        "on",
        "in",
        "with",
        "can",
        "could",
        "do",
        "is",
        "should",
        "at",
        "from",
        "if",
        "would",
        "why",
    }
    if asks:
        return text + "?"
    return text + rng.choice(("?", "", "."))


def typed(text: str, rng: random.Random) -> str:
    """A prompt as people really type it: case, punctuation and letters get lost."""
    roll = rng.random()
    if roll < 0.45:
        return written(text, rng)
    text = text.lower() if roll < 0.85 else capitalised(text)
    if rng.random() < 0.4:
        text = _SHORT.sub(lambda found: _SHORTER[found[0].lower()], text)
    if roll > 0.985:
        text = text.upper()
    text += rng.choices(("", "?", "??", ".", " ?", "!"), (60, 30, 2, 3, 3, 2))[0]
    if rng.random() < 0.12:
        text = text.replace("'", "").replace(",", "")
    if rng.random() < 0.12:
        text = _misspelt(text, rng)
    return text


def _misspelt(text: str, rng: random.Random) -> str:
    places = [i for i in range(1, len(text) - 2) if text[i - 1 : i + 2].isalpha()]
    if not places:
        return text
    i = rng.choice(places)
    how = rng.choice(("swap", "drop", "double"))
    if how == "swap":
        return text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    return text[:i] + text[i + 1 :] if how == "drop" else text[: i + 1] + text[i:]
