"""Small models of six builds, as people have them on disk: random weights, a trained tokenizer, a template.

The chat templates are those that came with the models they are named after (Qwen3's without its tools).
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from rlhf.chat import closing_eos_of, eos_ids_of
from rlhf.generate import encode_prompt

LINES = [
    "How do I boil an egg? Put it into boiling water for nine minutes, then cool it.",
    "What is the capital of France? The capital of France is Paris.",
    "Write a short poem about rain. Rain on the roof, a quiet drum, and all the fields are green by June.",
    "Please explain why the sky is blue. Air scatters blue light more than red light.",
]
LLAMA_3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = "
    "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim "
    "+ '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}"
    "{{ content }}{% endfor %}{% if add_generation_prompt %}{{ "
    "'<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
QWEN_3 = (
    "{%- if messages[0].role == 'system' %}{{- '<|im_start|>system\n' + messages[0].content + "
    "'<|im_end|>\n' }}{%- endif %}{%- for message in messages %}{%- if (message.role == 'user') "
    "or (message.role == 'system' and not loop.first) %}{{- '<|im_start|>' + message.role + '\n' "
    "+ message.content + '<|im_end|>' + '\n' }}{%- elif message.role == 'assistant' %}{%- set "
    "content = message.content %}{%- if loop.last %}{{- '<|im_start|>' + message.role + "
    "'\n<think>\n\n</think>\n\n' + content.lstrip('\n') }}{%- else %}{{- '<|im_start|>' + message.role "
    "+ '\n' + content }}{%- endif %}{{- '<|im_end|>\n' }}{%- endif %}{%- endfor %}{%- if "
    "add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- if enable_thinking is defined "
    "and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}{%- endif %}"
)
GEMMA_2 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not "
    "supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != "
    "(loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate "
    "user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'assistant') %}"
    "{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ "
    "'<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != "
    "(loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate "
    "user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ "
    "'[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ "
    "message['content'] + eos_token}}{% else %}{{ raise_exception('Only user and assistant roles "
    "are supported!') }}{% endif %}{% endfor %}"
)
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' "
    "}}{% endif %}"
)
WIDE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = WIDE | {"num_key_value_heads": 2}


@dataclass(frozen=True)
class Kind:
    """How a model and its tokenizer are made."""

    config: type[PretrainedConfig]
    sizes: dict
    special: tuple[str, ...]  # tokens, by number from 0
    named: dict[str, str]  # bos_token, eos_token ...
    template: str | None = None
    ends: tuple[str, ...] = ()  # what the generation config lists
    adds_bos: bool = False


GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
KINDS = {
    "gpt2": Kind(
        GPT2Config,
        GPT2,
        ("<|endoftext|>",),
        dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>"),
    ),
    "neox": Kind(  # Pythia
        GPTNeoXConfig,
        WIDE | {"max_position_embeddings": 128},
        ("<|endoftext|>", "<|padding|>"),
        dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>"),
    ),
    "llama": Kind(
        LlamaConfig,
        GROUPED,
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"},
        LLAMA_3,
        ends=("<|end_of_text|>", "<|eot_id|>"),
        adds_bos=True,
    ),
    "qwen3": Kind(
        Qwen3Config,
        GROUPED | {"head_dim": 16, "tie_word_embeddings": True},
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        QWEN_3,
        ends=("<|im_end|>", "<|endoftext|>"),
    ),
    "gemma2": Kind(
        Gemma2Config,
        GROUPED | {"head_dim": 16, "sliding_window": 64},
        ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
        {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"},
        GEMMA_2,
        ends=("<eos>",),  # as Gemma 2 says: its end of a turn is only in the template
        adds_bos=True,
    ),
    "mistral": Kind(
        MistralConfig,
        GROUPED | {"sliding_window": None},
        ("<unk>", "<s>", "</s>"),
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        MISTRAL,
        ends=("</s>",),
        adds_bos=True,
    ),
}


def make_tokenizer(kind: Kind) -> PreTrainedTokenizerFast:
    """Byte-level BPE, trained on a few lines."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=list(kind.special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    if kind.adds_bos:
        bos = kind.named["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, kind.special.index(bos))]
        )
    others = [token for token in kind.special if token not in kind.named.values()]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, additional_special_tokens=others, **kind.named)
    fast.chat_template = kind.template
    return fast


def make(name: str, folder: Path) -> str:
    """Write the model into the folder; returns it."""
    kind, tokenizer = KINDS[name], make_tokenizer(KINDS[name])
    ids = {f"{key}_token_id": getattr(tokenizer, f"{key}_token_id") for key in ("bos", "eos", "pad")}
    torch.manual_seed(0)
    config = kind.config(vocab_size=len(tokenizer), **kind.sizes, **ids)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    if kind.ends:
        model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(list(kind.ends))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def teach(folder: str, pairs: list[tuple[str, str]], steps: int = 100) -> None:
    """Plain SFT on prompts and responses, in place, so that responses end by themselves."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    eos = closing_eos_of(tokenizer, eos_ids_of(tokenizer, model))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    encoded = [
        (encode_prompt(tokenizer, p), [*tokenizer(r, add_special_tokens=False)["input_ids"], eos])
        for p, r in pairs
    ]
    for step in range(steps):
        batch = [encoded[(16 * step + i) % len(encoded)] for i in range(16)]
        width = max(len(p) + len(r) for p, r in batch)
        ids, labels = torch.zeros(16, width, dtype=torch.long), torch.full((16, width), -100)
        for row, (prompt, response) in enumerate(batch):
            end = len(prompt) + len(response)
            ids[row, :end] = torch.tensor(prompt + response)
            labels[row, len(prompt) : end] = torch.tensor(response)
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)


def change_config(folder: Path, **changes) -> None:
    """Write something else into a model's config.json."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def with_own_code(folder: Path, ran: Path) -> None:
    """Its build is Llama's by another name, in a file of its own that leaves a file `ran` when it is run."""
    (folder / "own.py").write_text(
        "from pathlib import Path\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        f"Path({str(ran)!r}).touch()\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'podium_own'\n"
        "class OwnForCausalLM(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    auto = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    change_config(folder, model_type="podium_own", auto_map=auto)
