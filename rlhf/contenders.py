"""Who can be compared in a run: the base, the base with a good prompt, SFT, and each policy.

All of them behind one interface, `Contender`: it responds, and can be asked how likely it finds a text. The
base is the model before SFT; with a good prompt (`rlhf.good_prompt`) it is what training has to beat, because
a prompt costs nothing. Policies take turns in one role of the family: a run of many needs the memory of one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch

from rlhf import checkpoint
from rlhf.asked import BASE, PROMPTED, Run, base_of
from rlhf.chat import encode_plain
from rlhf.config import ModelError
from rlhf.generate import Sample, SamplingConfig, decode_text, encode_prompt, sample_from
from rlhf.good_prompt import GoodPrompt
from rlhf.likelihood import token_logprobs_at
from rlhf.loading import frozen_dtype, load_causal_lm, load_tokenizer
from rlhf.models import Family, FullFamily, load_family


@dataclass(frozen=True)
class Response:
    text: str
    finished: bool  # ended by itself, not cut
    sample: Sample


@dataclass(frozen=True)
class Contender:
    """One that can be asked, as long as no other policy is loaded."""

    key: str  # 'base', 'prompted', or the version as a text
    name: str
    family: Family
    role: str
    prompt: GoodPrompt | None = None

    def encode(self, prompt: str) -> list[int]:
        """Token ids of what the model is given for a prompt."""
        if self.prompt is None:
            return encode_prompt(self.family.tokenizer, prompt)
        return encode_plain(self.family.tokenizer, self.prompt.around(prompt))

    def respond(self, prompts: Sequence[str], sampling: SamplingConfig, seed: int) -> list[Response]:
        """One response to each prompt."""
        generator = torch.Generator(device=self.family.device).manual_seed(seed)
        ids = [self.encode(prompt) for prompt in prompts]
        found = []
        for sample in sample_from(self.family, self.role, ids, sampling, generator):
            text, finished = decode_text(self.family.tokenizer, sample.tokens), sample.finished
            if self.prompt is not None:
                text, stopped = self.prompt.cut(text)
                finished = finished or stopped
            found.append(Response(text, finished, sample))
        return found

    def kl(self, prompts: Sequence[str], responses: Sequence[Response], temperature: float) -> list[float]:
        """Of each response, how much more likely it is here than under the reference, in nats.

        Their mean estimates the KL divergence from the reference. Not for the base: its prompts are others.
        """
        ids, tokens = [self.encode(p) for p in prompts], [r.sample.tokens for r in responses]
        reference = token_logprobs_at((temperature,), self.family, "reference", ids, tokens)[0]
        said = zip(responses, reference.sum(1).tolist(), strict=True)
        return [sum(response.sample.logprobs) - other for response, other in said]


class Contenders:
    """The contenders of a run, loaded one after the other. Raises ModelError or ValueError, one sentence."""

    def __init__(self, store: Run, device: str | None = None):
        self.store = store
        self.versions = {p.version: p for p in store.policies()}
        self.base_model = base_of(store)
        self.family = open_family(store, device)
        self.prompt: GoodPrompt | None = None
        self._base: Family | None = None

    def name(self, key: str) -> str:
        """What people call it."""
        if key in (BASE, PROMPTED):
            return "Base" if key == BASE else "Base, good prompt"
        if key == "0":
            return "SFT (policy 0)"
        made = {r.id: r.method for r in self.store.rounds()}.get(self.versions[int(key)].round_id, "")
        return f"Policy {key} ({made.upper()})" if made not in ("", "both") else f"Policy {key}"

    def load(self, key: str) -> Contender:
        """Bring one into memory; the one before, if it was a policy, is gone then."""
        if key in (BASE, PROMPTED):
            family = self._load_base()
            return Contender(
                key, self.name(key), family, "reference", self.prompt if key == PROMPTED else None
            )
        if key == "0":
            return Contender(key, self.name(key), self.family, "reference")
        folder = checkpoint.policy_folder(self.store.run_dir, int(key)) / "policy"
        self.family.load("policy", folder)
        return Contender(key, self.name(key), self.family, "policy")

    def _load_base(self) -> Family:
        if self._base is None:
            device, bf16 = self.family.device, self.family.bf16
            trusted = (self.store.get_setting("config") or {}).get("trust_remote_code", False)
            try:
                dtype = frozen_dtype(device, bf16)
                model = load_causal_lm(self.base_model, device, dtype, trust_remote_code=trusted)
                tokenizer = load_tokenizer(self.base_model, trusted)
            except ModelError as error:
                first = str(error).rstrip(".")
                raise ModelError(f"{first}; to leave the base out: --policies 0,1 ...") from error
            self._base = FullFamily(model, tokenizer, device, bf16)
        return self._base


def open_family(store: Run, device: str | None = None) -> Family:
    """The run's own model, as its worker loads it. device: None: the one that the run was served with."""
    config = store.get_setting("config") or {}
    return load_family(
        store.get_setting("model"),
        tuning=store.get_setting("tuning"),
        device=device or config.get("device", "auto"),
        lora_rank=store.get_setting("lora_rank", 16),
        precision=config.get("precision", "auto"),
        lora_targets=store.get_setting("lora_targets", ""),
        system_prompt=config.get("system_prompt", ""),
        trust_remote_code=config.get("trust_remote_code", False),
    )


def sampling_of(store: Run) -> SamplingConfig:
    """As annotators see them: the run's own sampling."""
    config = store.get_setting("config") or {}
    names = [f.name for f in fields(SamplingConfig)]
    return SamplingConfig(**{name: config[name] for name in names if name in config})


def reward_scores(store: Run, family: Family) -> Callable[..., list[float]] | None:
    """Scores of (prompts, texts, finished) by the newest reward model that can be read; None without one."""
    from rlhf.reward_model import RewardModel

    model = RewardModel(family)
    for version in sorted((p.version for p in store.policies() if p.version), reverse=True):
        try:
            model.load(checkpoint.policy_folder(store.run_dir, version) / "reward")
        except torch.OutOfMemoryError:
            raise
        except Exception:  # of a method that has none, damaged, or of another Podium
            continue

        def scores(prompts: Sequence[str], texts: Sequence[str], finished: Sequence[bool]) -> list[float]:
            return model.score_texts(prompts, texts, finished).tolist()

        return scores
    return None
