import pytest
import torch

from rlhf import checkpoint
from rlhf.generate import encode_prompt
from rlhf.models import ModelError, load_family


def test_a_policy_is_there_whole_or_not_at_all(tmp_path):
    def write(folder):
        (folder / "policy").mkdir()
        (folder / "policy" / "weights").write_text("w")

    assert checkpoint.write_policy(tmp_path, 3, write) == tmp_path / "policies" / "3"
    assert (tmp_path / "policies" / "3" / "policy" / "weights").read_text() == "w"

    def break_off(folder):
        (folder / "half").write_text("h")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        checkpoint.write_policy(tmp_path, 4, break_off)
    assert [p.name for p in (tmp_path / "policies").iterdir()] == ["3"]


def test_every_name_is_synced_before_the_policy_counts(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(checkpoint, "_sync", synced.append)
    checkpoint.write_policy(tmp_path, 1, lambda folder: (folder / "weights").write_text("w"))
    policies = tmp_path / "policies"
    assert {tmp_path, policies, policies / ".1.tmp", policies / ".1.tmp" / "weights"} == set(synced)


def test_clean_removes_what_is_unfinished_and_nothing_of_a_person(tmp_path):
    for name in ("1", ".3.tmp", "my backup", ".git", "2.old"):
        (tmp_path / "policies" / name).mkdir(parents=True)
    assert checkpoint.clean(tmp_path, [1]) == [".3.tmp"]
    assert {p.name for p in (tmp_path / "policies").iterdir()} == {"1", "my backup", ".git", "2.old"}
    assert checkpoint.clean(tmp_path / "none", []) == []


def weights(folder):
    (folder / "weights").write_text("w")


def test_a_policy_no_row_names_is_put_aside_and_never_removed(tmp_path, capsys):
    """Its row may have been in a labels.db that was lost, or newer than the copy that was restored."""
    for number in (1, 2):
        for version in (1, 2):
            (tmp_path / "policies" / str(version)).mkdir(parents=True, exist_ok=True)
            weights(tmp_path / "policies" / str(version))
        assert checkpoint.clean(tmp_path, [1]) == ["2"]
        assert (tmp_path / "policies" / f"2.unknown-{number}" / "weights").read_text() == "w"
        assert f"is in 2.unknown-{number} now" in capsys.readouterr().out
    checkpoint.write_policy(tmp_path, 1, weights)
    assert {p.name for p in (tmp_path / "policies").iterdir()} == {
        *("1", "1.unknown-1"),
        *("2.unknown-1", "2.unknown-2"),
    }


def logits(family, role):
    with torch.no_grad(), family.use(role) as model:
        return model(input_ids=torch.tensor([encode_prompt(family.tokenizer, "a b c")])).logits


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_roles_are_apart_and_survive_saving(tiny_model, tmp_path, tuning):
    family = load_family(tiny_model, tuning=tuning, device="cpu", lora_rank=8)
    reference = logits(family, "reference")
    assert torch.equal(logits(family, "policy"), reference)  # fresh, it is the reference exactly
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in family.parameters("policy"):
            parameter += 0.05 * torch.randn_like(parameter)
    changed = logits(family, "policy")
    assert not torch.allclose(changed, reference)
    assert torch.equal(logits(family, "reference"), reference)
    assert torch.equal(logits(family, "published"), reference)
    family.copy("policy", "published")
    assert torch.equal(logits(family, "published"), changed)
    family.save("policy", tmp_path / "policy")
    family.copy("reference", "policy")
    assert torch.equal(logits(family, "policy"), reference)

    again = load_family(tiny_model, tuning=tuning, device="cpu", lora_rank=8)
    again.load("policy", tmp_path / "policy")
    assert torch.allclose(logits(again, "policy"), changed, atol=1e-6)


def test_a_model_that_cannot_be_had_is_one_sentence(tmp_path):
    for bad in ("no/such-model-anywhere", str(tmp_path)):
        with pytest.raises(ModelError) as error:
            load_family(bad)
        assert "\n" not in str(error.value)
        assert bad in str(error.value)
    with pytest.raises(ModelError, match="--device auto"):
        load_family("starter", device="tpu")


def test_what_is_written_may_be_read_by_whoever_may_read_its_folder(tmp_path):
    def write(folder):
        (folder / "model.safetensors").write_bytes(b"x")
        (folder / "model.safetensors").chmod(0o600)

    folder = checkpoint.write_policy(tmp_path, 1, write)
    assert (folder / "model.safetensors").stat().st_mode & 0o777 == folder.stat().st_mode & 0o666
