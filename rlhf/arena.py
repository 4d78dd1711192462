"""`python app.py evaluate`: two policies of a run against each other, judged by a scorer.

The judge is the scorer that ranked (or any other), never the trained reward model, and the prompts are the
held-out ones, which no annotator has seen. Nothing is written: it can run beside the worker.
"""

from collections.abc import Callable, Sequence

import torch

from rlhf import checkpoint
from rlhf.asked import Run
from rlhf.contenders import open_family, sampling_of
from rlhf.evaluate import Comparison, compare
from rlhf.generate import Sample, SamplingConfig, decode_text, encode_prompt, sample_from
from rlhf.likelihood import token_logprobs_at
from rlhf.models import Family


def evaluate_versions(
    store: Run,
    scorer: Callable[[str, str], float],
    *,
    before: int = 0,
    after: int | None = None,
    prompts: int = 200,
    seed: int = 0,
    device: str | None = None,
    labels: Callable[[str, str], dict[str, bool]] | None = None,
) -> dict:
    """Compare policy `after` (None: the published one) with `before` on held-out prompts.

    device: auto, cuda, mps or cpu; None: the one that the run was served with.
    Returns `Comparison.to_dict()` with `before`, `after`, `seed` and `temperature`. Lengths are in tokens;
    `kl` is of `after` against the reference, in nats per response. Raises ValueError with one sentence.
    """
    known = {p.version for p in store.policies()}
    if not known:
        raise ValueError("This run has no policy yet; start it once with python app.py.")
    after = store.published().version if after is None else after
    for version in (before, after):
        if version not in known:
            raise ValueError(
                f"There is no policy {version}; this run has {', '.join(map(str, sorted(known)))}."
            )
    texts = [p.text for p in store.prompts("heldout", seed)][:prompts]
    if not texts:
        raise ValueError("This run has no held-out prompts yet; start it once with python app.py.")
    family, sampling = open_family(store, device), sampling_of(store)
    for role, version in (("published", before), ("policy", after)):
        if version:
            family.load(role, checkpoint.policy_folder(store.run_dir, version) / "policy")
        else:
            family.copy("reference", role)
    comparison = compare_roles(family, texts, scorer, sampling, seed=seed, labels=labels)
    return {
        "before": before,
        "after": after,
        "seed": seed,
        "temperature": sampling.temperature,
        **comparison.to_dict(),
    }


def compare_roles(
    family: Family,
    prompts: Sequence[str],
    scorer: Callable[[str, str], float],
    sampling: SamplingConfig,
    *,
    before: str = "published",
    after: str = "policy",
    seed: int = 0,
    labels: Callable[[str, str], dict[str, bool]] | None = None,
) -> Comparison:
    """Win rate of one role of a family over another; each sampled once, `before` a second time."""
    ids = [encode_prompt(family.tokenizer, p) for p in prompts]
    drawn: list[Sample] = []

    def sampler(role: str, offset: int):
        def answer(_: Sequence[str]) -> list[str]:
            generator = torch.Generator(device=family.device).manual_seed(3 * seed + offset)
            samples = sample_from(family, role, ids, sampling, generator)
            if role == after:
                drawn.extend(samples)
            return [decode_text(family.tokenizer, s.tokens) for s in samples]

        return answer

    tokenizer = family.tokenizer
    comparison = compare(
        sampler(before, 0),
        sampler(after, 1),
        sampler(before, 2),
        scorer,
        prompts,
        length=lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]),
        length_unit="tokens",
        labels=labels,
    )
    reference = token_logprobs_at(
        (sampling.temperature,), family, "reference", ids, [s.tokens for s in drawn]
    )[0]
    kl = (sum(sum(s.logprobs) for s in drawn) - float(reference.sum())) / len(drawn)
    return Comparison(**{**comparison.to_dict(), "kl": kl})
