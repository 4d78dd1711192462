"""A Hugging Face or TRL trainer as a generator of steps, so that annotators are served between any two.

Rounds are generators (`rlhf/round.py`), `trainer.train()` is one long call. It runs in a thread that takes
strict turns with whoever asks for the next step: exactly one of the two ever runs, so neither sees the
other's half-done work, and models need no locks. Autocast and grad mode belong to a thread and are not
shared; which adapter speaks is not, so the trainer chooses it anew in every step (`InFamily`).

The trainer gets a plain causal LM of one role, with an optimiser over that role's parameters alone: a whole
model, or the one base of a LoRA family with that role's adapter on. It writes no checkpoint, reports to
nobody, and whatever it or TRL has patched is taken off again.
"""

import copy
import math
import queue
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import datasets
import torch
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from trl.trainer.utils import disable_dropout_in_model

from rlhf.models import Family

MAX_GRAD_NORM = 1.0


@dataclass(frozen=True)
class Step:
    """One optimiser step that is done."""

    step: int  # 1 for the first
    of: int
    logs: dict[str, float]  # as the trainer logs them: 'loss', 'grad_norm', ...


class _Closed(BaseException):
    """Nobody asks for another step."""


class _Turns(TrainerCallback):
    """On the trainer's thread: says what was done, and waits for its next turn."""

    def __init__(self) -> None:
        self.said: queue.SimpleQueue[Step | BaseException | None] = queue.SimpleQueue()
        self.turn = threading.Semaphore(0)
        self.closed = False

    def wait(self) -> None:
        self.turn.acquire()
        if self.closed:
            raise _Closed

    def on_log(self, args, state, control, logs=None, model=None, **_) -> None:
        """Called after every optimiser step, as `logging_steps` is 1, and once more at the end."""
        if logs and "loss" in logs:
            model.eval()  # the others who use it sample
            self.said.put(Step(state.global_step, state.max_steps, dict(logs)))
            self.wait()


def steps(trainer: Trainer) -> Iterator[Step]:
    """Train; yields after every optimiser step. Closing the generator ends the training and its thread.

    Raises what the training raises, and FloatingPointError for a loss that is not a finite number.
    """
    turns = _Turns()

    def train() -> None:
        try:
            turns.wait()
            trainer.train()
            turns.said.put(None)
        except _Closed:
            pass
        except BaseException as error:
            turns.said.put(error)

    trainer.add_callback(turns)
    thread = threading.Thread(target=train, name="trainer", daemon=True)
    thread.start()
    try:
        turns.turn.release()
        while (said := turns.said.get()) is not None:
            if isinstance(said, BaseException):
                raise said
            if not math.isfinite(said.logs["loss"]):
                raise FloatingPointError(f"the loss became {said.logs['loss']} in step {said.step}")
            yield said
            turns.turn.release()
    finally:
        turns.closed = True
        turns.turn.release()
        thread.join()
        trainer.remove_callback(turns)


class InFamily:
    """Mixed into a TRL trainer: its passes are of one role of a family, with the family's precision."""

    family: Family
    role: str

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        with self.family.use(self.role):  # backward too: an adapter that was off would be missing there
            return super().training_step(*args, **kwargs)

    def _send_telemetry(self) -> None:
        """Nothing leaves the machine."""


# What says that a base is in four bits: TRL would make all adapters bf16, transformers refuse to train it.
QUANTISED = ("is_quantized", "is_loaded_in_4bit", "is_loaded_in_8bit")


@contextmanager
def lent(family: Family, role: str) -> Iterator[PreTrainedModel]:
    """The role's model for a trainer; afterwards it is as it was, but for the role's weights.

    Dropout is off in Podium, and stays off.
    """
    with family.use(role) as model:
        pass
    before = dict(vars(model))
    configs = [c for c in (model.config.get_text_config(), model.generation_config) if c is not None]
    kept = [(config.pad_token_id, config.use_cache) for config in configs]
    disable_dropout_in_model(model)
    for name in QUANTISED:
        if getattr(model, name, False):
            setattr(model, name, False)
    try:
        yield model
    finally:
        for name in vars(model).keys() - before.keys():
            delattr(model, name)
        for name in ("forward", *QUANTISED):
            if name in before:
                setattr(model, name, before[name])
        for config, (pad, cache) in zip(configs, kept, strict=True):
            config.pad_token_id, config.use_cache = pad, cache
        model.zero_grad()
        model.eval()


@contextmanager
def common_arguments(family: Family) -> Iterator[dict[str, Any]]:
    """Training arguments that every trainer here has; what must have a folder gets one that goes away.

    Progress bars of `datasets` are off meanwhile: they would fill the worker's log.
    """
    bars = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with tempfile.TemporaryDirectory(prefix="podium-trainer-") as folder, warnings.catch_warnings():
            # transformers renames it, TRL asks for it under its old name
            warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
            yield {
                "output_dir": folder,
                "report_to": "none",
                "save_strategy": "no",
                "logging_strategy": "steps",
                "logging_steps": 1,
                "logging_nan_inf_filter": False,  # a loss that is no number is to be seen
                "disable_tqdm": True,
                "dataloader_pin_memory": False,
                "gradient_checkpointing": False,
                "max_grad_norm": MAX_GRAD_NORM,
                "bf16": False,  # `Family.use` says in what products are taken
                "use_cpu": family.device.type == "cpu",
                "lr_scheduler_type": "cosine",
                "push_to_hub": False,
            }
    finally:
        if bars:
            datasets.enable_progress_bars()


def make_trainer(
    kind: type[Trainer],
    family: Family,
    role: str,
    model: PreTrainedModel,
    arguments: TrainingArguments,
    learning_rate: float,
    **more: Any,
) -> Trainer:
    """A TRL trainer of the role's `lent` model; only the role's parameters are in its optimiser."""
    own = type(kind.__name__, (InFamily, kind), {"family": family, "role": role})
    optimizer = torch.optim.AdamW(family.parameters(role), lr=learning_rate, weight_decay=0.0)
    trainer = own(
        model=model,
        args=arguments,
        processing_class=copy.deepcopy(family.tokenizer),  # TRL gives one without a PAD its own
        optimizers=(optimizer, None),
        **more,
    )
    trainer.args._n_gpu = 1  # more that are seen are not used
    trainer.remove_callback(PrinterCallback)
    return trainer


def rows_of(columns: dict[str, Sequence]) -> datasets.Dataset:
    """A data set in memory."""
    return datasets.Dataset.from_dict(columns)
