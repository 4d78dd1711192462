"""Prompts for the task queue: the starter's, or a file's; and which of them are never ranked."""

import hashlib
import json
from pathlib import Path

HELDOUT_SHARE = 0.1


def read_prompts(path: Path) -> list[str]:
    """Prompts of a text file (one a line) or of JSON Lines with a "prompt" field; blank lines are skipped.

    Raises ValueError with one sentence that names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"Prompts file '{path}' cannot be read ({error}); wanted a UTF-8 text file."
        ) from None
    prompts = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if path.suffix == ".jsonl":
            try:
                prompt = json.loads(line)["prompt"]
            except (json.JSONDecodeError, KeyError, TypeError):
                prompt = None
            if not isinstance(prompt, str) or not prompt.strip():
                raise ValueError(f'{path}, line {number}: wanted a JSON object with a text in "prompt".')
            prompts.append(prompt.strip())
        else:
            prompts.append(line.strip())
    if len(set(prompts)) < 20:
        raise ValueError(
            f"Prompts file '{path}' has {len(set(prompts))} different prompts; wanted at least 20."
        )
    return list(dict.fromkeys(prompts))


def split_of(prompt: str) -> str:
    """'heldout' for a tenth of all prompts, by a hash of their text, else 'train': the same everywhere."""
    digest = hashlib.sha256(prompt.encode()).digest()
    return "heldout" if int.from_bytes(digest[:4], "big") / 2**32 < HELDOUT_SHARE else "train"


def starter_prompts() -> list[tuple[str, str]]:
    """(prompt, split) of the embedded starter; its held-out prompts use forms it was never taught."""
    from data.starter.prompts import heldout_prompts, train_prompts

    return [(p, "train") for p in train_prompts()] + [(p, "heldout") for p in heldout_prompts()]
