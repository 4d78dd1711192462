"""How far from the limit: decoding and a training step, as shares of what the machine multiplies at most.

    python -m tests.benchmarks.limits [--folder /tmp/workload]

The model is the taught one of `workload`. Decoding, 64 prompts at once, is timed beside transformers' own
`generate` (sampling likewise, with its cache, without log-probabilities, which here come with the samples),
on responses that end by themselves and on responses of 48 tokens each. A training step is a forward and a
backward pass of PPO's loss over 64 sampled responses. Arithmetic is counted by torch's `FlopCounterMode`, the
rate that it is held against is that of one large matrix product, in the same precision and in the same run.
Medians of `--runs`, the ways taken in turn.

    python -m tests.benchmarks.limits --device cuda --shape 0.6B

There decoding alone, in bf16, of the model with random weights: responses of 48 and of 256 tokens by the
policy, in full and with its adapter on, beside the least time that `floor` knows. `generate` has the weights
in bf16 where Podium trains them in float32, and PEFT's adapter on the very same model under LoRA.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from rlhf import functional as f
from rlhf.generate import Sample, SamplingConfig, decode, sample_from
from rlhf.models import Family, load_causal_lm, load_family
from rlhf.passes import look
from tests.benchmarks import floor
from tests.benchmarks.measured import now, peak_memory
from tests.benchmarks.workload import config_of, make

Given = TypeVar("Given")
TOKENS = 48
PROMPTS = 64
SIZE = 2048  # of the large matrix product


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def largest_rate(dtype: torch.dtype) -> float:
    """Floating point operations a second of one large matrix product."""
    one, other = (torch.randn(SIZE, SIZE).to(dtype) for _ in range(2))
    torch.mm(one, other)
    return 2 * SIZE**3 / min(seconds(lambda: torch.mm(one, other)) for _ in range(5))


def operations(work: Callable[[], Given]) -> tuple[int, Given]:
    """Of all matrix products in it; and what it gave."""
    with FlopCounterMode(display=False) as counter:
        given = work()
    return counter.get_total_flops(), given


def by_generate(
    family: Family,
    prompts: list[list[int]],
    stop: bool,
    tokens: int = TOKENS,
    role: str = "reference",
    other: PreTrainedModel | None = None,
) -> int:
    """transformers' own; returns how many tokens were written. other: a model to ask instead of the role."""
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), family.pad_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    with nullcontext(other) if other else family.use(role, sampling=True) as model, torch.no_grad():
        found = model.generate(
            input_ids=ids.to(family.device),
            attention_mask=mask.to(family.device),
            do_sample=True,
            temperature=0.8,
            top_k=0,
            top_p=1.0,
            max_new_tokens=tokens,
            min_new_tokens=None if stop else tokens,
            eos_token_id=sorted(family.eos_ids),
            pad_token_id=family.pad_id,
        )
    written = found[:, width:]
    return int((written != family.pad_id).sum())


def by_podium(
    family: Family, prompts: list[list[int]], stop: bool, tokens: int = TOKENS, role: str = "reference"
) -> int:
    """The project's; returns how many tokens were written."""
    config = SamplingConfig(temperature=0.8, max_new_tokens=tokens)
    with family.use(role, sampling=True) as model:
        eos = family.eos_ids if stop else {-1}  # which no token is
        steps = decode(model, prompts, config, pad_id=family.pad_id, eos_ids=eos)
        return sum(len(step.tokens) for step in steps)


def decoding(ask: dict) -> dict:
    """Tokens a second of the policy by both ways, for each tuning and length, and the seconds they took.

    Nothing ends by EOS. Each way's first run is not counted; Podium, which takes less, has three times as
    many as `generate`.
    """
    torch.set_num_threads(ask["threads"])
    folder, device = Path(ask["folder"]), ask["device"]
    prompts = json.loads((folder / "prompts.json").read_text())[:PROMPTS]
    found: dict[str, dict] = {}
    for tuning in ask["tunings"]:
        precision = "bf16" if device == "cuda" else "float32"
        family = load_family(str(folder / "policy"), tuning=tuning, device=device, precision=precision)
        other = None
        if tuning == "full" and device == "cuda":
            other = load_causal_lm(str(folder / "policy"), family.device, torch.bfloat16)
        by_generate(family, prompts, False, 8, "policy", other)
        for tokens in ask["tokens"]:
            own, its = [], []
            for turn in range(3 * ask["runs"] + 1):
                torch.manual_seed(turn)
                begun = now(device)
                written = by_podium(family, prompts, False, tokens, "policy")
                own.append(now(device) - begun)
                if turn < ask["runs"]:
                    begun = now(device)
                    by_generate(family, prompts, False, tokens, "policy", other)
                    its.append(now(device) - begun)
            taken = {"podium": statistics.median(own[1:]), "generate": statistics.median(its)}
            found[f"{tuning}, {tokens} tokens"] = {
                "seconds": taken,
                "tokens_per_second": {name: written / seconds for name, seconds in taken.items()},
                "tuning": tuning,
                "tokens": tokens,
                "prompt_tokens": sum(map(len, prompts)),
            }
        del family, other
    return {"decoding": found, **peak_memory(device)}


def decoding_table(found: dict, shape: str, rates: floor.Rates) -> Iterator[str]:
    """A line for each tuning and length, with the least seconds."""
    sizes = floor.sizes_of(config_of(shape))
    for name, run in found["decoding"].items():
        work = floor.Work(PROMPTS, run["prompt_tokens"], PROMPTS * run["tokens"], run["tokens"])
        least = floor.decode_seconds(sizes, work, rates)
        speed, taken = run["tokens_per_second"], run["seconds"]
        yield (
            f"decoding {shape:5} {name:17} {speed['podium']:8.0f} tokens/s, "
            f"generate {speed['generate']:7.0f}: {speed['podium'] / speed['generate']:.1f} x; "
            f"{taken['podium']:.3f} s, at least {least['all']:.3f} (weights alone {least['weights']:.3f}): "
            f"{taken['podium'] / least['all']:.1f} x the floor"
        )


def training_step(family: Family, prompts: list[list[int]], samples: list[Sample]) -> None:
    """One forward and backward pass over all of them, gradients thrown away."""
    for rows, batch in family.batches(prompts, [s.tokens for s in samples]):
        with family.use("policy") as model:
            now = look(model, batch).logprobs(0.8)
            old = torch.zeros_like(now)
            for place, row in enumerate(rows):
                old[place, : len(samples[row].tokens)] = torch.tensor(samples[row].logprobs)
            loss, _ = f.policy_loss(now, old, torch.ones_like(now), batch.mask, 0.2)
            loss.backward()
    for p in family.parameters("policy"):
        p.grad = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--shape", default="6M", help="a name in `workload.SHAPES`")
    parser.add_argument("--folder", type=Path, help="where the workload is, or shall be kept")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(decoding(json.loads(arguments.one))))
        return
    device, shape = arguments.device, arguments.shape
    folder = (arguments.folder or Path(tempfile.mkdtemp())).resolve()
    if device == "cuda":
        made = make(folder / f"{shape}-random", trained=False, prompts=2048, shape=shape, device=device)
        ask = {"folder": str(made), "device": device, "threads": arguments.threads, "runs": arguments.runs}
        found = decoding(ask | {"tunings": ["full", "lora"], "tokens": [48, 256]})
        print("\n".join(decoding_table(found, shape, floor.measure(device))))
        return
    torch.set_num_threads(arguments.threads)
    folder = make(folder / f"{shape}-trained", trained=True, prompts=2048, shape=shape)
    prompts = json.loads((folder / "prompts.json").read_text())[:PROMPTS]
    rates = {name: largest_rate(getattr(torch, name)) for name in ("float32", "bfloat16")}
    for name, rate in rates.items():
        print(f"one large matrix product, {name}: {rate / 1e9:.0f} GFLOP/s")

    plain = load_family(str(folder / "policy"), tuning="full", device="cpu")
    for stop in (True, False):
        ways = {"generate": by_generate, "podium": by_podium}
        found: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(arguments.runs + 1):
            for name, way in ways.items():
                torch.manual_seed(turn)
                begun = time.perf_counter()
                tokens = way(plain, prompts, stop)
                if turn:  # the first one warms up
                    found[name].append(tokens / (time.perf_counter() - begun))
        own, other = (statistics.median(found[name]) for name in ("podium", "generate"))
        count, tokens = operations(lambda stop=stop: by_podium(plain, prompts, stop))
        share = count / tokens * own / rates["float32"]
        kind = "ended by EOS" if stop else f"{TOKENS} tokens each"
        print(
            f"decoding, {kind}: {own:.0f} tokens/s, generate {other:.0f}: {own / other:.1f} x; "
            f"{share:.0%} of the matrix products' rate"
        )

    config = SamplingConfig(temperature=0.8, max_new_tokens=TOKENS)
    samples = sample_from(plain, "reference", prompts, config, torch.Generator().manual_seed(0))
    for tuning in ("full", "lora"):
        for precision, rate in (("float32", rates["float32"]), ("bf16", rates["bfloat16"])):
            family = load_family(str(folder / "policy"), tuning=tuning, device="cpu", precision=precision)
            training_step(family, prompts, samples)
            count, _ = operations(lambda family=family: training_step(family, prompts, samples))
            taken = statistics.median(
                seconds(lambda family=family: training_step(family, prompts, samples))
                for _ in range(arguments.runs)
            )
            print(
                f"training step, {tuning}, {precision}: {taken * 1000:.0f} ms, "
                f"{count / taken / 1e9:.0f} GFLOP/s, {count / taken / rate:.0%} of the matrix products' rate"
            )


if __name__ == "__main__":
    main()
