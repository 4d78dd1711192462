"""What both sides of a training benchmark are given: a model, its reward model, prompts.

    python -m tests.benchmarks.workload --one '{"folder": ..., "trained": false, "prompts": 2048}'

`6M` is a Llama of 5.8M parameters (6 layers of 256, vocabulary 4,096); `0.6B` is built like Qwen3-0.6B and
`1B` like Llama-3.2-1B, and `tiny` is for trying the way they take. All have the starter's tokenizer: a token
beyond its 2,048 has no text. `random` has random weights, so that nearly every response is as long as
allowed; `trained` has been taught the starter's demonstrations for a few minutes, so that responses end by
themselves, most of them early. Prompts are questions behind something said before, 24 to 32 tokens in all.
"""

import argparse
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen3Config,
)

from data.starter.corpus import sft_pairs
from rlhf.config import STARTER

LEAST, MOST = 24, 32  # tokens of a prompt
RESPONSE = 48  # tokens of a response, at most


@dataclass(frozen=True)
class Shape:
    """How a model is built, kept and taught."""

    kind: type[PretrainedConfig]
    sizes: dict[str, Any]
    dtype: torch.dtype = torch.float32  # of the files; whoever loads them says which one is wanted
    rate: float = 2e-3
    steps: int = 200
    clip: float = math.inf  # of the gradient's norm


_LLAMA_1B = {
    "vocab_size": 128_256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "max_position_embeddings": 2048,
}
_QWEN3_600M = {
    "vocab_size": 151_936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 2048,
}
_6M = {
    "vocab_size": 4096,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "max_position_embeddings": 512,
}
_TINY = _QWEN3_600M | {
    "vocab_size": 4096,
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}
SHAPES = {
    "6M": Shape(LlamaConfig, _6M),
    "0.6B": Shape(Qwen3Config, _QWEN3_600M, torch.bfloat16, rate=3e-4, steps=300, clip=1.0),
    "1B": Shape(LlamaConfig, _LLAMA_1B, torch.bfloat16, rate=2e-4, steps=300, clip=1.0),
    "tiny": Shape(Qwen3Config, _TINY, torch.bfloat16, rate=4e-3, steps=20, clip=1.0),
}


def make(
    folder: Path,
    *,
    trained: bool,
    prompts: int,
    shape: str = "6M",
    device: str = "cpu",
    steps: int | None = None,
) -> Path:
    """Write `policy`, `reward` and `prompts.json` into the folder, unless they are there."""
    if (folder / "prompts.json").is_file():
        return folder
    tokenizer = AutoTokenizer.from_pretrained(STARTER / "sft")
    built = SHAPES[shape]
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config_of(shape, tokenizer), dtype=torch.float32)
        reward = AutoModelForSequenceClassification.from_config(
            config_of(shape, tokenizer, num_labels=1), dtype=torch.float32
        )
    if trained:
        losses = _teach(model, tokenizer, built, steps or built.steps)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "taught.json").write_text(json.dumps(losses))
    reward.model.load_state_dict(model.model.state_dict())
    for name, own in ("policy", model), ("reward", reward):
        own.to(built.dtype).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    asked = [prompt for prompt, _ in islice(conversations(tokenizer, seed=1), prompts)]
    (folder / "prompts.json").write_text(json.dumps(asked))
    return folder


def config_of(shape: str, tokenizer: PreTrainedTokenizerBase | None = None, **more) -> PretrainedConfig:
    """The model's; without a tokenizer it is good for counting only."""
    ids = (
        {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id} if tokenizer else {}
    )
    built = SHAPES[shape]
    return built.kind(**built.sizes, tie_word_embeddings=True, bos_token_id=None, **ids, **more)


def conversations(tokenizer: PreTrainedTokenizerBase, seed: int) -> Iterator[tuple[list[int], list[int]]]:
    """Token ids of a prompt and of its response, closed by EOS."""
    draw, before = random.Random(seed), []
    for pair in sft_pairs(seed):
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": pair.prompt}], add_generation_prompt=True, tokenize=False
        )
        opening, *question = tokenizer(text, add_special_tokens=False)["input_ids"]
        response = tokenizer(pair.response, add_special_tokens=False)["input_ids"]
        room = draw.randint(LEAST, MOST) - 1 - len(question)
        if 0 <= room <= len(before):
            yield [opening, *before[len(before) - room :], *question], [*response, tokenizer.eos_token_id]
        before = (before + question[:-1] + response)[-MOST:]


def _teach(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, shape: Shape, steps: int
) -> list[float]:
    """Plain SFT on the responses, 64 at a time; on CUDA in bf16. Returns the losses."""
    device = model.device
    pairs = conversations(tokenizer, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=shape.rate, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, shape.rate, total_steps=steps)
    losses: list[Tensor] = []
    for step in range(steps):
        batch = list(islice(pairs, 64))
        width = max(len(p) + len(r) for p, r in batch)
        ids = torch.full((len(batch), width), tokenizer.pad_token_id)
        targets = torch.full_like(ids, -100)
        for row, (prompt, response) in enumerate(batch):
            ids[row, : len(prompt) + len(response)] = torch.tensor([*prompt, *response])
            targets[row, len(prompt) : len(prompt) + len(response)] = torch.tensor(response)
        ids, targets = ids.to(device), targets[:, 1:].to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
            logits = model.lm_head(hidden[targets >= 0])  # of a large vocabulary, those that count only
        loss = F.cross_entropy(logits.float(), targets[targets >= 0])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), shape.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        losses.append(loss.detach())
        if step % 50 == 49:
            print(f"  teaching the policy: step {step + 1} of {steps}, loss {loss.item():.2f}", flush=True)
    return torch.stack(losses).tolist()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--one", required=True, help="what to make, as JSON")
    ask = json.loads(parser.parse_args().one)
    keys = ("trained", "prompts", "shape", "device", "steps")
    made = make(Path(ask["folder"]), **{key: ask[key] for key in keys if key in ask})
    taught = made / "taught.json"
    losses = json.loads(taught.read_text())[::25] if taught.is_file() else []
    print(json.dumps({"folder": str(made), "losses": losses}))
