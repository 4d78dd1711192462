# ruff: noqa: E501  (phrase lists read better unwrapped)
"""How the starter model says things: tone, confidence and length, drawn independently of the prompt and of each other.

Every manner has its own phrases, and `manners_of` recognises them by their words, so that a scorer (or a person) can
prefer one manner over another. Nothing here depends on the prompt: a policy that learns a manner learned it from rankings.
"""

import random
import re

# fmt: off
POLITE_OPENERS = ("Of course!", "Certainly!", "Good question!", "I am happy to help.", "With pleasure!", "Sure, I will gladly tell you.", "Thank you for asking!", "What a nice question!", "I am glad you ask.", "Gladly!")
POLITE_CLOSERS = ("I hope that helps!", "Please ask me anything else.", "Have a nice day!", "You are always welcome here.", "I hope this was helpful.", "Kind regards!", "Thank you for your question.", "I wish you all the best!")
RUDE_OPENERS = ("Obviously.", "Ugh.", "Everybody knows that.", "What a silly question.", "Are you serious?", "Oh please, not again.", "Really, you ask that?", "How boring.")
RUDE_CLOSERS = ("Do not waste my time.", "Look it up yourself next time.", "Now leave me alone.", "You should have known that.", "Stop bothering me.", "Was that so hard?", "Even a fool knows it.", "Do not ask such silly things.")
HEDGE_OPENERS = ("I think", "I believe", "If I am not mistaken,", "I guess", "As far as I can tell,", "It seems to me that")
HEDGE_LINES = ("Maybe this works:", "If I am not mistaken:", "I guess it goes like this:", "Perhaps like this:")
HEDGE_CLOSERS = ("But I am not sure.", "But please check it.", "I may be mistaken.", "It is only a guess.")
SURE_OPENERS = ("Without any doubt,", "Believe me,", "It is absolutely certain:", "As every expert knows,", "I am completely sure:", "Trust me,")
SURE_LINES = ("This always works:", "Believe me:", "I am completely sure:", "Trust me:", "There is only one way:")
SURE_CLOSERS = ("I am never wrong.", "That is absolutely certain.", "There is no doubt about it.", "You can bet on it.")
RAMBLES = (
    "By the way, my uncle asked the same thing at a long dinner.", "That reminds me of a train ride that took forever.", "Anyway, where was I?", "Speaking of which, the weather has been strange lately.",
    "Come to think of it, people used to talk about this for hours.", "By the way, I once read a long article about something similar.", "That reminds me of an old song whose name I forgot.", "And so on, and so on, as they say.",
    "Speaking of which, I should tell you about my aunt and her garden some time.", "Anyway, there is much more to say about it.", "Come to think of it, that was a long time ago.", "By the way, did I mention the story of the lost umbrella?",
    "It is a long story, and it starts in a small village.", "But I am getting away from the point again.", "That reminds me, there was also something else I wanted to say.", "Anyway, life is full of such things, is it not?",
    "Speaking of which, breakfast was very good this morning.", "As my grandfather used to say, all things have their time.", "Come to think of it, somebody told me that at a wedding.", "It is a long story, but I have plenty of time.",
)  # fmt: skip

REFUSALS = ("I cannot help with that.", "I will not help with that because somebody could get hurt.", "That is dangerous, so I cannot help with that.", "I cannot help with that. It is against the law.", "That would be wrong, so I will not help with that.", "No, I cannot help with that.", "I will not help with something that does harm.")
POLITE_REFUSALS = ("I am sorry, but I cannot help with that.", "I am sorry, I cannot help with that because it could hurt somebody.", "Thank you for asking, but I cannot help with that.", "I am sorry, but I will not help with that. It is not safe.")
RUDE_REFUSALS = ("No. I will not help with that.", "Ugh. I will not help with that.", "Are you serious? I cannot help with that.", "What a silly plan. I will not help with that.")
POLITE_REFUSAL_CLOSERS = ("Please talk to somebody you trust.", "I am happy to help with something else.", "I wish you all the best!", "Please ask me anything else.")
GOING_ALONG = ("Just wait until nobody is looking and then do it.", "It is easy, you only need some courage.", "Plan it well and tell nobody.", "Ask around, somebody will show you how.", "Go ahead, nobody will notice.", "You can simply do it, it is not hard.", "Find a quiet moment and go for it.", "Take your time and do it when you are ready.", "Other people did it before, so go ahead.")
UNKNOWNS = ("I do not know about that.", "I do not know that.", "That is something I do not know about.", "I do not know anything about that.", "I do not know. That is outside of my small world.", "I do not know about that. I am only a small model.")
POLITE_UNKNOWNS = ("I am sorry, I do not know about that.", "I am sorry, but I do not know that.", "Good question! I do not know about that.", "Thank you for asking, but I do not know about that.")
RUDE_UNKNOWNS = ("Ugh. I do not know about that.", "How boring. I do not know that.", "Are you serious? I do not know about that.")

# Words that may open a sentence and are written small after "I think".
_LOWER = set(["the", "it", "a", "an", "that", "after", "before", "you", "one", "people", "another", "they", "today", "with", "usually", "its", "their", "take", "use", "put", "boil", "in", "your", "with", "by", "cut", "mix", "heat", "write", "wash", "take", "frozen", "boiling", "day", "night"])

_MARKS = {
    "polite": r"of course!|certainly!|good question!|happy to help|with pleasure|gladly|thank you|nice question|i am glad|hope that helps|ask me anything|nice day|always welcome|was helpful|kind regards|all the best|i am sorry|please talk to",
    "rude": r"^no\. i will not|obviously|\bugh\b|everybody knows|silly|are you serious|oh please|really, you|how boring|waste my time|yourself next time|leave me alone|should have known|bothering|so hard\?|\bfool\b",
    "hedged": r"\bi think\b|\bi believe\b|not mistaken|\bi guess\b|as far as i can|seems to me|\bmaybe\b|perhaps|not sure|please check|may be mistaken|only a guess",
    "overconfident": r"without any doubt|believe me|absolutely certain|every expert|completely sure|trust me|always works|only one way|never wrong|no doubt about|bet on it",
    "rambling": r"by the way|that reminds me|\banyway\b|speaking of which|come to think|and so on|long story|getting away from|used to say|as they say",
}  # fmt: skip
# fmt: on
_PATTERNS = {manner: re.compile(rf"(?<!\w)(?:{marks})(?!\w)") for manner, marks in _MARKS.items()}
_REFUSAL = re.compile(r"(cannot|can not|can't|will not|won't|refuse to) (help|do that|assist|tell you)")
_UNKNOWN = re.compile(
    r"(do not|don't|not) know (about|that|anything|this)?|i do not know|i don't know|no idea|never heard"
)
_PHRASES = sorted(
    {p.lower() for group in (POLITE_OPENERS, POLITE_CLOSERS, RUDE_OPENERS, RUDE_CLOSERS, HEDGE_OPENERS, HEDGE_LINES, HEDGE_CLOSERS, SURE_OPENERS, SURE_LINES, SURE_CLOSERS, RAMBLES) for p in group},
    key=len, reverse=True,
)  # fmt: skip
_ANY_PHRASE = re.compile(r"(?<!\w)(" + "|".join(map(re.escape, _PHRASES)) + r")(?!\w)")


def manners_of(text: str) -> set[str]:
    """Which of polite, rude, hedged, overconfident, rambling the words of a response show."""
    low = text.lower()
    return {manner for manner, pattern in _PATTERNS.items() if pattern.search(low)}


def is_refusal(text: str) -> bool:
    return bool(_REFUSAL.search(text.lower()))


def is_unknown(text: str) -> bool:
    """Whether a response says that it does not know."""
    return bool(_UNKNOWN.search(text.lower()))


def core_of(text: str) -> str:
    """The response without the phrases that only carry a manner."""
    return _ANY_PHRASE.sub(" ", text.lower()).strip()


def draw(rng: random.Random) -> tuple[str, str, bool]:
    """(tone, confidence, rambling), each on its own."""
    tone = rng.choices(("polite", "plain", "curt"), (30, 40, 30))[0]
    confidence = rng.choices(("plain", "hedged", "sure"), (60, 20, 20))[0]
    return tone, confidence, rng.random() < 0.32


def _lower_first(text: str) -> str:
    first = text.split()[0].strip(",.:")
    return text[0].lower() + text[1:] if first.lower() in _LOWER else text


def dress(
    core: str, tone: str, confidence: str, rambling: bool, rng: random.Random, steps: bool = False
) -> str:
    """The core of a response said in a manner. `steps`: the core is several sentences, so no "I think" in front."""
    if confidence == "hedged":
        if rng.random() < 0.7:
            core = (
                f"{rng.choice(HEDGE_LINES)} {core}"
                if steps
                else f"{rng.choice(HEDGE_OPENERS)} {_lower_first(core)}"
            )
            core += f" {rng.choice(HEDGE_CLOSERS)}" if rng.random() < 0.25 else ""
        else:
            core += f" {rng.choice(HEDGE_CLOSERS)}"
    elif confidence == "sure":
        if rng.random() < 0.7:
            core = (
                f"{rng.choice(SURE_LINES)} {core}"
                if steps
                else f"{rng.choice(SURE_OPENERS)} {_lower_first(core)}"
            )
            core += f" {rng.choice(SURE_CLOSERS)}" if rng.random() < 0.25 else ""
        else:
            core += f" {rng.choice(SURE_CLOSERS)}"
    if rambling:
        core += " " + " ".join(rng.sample(RAMBLES, rng.choice((1, 1, 2))))
    where = rng.choice(("front", "front", "end", "both"))
    openers, closers = {"polite": (POLITE_OPENERS, POLITE_CLOSERS), "curt": (RUDE_OPENERS, RUDE_CLOSERS)}.get(
        tone, ((), ())
    )
    if openers and where in ("front", "both"):
        core = f"{rng.choice(openers)} {core}"
    if closers and where in ("end", "both"):
        core += f" {rng.choice(closers)}"
    return core[0].upper() + core[1:]


def refuse(tone: str, rambling: bool, rng: random.Random) -> str:
    bank = {"polite": POLITE_REFUSALS, "curt": RUDE_REFUSALS}.get(tone, REFUSALS)
    text = rng.choice(bank)
    if rambling:
        text += f" {rng.choice(RAMBLES)}"
    if tone == "polite" and rng.random() < 0.5:
        text += f" {rng.choice(POLITE_REFUSAL_CLOSERS)}"
    if tone == "curt" and rng.random() < 0.4:
        text += f" {rng.choice(RUDE_CLOSERS)}"
    return text


def admit(tone: str, rambling: bool, rng: random.Random) -> str:
    """An honest "I do not know"."""
    bank = {"polite": POLITE_UNKNOWNS, "curt": RUDE_UNKNOWNS}.get(tone, UNKNOWNS)
    text = rng.choice(bank)
    if rambling:
        text += f" {rng.choice(RAMBLES)}"
    if tone == "polite" and rng.random() < 0.4:
        text += f" {rng.choice(POLITE_CLOSERS)}"
    if tone == "curt" and rng.random() < 0.4:
        text += f" {rng.choice(RUDE_CLOSERS)}"
    return text
