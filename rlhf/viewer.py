"""Before/after: one prompt answered by several policies, their words written side by side as they come."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from rlhf.generate import SamplingConfig, decode, decode_text, encode_prompt
from rlhf.models import (
    Family,
    ModelError,
    eos_ids_of,
    load_causal_lm,
    load_tokenizer,
    pad_id_of,
)
from rlhf.reward_model import RewardModel

BASE = -1  # the version number of the model before SFT
EVERY = 0.12  # seconds between two writes of growing text


class Viewer:
    """Streams what the before/after page asked for: samples, dicts with id, prompt and policy_version."""

    def __init__(self, family: Family, reward_model: RewardModel, base: str, sampling: SamplingConfig):
        self.family, self.reward_model, self.base, self.sampling = family, reward_model, base, sampling
        self.scores_ready = False
        self._base_parts = None  # tokenizer and model, loaded when first asked for
        self._in_viewer: int | None = None  # the version whose weights the 'viewer' role holds
        self._draws = 0

    def answer(
        self, waiting: Sequence[dict], published: int, folders: dict[int, str], write: Callable[..., None]
    ) -> None:
        """Answer all samples, one token of each in turn. `write(id, text=, score=, state=, error=)`.

        Policies that are not in memory take turns in one role, so at most one of them streams at a time.
        """
        others = {s["policy_version"] for s in waiting} - {BASE, 0, published}
        for version in sorted(others)[:-1]:
            self._stream([s for s in waiting if s["policy_version"] == version], published, folders, write)
        done = set(sorted(others)[:-1])
        self._stream([s for s in waiting if s["policy_version"] not in done], published, folders, write)

    def _stream(self, samples, published, folders, write) -> None:
        running: list[tuple[dict, Iterator[str]]] = []
        texts: dict[int, str] = {}
        for sample in samples:
            try:
                running.append((sample, self._words(sample, published, folders)))
            except (ModelError, OSError, ValueError) as error:
                write(sample["id"], state="failed", error=str(error))
        written = 0.0
        while running:
            for entry in list(running):
                sample, words = entry
                text = next(words, None)
                if text is not None:
                    texts[sample["id"]] = text
                    continue
                running.remove(entry)
                text = texts.get(sample["id"], "")
                write(sample["id"], text=text, score=self._score(sample, text), state="done")
            if time.monotonic() - written > EVERY:
                for sample, _ in running:
                    write(sample["id"], text=texts.get(sample["id"], ""), state="running")
                written = time.monotonic()

    def _score(self, sample: dict, text: str) -> float | None:
        if not (self.scores_ready and text.strip()):
            return None
        return float(self.reward_model.score_texts([sample["prompt"]], [text])[0])

    def _words(self, sample: dict, published: int, folders: dict[int, str]) -> Iterator[str]:
        """The growing text of one sample."""
        self._draws += 1
        generator = torch.Generator(device=self.family.device).manual_seed(self._draws)
        if sample["policy_version"] == BASE:
            return self._base_words(sample["prompt"], generator)
        role = self._role(sample["policy_version"], published, folders)
        return self._role_words(role, sample["prompt"], generator)

    def _role(self, version: int, published: int, folders: dict[int, str]) -> str:
        if version == 0:
            return "reference"
        if version == published:
            return "published"
        if version not in folders:
            raise ModelError(f"There is no policy {version}.")
        if self._in_viewer != version:
            self.family.load("viewer", Path(folders[version]) / "policy")
            self._in_viewer = version
        return "viewer"

    def _role_words(self, role: str, prompt: str, generator: torch.Generator) -> Iterator[str]:
        family = self.family
        ids = encode_prompt(family.tokenizer, prompt)
        tokens: list[int] = []
        with family.use(role) as model:
            steps = decode(
                model, [ids], self.sampling, pad_id=family.pad_id, eos_ids=family.eos_ids, generator=generator
            )
        while True:
            with family.use(role):  # other roles stream in between: switch back before every token
                step = next(steps, None)
            if step is None:
                return
            tokens += [token for _, token in step]
            yield decode_text(family.tokenizer, tokens)

    def _base_words(self, prompt: str, generator: torch.Generator) -> Iterator[str]:
        if not self.base:
            raise ModelError("This run has no base model beside the SFT model; give one with --base-model.")
        if self._base_parts is None:
            model = load_causal_lm(self.base, self.family.device, torch.float32)
            self._base_parts = load_tokenizer(self.base), model
        tokenizer, model = self._base_parts
        return _plain_words(tokenizer, model, prompt, self.sampling, generator)


def _plain_words(tokenizer, model, prompt, sampling, generator) -> Iterator[str]:
    tokens: list[int] = []
    for step in decode(
        model,
        [encode_prompt(tokenizer, prompt)],
        sampling,
        pad_id=pad_id_of(tokenizer),
        eos_ids=eos_ids_of(tokenizer, model),
        generator=generator,
    ):
        tokens += [token for _, token in step]
        yield decode_text(tokenizer, tokens)
