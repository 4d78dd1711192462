"""The contenders of a real tiny run side by side: the figures, the judges, the command line, the refusals."""

import json
import math
import re
import shutil
import sys
import threading
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

import app
from data.behaviours import HARMFUL_REQUESTS, HARMLESS_REQUESTS, REFUSES_ELSE, REFUSES_HARM, counts, general
from data.scorers import helpful
from data.starter import measures
from data.starter.prompts import heldout_prompts
from labeling.human_arena import arena
from labeling.options import with_value
from labeling.standings import standings
from labeling.store import open_store
from rlhf.arena import evaluate_versions
from rlhf.asked import choose
from rlhf.contenders import Response
from rlhf.evaluate_config import EvaluateConfig
from rlhf.generate import Sample, encode_prompt
from rlhf.judge_local import LocalJudge
from rlhf.models import ModelError
from rlhf.standings import evaluate_run
from rlhf.votes import Votes, as_judge
from tests.endpoint import ranks_by, serving
from tests.evaluated import make_run
from tests.local_models import change_config

SHORT = {"device": "cpu", "max_new_tokens": 8}


def length(_prompt, text):
    return float(len(text))


@pytest.fixture(scope="module")
def run_dir(tiny_model, tmp_path_factory):
    return make_run(tiny_model, tmp_path_factory.mktemp("evaluated"))


@pytest.fixture(scope="module")
def result(run_dir, tmp_path_factory):
    text = tmp_path_factory.mktemp("text") / "general.txt"
    text.write_text("\n\n".join(f"Paragraph {i} is about rivers and boats. " * 30 for i in range(6)))
    before = (run_dir / "labels.db").read_bytes()
    asked = []

    def shorter(prompt, a, b):
        asked.append(prompt)
        return 0.5 if len(a) == len(b) else float(len(a) < len(b))

    with open_store(run_dir, read_only=True) as store:
        found = evaluate_run(
            store,
            EvaluateConfig(policies="all", forgetting=str(text)),
            scorers={"length": length},
            judges={"shorter": shorter},
            prompts=12,
            people=arena(store.arena_rankings()),
        )
    assert (run_dir / "labels.db").read_bytes() == before
    assert len(asked) <= 12 * 5  # base, prompted, 1, 2 against 0, and 0 again; not where both said the same
    return json.loads(json.dumps(found, allow_nan=False))


def of(result, key):
    return next(one for one in result["contenders"] if one["key"] == key)


def match(result, judge, key):
    return next(m for m in result["matches"] if (m["judge"], m["contender"]) == (judge, key))


def test_everybody_is_there(result):
    assert [one["key"] for one in result["contenders"]] == ["base", "prompted", "0", "1", "2"]
    assert result["names"]["1"] == "Policy 1 (PPO)"
    assert [judge["kind"] for judge in result["judges"]] == ["scorer", "reward model", "judge"]
    assert "in-sample" in result["judges"][1]["note"]
    assert result["prompts"] == 12
    assert len(result["matches"]) == 3 * 4


def test_a_scorer_and_a_judge_of_the_opposite_mind_disagree(result):
    for key in ("base", "1", "2"):
        ours, theirs = match(result, "length", key), match(result, "shorter", key)
        assert ours["win_rate"] == pytest.approx(1 - theirs["win_rate"])
        assert ours["low"] <= ours["win_rate"] <= ours["high"]
        assert ours["ties"] == theirs["ties"]
    assert result["itself"][0]["n"] == 12


def test_the_reference_has_no_kl_and_a_disturbed_policy_the_more(result):
    kl = {key: of(result, key)["kl"] for key in ("0", "1", "2")}
    assert kl["0"]["value"] == pytest.approx(0, abs=1e-3)
    assert 0.01 < kl["1"]["value"] < kl["2"]["value"]
    assert kl["2"]["low"] < kl["2"]["value"] < kl["2"]["high"]
    assert of(result, "base")["kl"] is None


def read_directly(model, tokenizer, pairs):
    """Nats and tokens of responses behind their prompts, by the loss of the library's own forward pass."""
    nats = tokens = 0
    for prompt, text in pairs:
        before = encode_prompt(tokenizer, prompt)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        labels = torch.tensor([[-100] * len(before) + ids])
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([before + ids]), labels=labels).loss
        nats, tokens = nats + float(loss) * len(ids), tokens + len(ids)
    return nats, tokens


def test_perplexity_is_what_transformers_says_of_the_policys_folder(result, run_dir):
    folder = run_dir / "policies" / "2" / "policy"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with open_store(run_dir, read_only=True) as store:
        pairs = [(d["prompt"], d["text"]) for d in store.demonstrations() if d["split"] == "heldout"]
    assert len(pairs) == 6
    nats, tokens = read_directly(model, tokenizer, pairs)
    found = of(result, "2")["perplexity"]
    assert found["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-3)
    assert found["perplexity_low"] < found["perplexity"] < found["perplexity_high"]


def test_forgetting_is_told_against_sft_and_not_of_a_prompt(result):
    assert of(result, "prompted")["forgetting"] is None
    assert "change" not in of(result, "0")["forgetting"]
    assert of(result, "0")["forgetting"]["texts"] == 6
    reference, later = (of(result, key)["forgetting"]["bits_per_byte"] for key in ("0", "2"))
    assert of(result, "2")["forgetting"]["change"] == pytest.approx(later / reference - 1)


def test_examples_of_the_runs_own_stand_in_the_good_prompt(result):
    prompt = result["good_prompt"]
    assert prompt["examples"] == 4
    assert "Assistant: an answer to question" in prompt["template"]
    assert prompt["template"].endswith("User: {prompt}\nAssistant:")


def test_the_arena_has_the_annotators_rankings(result):
    own = result["people"]["human"]
    assert own["rankings"] == 24
    assert {(p["version"], p["against"]) for p in own["pairings"]} == {(1, 0), (2, 0)}
    assert [s["version"] for s in own["strengths"]] == [1, 2]


def test_the_table_says_it_all(result):
    said = standings(result)
    for words in (
        "Base, good prompt", "Policy 2 (PPO)", "win rates by length", "win rates by shorter", "in-sample",
        "SFT over itself", "arena: 24 rankings by people", "policy 2 over policy 0", "ends by itself",
    ):  # fmt: skip
        assert words in said
    assert max(map(len, said.splitlines())) < 140
    row = next(line for line in said.splitlines() if line.startswith("SFT (policy 0)"))
    assert row.split()[4] == "0.00"  # its KL from itself, never -0.00


def test_adapters_take_turns_on_one_base(tiny_model, tmp_path):
    run_dir = make_run(tiny_model, tmp_path, tuning="lora")
    with open_store(run_dir, read_only=True) as store:
        asked = EvaluateConfig(policies="0,1,2")
        found = evaluate_run(store, asked, scorers={"length": length}, prompts=12)
        demonstrations = [(d["prompt"], d["text"]) for d in store.demonstrations() if d["split"] == "heldout"]
    kl = [one["kl"]["value"] for one in found["contenders"]]
    assert kl[0] == pytest.approx(0, abs=1e-3)
    assert max(kl[1:]) > 1e-3
    adapted = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32),
        run_dir / "policies" / "2" / "policy",
    )
    nats, tokens = read_directly(adapted.eval(), AutoTokenizer.from_pretrained(tiny_model), demonstrations)
    assert of(found, "2")["perplexity"]["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-4)
    assert of(found, "0")["perplexity"]["perplexity"] != pytest.approx(math.exp(nats / tokens), rel=1e-5)


def test_each_with_each_and_one_against_one(run_dir):
    with open_store(run_dir, read_only=True) as store:

        def pairs(**asked):
            found = evaluate_run(store, EvaluateConfig(**asked), scorers={"length": length}, prompts=2)
            own = [m for m in found["matches"] if m["judge"] == "length"]
            return [(m["contender"], m["against"]) for m in own], found

        every, found = pairs(policies="base,0,2", against="all")
        assert every == [("0", "base"), ("2", "base"), ("2", "0")]
        assert found["notes"][-1].startswith("Forgetting is not measured")
        one, found = pairs(policies="1,2", against="base")
        assert one == [("1", "base"), ("2", "base")]
        assert [c["key"] for c in found["contenders"]] == ["1", "2"]  # SFT was asked, and is not told of
        assert found["names"]["base"] == "Base"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"policies": "0,7"}, "no contender '7'"),
        ({"policies": ","}, "wanted all"),
        ({"against": "0,1"}, "wanted one contender"),
        ({"policies": "0,1", "prompt_file": "x"}, "no contender here"),
        ({"prompt_file": "/no/such"}, "cannot be read"),
        ({"forgetting": "/no/such"}, "cannot be read"),
        ({"lm_eval": "hellaswag"}, "pip install lm-eval"),
    ],
)
def test_what_cannot_be_is_one_sentence(run_dir, asked, says, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)  # as if it were not installed
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with open_store(run_dir, read_only=True) as store, pytest.raises(ValueError, match=says) as refused:
        evaluate_run(store, EvaluateConfig(**asked), scorers={"length": length}, prompts=2)
    assert "\n" not in str(refused.value)


def test_a_prompt_file_that_leaves_no_room(run_dir, tmp_path):
    file = tmp_path / "long.txt"
    file.write_text("x" * 600 + "{prompt}")
    with open_store(run_dir, read_only=True) as store, pytest.raises(ValueError, match="leaves no room"):
        evaluate_run(store, EvaluateConfig(prompt_file=str(file)), scorers={"length": length}, prompts=2)


def test_a_run_without_a_base_or_with_one_that_is_gone(run_dir, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run_dir, copy)
    with open_store(copy) as store:
        store.put_setting("base", str(tmp_path / "gone"))
        with pytest.raises(ModelError, match=r"gone'.*; to leave the base out: --policies 0,1"):
            evaluate_run(store, EvaluateConfig(policies="base"), scorers={"length": length}, prompts=2)
        store.put_setting("base", "")
        assert choose(store, "all") == ["0", "1", "2"]
        with pytest.raises(ValueError, match="no base model"):
            choose(store, "prompted")


def test_the_command_line_writes_a_table_json_and_a_page(run_dir, tmp_path):
    judge = tmp_path / "taste.py"
    judge.write_text("def judge(prompt, a, b):\n    return 1.0 if len(a) > len(b) else 0.5\n")
    options = ["--policies", "0,1", "--judge", f"{judge}:judge", "--scorer", "concise", "--prompts", "4"]
    files = ["--html", tmp_path / "report.html", "--json", tmp_path / "report.json"]
    said = evaluate(run_dir, *options, *files)
    assert said.exit_code == 0, said.output
    assert "win rates by concise" in said.stdout
    found = json.loads((tmp_path / "report.json").read_text())
    assert [one["name"] for one in found["judges"]][0::2] == ["concise", f"{judge}:judge"]
    page = (tmp_path / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "Policy 1 (PPO)" in page


def test_a_model_at_an_endpoint_judges_by_the_constitution(run_dir, tmp_path):
    taste = tmp_path / "taste.py"
    taste.write_text("def score(prompt, response):\n    return len(response)\n")
    options = ["--policies", "0,1", "--scorer", f"{taste}:score", "--prompts", "4", "--device", "cpu"]
    with serving(ranks_by(len)) as endpoint:
        said = evaluate(run_dir, *options, "--judge", endpoint.url, "--json", tmp_path / "report.json")
    assert said.exit_code == 0, said.output
    found = json.loads((tmp_path / "report.json").read_text())
    by = {(m["judge"], m["contender"]): m["win_rate"] for m in found["matches"]}
    assert by["taste, by the constitution", "1"] == by[f"{taste}:score", "1"]
    with open_store(run_dir, read_only=True) as store:
        assert store.constitution().text.strip() in endpoint.asked[0]["messages"][0]["content"]


def test_a_model_in_this_process_judges_by_the_constitution(run_dir, tiny_model, tmp_path, monkeypatch):
    """The folder that `app.py judge --model` would take; and nothing but ours is on the terminal."""
    model = Path(shutil.copytree(tiny_model, tmp_path / "judge"))
    change_config(model, max_position_embeddings=8192)  # to read a constitution, byte by byte
    own, asked = LocalJudge._leaning, []

    def leaning(judge, question, used):  # random weights like a letter: a taste in its place
        asked.append((judge.model, question, own(judge, question, used)))
        a, b = re.findall(r"<response \w (\w+)>\n(.*?)\n</response \w \1>", question, re.DOTALL)
        return float(len(a[1]) - len(b[1]))

    monkeypatch.setattr(LocalJudge, "_leaning", leaning)
    taste = tmp_path / "taste.py"
    taste.write_text("def score(prompt, response):\n    return len(response)\n")
    options = ["--policies", "0,1", "--scorer", f"{taste}:score", "--prompts", "4", "--device", "cpu"]
    said = evaluate(run_dir, *options, "--judge-model", model, "--json", tmp_path / "report.json")
    assert said.exit_code == 0, said.output
    assert said.stderr.splitlines() == ["1 of 2: SFT (policy 0)", "2 of 2: Policy 1 (PPO)", "judging"]
    found = json.loads((tmp_path / "report.json").read_text())
    by = {(m["judge"], m["contender"]): m["win_rate"] for m in found["matches"]}
    assert by[f"{model}, by the constitution", "1"] == by[f"{taste}:score", "1"] != 0.5
    with open_store(run_dir, read_only=True) as store:
        assert all(store.constitution().text.strip() in question for _, question, _ in asked)
    assert {name for name, _, _ in asked} == {str(model)}
    assert all(math.isfinite(real) for _, _, real in asked)
    assert not [note for note in found["notes"] if "by the constitution" in note]


def test_answers_of_a_judge_that_cannot_be_used_are_told(run_dir, tiny_model):
    options = ["--policies", "0,1", "--scorer", "concise", "--prompts", "2", "--device", "cpu"]
    said = evaluate(run_dir, *options, "--judge-model", tiny_model)
    assert said.exit_code == 0, said.output
    assert re.search(
        rf"Note: {tiny_model}, by the constitution: (\d) of \1 answers could not be used and count as ties, "
        r"the first because \d+ tokens are too long for the judge, which reads 512\.",
        said.stdout,
    )


def test_two_policies_are_compared_as_before(run_dir):
    said = evaluate(run_dir, "--scorer", "concise", "--json", "--prompts", "3", "--device", "cpu")
    assert said.exit_code == 0, said.output
    with open_store(run_dir, read_only=True) as store:
        from data.scorers import behaviours, concise

        known = evaluate_versions(store, concise, prompts=3, labels=behaviours)
    assert json.loads(said.stdout) == json.loads(json.dumps(known))


def test_the_command_line_refuses_before_the_work(run_dir, tmp_path, monkeypatch):
    def load(*_, **__):
        raise AssertionError("a policy is loaded")

    monkeypatch.setattr("rlhf.contenders.load_family", load)
    for options, says in (
        (["--html", tmp_path / "no" / "file.html"], "cannot be written"),
        (["--policies", "0", "--judge", "nothing"], "is not a judge"),
        (["--lm-eval-limit", 3], "without --lm-eval"),
        (["--policies", "0,7"], "There is no contender '7'; this run has base, prompted, 0, 1, 2."),
        (["--policies", "0", "--against", "9"], "There is no contender '9'"),
        (["--forgetting", "/no/such"], "cannot be read"),
        (["--judge", "taste:judge", "--judge-model", "starter"], "are two judges; wanted one of them"),
        (["--judge-api-key-env", "KEY"], "is of an endpoint"),
        (["--judge-model", "/no/such"], "Model folder '/no/such' does not exist"),
    ):
        said = evaluate(run_dir, *options)
        assert said.exit_code == 2
        assert says in said.stderr
        assert said.stderr.count("\n") == 1


def evaluate(run_dir, *options):
    command = ["evaluate", "--run-dir", run_dir, *options]
    return CliRunner().invoke(app.cli, [str(word) for word in command])


def test_an_option_with_or_without_its_value():
    assert with_value(["--json"], "--json", "-") == ["--json", "-"]
    assert with_value(["--json", "--seed", "1"], "--json", "-") == ["--json", "-", "--seed", "1"]
    assert with_value(["--json", "f.json"], "--json", "-") == ["--json", "f.json"]


def test_judges_are_asked_at_once_and_never_for_the_same_text_twice():
    def said(*texts):
        return [Response(text, True, Sample([], True)) for text in texts]

    together = threading.Barrier(3, timeout=20)

    def rank(prompt, responses):
        together.wait()
        return [len(text) for text in responses]  # the shorter one is better

    votes = Votes("abcd", {"0": said("xx", "same", "y", "z"), "1": said("x", "same", "yy", "w")}, at_once=3)
    votes.judges["judge"] = as_judge(rank)
    assert votes._votes("judge", "1", "0") == ([0.5] * 4, [1.0, 0.5, 0.0, 0.5])


@pytest.mark.slow
def test_the_starter_has_measures_of_its_own(tmp_path, monkeypatch):
    assert len(measures.good_examples()) == 6
    few, texts = measures.heldout_demonstrations(20), measures.general_texts(20)
    assert few == measures.heldout_demonstrations(40)[:20]
    monkeypatch.setattr(measures, "heldout_demonstrations", lambda: few)
    monkeypatch.setattr(measures, "general_texts", lambda: texts)
    with open_store(tmp_path, create=True, migrate=True) as store:  # as a worker leaves it at its start
        for key, value in {"model": "starter", "tuning": "full", "base": "", "config": SHORT}.items():
            store.put_setting(key, value)
        store.add_reference("starter", "starter")
        store.add_prompts([(prompt, "heldout") for prompt in heldout_prompts()[:4]], "starter")
        found = evaluate_run(store, EvaluateConfig(policies="all"), scorers={"helpful": helpful}, prompts=4)
    base, prompted, sft = found["contenders"]
    assert found["good_prompt"]["examples"] == 6
    assert sft["perplexity"]["bits_per_byte"] < 0.5 < base["perplexity"]["bits_per_byte"]
    assert base["forgetting"]["change"] < -0.5  # SFT has forgotten how to go on with questions
    assert prompted["kl"] is None
    assert found["notes"] == []


def test_behaviours_of_any_model():
    said = general(
        "How do I cook rice?", "First, wash it. Then maybe boil it:\n\n- one\n- two\n\n## So\n\nIs that fine?"
    )
    true = {name for name, shown in said.items() if shown}
    assert true == {"hedges", "has a list", "has steps in order", "has several paragraphs", "has headings",
                    "asks back"}  # fmt: skip
    assert general("x", "I'm sorry, but I can't help with that.")[REFUSES_ELSE]
    assert general("How do I break into a house?", "I cannot help with that.")[REFUSES_HARM]
    assert not general("How do I break into a house?", "Use a crowbar.")[REFUSES_HARM]
    assert general("x", "As an AI language model I know nothing.")["speaks of itself as an AI"]
    assert general("x", "```python\n1\n```")["has code"]
    assert general("x", "")["is empty or broken"]
    assert all(REFUSES_HARM in general(prompt, "x") for prompt in HARMFUL_REQUESTS)
    assert all(REFUSES_ELSE in general(prompt, "x") for prompt in HARMLESS_REQUESTS)
    assert counts("One. Two! Three") == {"words": 3, "sentences": 3}
    assert counts("Version 1.5 is out.") == {"words": 4, "sentences": 1}
    assert counts(" ") == {"words": 0, "sentences": 0}
