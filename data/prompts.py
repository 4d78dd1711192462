"""Prompts for the task queue: the starter's, or a file's; and which of them are never ranked."""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

from data.conversation import as_prompt

HELDOUT_SHARE = 0.1
LEAST_DIFFERENT = 20  # prompts that can stand for themselves, without the starter's


def read_prompts(path: Path) -> list[str]:
    """Prompts of a text file (one a line) or of JSON Lines with a "prompt" field, which is a text or a list
    of chat messages (`data.conversation`); blank lines are skipped.

    Raises ValueError with one sentence that names the line.
    """
    try:
        # utf-8-sig: editors on Windows begin a file with a byte order mark. Not splitlines(): it also cuts
        # at characters, U+2028 for one, that JSON and prose have inside a line.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"Prompts file '{path}' cannot be read ({why}); wanted a UTF-8 text file.") from None
    prompts = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if path.suffix == ".jsonl":
            try:
                prompt = json.loads(line)["prompt"]
            except (json.JSONDecodeError, KeyError, TypeError):
                prompt = None
            if isinstance(prompt, list):
                try:
                    prompt = as_prompt(prompt)
                except ValueError as error:
                    raise ValueError(f'{path}, line {number}: in "prompt", {error}.') from None
            if not isinstance(prompt, str) or not prompt.strip():
                raise ValueError(f'{path}, line {number}: wanted a JSON object with a text in "prompt".')
            prompts.append(prompt.strip())
        else:
            prompts.append(line.strip())
    different = len(set(prompts))
    if different < LEAST_DIFFERENT:
        raise ValueError(
            f"Prompts file '{path}' has {different} different prompts; wanted at least {LEAST_DIFFERENT}."
        )
    return list(dict.fromkeys(prompts))


def split_prompts(prompts: Sequence[str]) -> list[tuple[str, str]]:
    """(prompt, split), 'heldout' for about a tenth, by a hash of the text: the same everywhere.

    A prompt keeps its split when others are added to the file. Where chance held out fewer than one in ten,
    which a small file would often see, the next ones in the order of the hash make up for it.
    """
    hashes = {p: int.from_bytes(hashlib.sha256(p.encode()).digest()[:4], "big") / 2**32 for p in prompts}
    chance = sum(value < HELDOUT_SHARE for value in hashes.values())
    heldout = set(sorted(hashes, key=hashes.get)[: max(chance, math.floor(HELDOUT_SHARE * len(hashes)))])
    return [(p, "heldout" if p in heldout else "train") for p in prompts]


def starter_prompts() -> list[tuple[str, str]]:
    """(prompt, split) of the embedded starter; its held-out prompts use forms it was never taught."""
    from data.starter.prompts import heldout_prompts, train_prompts

    return [(p, "train") for p in train_prompts()] + [(p, "heldout") for p in heldout_prompts()]
