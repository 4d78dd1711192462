"""What is refused before a worker is started has the worker's own sentence."""

import pytest
import torch
from typer.testing import CliRunner

from app import cli
from data.prompts import read_prompts
from rlhf import four_bit
from rlhf.beforehand import check_settings
from rlhf.trackers import Trackers


def said_by(act) -> str:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - what it says is looked at
        act()
    return str(refused.value)


@pytest.fixture
def nothing_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def test_a_tracker_that_is_not_installed(nothing_installed, tmp_path):
    said = said_by(lambda: check_settings({"log_to": "wandb, mlflow"}))
    assert said == said_by(lambda: Trackers("wandb, mlflow", tmp_path, {}))
    assert said.endswith("needs what is not installed here: pip install wandb mlflow")


@pytest.mark.parametrize(("device", "known"), [("auto", "cuda"), ("cuda", "cuda"), ("cpu", "cpu")])
def test_qlora_as_far_as_it_can_be_known(nothing_installed, device, known):
    said = said_by(lambda: check_settings({"tuning": "qlora", "device": device}))
    assert said == four_bit.refusal(torch.device(known))


def test_qlora_that_may_be_had_is_the_workers_to_judge(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    check_settings({"tuning": "qlora", "log_to": "wandb"})


@pytest.mark.parametrize("name", ["few.txt", "broken.jsonl", "latin.txt", "folder"])
def test_prompts_that_cannot_be_read(tmp_path, name):
    (tmp_path / "few.txt").write_text("one\ntwo")
    (tmp_path / "broken.jsonl").write_text('{"prompt": "one"}\n{"prompt": \n')
    (tmp_path / "latin.txt").write_bytes("caf\xe9\n".encode("latin-1") * 30)
    (tmp_path / "folder").mkdir()
    file = tmp_path / name
    assert said_by(lambda: check_settings({"prompts": str(file)})) == said_by(lambda: read_prompts(file))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--log-to", "wandb"], "pip install wandb"),
        (["--tuning", "qlora"], "needs the package bitsandbytes"),
        (["--tuning", "qlora", "--device", "cpu"], "needs a CUDA GPU"),
        (["--prompts", "few.txt"], "has 2 different prompts; wanted at least 20"),
        (["--prompts", "gone.txt"], "--prompts gone.txt does not exist"),
    ],
)
def test_the_command_line_refuses_before_anything_is_there(
    nothing_installed, tmp_path, monkeypatch, options, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "few.txt").write_text("one\ntwo")
    done = CliRunner().invoke(cli, ["--run-dir", "run", "--port", "0", *options])
    assert done.exit_code == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()
