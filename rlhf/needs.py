"""How much memory a model will need under each tuning, before any of its weights are read.

Its build is made from its `config.json` on the meta device, which has shapes and no numbers. Weights, what is
kept of each role and the optimiser's moments are counted exactly; what a pass keeps for the way back is
counted for Llama's build (norms, query, key and value, the gated MLP, logits), and taken for others too.
How near it comes is printed by `tests/benchmarks/tuning_memory.py`.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig
from transformers.pytorch_utils import Conv1D

from rlhf.lora_targets import linear_layers

ROLES = 4  # beside the reference: published, policy, reward, and one for the before/after page
NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)  # bytes a weight: 4 bits, the scale of 64, the scale of 256 scales
PROCESS = {"cpu": 450e6}  # bytes of Python and its libraries, where these are the device's memory
FLOAT, HALF = 4, 2  # bytes
SLICE = 2**25  # logits that are made float32 at once where nothing is kept (`passes.AT_ONCE`)


@dataclass(frozen=True)
class Sizes:
    """Of a model, in numbers."""

    parameters: int
    linear: int  # of them in linear layers, the LM head apart: what QLoRA keeps in 4 bits
    largest: int  # of these, in the largest layer
    adapter: int  # of one LoRA adapter
    vocabulary: int
    hidden: int
    kept: int  # per token, of what all layers read and give: outputs of linear layers
    layers: int
    cache: int  # keys and values per token


@dataclass(frozen=True)
class Work:
    """What is done at once. Tokens of a prompt are a guess: no prompt has been read yet."""

    episodes: int = 64
    minibatch: int = 40  # of PPO, the imitated ones included
    rankings: int = 8  # in a step of the reward model
    responses: int = 5  # to each, a borrowed one included
    prompt: int = 64
    response: int = 96
    budget: int = 8192  # tokens that go through a model together


def sizes_of(config: PretrainedConfig, rank: int, targets: Sequence[str] = ()) -> Sizes:
    """Counted without memory. targets: names of the layers that adapters are on; none: all linear ones."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    text = config.get_text_config()
    head = model.get_output_embeddings()
    linear = [m for m in model.modules() if isinstance(m, nn.Linear | Conv1D) and m is not head]
    wanted = {name.strip() for name in targets}
    adapted = [m for n, m in linear_layers(model) if not wanted or n.rpartition(".")[2] in wanted]
    heads = text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // heads
    groups = getattr(text, "num_key_value_heads", None) or heads
    return Sizes(
        parameters=sum(p.numel() for p in model.parameters()),
        linear=sum(m.weight.numel() for m in linear),
        largest=max((m.weight.numel() for m in linear), default=0),
        adapter=sum(rank * sum(m.weight.shape) for m in adapted),
        vocabulary=text.vocab_size,
        hidden=text.hidden_size,
        kept=sum(m.weight.shape[1 if isinstance(m, Conv1D) else 0] for m in linear),
        layers=text.num_hidden_layers,
        cache=2 * text.num_hidden_layers * groups * size,
    )


def needs(sizes: Sizes, tuning: str, device: str, bf16: bool, work: Work) -> dict[str, float]:
    """Bytes at the worst moment of a round, by what they are for; `sum` of the values is all.

    device: its type. bf16: whether products are in it.
    """
    product = HALF if bf16 else FLOAT
    frozen = HALF if bf16 and device == "cuda" else FLOAT
    found = {"process": PROCESS.get(device, 0.0)}
    if tuning == "full":
        trained = sizes.parameters
        found["weights"] = FLOAT * trained * ROLES  # the before/after page's is made when it is asked for
        cast = HALF * trained if bf16 else 0  # autocast keeps them for the length of a pass
    else:
        trained = sizes.adapter
        four = sizes.linear if tuning == "qlora" else 0
        found["weights"] = frozen * (sizes.parameters - four) + NF4 * four
        found["adapters"] = FLOAT * trained * ROLES
        cast = 2 * product * sizes.largest if four else 0  # in full again, for one product
        if bf16 and frozen == FLOAT:
            cast += HALF * (sizes.parameters - four)
    # gradients, two moments, the average, the best so far, and the policy's own while one of them is judged
    found["training"] = FLOAT * trained * 6
    found["passes"] = cast + max(_training_pass(sizes, product, work), _scoring(sizes, product, work))
    found["sampling"] = 0.0
    sampling = _sampling(sizes, product, work)
    if sampling > found["passes"]:
        found["passes"], found["sampling"] = 0.0, sampling
    return found


def _training_pass(sizes: Sizes, product: int, work: Work) -> float:
    """The larger of PPO's and the reward model's: what is kept for the way back, and the logits."""
    ppo = _tokens(work, work.minibatch, 1)
    reward = _tokens(work, work.rankings, work.responses)
    norms = (
        sizes.layers * sizes.hidden * (4 * FLOAT + 2 * product)
    )  # the stream and what is made of it, twice
    each = norms + 1.5 * product * sizes.kept
    logits = (2 * product + 3 * FLOAT) * sizes.vocabulary  # as they are, float32, softmax, their gradients
    return max(tokens * each + answers * logits for tokens, answers in (ppo, reward))


def _scoring(sizes: Sizes, product: int, work: Work) -> float:
    """A pass that keeps nothing: the logits of all responses that go through together."""
    tokens, answers = _tokens(work, work.episodes, 1)
    logits = answers * sizes.vocabulary
    return product * logits + 3 * FLOAT * min(logits, SLICE) + tokens * sizes.hidden * 8 * FLOAT


def _sampling(sizes: Sizes, product: int, work: Work) -> float:
    """The cache, which is there twice for a moment, and what is made of the logits of a step."""
    cache = work.episodes * (2 * work.prompt + work.response) * sizes.cache * product
    return cache + work.episodes * sizes.vocabulary * (product + 8 * FLOAT)


def _tokens(work: Work, prompts: int, responses: int) -> tuple[float, float]:
    """Of a pass over so many prompts, with so many responses each: all, and those of responses."""
    each = work.prompt + responses * work.response
    tokens = min(prompts * each, work.budget)
    return tokens, tokens * responses * work.response / each


def free_memory(device: torch.device) -> float | None:
    """Bytes that are free on the device; None where that is not known."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return float(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    known = [n for n in (_available(), _left_in_container()) if n is not None]
    return min(known, default=None)


def _available() -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        try:
            return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        except (OSError, ValueError):
            return None


def _left_in_container() -> float | None:
    """What the control group that the process is in may still take; its file cache can be given up."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit == "max":
            return None
        cache = next(
            (int(line.split()[1]) for line in (group / "memory.stat").read_text().splitlines()
             if line.startswith("file ")),
            0,
        )  # fmt: skip
        return float(limit) - float((group / "memory.current").read_text()) + cache
    except (OSError, ValueError):
        return None


def gigabytes(number: float) -> str:
    """'14 GB', '0.6 GB': as people say it."""
    billions = number / 1e9
    return f"{billions:.1f} GB" if billions < 10 else f"{math.ceil(billions)} GB"
