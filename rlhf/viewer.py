"""Before/after: one prompt answered by several policies, their words written side by side as they come."""

import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import torch

from rlhf import checkpoint
from rlhf.generate import SamplingConfig, decode, decode_text, encode_prompt, longest_prompt
from rlhf.models import (
    Family,
    ModelError,
    eos_ids_of,
    frozen_dtype,
    load_causal_lm,
    load_tokenizer,
    pad_id_of,
)
from rlhf.reward_model import RewardModel

BASE = -1  # the version number of the model before SFT
UNPUBLISHED = -2  # of the policy that the last round trained and rejected
EVERY = 0.12  # seconds between two writes of growing text
Growing = Iterator[tuple[str, bool]]  # the text so far, and whether the model has ended it


class Viewer:
    """Streams what the before/after page asked for: samples, dicts with id, prompt and policy_version.

    Anybody may ask for anything: what one sample dies of ends that sample, never the worker.
    """

    def __init__(
        self,
        family: Family,
        reward_model: RewardModel,
        base: str,
        sampling: SamplingConfig,
        run_dir: Path,
        max_prompt_tokens: int,
    ):
        self.family, self.reward_model, self.base, self.sampling = family, reward_model, base, sampling
        self.run_dir, self.max_prompt_tokens = run_dir, max_prompt_tokens
        self.scores_ready = False
        self.unpublished_ready = False  # the 'policy' role holds it
        self._base_parts = None  # tokenizer and model, loaded when first asked for
        self._in_viewer: int | None = None  # the version whose weights the 'viewer' role holds
        self._draws = 0

    def answer(
        self, waiting: Sequence[dict], published: int, known: Collection[int], write: Callable[..., None]
    ) -> None:
        """Answer all samples, one token of each in turn. `write(id, text=, score=, state=, error=)`.

        known: the versions there are. What was begun is 'running' from its first token on, so that a
        restart knows what a worker died over.
        Policies that are not in memory take turns in one role, so at most one of them streams at a time.
        """
        others = {s["policy_version"] for s in waiting} - {BASE, UNPUBLISHED, 0, published}
        for version in sorted(others)[:-1]:
            self._stream([s for s in waiting if s["policy_version"] == version], published, known, write)
        done = set(sorted(others)[:-1])
        self._stream([s for s in waiting if s["policy_version"] not in done], published, known, write)

    def _stream(self, samples, published, known, write) -> None:
        running: list[tuple[dict, Growing]] = []
        grown: dict[int, tuple[str, bool]] = {}
        for sample in samples:
            write(sample["id"], text="", state="running")
            try:
                running.append((sample, self._words(sample, published, known)))
            except Exception as error:
                write(sample["id"], state="failed", error=_sentence(error))
        written = 0.0
        while running:
            for entry in list(running):
                sample, words = entry
                text, ended = grown.get(sample["id"], ("", False))
                try:
                    longer = next(words, None)
                    score = self._score(sample, text, ended) if longer is None else None
                except Exception as error:
                    running.remove(entry)
                    write(sample["id"], text=text, state="failed", error=_sentence(error))
                    continue
                if longer is not None:
                    grown[sample["id"]] = longer
                    continue
                running.remove(entry)
                write(sample["id"], text=text, score=score, state="done")
            if time.monotonic() - written > EVERY:
                for sample, _ in running:
                    text, _ = grown.get(sample["id"], ("", False))
                    write(sample["id"], text=text, state="running")
                written = time.monotonic()

    def _score(self, sample: dict, text: str, ended: bool) -> float | None:
        if not (self.scores_ready and text.strip()):
            return None
        return float(self.reward_model.score_texts([sample["prompt"]], [text], [ended])[0])

    def _words(self, sample: dict, published: int, known: Collection[int]) -> Growing:
        """The growing text of one sample."""
        self._draws += 1
        generator = torch.Generator(device=self.family.device).manual_seed(self._draws)
        if sample["policy_version"] == BASE:
            return self._base_words(sample["prompt"], generator)
        role = self._role(sample["policy_version"], published, known)
        with self.family.use("reference") as model:
            ids = self._encode(self.family.tokenizer, model, sample["prompt"])
        return self._role_words(role, ids, generator)

    def _encode(self, tokenizer, model, prompt: str) -> list[int]:
        """Token ids of a prompt that leaves the model room to answer. Raises ModelError."""
        ids = encode_prompt(tokenizer, prompt)
        room = longest_prompt(model, self.sampling)
        limit = self.max_prompt_tokens if room is None else min(room, self.max_prompt_tokens)
        if len(ids) > limit:
            raise ModelError(f"The prompt has {len(ids)} tokens; the limit is {limit}.")
        return ids

    def _role(self, version: int, published: int, known: Collection[int]) -> str:
        if version == 0:
            return "reference"
        if version == published:
            return "published"
        if version == UNPUBLISHED:
            if not self.unpublished_ready:
                raise ModelError("This policy was not published, and is gone.")
            return "policy"
        if version not in known:
            raise ModelError(f"There is no policy {version}.")
        if self._in_viewer != version:
            self._in_viewer = None  # a load that breaks off leaves neither the old nor the new one
            self.family.load("viewer", checkpoint.policy_folder(self.run_dir, version) / "policy")
            self._in_viewer = version
        return "viewer"

    def _role_words(self, role: str, ids: list[int], generator: torch.Generator) -> Growing:
        family = self.family
        tokens: list[int] = []
        with family.use(role) as model:
            steps = decode(
                model, [ids], self.sampling, pad_id=family.pad_id, eos_ids=family.eos_ids, generator=generator
            )
        while True:
            with family.use(
                role, sampling=True
            ):  # other roles stream in between: switch back before every token
                step = next(steps, None)
            if step is None:
                return
            tokens += step.tokens
            yield decode_text(family.tokenizer, tokens), tokens[-1] in family.eos_ids

    def _base_words(self, prompt: str, generator: torch.Generator) -> Growing:
        if not self.base:
            raise ModelError("This run has no base model beside the SFT model; give one with --base-model.")
        if self._base_parts is None:
            device = self.family.device
            model = load_causal_lm(self.base, device, frozen_dtype(device, self.family.bf16))
            self._base_parts = load_tokenizer(self.base), model
        tokenizer, model = self._base_parts
        ids = self._encode(tokenizer, model, prompt)
        return _plain_words(tokenizer, model, ids, self.sampling, generator)


def _sentence(error: Exception) -> str:
    """What to tell people; what they cannot do anything about goes to the log in full."""
    if isinstance(error, ModelError):
        return str(error)
    traceback.print_exception(error)
    first = (str(error).splitlines() or [""])[0]
    return f"This could not be written ({type(error).__name__}: {first[:200]})."


def _plain_words(tokenizer, model, ids, sampling, generator) -> Growing:
    tokens: list[int] = []
    eos_ids = eos_ids_of(tokenizer, model)
    for step in decode(
        model, [ids], sampling, pad_id=pad_id_of(tokenizer), eos_ids=eos_ids, generator=generator
    ):
        tokens += step.tokens
        yield decode_text(tokenizer, tokens), tokens[-1] in eos_ids
