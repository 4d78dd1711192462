"""Trains the starter model from nothing: tokenizer, base stage, SFT stage.

`python -m data.starter.train --out DIR` writes DIR/base and DIR/sft as folders that `from_pretrained`
loads, like the committed ones beside this file. The text comes from `corpus` with fixed seeds; no file or
network is read. Budgets are tokens (`--base-tokens`, `--sft-tokens`) or, for the SFT stage, wall time
(`--minutes`).
"""

import argparse
import json
import math
import time
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from data.starter.corpus import documents, sft_pairs

PAD, END, USER, ASSISTANT = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] in ('user', 'assistant') %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
VOCABULARY = 2048
PLAIN_UNTIL = 0.5
CHUNK = 4096  # texts made, tokenised and sorted by length at a time


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with single digits, learned from the corpus."""
    tokenizer = Tokenizer(models.BPE())
    digits, byte_level = (
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    texts = [*islice(documents(1), 4000), *(f"{p.prompt}\n{p.response}" for p in islice(sft_pairs(1), 12000))]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, END, USER, ASSISTANT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        padding_side="left",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: PreTrainedTokenizerFast, hidden: int = 160, layers: int = 4) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=448, num_hidden_layers=layers,
        num_attention_heads=5, num_key_value_heads=5, max_position_embeddings=512, tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
        attn_implementation="sdpa",
    )  # fmt: skip
    torch.manual_seed(0)
    return LlamaForCausalLM(config)


def base_batches(tokenizer, seed: int, batch_tokens: int):
    """Batches of (ids, how many ids at the front carry no loss) from base documents."""
    stream = documents(seed)
    while True:
        texts = [text + END for text in islice(stream, CHUNK // 4)]
        rows = tokenizer(texts, add_special_tokens=False)["input_ids"]
        yield from _batches([(ids[:256], 0) for ids in rows], batch_tokens, seed)
        seed += 1


def sft_batches(tokenizer, seed: int, batch_tokens: int, clock: dict):
    """Batches of chat-formatted pairs; the loss counts on the response and its end only. The first half of
    the budget is mostly plain right answers, which teach the facts in fewer tokens; the second half is
    the full mix.
    """
    while True:
        pairs = list(islice(sft_pairs(seed, plain=0.75 if clock["progress"] < PLAIN_UNTIL else 0.0), CHUNK))
        prompts = tokenizer([f"{USER}{p.prompt}{ASSISTANT}" for p in pairs], add_special_tokens=False)[
            "input_ids"
        ]
        responses = tokenizer([p.response + END for p in pairs], add_special_tokens=False)["input_ids"]
        yield from _batches(
            [(p + r, len(p)) for p, r in zip(prompts, responses, strict=True)], batch_tokens, seed
        )
        seed += 1


def _batches(rows: list[tuple[list[int], int]], batch_tokens: int, seed: int):
    """Rows of near-equal length together, in random order: little padding, no bias over time."""
    rows.sort(key=lambda row: len(row[0]))
    batches, batch = [], []
    for row in rows:
        if batch and (len(batch) + 1) * len(row[0]) > batch_tokens:
            batches.append(batch)
            batch = []
        batch.append(row)
    batches.append(batch)
    for i in torch.randperm(len(batches), generator=torch.Generator().manual_seed(seed)):
        yield batches[i]


def _tensors(batch, pad: int):
    length = max(len(ids) for ids, _ in batch)
    ids = torch.full((len(batch), length), pad)
    counts = torch.zeros(len(batch), length, dtype=torch.bool)  # True where the token is to be predicted
    for i, (row, skip) in enumerate(batch):
        ids[i, : len(row)] = torch.tensor(row)
        counts[i, max(skip, 1) : len(row)] = True
    return ids, counts


def batch_loss(model: LlamaForCausalLM, ids: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the counted tokens. Padding is on the right, so causal attention never sees it,
    and the vocabulary is projected to only where the loss counts.
    """
    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    where = counts[:, 1:]
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[where]), ids[:, 1:][where])


def train(
    model,
    batches,
    *,
    tokens: float,
    minutes: float | None,
    peak_lr: float,
    pad: int,
    clock: dict,
    save=None,
    name="",
) -> dict:
    """One cosine schedule over a budget of tokens or minutes; `save` is called now and then with the
    running model.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=peak_lr, betas=(0.9, 0.98), weight_decay=0.02, fused=True
    )
    model.train()
    start, done, step, running, shown, saved = time.time(), 0, 0, None, 0.0, time.time()
    for batch in batches:
        spent = time.time() - start
        progress = spent / (60 * minutes) if minutes else done / tokens
        clock["progress"] = progress
        if progress >= 1:
            break
        warm = min(1.0, (step + 1) / 100)
        for group in optimizer.param_groups:
            group["lr"] = peak_lr * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        ids, counts = _tensors(batch, pad)
        loss = batch_loss(model, ids, counts)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        done += sum(len(row) for row, _ in batch)
        step += 1
        running = loss.item() if running is None else 0.99 * running + 0.01 * loss.item()
        if spent - shown > 20:
            shown = spent
            left = spent * (1 - progress) / max(progress, 1e-6)
            rate = done / spent
            done_so_far = f"{name} step {step} tokens {done / 1e6:.2f}M loss {running:.3f}"
            print(f"{done_so_far} {rate:.0f} tok/s left {left / 60:.1f} min", flush=True)
        if save and time.time() - saved > 150:
            saved = time.time()
            save()
    return {
        "tokens": done,
        "steps": step,
        "minutes": round((time.time() - start) / 60, 1),
        "loss": round(running, 3),
    }


def save_stage(model, tokenizer, folder: Path, chat: bool) -> None:
    """Weights in fp16, tokenizer and generation settings; only the SFT stage has a chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.chat_template = CHAT_TEMPLATE if chat else None
    tokenizer.save_pretrained(folder, save_jinja_files=False)
    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy = copy.half()
    copy.generation_config = GenerationConfig(
        do_sample=True, temperature=0.8, max_new_tokens=80,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    copy.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent, help="folder that gets base/ and sft/"
    )
    parser.add_argument("--base-tokens", type=float, default=0.8e6)
    parser.add_argument("--sft-tokens", type=float, default=15e6)
    parser.add_argument("--minutes", type=float, help="wall time of the SFT stage, instead of --sft-tokens")
    parser.add_argument("--batch-tokens", type=int, default=768)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    tokenizer = make_tokenizer()
    pad = tokenizer.pad_token_id
    model = make_model(tokenizer)
    print(
        f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters, {len(tokenizer)} tokens",
        flush=True,
    )
    base = base_batches(tokenizer, 1000, args.batch_tokens)
    report = {
        "base": train(
            model,
            base,
            tokens=args.base_tokens,
            minutes=None,
            peak_lr=args.lr,
            pad=pad,
            clock={},
            name="base",
        )
    }
    save_stage(model, tokenizer, args.out / "base", chat=False)
    clock = {"progress": 0.0}
    sft = sft_batches(tokenizer, 2000, args.batch_tokens, clock)
    report["sft"] = train(
        model, sft, tokens=args.sft_tokens, minutes=args.minutes, peak_lr=args.lr, pad=pad, clock=clock,
        save=lambda: save_stage(model, tokenizer, args.out / "sft", chat=True), name="sft",
    )  # fmt: skip
    save_stage(model, tokenizer, args.out / "sft", chat=True)
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
