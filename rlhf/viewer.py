"""Before/after: one prompt answered by several policies, their words written side by side as they come."""

import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import torch

from rlhf import checkpoint
from rlhf.generate import SamplingConfig, Step, decode, decode_text, encode_prompt, longest_prompt
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
        """Answer all samples, one token of each policy's in turn. `write(id, text=, score=, state=, error=)`.

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
        by_policy: dict[int, list[dict]] = {}
        for sample in samples:
            write(sample["id"], text="", state="running")
            by_policy.setdefault(sample["policy_version"], []).append(sample)
        running: list[_Writing] = []
        for together in by_policy.values():
            running += self._begin(together, published, known, write)
        written = 0.0
        while running:
            for writing in list(running):
                try:
                    if writing.go_on():
                        continue
                    self._end(writing, write)
                except Exception as error:
                    if len(writing.samples) == 1:
                        text, sentence = writing.texts()[0], _sentence(error)
                        write(writing.samples[0]["id"], text=text, state="failed", error=sentence)
                    else:  # one of them may be what it died of
                        for sample in writing.samples:
                            running += self._begin([sample], published, known, write)
                running.remove(writing)
            if time.monotonic() - written > EVERY:
                for writing in running:
                    for sample, text in zip(writing.samples, writing.texts(), strict=True):
                        write(sample["id"], text=text, state="running")
                written = time.monotonic()

    def _begin(self, samples: list[dict], published: int, known: Collection[int], write) -> list["_Writing"]:
        """What writes these samples of one policy together; nothing where none can be begun."""
        able, ids = [], []
        for sample in samples:
            try:
                tokenizer, model, role = self._parts(sample["policy_version"], published, known)
                ids.append(self._encode(tokenizer, model, sample["prompt"]))
                able.append(sample)
            except Exception as error:
                write(sample["id"], state="failed", error=_sentence(error))
        if not able:
            return []
        self._draws += 1
        generator = torch.Generator(device=self.family.device).manual_seed(self._draws)
        pad_id = pad_id_of(tokenizer)
        eos_ids = self.family.eos_ids if role else eos_ids_of(tokenizer, model)
        steps = decode(model, ids, self.sampling, pad_id=pad_id, eos_ids=eos_ids, generator=generator)
        return [_Writing(able, self._in_role(role, steps) if role else steps, tokenizer, eos_ids)]

    def _in_role(self, role: str, steps: Iterator[Step]) -> Iterator[Step]:
        """Other roles stream in between: switch back before every token."""
        while True:
            with self.family.use(role, sampling=True):
                step = next(steps, None)
            if step is None:
                return
            yield step

    def _end(self, writing: "_Writing", write) -> None:
        texts, ended = writing.texts(), writing.ended()
        said = [i for i, text in enumerate(texts) if text.strip()] if self.scores_ready else []
        scores: list[float | None] = [None] * len(texts)
        if said:
            asked = (
                [writing.samples[i]["prompt"] for i in said],
                [texts[i] for i in said],
                [ended[i] for i in said],
            )
            for i, score in zip(said, self.reward_model.score_texts(*asked), strict=True):
                scores[i] = float(score)
        for sample, text, score in zip(writing.samples, texts, scores, strict=True):
            write(sample["id"], text=text, score=score, state="done")

    def _parts(self, version: int, published: int, known: Collection[int]):
        """-> tokenizer, model and role of a policy; the base model has none."""
        if version == BASE:
            return *self._base(), None
        role = self._role(version, published, known)
        with self.family.use(role) as model:
            return self.family.tokenizer, model, role

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

    def _base(self):
        if not self.base:
            raise ModelError("This run has no base model beside the SFT model; give one with --base-model.")
        if self._base_parts is None:
            device = self.family.device
            model = load_causal_lm(self.base, device, frozen_dtype(device, self.family.bf16))
            self._base_parts = load_tokenizer(self.base), model
        return self._base_parts


class _Writing:
    """Samples of one policy, and how far they are."""

    def __init__(self, samples: list[dict], steps: Iterator[Step], tokenizer, eos_ids: set[int]):
        self.samples, self.steps, self.tokenizer, self.eos_ids = samples, steps, tokenizer, eos_ids
        self.tokens: list[list[int]] = [[] for _ in samples]

    def go_on(self) -> bool:
        """One token of each; False: there are no more."""
        step = next(self.steps, None)
        if step is None:
            return False
        for row, token in zip(step.rows, step.tokens, strict=True):
            self.tokens[row].append(token)
        return True

    def texts(self) -> list[str]:
        return [decode_text(self.tokenizer, tokens) for tokens in self.tokens]

    def ended(self) -> list[bool]:
        """Whether the model itself has ended each."""
        return [bool(tokens) and tokens[-1] in self.eos_ids for tokens in self.tokens]


def _sentence(error: Exception) -> str:
    """What to tell people; what they cannot do anything about goes to the log in full."""
    if isinstance(error, ModelError):
        return str(error)
    traceback.print_exception(error)
    first = (str(error).splitlines() or [""])[0]
    return f"This could not be written ({type(error).__name__}: {first[:200]})."
