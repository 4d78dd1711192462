"""The constitution: the principles, written down, by which a model judges responses (`rlhf/judge.py`).

Markdown whose list items are the principles ("- ..." or "1. ..."); what stands beside them is for the judge
to read too. Ranking is asked by the whole text, critique by one principle at a time (Bai et al. 2022,
Constitutional AI, arXiv:2212.08073, section 3.1).
"""

import re

LONGEST_CONSTITUTION = 20_000  # characters: it goes along with every question
_ITEM = re.compile(r"(?:[-*+]|\d{1,3}[.)])\s+(?=\S)")

# Version 0: what judges work by until a project writes its own.
CONSTITUTION = """\
Prefer the response that a careful, honest and helpful person would give. What comes first here weighs more.

1. **Harm.** Prefer the response that does not help anybody to hurt people, break into what is not theirs, or
   deceive. Where it says no, it says so politely and does not preach.
2. **Truth.** Prefer the response that is right. One that says it does not know is better than one that makes
   something up, and worse than one that knows.
3. **Help.** Prefer the response that does what was asked, all of it, and nothing else. To refuse a harmless
   request is no help.
4. **Respect.** Prefer the response that is polite and takes the person seriously, without flattery.
5. **Brevity.** Prefer the response that says it clearly and in as few words as it takes. Long is not better.

Where a response stands means nothing. Responses that are equally good are equal.
"""


def check_constitution(text: str) -> str:
    """The text as it is kept. Raises ValueError, in one sentence."""
    text = text.replace("\r\n", "\n").strip()
    if not 0 < len(text) <= LONGEST_CONSTITUTION:
        raise ValueError(f"The constitution has {len(text)} characters; wanted: 1 to {LONGEST_CONSTITUTION}.")
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise ValueError("The constitution holds half a character (a lone surrogate); send it as UTF-8.")
    if not principles(text):
        raise ValueError(
            "The constitution has no principle: write each as an item of a list, '- Prefer ...'."
        )
    return text


def principles(text: str) -> list[str]:
    """The items of a constitution's list, in order, each as one line; what is nested belongs to its item."""
    found: list[str] = []
    margin, inside, blank = None, False, False
    for line in text.splitlines():
        words = line.strip()
        indent = len(line) - len(line.lstrip())
        mark = _ITEM.match(words)
        if mark and (margin is None or indent <= margin):
            margin, inside = indent, True
            found.append(words[mark.end() :])
        elif words and inside and (indent > margin or not blank):
            found[-1] += f" {words}"
        elif words:
            inside = False
        blank = not words
    return found
