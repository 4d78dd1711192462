"""What an evaluation is asked to compare and to read: names of contenders, and files.

Nothing here needs torch, so `app.py` refuses what cannot be (`check_asked`) before it imports that, let alone
loads a model. `rlhf.standings` asks the same functions.
"""

import json
from pathlib import Path
from typing import Any, Protocol

from rlhf.config import STARTER
from rlhf.evaluate_config import EvaluateConfig
from rlhf.good_prompt import read_good_prompt

BASE, PROMPTED = "base", "prompted"
PARAGRAPHS = 1500  # characters of a plain text file that are one text
MOST_TEXTS = 200


class Run(Protocol):
    """What is needed of the store."""

    run_dir: Path

    def get_setting(self, key: str, default: Any = None) -> Any: ...
    def policies(self) -> list: ...
    def published(self): ...
    def prompts(self, split: str, seed: int) -> list: ...
    def rounds(self) -> list: ...
    def demonstrations(self) -> list[dict[str, Any]]: ...


def check_asked(store: Run, config: EvaluateConfig) -> None:
    """Raises ValueError with one sentence."""
    keys, _ = contenders_of(store, config)
    if config.forgetting:
        general_texts(Path(config.forgetting))
    given_prompt(config, keys)


def contenders_of(store: Run, config: EvaluateConfig) -> tuple[list[str], list[str]]:
    """The keys of those that are measured, and of those they are compared with. Raises ValueError."""
    keys = choose(store, config.policies or "all")
    wanted = config.against or "0"
    if wanted == "all":
        return keys, keys
    against = choose(store, wanted, "against")
    if len(against) > 1:
        raise ValueError(f"--against is '{wanted}'; wanted one contender, or all.")
    return keys, against


def choose(store: Run, wanted: str, option: str = "policies") -> list[str]:
    """The keys meant by 'all' or by a list such as 'base,prompted,0,3', in that order. Raises ValueError."""
    versions = [str(version) for version in sorted(p.version for p in store.policies())]
    if not versions:
        raise ValueError("This run has no policy yet; start it once with python app.py.")
    base = [BASE, PROMPTED] if base_of(store) else []
    if wanted.strip() == "all":
        return [*base, *versions]
    found = []
    for word in filter(None, (part.strip() for part in wanted.split(","))):
        if word in (BASE, PROMPTED) and not base:
            raise ValueError("This run has no base model; it was started without --base-model.")
        if word not in (*base, *versions):
            raise ValueError(f"There is no contender '{word}'; this run has {', '.join(base + versions)}.")
        found.append(word)
    if not found:
        raise ValueError(f"--{option} is '{wanted}'; wanted all, or some of {', '.join(base + versions)}.")
    return list(dict.fromkeys(found))


def base_of(store: Run) -> str:
    """Folder or hub id of the model before SFT, or ''. The starter's own is where this project is now."""
    known = store.get_setting("base") or ""
    own = Path(known).parts[-3:] in ((), ("data", "starter", "base"))
    return str(STARTER / "base") if own and store.get_setting("model") == "starter" else known


def given_prompt(config: EvaluateConfig, keys: list[str]):
    """The `GoodPrompt` of a file, if one is given. Raises ValueError."""
    if not config.prompt_file:
        return None
    if PROMPTED not in keys:
        raise ValueError("--prompt-file is given, but the base with a good prompt is no contender here.")
    return read_good_prompt(Path(config.prompt_file))


def general_texts(path: Path) -> list[str]:
    """Texts of a plain file, some paragraphs each, or of JSON Lines with a "text" field; 200 at most.

    Raises ValueError with one sentence.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"--forgetting '{path}' cannot be read ({why}); wanted a UTF-8 text file.") from None
    texts: list[str] = []
    if path.suffix == ".jsonl":
        for number, line in enumerate(content.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                text = json.loads(line)["text"]
            except (json.JSONDecodeError, KeyError, TypeError):
                text = None
            if not isinstance(text, str):
                raise ValueError(f'{path}, line {number}: wanted a JSON object with a text in "text".')
            texts += [text] if text.strip() else []
    else:
        for paragraph in content.replace("\r\n", "\n").split("\n\n"):
            if not paragraph.strip():
                continue
            if texts and len(texts[-1]) + len(paragraph) < PARAGRAPHS:
                texts[-1] += f"\n\n{paragraph.strip()}"
            else:
                texts.append(paragraph.strip())
    if not texts:
        raise ValueError(f"--forgetting '{path}' has no text in it.")
    return texts[:MOST_TEXTS]
