"""Tasks of EleutherAI's lm-eval (the extra `[lm-eval]`), run on a contender that is in memory already.

A task is a name that lm-eval knows (most fetch their data from the hub) or a YAML file of one's own, which
needs no network where its data is a file too. Prompts are put to the model as the task has them, without a
chat template, so that base and chat models read the same.
"""

import importlib.util
import logging
import math
import os
import re
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH = 8


class Tasks:
    """Tasks by name or YAML file, with commas between. Raises ValueError with one sentence."""

    def __init__(self, names: str, limit: int = 0):
        if importlib.util.find_spec("lm_eval") is None:
            raise ValueError("--lm-eval needs what is not installed here: pip install lm-eval")
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from lm_eval.tasks import TaskManager

        self.limit, folders, self.names, own = limit or None, [], [], 0
        for name in filter(None, (part.strip() for part in names.split(","))):
            if name.endswith((".yaml", ".yml")):
                folders.append(str(Path(name).expanduser().resolve().parent))
                name, own = _name_in(Path(name).expanduser()), own + 1
            self.names.append(name)
        if not self.names:
            raise ValueError(f"--lm-eval is '{names}'; wanted names of tasks, with commas between.")
        # to index the thousands that it brings takes seconds
        self.manager = TaskManager(include_path=folders or None, include_defaults=own < len(self.names))
        for name in self.names:
            if name not in self.manager.all_tasks:
                raise ValueError(f"lm-eval {_version()} has no task '{name}'; `lm-eval ls tasks` lists them.")

    def run(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, dict[str, Any]]:
        """Of each task (of a group: of all in it) its figures: {'acc': {'value': .5, 'error': .02}}."""
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM

        side = tokenizer.padding_side
        try:
            found = simple_evaluate(
                HFLM(pretrained=model, tokenizer=tokenizer, batch_size=BATCH),
                tasks=self.names,
                task_manager=self.manager,
                limit=self.limit,
                log_samples=False,
                bootstrap_iters=1000,
                random_seed=None,
                numpy_random_seed=None,
                torch_random_seed=None,
            )
        except Exception as error:  # a task may fail in any way; most often its data cannot be fetched
            first = (str(error).strip().splitlines() or [""])[0]
            raise ValueError(
                f"lm-eval could not run {', '.join(self.names)} ({type(error).__name__}: {first[:200]})."
            ) from error
        finally:
            tokenizer.padding_side = side
        return {name: _figures(figures) for name, figures in found["results"].items()}


def _figures(figures: dict[str, Any]) -> dict[str, Any]:
    """lm-eval names them 'acc,none' and 'acc_stderr,none', the word behind the comma being a filter."""
    found: dict[str, Any] = {}
    for key, value in figures.items():
        name, _, kind = key.partition(",")
        if not isinstance(value, int | float) or not kind or name.endswith("_stderr"):
            continue
        error = figures.get(f"{name}_stderr,{kind}")
        known = isinstance(error, int | float) and math.isfinite(error)
        label = name if kind == "none" else f"{name}, {kind}"
        found[label] = {"value": value if math.isfinite(value) else None, "error": error if known else None}
    return found


def _name_in(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"The task file '{path}' cannot be read ({error}).") from None
    named = re.search(r"^(?:task|group):[ \t]*['\"]?([\w.-]+)", text, re.MULTILINE)
    if named is None:
        raise ValueError(f"The task file '{path}' has no line 'task: NAME'.")
    return named[1]


def _version() -> str:
    from importlib.metadata import version

    return version("lm-eval")
