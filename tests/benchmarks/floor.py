"""The least time that a PPO update, reward-model training and decoding take, from what a device measures.

A large bf16 matrix product gives F operations a second, a large copy gives B bytes a second (read and
written). With W weights that every token goes through (all but embeddings and LM head), H in the LM head (its
weights are read even where they are the embeddings), P prompt tokens and R response tokens in all, N rows:

    pass over prompts and responses     2 W (P + R) + 2 H R                             operations
    its backward pass                   twice that; once, where the weights are frozen (LoRA): no gradients
                                        of them, those of the states only
    reading the prompts                 2 W P + 2 H N
    writing the responses               the larger of 2 (W + H) R / F and, for each of S steps, the weights
                                        2 (W + H) bytes / B; and in any case the keys and values that each
                                        step reads again, K bytes for each token before it, / B
    an AdamW step                       28 bytes for each trained weight / B (float32: weight, gradient and
                                        two moments are read, all but the gradient written)

A PPO update reads and writes once, scores once with reference and reward model (a pass each, LM head
included: here both read likelihoods off it), and makes E inner epochs of a pass and its backward pass, with M
steps in each. Reward-model training is one pass of the reference and some epochs over rankings whose
responses share the prompt. Left out, as they are small or could be: attention's own products, the arithmetic
of the adapters, norms, softmax, the value function, everything that is not on the device. So nothing can be
faster; how much slower a program is tells what is left to gain.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch

SIDE = {"cuda": 8192, "cpu": 256}  # of the matrices
COPIED = {"cuda": 2**31, "cpu": 2**24}  # bytes: as many are read and written, far more than a cache holds


@dataclass(frozen=True)
class Rates:
    """Of a device."""

    operations: float  # a second, of a large bf16 matrix product
    bytes: float  # a second, read and written, of a large copy


@dataclass(frozen=True)
class Sizes:
    """Of a model, as the formulas name them."""

    trunk: int  # W
    head: int  # H
    cache: int  # K, bytes of one token's keys and values in bf16
    trained: int  # weights with a gradient


@dataclass(frozen=True)
class Work:
    """What is to be read and written."""

    rows: int  # N
    prompt_tokens: float  # P, in all rows
    response_tokens: float  # R, in all rows
    steps: float  # S, the longest response


def sizes_of(config, lora_rank: int | None = None) -> Sizes:
    """Counted without memory. lora_rank: adapters on all linear layers are trained; else all is."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    apart = {id(embeddings), id(head)}
    trunk = sum(p.numel() for p in model.parameters() if id(p) not in apart)
    linear = [m for m in model.model.modules() if isinstance(m, torch.nn.Linear)]
    adapters = sum(sum(m.weight.shape) for m in linear) * (lora_rank or 0)
    whole = sum(p.numel() for p in model.parameters())
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cache = 2 * 2 * config.num_hidden_layers * config.num_key_value_heads * size
    return Sizes(trunk, head.numel(), cache, adapters if lora_rank else whole)


def pass_seconds(sizes: Sizes, work: Work, rates: Rates) -> float:
    tokens = work.prompt_tokens + work.response_tokens
    return (2 * sizes.trunk * tokens + 2 * sizes.head * work.response_tokens) / rates.operations


def decode_seconds(sizes: Sizes, work: Work, rates: Rates) -> dict[str, float]:
    """Reading and writing; `weights` is the part that reading the weights at each step takes alone."""
    each = work.response_tokens / work.rows
    read = 2 * sizes.trunk * work.prompt_tokens + 2 * sizes.head * work.rows
    arithmetic = 2 * (sizes.trunk + sizes.head) * work.response_tokens / rates.operations
    weights = work.steps * 2 * (sizes.trunk + sizes.head) / rates.bytes
    again = each * (work.prompt_tokens + work.response_tokens / 2) * sizes.cache  # half of it, in the mean
    least = read / rates.operations + max(arithmetic, weights) + again / rates.bytes
    return {"weights": weights, "all": least}


def ppo_seconds(
    sizes: Sizes, work: Work, rates: Rates, *, inner_epochs: int, minibatches: int, frozen: bool
) -> dict[str, float]:
    """One update's parts, and their sum."""
    once = pass_seconds(sizes, work, rates)
    parts = {
        "sampling": decode_seconds(sizes, work, rates)["all"],
        "scoring": 2 * once,
        "inner_epochs": inner_epochs
        * (once * (2 if frozen else 3) + minibatches * 28 * sizes.trained / rates.bytes),
    }
    return parts | {"all": sum(parts.values())}


def reward_seconds(sizes: Sizes, work: Work, rates: Rates, *, passes: int, steps: int, frozen: bool) -> float:
    """Training on rankings (a row each, its responses behind one prompt), so many optimiser steps in all."""
    once = pass_seconds(sizes, work, rates)
    learned = passes * once * (2 if frozen else 3)
    return once + learned + steps * 28 * sizes.trained / rates.bytes


def ppo_work(prompts: Sequence[Sequence[int]], episodes: int, tokens: float, longest: float) -> Work:
    """Of an update whose responses have so many tokens in the mean."""
    mean = statistics.mean(map(len, prompts))
    return Work(episodes, episodes * mean, episodes * tokens, longest)


def measure(device: str, runs: int = 10) -> Rates:
    side, size = SIDE[device], COPIED[device]
    one, other = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    into = torch.empty_like(one)
    product = statistics.median(_times(lambda: torch.mm(one, other, out=into), device, runs))
    source = torch.randn(size // 4, device=device)
    target = torch.empty_like(source)
    copy = statistics.median(_times(lambda: target.copy_(source), device, runs))
    return Rates(2 * side**3 / product, 2 * size / copy)


def _times(work: Callable[[], object], device: str, runs: int) -> list[float]:
    """Seconds of each of so many runs behind three that do not count; on CUDA by its own events."""
    from tests.benchmarks.measured import now

    found = []
    for run in range(runs + 3):
        if device == "cuda":
            begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begun.record()
            work()
            ended.record()
            torch.cuda.synchronize()
            taken = begun.elapsed_time(ended) / 1000
        else:
            start = now(device)
            work()
            taken = now(device) - start
        if run >= 3:
            found.append(taken)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--one", default='{"device": "cpu"}', help="where, as JSON")
    where = json.loads(parser.parse_args().one)["device"]
    found = asdict(measure(where))
    if where == "cuda":
        found |= {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    print(json.dumps(found))
