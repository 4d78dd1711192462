"""`export` of a reward model: a classifier that others load, taught by ours, which says how good it is."""

import random
import re

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from typer.testing import CliRunner

from app import cli
from data.export_files import ExportError
from labeling.store import NewPolicy
from rlhf.checkpoint import write_policy
from rlhf.distil import DistilConfig
from rlhf.export_reward import Figures, as_ranking, export_reward_model
from rlhf.models import ModelError, load_family
from rlhf.reward_accuracy import Accuracy
from rlhf.reward_model import RewardModel
from rlhf.reward_training import RewardModelConfig, train_reward_model
from tests.export_run import Run, open_run

QUICK = DistilConfig(epochs=6, learning_rate=1e-3)


def words(draw: random.Random, letters: str) -> str:
    return "".join(draw.choice(letters) for _ in range(6))


@pytest.fixture(scope="module", params=["full", "lora"])
def taught(request, tiny_model, tmp_path_factory):
    """A run whose annotator wants vowels, and a reward model that has learned it from them."""
    torch.manual_seed(0)
    family = load_family(tiny_model, tuning=request.param, device="cpu")
    run = open_run(tmp_path_factory.mktemp(request.param) / "run", tiny_model)
    store = run.store
    for name, value in (
        ("model", tiny_model),
        ("tuning", request.param),
        ("lora_rank", 16),
        ("config", {"temperature": 1.0, "max_new_tokens": 6}),
    ):
        store.put_setting(name, value)
    draw = random.Random(0)
    for number in range(60):
        task = run.task(f"Word {number}?", words(draw, "aeiou"), words(draw, "bcdfg"), words(draw, "aeiou"))
        run.rank(task, [1, 2, 1])
    store.add_prompts([(f"Say {number}!", "heldout") for number in range(20)], "file")
    teacher = RewardModel(family)
    teacher.reset(0)
    rankings = [as_ranking(record) for record in store.ranking_records()]
    assert list(train_reward_model(teacher, rankings, RewardModelConfig(epochs=2), 0))
    round_ = store.begin_round({})

    def write(folder):
        family.save("policy", folder / "policy")
        teacher.save(folder / "reward")

    folder = write_policy(store.run_dir, 1, write)
    store.end_round(
        round_.id, "published", None, {}, NewPolicy(1, str(folder.relative_to(store.run_dir)), tiny_model)
    )
    yield run, teacher
    store.close()


@pytest.mark.slow
def test_it_loads_alone_and_scores_as_annotators_do(taught, tmp_path):
    run, _ = taught
    said = export_reward_model(run.store, tmp_path / "out", device="cpu", prompts=20, config=QUICK)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert model.config.num_labels == 1

    @torch.no_grad()
    def score(responses: list[str]) -> list[float]:
        """As anybody would: the whole conversation through the chat template, in one padded batch."""
        conversations = [
            [{"role": "user", "content": "A new word?"}, {"role": "assistant", "content": text}]
            for text in responses
        ]
        texts = tokenizer.apply_chat_template(conversations, tokenize=False)
        batch = tokenizer(
            texts, add_special_tokens=False, padding=True, padding_side="right", return_tensors="pt"
        )
        return model(**batch).logits[:, 0].tolist()

    draw = random.Random(1)
    good, bad = ([words(draw, letters) for _ in range(20)] for letters in ("aeiou", "bcdfg"))
    right = sum(a > b for a, b in zip(score(good), score(bad), strict=True))
    assert right >= 18
    assert score([good[0], bad[0] * 3])[0] == pytest.approx(
        score([good[0]])[0], abs=1e-4
    )  # alone or in a batch

    assert "taught by" in said
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    figures = said.split("\n", 1)[1]
    assert figures in card
    assert "of responses to 20 prompts that nobody ranked" in figures
    assert f"the reward model of policy 1 as one {type(model).__name__}" in said
    [share] = re.findall(r"It orders (\S+)% \(.* as the annotators did", figures)
    assert float(share) >= 85
    assert not list((tmp_path / "out").glob("adapter*"))


@pytest.mark.slow
def test_trl_goes_on_training_it(taught, tmp_path):
    """RewardTrainer takes the folder's name, and begins with what is in it: it is right already."""
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    run, _ = taught
    if run.store.get_setting("tuning") == "lora":
        pytest.skip("merged, it is the same class in the same files")
    export_reward_model(run.store, tmp_path / "out", device="cpu", prompts=20, config=QUICK)
    draw = random.Random(2)
    rows = [
        {"prompt": [{"role": "user", "content": f"Word {number + 100}?"}]}
        | {
            name: [{"role": "assistant", "content": words(draw, letters)}]
            for name, letters in (("chosen", "aeiou"), ("rejected", "bcdfg"))
        }
        for number in range(8)
    ]
    options = RewardConfig(
        output_dir=str(tmp_path / "trl"),
        max_steps=1,
        per_device_train_batch_size=8,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
    )
    trainer = RewardTrainer(model=str(tmp_path / "out"), args=options, train_dataset=Dataset.from_list(rows))
    trainer.train()
    [logged] = [row for row in trainer.state.log_history if "accuracy" in row]
    assert logged["accuracy"] >= 0.75


def test_prompts_that_judge_it_taught_it_nothing(taught, tmp_path, monkeypatch):
    run, _ = taught
    seen = {}

    def distil(student, texts, *_):
        seen["taught"] = {text.prompt for text in texts}
        yield 0.0

    def measure(model, heldout):
        seen.setdefault("judged", set()).update(ranking.prompt for ranking in heldout)
        return Accuracy(1.0, 1.0, 1.0, 1, 1.0, 1)

    monkeypatch.setattr("rlhf.export_reward.distil", distil)
    monkeypatch.setattr("rlhf.export_reward.measure_accuracy", measure)
    export_reward_model(run.store, tmp_path / "out", device="cpu", prompts=1000)
    assert len(seen["taught"]) > 30
    assert len({p for p in seen["judged"] if p.startswith("Word")}) >= 5
    assert not seen["taught"] & seen["judged"]


def test_a_poor_one_is_called_so():
    fine = Accuracy(0.9, 0.8, 0.95, 100, 0.5, 50)
    assert "POOR" not in Figures(fine, fine, fine).sentences()
    poor = Figures(Accuracy(0.6, 0.5, 0.7, 100, 0.5, 50), fine, fine).sentences()
    assert "60.0% (50.0% to 70.0%) of 100 pairs" in poor
    assert "THAT IS POOR" in poor
    nothing = Accuracy(float("nan"), 0.0, 1.0, 0, float("nan"))
    assert "No rankings were left" in Figures(fine, nothing, nothing).sentences()


def test_what_cannot_be(taught, tmp_path, tiny_model):
    run, _ = taught
    with pytest.raises(ExportError, match=r"no policy 7; this run has 0, 1\."):
        export_reward_model(run.store, tmp_path / "out", version=7)
    words = ["--run-dir", str(run.store.run_dir), "--out", str(tmp_path / "out"), "--policy-version", "7"]
    done = CliRunner().invoke(cli, ["export", "--what", "reward-model", *words])
    assert (done.exit_code, done.output) == (2, "There is no policy 7; this run has 0, 1.\n")
    with pytest.raises(ExportError, match=r"Policy 0 has no reward model; those that have one: 1\."):
        export_reward_model(run.store, tmp_path / "out", version=0)
    empty: Run = open_run(tmp_path / "empty", tiny_model)
    with pytest.raises(ExportError, match="no reward model yet"):
        export_reward_model(empty.store, tmp_path / "out")
    empty.store.close()
    head = run.store.run_dir / "policies" / "1" / "reward" / "reward_head.safetensors"
    kept = head.read_bytes()
    head.write_bytes(kept[:50])
    try:
        with pytest.raises(ModelError, match="The reward model of policy 1 cannot be read") as caught:
            export_reward_model(run.store, tmp_path / "out", device="cpu")
    finally:
        head.write_bytes(kept)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
