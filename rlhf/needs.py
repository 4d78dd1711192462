"""How much memory a model will need under each tuning, before any of its weights are read.

Its build is made from its `config.json` on the meta device, which has shapes and no numbers. Weights, what is
kept of each role and the optimiser's moments are counted; what a pass keeps for the way back is counted for
Llama's build (norms, query, key and value, the gated MLP, logits), fitted to what was measured on a GPU
(`tests/benchmarks/tuning_memory.py`: models of Qwen3-0.6B's and Llama-3.2-1B's shape, three tunings each; the
estimate is .94 to 1.01 of the most that tensors took there), and taken for other builds too. A GPU needs a
third more where there is that much, for the graphs that passes are recorded in, and does without them else.
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
PROCESS = {"cpu": 500e6}  # bytes of Python and its libraries, where these are the device's memory
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


def sizes_of(
    config: PretrainedConfig, rank: int, targets: Sequence[str] = (), trust_remote_code: bool = False
) -> Sizes:
    """Counted without memory. targets: names of the layers that adapters are on; none: all linear ones."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    text = config.get_text_config()
    head = model.get_output_embeddings()
    linear = [m for m in model.modules() if isinstance(m, nn.Linear | Conv1D) and m is not head]
    wanted = {name.strip() for name in targets}
    adapted = [m for n, m in linear_layers(model) if not wanted or n.rpartition(".")[2] in wanted]
    heads = getattr(text, "num_attention_heads", None) or 1  # some have none, and no cache either
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


def token_budgets(device: str) -> list[int]:
    """How many padded tokens may go through a model together: the most, and less where memory is short.

    Gradients add up over batches of so many, so that they decide about time and memory alone.
    """
    most = 2048 if device == "cpu" else 8192
    return [most, most // 2, most // 4, most // 8]


def needs(
    sizes: Sizes, tuning: str, device: str, bf16: bool, work: Work, budget: int = 0
) -> dict[str, float]:
    """Bytes at the worst moment of a round, by what they are for; `sum` of the values is all.

    device: its type. bf16: whether products are in it. budget: tokens that go through together; 0: the most.
    """
    budget = budget or token_budgets(device)[0]
    product = HALF if bf16 else FLOAT
    frozen = HALF if bf16 and device == "cuda" else FLOAT
    full = tuning == "full"
    four = sizes.linear if tuning == "qlora" else 0
    trained = sizes.parameters if full else sizes.adapter
    found = {"process": PROCESS.get(device, 0.0)}
    if full:
        found["weights"] = FLOAT * trained * ROLES  # the before/after page's is made when it is asked for
    else:
        found["weights"] = frozen * (sizes.parameters - four) + NF4 * four
        found["adapters"] = FLOAT * trained * ROLES
    # gradients, two moments, the average, and the best so far
    found["training"] = FLOAT * trained * 5
    cast = 2 * product * sizes.largest if four else 0  # in full again, for one product
    if bf16 and (full or frozen == FLOAT):  # kept in bf16 for the length of a pass
        cast += HALF * (sizes.parameters - four)
    if bf16 and full and device == "cuda":  # and gradients in bf16 and float32 on their way, in a graph
        cast += (HALF + FLOAT) * trained
    kept = _kept(sizes, full, product)
    training = _training_pass(sizes, kept, product, work, budget, device)
    found["passes"] = cast + max(training, _scoring(sizes, product, work, budget))
    found["sampling"] = max(0.0, _sampling(sizes, product, work) - found["passes"])
    return found


def _kept(sizes: Sizes, full: bool, product: int) -> float:
    """Bytes of a token that a pass keeps for the way back: the stream and norms, twice a layer, and the rest.

    Layers' outputs count 1.75 times, as some are kept before and behind what is done to them: by measuring.
    """
    norms = sizes.layers * sizes.hidden * ((6 if full else 4) * FLOAT + 2 * product)
    return norms + 1.75 * product * sizes.kept


def _training_pass(sizes: Sizes, kept: float, product: int, work: Work, budget: int, device: str) -> float:
    """The larger of PPO's and the reward model's."""
    even = 32 if device == "cuda" else 1  # rows are that much rounded up where passes are recorded
    # as they come, and float32: by the temperature, softmax, and the gradients of all
    logits = sizes.vocabulary * (2 * product + 4 * FLOAT if product < FLOAT else 5 * FLOAT)
    found = []
    for prompts, responses in ((work.minibatch, 1), (work.rankings, work.responses)):
        tokens, answers = _tokens(work, budget, prompts, responses, even)
        found.append(tokens * kept + answers * logits)
    return max(found)


def _scoring(sizes: Sizes, product: int, work: Work, budget: int) -> float:
    """A pass that keeps nothing: the logits of all responses that go through together."""
    tokens, answers = _tokens(work, budget, work.episodes, 1)
    logits = answers * sizes.vocabulary
    return product * logits + 3 * FLOAT * min(logits, SLICE) + tokens * sizes.hidden * 8 * FLOAT


def _sampling(sizes: Sizes, product: int, work: Work) -> float:
    """The cache, which is there twice for a moment, and what is made of the logits of a step."""
    cache = work.episodes * (2 * work.prompt + work.response) * sizes.cache * product
    return cache + work.episodes * sizes.vocabulary * (product + 8 * FLOAT)


def _tokens(work: Work, budget: int, prompts: int, responses: int, even: int = 1) -> tuple[float, float]:
    """Of a pass over so many prompts, with so many responses each: all, and those of responses."""
    each = work.prompt + responses * work.response
    rows = max(1.0, min(prompts, budget / each))
    return rows * (each + -each % even), rows * responses * work.response


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
