"""How much memory a model will need: counted exactly where it can be, and asked for before it is loaded."""

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from rlhf import four_bit, models, tuning
from rlhf.config import WorkerConfig
from rlhf.loading import load_config
from rlhf.models import ModelError, load_family
from rlhf.needs import Sizes, Work, free_memory, gigabytes, needs, sizes_of
from rlhf.tuning import pick_tuning
from tests.benchmarks.workload import config_of

WORK = Work()
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
GB = 1e9
LLAMA_8B = LlamaConfig(
    vocab_size=128_256,
    hidden_size=4096,
    intermediate_size=14_336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
)


@pytest.fixture
def qlora_can_be_had(monkeypatch):
    monkeypatch.setattr(four_bit, "refusal", lambda device: None)


def free(monkeypatch, gigabytes):
    monkeypatch.setattr(tuning, "free_memory", lambda device: gigabytes and gigabytes * GB)


def test_a_model_of_8_billion_weights_is_counted_without_memory():
    sizes = sizes_of(LLAMA_8B, rank=16)
    assert sizes.parameters == 8_030_261_248  # as its card says
    assert sizes.adapter == 41_943_040  # PEFT's count of r = 16 on all linear layers
    assert sizes.linear == 32 * (2 * 4096**2 + 2 * 1024 * 4096 + 3 * 4096 * 14_336)
    assert sizes.cache == 2 * 32 * 8 * 128


def test_weights_and_what_is_trained_are_counted_exactly(tiny_model):
    sizes = sizes_of(load_config(tiny_model), rank=4)
    for kind, roles in (("full", 4), ("lora", 1)):
        family = load_family(tiny_model, tuning=kind, device="cpu", lora_rank=4)
        family.copy("reference", "published")
        kept = {
            p.data_ptr(): p.nbytes
            for role in ("reference", "published", "policy", "reward")
            for p in _model(family, role).parameters()
        }
        parts = needs(sizes, kind, "cpu", False, WORK)
        assert parts["weights"] + parts.get("adapters", 0) == sum(kept.values())
        assert parts["training"] == 5 * sum(p.nbytes for p in family.parameters("policy"))
        assert parts["weights"] >= roles * 4 * sizes.parameters


def _model(family, role):
    with family.use(role) as model:
        return model


def test_qlora_needs_less_than_lora_and_lora_less_than_full():
    sizes = sizes_of(LLAMA_8B, rank=16)

    def all_of(tuning, work=WORK, budget=0):
        return sum(needs(sizes, tuning, "cuda", True, work, budget).values())

    assert all_of("full") > 4 * 8 * 4 * GB + 5 * 8 * 4 * GB  # four roles, and what is kept of the one trained
    assert all_of("lora") - all_of("qlora") == pytest.approx(sizes.linear * (2 - 0.516), rel=0.05)
    assert all_of("lora", Work(response=384)) > all_of("lora") + GB
    assert all_of("qlora", budget=1024) < 20 * GB < all_of("qlora")


# Of models of these shapes the most that tensors took on an NVIDIA H200, in GB (`tuning_memory`, 2026-11-27)
MEASURED = {
    ("0.6B", "full"): 40.36,
    ("0.6B", "lora"): 15.10,
    ("0.6B", "qlora"): 14.44,
    ("1B", "full"): 69.26,
    ("1B", "lora"): 15.26,
    ("1B", "qlora"): 13.82,
}


@pytest.mark.parametrize(("shape", "tuning"), MEASURED)
def test_the_estimate_is_near_what_was_measured(shape, tuning):
    sizes = sizes_of(config_of(shape), rank=16)
    found = sum(needs(sizes, tuning, "cuda", True, Work(prompt=28, response=48)).values())
    assert 0.9 < found / GB / MEASURED[shape, tuning] < 1.1


def test_what_does_not_fit_is_refused_before_it_is_loaded(tiny_model, monkeypatch, qlora_can_be_had):
    def load(*_):
        raise AssertionError("weights were read")

    monkeypatch.setattr(models, "load_causal_lm", load)
    monkeypatch.setattr(tuning, "free_memory", lambda device: 1e6)
    with pytest.raises(ModelError) as refused:
        load_family(tiny_model, tuning="full", device="cpu", work=Work())
    assert str(refused.value).startswith(f"Model '{tiny_model}' with --tuning full needs about 0.")
    assert "GB and 0.0 GB are free on cpu; try a smaller model, or a lower --ppo-episodes" in str(
        refused.value
    )
    with pytest.raises(AssertionError, match="weights were read"):
        load_family(tiny_model, tuning="full", device="cpu")  # nobody asked


@pytest.mark.parametrize(
    ("there", "asked", "found"),
    [
        (500, "auto", "lora"),  # in full only what is small
        (40, "auto", "lora"),
        (20, "auto", "qlora"),
        (None, "auto", "lora"),  # not known
        (500, "full", "full"),
        (40, "full", "try --tuning lora"),
        (20, "lora", "try --tuning qlora"),
        (20, "full", "try --tuning qlora"),
        (3, "auto", "try a smaller model"),
    ],
)
def test_auto_takes_what_fits_and_others_are_told_what_would(
    monkeypatch, qlora_can_be_had, there, asked, found
):
    sizes = sizes_of(LLAMA_8B, rank=16)
    free(monkeypatch, there)
    if found.startswith("try"):
        with pytest.raises(ModelError, match=found):
            pick_tuning("it", sizes, asked, CUDA, True, Work())
    else:
        kind, budget = pick_tuning("it", sizes, asked, CUDA, True, Work())
        assert kind == found
        assert budget == {40: 2048, 20: 1024}.get(there, 8192)


def test_auto_trains_small_models_in_full_where_they_fit(monkeypatch):
    sizes = Sizes(30_000_000, 20_000_000, 10**6, 10**6, 4096, 256, 10_000, 6, 3000)
    free(monkeypatch, 8)
    assert pick_tuning("it", sizes, "auto", CPU, False, WORK) == ("full", 2048)
    free(monkeypatch, 0.9)
    assert pick_tuning("it", sizes, "auto", CPU, False, WORK)[0] == "lora"


def test_memory_that_is_free_is_known_here():
    found = free_memory(CPU)
    assert found is None or 1e7 < found < 1e14


def test_sizes_are_said_as_people_say_them():
    assert [gigabytes(n) for n in (4e8, 9.96e9, 13.2e9)] == ["0.4 GB", "10.0 GB", "14 GB"]


def test_dtype_is_another_word_for_precision():
    from typer.testing import CliRunner

    from app import cli

    found = CliRunner().invoke(cli, ["serve", "--dtype", "float16"])
    assert found.exit_code == 2
    assert "--precision is float16; wanted: bf16, float32 or auto (float16 has too short" in found.output
    assert WorkerConfig(model="owner/name", revision="v1").source == "owner/name@v1"
    with pytest.raises(ValueError, match="--revision is v1; wanted: none with the starter"):
        WorkerConfig(revision="v1")


def test_parameters_of_a_tied_head_are_counted_once(tiny_model):
    whole = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert sizes_of(load_config(tiny_model), 4).parameters == sum(p.numel() for p in whole.parameters())
