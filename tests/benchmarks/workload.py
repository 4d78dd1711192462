"""What both sides of a training benchmark are given: a model, its reward model, prompts.

A Llama of 5.8M parameters (6 layers of 256, vocabulary 4,096) with the starter's tokenizer. `random` has
random weights, so that nearly every response is as long as allowed; `trained` has been taught the starter's
demonstrations for a few minutes, so that responses end by themselves, most of them early. Prompts are
questions behind something said before, 24 to 32 tokens in all.
"""

import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerBase,
)

from data.starter.corpus import sft_pairs
from rlhf.config import STARTER

LEAST, MOST = 24, 32  # tokens of a prompt
RESPONSE = 48  # tokens of a response, at most
VOCABULARY = 4096


def make(folder: Path, *, trained: bool, prompts: int, steps: int = 200) -> Path:
    """Write `policy`, `reward` and `prompts.json` into the folder, unless they are there."""
    if (folder / "prompts.json").is_file():
        return folder
    tokenizer = AutoTokenizer.from_pretrained(STARTER / "sft")
    torch.manual_seed(0)
    model = LlamaForCausalLM(_config(tokenizer))
    if trained:
        _teach(model, tokenizer, steps)
    model.save_pretrained(folder / "policy")
    tokenizer.save_pretrained(folder / "policy")
    reward = LlamaForSequenceClassification(_config(tokenizer, num_labels=1))
    reward.model.load_state_dict(model.model.state_dict())
    reward.save_pretrained(folder / "reward")
    tokenizer.save_pretrained(folder / "reward")
    asked = [prompt for prompt, _ in islice(conversations(tokenizer, seed=1), prompts)]
    (folder / "prompts.json").write_text(json.dumps(asked))
    return folder


def _config(tokenizer: PreTrainedTokenizerBase, **more) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=6,
        num_attention_heads=8,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **more,
    )


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


def _teach(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, steps: int) -> None:
    """Plain SFT on the responses, 64 at a time."""
    pairs = conversations(tokenizer, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(steps):
        batch = list(islice(pairs, 64))
        width = max(len(p) + len(r) for p, r in batch)
        ids = torch.full((len(batch), width), tokenizer.pad_token_id)
        targets = torch.full_like(ids, -100)
        for row, (prompt, response) in enumerate(batch):
            ids[row, : len(prompt) + len(response)] = torch.tensor([*prompt, *response])
            targets[row, len(prompt) : len(prompt) + len(response)] = torch.tensor(response)
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), targets[:, 1:].flatten(), ignore_index=-100)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if step % 50 == 49:
            print(f"  teaching the policy: step {step + 1} of {steps}, loss {loss.item():.2f}", flush=True)
