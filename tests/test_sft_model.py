"""An SFT model from a base model and a file: the classical road's first step."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from data.demonstrations import Demonstration
from rlhf.config import ModelError
from rlhf.models import load_family
from rlhf.sft import SFTConfig, mean_loss, split_demonstrations
from rlhf.sft_model import base_of, make_sft_model
from rlhf.sft_round import SFTRoundConfig

SHOUTS = [Demonstration(f"say {n} again", f"{n * 7}!") for n in range(30)]
CONFIG = SFTRoundConfig(SFTConfig(epochs=2, batch=4, learning_rate=0.01))


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_it_is_a_plain_model_that_remembers_its_base(tiny_model, tuning, tmp_path, monkeypatch):
    out, said = tmp_path / "made", []
    monkeypatch.chdir(Path(tiny_model).parent)
    named = f"./{Path(tiny_model).name}"
    ended = make_sft_model(
        named, SHOUTS, out, CONFIG, tuning=tuning, device="cpu", lora_rank=4, echo=said.append
    )
    assert ended.published, ended.reason
    assert any("heldout_loss" in line for line in said)
    assert base_of(str(out)) == str(Path(tiny_model).resolve())
    assert (
        json.loads((out / "podium.json").read_text())["summary"]["loss_after"] == ended.summary["loss_after"]
    )
    assert not list(out.glob("adapter*"))
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == AutoModelForCausalLM.from_pretrained(tiny_model, dtype="auto").dtype
    assert AutoTokenizer.from_pretrained(out).chat_template

    # as the reference of a run it says held-out demonstrations as well as the policy that was trained
    family = load_family(str(out), tuning="full", device="cpu")
    judge = split_demonstrations(family, SHOUTS, CONFIG.sft.heldout_share).judge
    assert mean_loss(family, "reference", judge) == pytest.approx(ended.summary["loss_after"], rel=1e-3)
    assert (
        not torch.equal(
            next(model.parameters()), next(AutoModelForCausalLM.from_pretrained(tiny_model).parameters())
        )
        or tuning == "lora"
    )  # whose embeddings stay


def test_what_is_there_is_not_written_over(tiny_model, tmp_path):
    with pytest.raises(ModelError, match="is there already"):
        make_sft_model(tiny_model, SHOUTS, tmp_path, CONFIG)


def test_nothing_is_written_where_nothing_got_better(tiny_model, tmp_path):
    config = SFTRoundConfig(SFTConfig(epochs=1, learning_rate=1e-12))
    ended = make_sft_model(tiny_model, SHOUTS, tmp_path / "made", config, device="cpu", echo=lambda _: None)
    assert not ended.published
    assert "is not better on held-out demonstrations" in ended.reason
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"base_model": 3}', '{"base_model": "/nowhere"}'])
def test_a_folder_that_says_nothing_has_no_base(tmp_path, text):
    assert base_of(str(tmp_path)) == ""
    (tmp_path / "podium.json").write_text(text)
    assert base_of(str(tmp_path)) == ""
