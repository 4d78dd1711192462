"""What a worker has in memory after it has started."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from rlhf.arena import evaluate_versions
from rlhf.models import ModelError
from tests.worker.steps import fill_up, publish


def test_a_policy_whose_reward_model_is_of_another_version_goes_on_without_scores(start, capsys):
    worker = start()
    policy = publish(worker)
    file = worker.run_dir / policy.path / "reward" / "reward_head.safetensors"
    save_file({k: v for k, v in load_file(file).items() if k != "log_ratio"}, file)
    again = start()
    assert again.models.version == policy.version
    assert not again.models.viewer.scores_ready
    assert "the next round makes a new one" in capsys.readouterr().out
    fill_up(again)
    assert again.store.open_tasks(policy.version) > 0


def test_damaged_scores_cost_scores_only_and_an_older_reward_model_stands_in(start):
    worker = start()
    publish(worker)
    publish(worker)
    newest = worker.run_dir / worker.store.published().path / "reward" / "reward_head.safetensors"
    newest.write_bytes(newest.read_bytes()[:100])
    again = start()
    assert again.models.version == 2
    assert again.models.viewer.scores_ready
    newest.unlink()
    shutil.rmtree(again.run_dir / "policies" / "1" / "reward")
    again = start()
    assert again.models.version == 2
    assert not again.models.viewer.scores_ready
    fill_up(again)
    assert again.store.open_tasks(2) > 0


def test_what_was_being_written_when_the_worker_ended_is_not_tried_again(start):
    worker = start()
    [poisoned] = worker.store.add_samples("b", "a prompt", [0])
    worker.store.update_sample(poisoned, state="running")
    worker = start()
    assert worker.store.waiting_samples() == []
    assert worker.store.samples("b")[0]["error"] == "The worker ended while it wrote this."


def test_a_run_directory_may_be_moved_and_served_from_anywhere(start, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    worker = start(Path("run"))
    assert publish(worker).path == "policies/1"
    worker.store.close()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "run").rename("moved")
    worker = start(tmp_path / "elsewhere" / "moved")
    assert worker.models.version == 1
    fill_up(worker)
    worker.store.add_samples("b", "a prompt", [1, 0])
    publish(worker)
    worker.answer_samples()  # policy 1 is in no role any more
    assert [s["state"] for s in worker.store.samples("b")] == ["done", "done"]
    worker.store.put_setting("config", {"max_new_tokens": 6})
    result = evaluate_versions(worker.store, lambda _prompt, text: float(len(text)), before=1, prompts=2)
    assert (result["before"], result["after"]) == (1, 2)


def test_a_run_is_evaluated_on_its_own_device_or_on_the_one_asked_for(start):
    store = start().store
    store.put_setting("config", {"max_new_tokens": 6, "device": "no-such-device"})
    with pytest.raises(ModelError, match="--device no-such-device is not there on this machine"):
        evaluate_versions(store, lambda _prompt, text: float(len(text)), prompts=2)
    result = evaluate_versions(store, lambda _prompt, text: float(len(text)), prompts=2, device="cpu")
    assert result["n"] == 2


def test_adapters_keep_their_size(start):
    worker = start(tuning="lora", lora_rank=4)
    publish(worker)
    with pytest.raises(ModelError, match="was made with --lora-rank 4, not 8; use --lora-rank 4"):
        start(tuning="lora", lora_rank=8)
    with pytest.raises(ModelError, match="was made with --tuning lora, not full"):
        start(tuning="full", lora_rank=8)
    worker.store.put_setting("config", {"max_new_tokens": 6})
    result = evaluate_versions(worker.store, lambda _prompt, text: float(len(text)), prompts=2)
    assert result["after"] == 1


def test_prompt_and_response_fit_what_the_model_reads(start, tmp_path, config):
    with pytest.raises(ModelError, match="--max-new-tokens 600 leaves no room for a prompt in the 512"):
        start(max_new_tokens=600)
    with pytest.raises(ValueError, match="All prompts are over 1 tokens; lower --max-new-tokens"):
        start(max_new_tokens=510)
    worker = start(max_prompt_tokens=5000)
    assert worker.models.viewer.max_prompt_tokens == 512 - 6 - 1
    lines = [f"question {i}" + " x" * 300 * (i == 7) for i in range(24)]
    Path(config.prompts).write_text("\n".join(lines))
    for place in (tmp_path / "other", tmp_path / "run"):  # this one has all 24 already
        assert {p.text for p in start(place).store.prompts()} == {*lines} - {lines[7]}
