"""Models of six builds from a folder: what they read, what ends a response, adapters, the whole loop."""

import json
import random
from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from labeling.store import open_store
from rlhf.config import WorkerConfig
from rlhf.generate import SamplingConfig, encode_prompt, sample_from
from rlhf.likelihood import token_logprobs
from rlhf.models import LoraFamily, ModelError, load_family
from rlhf.needs import sizes_of
from rlhf.passes import look
from rlhf.worker import Worker
from tests.local_models import CHATML, KINDS, make, teach

ENDS = {  # what ends a response, and what closes one of which only the text is known
    "gpt2": ({"<|endoftext|>"}, "<|endoftext|>"),
    "neox": ({"<|endoftext|>"}, "<|endoftext|>"),
    "llama": ({"<|end_of_text|>", "<|eot_id|>"}, "<|eot_id|>"),
    "qwen3": ({"<|im_end|>", "<|endoftext|>"}, "<|im_end|>"),
    "gemma2": ({"<eos>", "<end_of_turn>"}, "<end_of_turn>"),
    "mistral": ({"</s>"}, "</s>"),
}
READS = {
    "gpt2": "hi\n",
    "neox": "hi\n",
    "llama": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "qwen3": "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "gemma2": "<bos><start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\n",
    "mistral": "<s>[INST] hi [/INST]",
}
READS_BEHIND_SYSTEM = {
    "gpt2": "System: Be brief.\n\nUser: hi\n\nAssistant:",
    "neox": "System: Be brief.\n\nUser: hi\n\nAssistant:",
    "llama": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "qwen3": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
    "<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "gemma2": "<bos><start_of_turn>user\nBe brief.\n\nhi<end_of_turn>\n<start_of_turn>model\n",
    "mistral": "<s>[INST] Be brief.\n\nhi [/INST]",
}
GATED = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
TARGETS = {
    "gpt2": {"c_attn", "c_fc", "c_proj"},
    "neox": {"dense", "dense_4h_to_h", "dense_h_to_4h", "query_key_value"},
    "llama": GATED,
    "qwen3": GATED,
    "gemma2": GATED,
    "mistral": GATED,
}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    made = {}

    def folder_of(kind):
        if kind not in made:
            made[kind] = make(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return folder_of


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def family(kind, folder_of):
    return load_family(folder_of(kind), tuning="lora", device="cpu", lora_rank=3, system_prompt="Be brief.")


def test_what_ends_a_response(kind, family):
    name = family.tokenizer.convert_ids_to_tokens
    ends, closes = ENDS[kind]
    assert {name(i) for i in family.eos_ids} == ends
    assert name(family.closing_eos) == closes
    assert family.tokenizer("hi")["input_ids"].count(family.tokenizer.bos_token_id) == KINDS[kind].adds_bos


def test_what_it_reads_of_a_prompt_with_and_without_a_system_prompt(kind, family, folder_of):
    plain = AutoTokenizer.from_pretrained(folder_of(kind))
    for tokenizer, wanted in (plain, READS[kind]), (family.tokenizer, READS_BEHIND_SYSTEM[kind]):
        assert tokenizer.decode(encode_prompt(tokenizer, "hi")) == wanted
    talk = [
        {"role": "system", "content": "Own words."},
        {"role": "user", "content": "one"},
        {"role": "user", "content": "two"},
    ]
    text = family.tokenizer.decode(encode_prompt(family.tokenizer, json.dumps(talk)))
    places = [text.index(m["content"]) for m in talk]
    assert places == sorted(places)
    assert "Be brief" not in text


def test_sampling_passes_and_adapters(kind, family, folder_of):
    prompts = [encode_prompt(family.tokenizer, text) for text in ("hi", "Write a short poem", "egg?")]
    assert {name.rpartition(".")[2] for name in family._peft.peft_config["policy"].target_modules} == TARGETS[
        kind
    ]
    draw = torch.Generator().manual_seed(0)
    state = family.state("policy").items()
    family.set_state("policy", {n: t + 0.1 * torch.randn(t.shape, generator=draw) for n, t in state})
    config, roles = SamplingConfig(max_new_tokens=10), ["policy", "reference", "policy"]
    drawn = sample_from(family, roles, prompts, config, torch.Generator().manual_seed(1))
    for role in ("policy", "reference"):
        rows = [row for row, own in enumerate(roles) if own == role]
        asked = [prompts[row] for row in rows], [drawn[row].tokens for row in rows]
        with family.use(role) as model, torch.no_grad():
            for prompt, response in zip(*asked, strict=True):
                logits = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
                wanted = (logits / 0.8).log_softmax(-1)[range(len(response)), response]
                own = torch.tensor(drawn[prompts.index(prompt)].logprobs)
                assert torch.allclose(own, wanted, atol=1e-4)
    responses = [s.tokens for s in drawn]
    found = [token_logprobs(family, role, prompts, responses) for role in ("policy", "reference")]
    assert (found[0] - found[1]).abs().max() > 0.01

    config = AutoConfig.from_pretrained(folder_of(kind))
    sizes = sizes_of(config, rank=3)
    whole = AutoModelForCausalLM.from_pretrained(folder_of(kind))
    assert sizes.parameters == sum(p.numel() for p in whole.parameters())
    assert sizes.adapter == sum(p.numel() for p in family.parameters("policy"))


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_policy_is_written_and_read_again(kind, folder_of, tmp_path, tuning):
    family = load_family(folder_of(kind), tuning=tuning, device="cpu", lora_rank=3)
    with torch.no_grad():
        for p in family.parameters("policy"):
            p.add_(0.05 * torch.randn_like(p))
    family.save("policy", tmp_path)
    family.load("published", tmp_path)
    found = [token_logprobs(family, role, [[9, 8]], [[7, 6]]) for role in ("policy", "published")]
    assert torch.equal(*found)


def test_chatml_on_a_base_model_ends_where_its_template_does(folder_of, tmp_path):
    """As many fine-tuned models come: the template was set, EOS and the generation config were left."""
    tokenizer = AutoTokenizer.from_pretrained(folder_of("qwen3"))
    tokenizer.chat_template, tokenizer.eos_token = CHATML, "<|endoftext|>"
    model = AutoModelForCausalLM.from_pretrained(folder_of("qwen3"))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    family = load_family(str(tmp_path), tuning="full", device="cpu")
    ends = {tokenizer.convert_ids_to_tokens(i) for i in family.eos_ids}
    assert ends == {"<|endoftext|>", "<|im_end|>"}
    assert family.tokenizer.convert_ids_to_tokens(family.closing_eos) == "<|im_end|>"
    text = family.tokenizer.decode(encode_prompt(family.tokenizer, "hi"))
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_a_template_that_writes_bos_for_a_tokenizer_that_adds_it_unasked(folder_of):
    tokenizer = AutoTokenizer.from_pretrained(folder_of("mistral"))
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    assert tokenizer.decode(encode_prompt(tokenizer, "hi")) == READS["mistral"]


def test_a_pad_that_the_model_does_not_know_is_not_used(folder_of, tmp_path):
    """As where [PAD] was added to a tokenizer and the embeddings stayed: a GPU would die of it."""
    tokenizer = AutoTokenizer.from_pretrained(folder_of("mistral"))
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    assert tokenizer.pad_token_id == rows
    model = AutoModelForCausalLM.from_pretrained(folder_of("mistral"))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    family = load_family(str(tmp_path), tuning="full", device="cpu")
    assert family.pad_id == tokenizer.eos_token_id
    assert len(token_logprobs(family, "reference", [[5, 6], [7]], [[8, 2], [9, 10, 11, 2]])) == 2
    with family.use("reference") as model:
        assert model.get_input_embeddings().weight.shape[0] == rows


def test_an_eos_that_pads_is_learned_all_the_same(folder_of):
    family = load_family(folder_of("gpt2"), tuning="full", device="cpu")
    assert family.pad_id in family.eos_ids
    eos = family.pad_id
    ((_, batch),) = family.batches([[5, 6], [7]], [[9, eos], [10, 11, eos]])
    with family.use("policy") as model:
        look(model, batch).logprobs(1.0)[0, 1].backward()
        assert model.get_input_embeddings().weight.grad[eos].abs().max() > 0


def test_a_template_with_tokens_that_the_model_does_not_know_is_one_sentence(folder_of, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(folder_of("gpt2"))
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML
    AutoModelForCausalLM.from_pretrained(folder_of("gpt2")).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=rf"'<\|im_\w+\|>', number 32\d, and the model knows {rows}; take"):
        load_family(str(tmp_path), device="cpu")


def test_a_template_that_refuses_everything_is_one_sentence(folder_of):
    tokenizer = AutoTokenizer.from_pretrained(folder_of("gpt2"))
    tokenizer.chat_template = "{{ raise_exception('No.') }}"
    with pytest.raises(ModelError, match=r"refuses a prompt \(No\.\); correct the template"):
        encode_prompt(tokenizer, "hi")


def test_adapters_go_where_they_are_asked_to(folder_of):
    family = load_family(folder_of("llama"), tuning="lora", device="cpu", lora_targets="q_proj, v_proj")
    assert isinstance(family, LoraFamily)
    names = {name.split(".lora_")[0].rpartition(".")[2] for name in family.weights("policy")}
    assert names == {"q_proj", "v_proj"}
    with pytest.raises(ModelError, match="names qkv, which this model has not; it has down_proj, gate"):
        load_family(folder_of("llama"), tuning="lora", device="cpu", lora_targets="qkv,q_proj")
    with pytest.raises(ModelError, match="names lm_head, which"):
        load_family(folder_of("llama"), tuning="lora", device="cpu", lora_targets="lm_head")


def test_routers_and_towers_have_no_adapters():
    from torch import nn

    from rlhf.lora_targets import targets_of

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.vision_tower = nn.ModuleDict({"q_proj": nn.Linear(2, 2)})
            self.layer = nn.ModuleDict({"q_proj": nn.Linear(2, 2), "gate": nn.Linear(2, 2)})
            self.lm_head = nn.Linear(2, 2)

        def get_output_embeddings(self):
            return self.lm_head

    assert targets_of(Model()) == ["layer.q_proj"]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "tuning"), [("qwen3", "lora"), ("gpt2", "full")])
def test_the_whole_loop(tmp_path, kind, tuning):
    """A chat model with adapters, a base model in full: tasks, rankings, a round, tasks of its policy."""
    model, draw = make(kind, tmp_path / "model"), random.Random(0)
    prompts = [f"question {i} about rain" for i in range(24)]
    said = [" ".join(draw.choices(("yes", "no", "rain", "eels"), k=draw.randint(1, 3))) for _ in range(160)]
    teach(model, [(draw.choice(prompts), text) for text in said])
    (tmp_path / "prompts.txt").write_text("\n".join(prompts))
    config = WorkerConfig(
        model=model,
        prompts=str(tmp_path / "prompts.txt"),
        device="cpu",
        tuning=tuning,
        lora_rank=4,
        open_tasks=4,
        max_new_tokens=16,
        rankings_per_round=32,
        ppo_updates=2,
        ppo_episodes=16,
        kl_limit=100.0,
    )
    with open_store(tmp_path / "run", create=True, migrate=True) as store:
        worker = Worker(store, tmp_path / "run", config)
        worker.load()
        assert worker.models.family.kind == tuning
        person = store.add_person("token", "a program", "program").id
        while store.new_rankings() < 32:
            if (task := store.claim_task(person)) is None:
                worker.fill()
                continue
            liked = [text.count("e") for text in task.responses]
            ranks = [1 + sum(other > own for other in liked) for own in liked]
            store.add_ranking(person, task.id, str(task.id), ranks)
        while not (store.rounds() and store.rounds()[-1].state in ("published", "rejected")):
            worker.step()
        (round_,) = store.rounds()
        assert round_.summary["updates"] == 2, round_.reason
        version = store.published().version
        assert (version == 1) == (round_.state == "published")
        assert worker.fill() > 0
    with open_store(tmp_path / "run") as store:
        again = Worker(store, tmp_path / "run", replace(config, tuning="auto"))
        again.load()
        assert (again.models.family.kind, again.models.version) == (tuning, version)
