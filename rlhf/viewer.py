"""Before/after: one prompt answered by several policies, their words written side by side as they come."""

import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel

from rlhf import checkpoint
from rlhf.batching import by_length
from rlhf.generate import SamplingConfig, Step, decode, decode_text, encode_prompt, longest_prompt
from rlhf.memory import give_back
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
        for sample in samples:
            write(sample["id"], text="", state="running")
        running = self._begin(samples, published, known, write)
        written = 0.0
        while running:
            for writing in list(running):
                try:
                    if writing.go_on():
                        continue
                    error = None
                except Exception as caught:
                    error = caught
                running.remove(writing)
                if error is None:
                    self._end(writing, write)
                elif len(writing.samples) == 1:
                    _fail(writing.samples[0], error, write, text=writing.texts[0])
                else:  # one of them may be what it died of
                    traceback.print_exception(error)
                    for sample in writing.samples:
                        running += self._begin([sample], published, known, write)
            if time.monotonic() - written > EVERY:
                for writing in running:
                    for sample, text in zip(writing.samples, writing.texts, strict=True):
                        write(sample["id"], text=text, state="running")
                written = time.monotonic()

    def _begin(self, samples: list[dict], published: int, known: Collection[int], write) -> list["_Writing"]:
        """What writes these samples, together as far as models and room allow; not those that fail."""
        of_base, of_family = [], []
        for sample in samples:
            try:
                tokenizer, model, role = self._parts(sample["policy_version"], published, known)
                ids = self._encode(tokenizer, model, sample["prompt"])
                (of_family if role else of_base).append((sample, ids, role))
            except Exception as error:
                _fail(sample, error, write)
        family, budget, found = self.family, self.family.token_budget, []
        for rows in family.together([role for _, _, role in of_family]):
            for part in _in_batches([of_family[row] for row in rows], budget):
                steps = self._spoken([ids for _, ids, _ in part], [role for _, _, role in part])
                found.append(_Writing([s for s, _, _ in part], steps, family.tokenizer, family.eos_ids))
        for part in _in_batches(of_base, budget):
            tokenizer, model = self._base_parts
            prompts, eos_ids = [ids for _, ids, _ in part], eos_ids_of(tokenizer, model)
            pad_id = pad_id_of(tokenizer, model.get_input_embeddings().weight.shape[0])
            steps = self._decode(model, prompts, pad_id=pad_id, eos_ids=eos_ids)
            found.append(_Writing([s for s, _, _ in part], steps, tokenizer, eos_ids))
        return found

    def _spoken(self, prompts: list[list[int]], roles: list[str]) -> Iterator[Step]:
        """What roles of the family write. Others stream in between: switch back before every token."""
        family, steps = self.family, None
        while True:
            with family.speaking(roles) as (model, voices):
                ids = {"pad_id": family.pad_id, "eos_ids": family.eos_ids}
                steps = steps or self._decode(model, prompts, voices=voices, **ids)
                step = next(steps, None)
            if step is None:
                return
            yield step

    def _decode(self, model: PreTrainedModel, prompts: list[list[int]], **options) -> Iterator[Step]:
        self._draws += 1
        generator = torch.Generator(device=self.family.device).manual_seed(self._draws)
        return decode(model, prompts, self.sampling, generator=generator, **options)

    def _end(self, writing: "_Writing", write) -> None:
        scores = self._scores(writing.samples, writing.texts, writing.ended())
        for sample, text, score in zip(writing.samples, writing.texts, scores, strict=True):
            if isinstance(score, Exception):
                _fail(sample, score, write, text=text)
            else:
                write(sample["id"], text=text, score=score, state="done")

    def _scores(
        self, samples: list[dict], texts: list[str], ended: list[bool]
    ) -> list[float | Exception | None]:
        """Of each; None where there is none, the error where it cannot be had."""
        said = [i for i, text in enumerate(texts) if text.strip()]
        if not (said and self.scores_ready):
            return [None] * len(texts)
        prompts = [samples[i]["prompt"] for i in said]
        try:
            scores = self.reward_model.score_texts(
                prompts, [texts[i] for i in said], [ended[i] for i in said]
            )
        except Exception as error:
            if len(texts) == 1:
                return [error]
            return [self._scores([s], [t], [e])[0] for s, t, e in zip(samples, texts, ended, strict=True)]
        found = dict(zip(said, scores.tolist(), strict=True))
        return [found.get(i) for i in range(len(texts))]

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
            dtype, tuning = frozen_dtype(device, self.family.bf16), self.family.kind
            trusted = self.family.trusts_code
            model = load_causal_lm(self.base, device, dtype, tuning == "qlora", trusted)
            self._base_parts = load_tokenizer(self.base, trusted), model
            give_back()  # what reading it has used
        return self._base_parts


def _in_batches(part: Sequence[tuple[dict, list[int], str]], token_budget: int) -> Iterator[list]:
    for batch in by_length([len(ids) for _, ids, _ in part], token_budget):
        yield [part[i] for i in batch]


class _Writing:
    """Samples that are written together, and how far they are."""

    def __init__(self, samples: list[dict], steps: Iterator[Step], tokenizer, eos_ids: set[int]):
        self.samples, self.steps, self.tokenizer, self.eos_ids = samples, steps, tokenizer, eos_ids
        self.tokens: list[list[int]] = [[] for _ in samples]
        self.texts = [""] * len(samples)

    def go_on(self) -> bool:
        """One token of each; False: there are no more."""
        step = next(self.steps, None)
        if step is None:
            return False
        for row, token in zip(step.rows, step.tokens, strict=True):
            self.tokens[row].append(token)
            self.texts[row] = decode_text(self.tokenizer, self.tokens[row])
        return True

    def ended(self) -> list[bool]:
        """Whether the model itself has ended each."""
        return [bool(tokens) and tokens[-1] in self.eos_ids for tokens in self.tokens]


def _fail(sample: dict, error: Exception, write, text: str = "") -> None:
    write(sample["id"], text=text, state="failed", error=_sentence(error))


def _sentence(error: Exception) -> str:
    """What to tell people; what they cannot do anything about goes to the log in full."""
    if isinstance(error, ModelError):
        return str(error)
    traceback.print_exception(error)
    first = (str(error).splitlines() or [""])[0]
    return f"This could not be written ({type(error).__name__}: {first[:200]})."
