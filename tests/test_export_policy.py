"""`export` of a policy: what others load says what the run's policy says."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from app import cli
from data.export_files import ExportError
from labeling.store import NewPolicy, open_store
from rlhf.checkpoint import write_policy
from rlhf.export import TOLERANCE, export_policy
from rlhf.generate import SamplingConfig, encode_prompt, sample_from
from rlhf.logit_scale import logit_gains
from rlhf.model_card import lineage
from rlhf.models import Family, ModelError, load_family
from tests.export_run import Run, open_run

ASKED = ["Name a tree.", "Why is the sky blue?", "x" * 50]


def publish(run: Run, family: Family, method: str = "ppo") -> int:
    """A round that ends with the family's policy, after a ranking by a person and one by a program."""
    number = run.store.last_ranking_id()
    run.rank(run.task(f"Question {number}?", "Yes.", "No."), [1, 2])
    run.rank(run.task(f"Question {number + 1}?", "Yes.", "No."), [1, 2], run.program)
    version = run.store.next_version()
    round_ = run.store.begin_round({}, method)
    folder = write_policy(run.store.run_dir, version, lambda aside: family.save("policy", aside / "policy"))
    summary = {"win_rate": 0.8, "win_rate_low": 0.7, "win_rate_high": 0.875, "kl": 2.5}
    made = NewPolicy(version, str(folder.relative_to(run.store.run_dir)), "some/model", summary)
    run.store.end_round(round_.id, "published", "better", summary, made)
    return version


@pytest.fixture(scope="module", params=["lora", "full"])
def trained(request, tiny_model, tmp_path_factory):
    """A run with a policy that was trained a few steps by what it is to say, and its family."""
    family = load_family(tiny_model, tuning=request.param, device="cpu")
    run = open_run(tmp_path_factory.mktemp(request.param) / "run", tiny_model)
    run.store.put_setting("tuning", request.param)
    run.store.put_setting("lora_rank", 16)
    run.store.put_setting("config", {"temperature": 0.7, "max_new_tokens": 12, "system_prompt": "Be brief."})
    optimizer = torch.optim.AdamW(family.parameters("policy"), lr=1e-2)
    ids = torch.tensor([encode_prompt(family.tokenizer, "Name a tree.") + list(range(40, 60))])
    for _ in range(5):
        with family.use("policy") as model:
            loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if request.param == "full":  # how sharply it speaks, as `logit_scale` keeps it
        with family.use("policy") as model, torch.no_grad():
            for gain in logit_gains(model):
                gain.mul_(1.3)
    assert publish(run, family) == 1
    yield run, family
    run.store.close()


@torch.no_grad()
def logits_of(model, tokenizer) -> list[torch.Tensor]:
    rows = [encode_prompt(tokenizer, prompt) for prompt in ASKED]
    return [model(input_ids=torch.tensor([row])).logits[0] for row in rows]


def close(found, wanted) -> bool:
    """Within the tolerance that the module states."""
    return all(
        float((a - b).abs().max()) <= TOLERANCE * float(b.abs().max())
        for a, b in zip(found, wanted, strict=True)
    )


def test_the_merged_model_says_what_base_and_adapter_say(trained, tmp_path):
    run, family = trained
    said = export_policy(run.store, tmp_path / "out")
    assert "policy 1 as one LlamaForCausalLM in float32" in said
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert merged.dtype == torch.float32
    with family.use("policy") as policy:
        wanted = logits_of(policy, family.tokenizer)
    with family.use("reference") as reference:
        before = logits_of(reference, family.tokenizer)
    assert close(logits_of(merged, tokenizer), wanted)
    assert not close(before, wanted)  # and it was trained at all
    if family.kind == "lora":
        from peft import PeftModel

        base = AutoModelForCausalLM.from_pretrained(family_model(run))
        folder = run.store.run_dir / "policies" / "1" / "policy"
        assert close(logits_of(PeftModel.from_pretrained(base, folder).eval(), tokenizer), wanted)
    assert not list((tmp_path / "out").glob("adapter*"))
    assert list((tmp_path / "out").glob("*.safetensors"))


def family_model(run: Run) -> str:
    return run.store.policy(0).path


def test_it_samples_from_the_distribution_that_the_run_samples_from(trained, tmp_path):
    """What `generate` draws from by default, against the log-probabilities that the run keeps of its own."""
    run, family = trained
    export_policy(run.store, tmp_path / "out")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    settings = SamplingConfig(temperature=0.7, max_new_tokens=12)
    prompt = encode_prompt(family.tokenizer, "Name a tree.")
    generator = torch.Generator().manual_seed(0)
    [own] = sample_from(family, "policy", [prompt], settings, generator)
    torch.manual_seed(1)
    drawn = merged.generate(
        torch.tensor([prompt]), return_dict_in_generate=True, output_scores=True, renormalize_logits=True
    )
    assert torch.isfinite(drawn.scores[0]).all()  # no token is cut off
    assert drawn.scores[0].log_softmax(-1)[0, own.tokens[0]] == pytest.approx(own.logprobs[0], abs=1e-4)
    assert drawn.sequences.shape[1] - len(prompt) <= 12
    config = merged.generation_config
    assert set(config.eos_token_id) == family.eos_ids


def test_the_card_says_where_it_comes_from(trained, tmp_path):
    run, family = trained
    export_policy(run.store, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "temperature 0.7" in card
    assert "round 1 (PPO) from policy 0 | 1 by people, 1 by programs | 80.0% (70.0% to 87.5%) | 2.50" in card
    assert "`some/model`: its licence applies" in card
    assert f"({family.kind} tuning)" in card
    assert "```\nBe brief.\n```" in card
    assert str(run.store.run_dir) not in card
    assert family_model(run) not in card
    assert '[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]' in card
    if family.kind == "lora":  # has no generation config, so the example says all of it
        export_policy(run.store, tmp_path / "adapter", merged=False)
        card = (tmp_path / "adapter" / "README.md").read_text(encoding="utf-8")
        assert "do_sample=True, temperature=0.7, max_new_tokens=12, top_k=0, top_p=1.0)" in card


def test_a_card_names_a_local_model_without_its_folders(tmp_path):
    with open_store(tmp_path / "run", create=True, migrate=True) as store:
        store.add_reference("models/sft", str(tmp_path / "mine"))
        round_ = store.begin_round({}, "both")
        store.end_round(round_.id, "published", "better", {}, NewPolicy(1, "policies/1", "some/model", {}))
        rounds = {made.id: made for made in store.rounds()}
        rows = lineage(store.policies(), rounds, store.ranking_counts_through)
    assert "the model the run began with, `mine` |" in rows
    assert "| round 1 (PPO and DPO) from policy 0 | none |" in rows


def test_the_first_policy_is_the_model_the_run_began_with(trained, tmp_path):
    run, family = trained
    export_policy(run.store, tmp_path / "out", version=0)
    with family.use("reference") as reference:
        wanted = logits_of(reference, family.tokenizer)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert close(logits_of(model, family.tokenizer), wanted)


def test_half_the_size_when_asked_for(trained, tmp_path):
    run, _ = trained
    for dtype in ("float32", "bfloat16"):
        export_policy(run.store, tmp_path / dtype, dtype=dtype)
    sizes = [(tmp_path / dtype / "model.safetensors").stat().st_size for dtype in ("float32", "bfloat16")]
    assert 1.8 < sizes[0] / sizes[1] < 2.1
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "bfloat16").dtype == torch.bfloat16


def test_the_adapter_alone(trained, tmp_path):
    run, family = trained
    if family.kind == "full":
        with pytest.raises(ExportError, match="tuned in full and has no adapter"):
            export_policy(run.store, tmp_path / "out", merged=False)
        return
    from peft import AutoPeftModelForCausalLM

    assert "as an adapter of" in export_policy(run.store, tmp_path / "out", merged=False)
    model = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    with family.use("policy") as policy:
        wanted = logits_of(policy, family.tokenizer)
    assert close(logits_of(model, AutoTokenizer.from_pretrained(tmp_path / "out")), wanted)
    assert not (tmp_path / "out" / "model.safetensors").exists()
    assert "peft" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    with pytest.raises(ExportError, match="Policy 0"):
        export_policy(run.store, tmp_path / "other", version=0, merged=False)


# what is refused


def test_an_unknown_version_and_lost_weights(trained, tmp_path):
    run, _ = trained
    with pytest.raises(ExportError, match=r"no policy 7; this run has 0, 1\."):
        export_policy(run.store, tmp_path / "out", version=7)
    folder = run.store.run_dir / "policies" / "1"
    folder.rename(folder.with_name("elsewhere"))
    try:
        with pytest.raises(ExportError, match="restore it from a copy"):
            export_policy(run.store, tmp_path / "out", version=1)
    finally:
        folder.with_name("elsewhere").rename(folder)
    assert list(tmp_path.iterdir()) == []


def test_damaged_weights_are_one_sentence(trained, tmp_path):
    run, _ = trained
    [weights] = (run.store.run_dir / "policies" / "1" / "policy").glob("*.safetensors")
    kept = weights.read_bytes()
    weights.write_bytes(kept[: len(kept) // 2])
    try:
        with pytest.raises(ModelError) as caught:
            export_policy(run.store, tmp_path / "out")
    finally:
        weights.write_bytes(kept)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_command_line(trained, tmp_path):
    run, family = trained
    words = [
        "export",
        "--what",
        "policy",
        "--run-dir",
        str(run.store.run_dir),
        "--out",
        str(tmp_path / "out"),
    ]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    assert "policy 1 as one LlamaForCausalLM" in done.output
    done = CliRunner().invoke(cli, [*words, "--adapter", "--overwrite"])
    assert (done.exit_code, (tmp_path / "out" / "adapter_config.json").exists()) == (
        (0, True) if family.kind == "lora" else (2, False)
    )
    done = CliRunner().invoke(cli, [*words, "--policy-version", "9", "--overwrite"])
    assert (done.exit_code, done.output) == (2, "There is no policy 9; this run has 0, 1.\n")


def test_what_is_there_stays(trained, tmp_path):
    run, _ = trained
    out: Path = tmp_path / "out"
    out.mkdir()
    (out / "mine").touch()
    with pytest.raises(ExportError, match="--overwrite"):
        export_policy(run.store, out)
    assert [p.name for p in out.iterdir()] == ["mine"]
    export_policy(run.store, out, overwrite=True)
    assert json.loads((out / "generation_config.json").read_text())["temperature"] == 0.7
    assert not (out / "mine").exists()
