"""lm-eval on contenders that are in memory, with a task of our own: a YAML file and its data, no network."""

import json

import pytest

from labeling.standings import task_rows
from labeling.store import open_store
from rlhf.evaluate_config import EvaluateConfig
from rlhf.models import load_family
from rlhf.standings import evaluate_run
from tests.evaluated import make_run

pytest.importorskip("lm_eval")

TASK = """
task: podium_own
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{right}}}}"
metric_list:
  - metric: acc
"""


@pytest.fixture
def task(tmp_path):
    rows = [{"question": f"question {i}", "choices": ["aa", "bb"], "right": i % 2} for i in range(10)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "own.yaml").write_text(TASK.format(data=tmp_path / "rows.jsonl"))
    return tmp_path / "own.yaml"


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_task_is_run_on_the_role_that_speaks(task, tiny_model, tuning):
    """The choice that the model finds likelier is the same for all, so half are right; whose choice it is
    depends on the role."""
    import torch

    from rlhf.lm_eval_tasks import Tasks

    tasks = Tasks(str(task))
    family = load_family(tiny_model, tuning=tuning, device="cpu")
    with family.use("reference") as model:
        found = tasks.run(model, family.tokenizer)
    assert found.keys() == {"podium_own"}
    assert found["podium_own"]["acc"]["value"] in (0.4, 0.5, 0.6)
    assert found["podium_own"]["acc"]["error"] > 0
    limited = Tasks(str(task), limit=2)
    with torch.no_grad(), family.use("reference") as model:
        assert limited.run(model, family.tokenizer)["podium_own"]["acc"]["value"] in (0.0, 0.5, 1.0)


def test_the_evaluation_tells_it(task, tiny_model, tmp_path):
    run_dir = make_run(tiny_model, tmp_path)
    with open_store(run_dir, read_only=True) as store:
        asked = EvaluateConfig(policies="base,prompted,0,2", lm_eval=str(task))
        found = evaluate_run(store, asked, scorers={"length": lambda p, r: float(len(r))}, prompts=2)
    ran = {one["key"]: one.get("lm_eval") for one in found["contenders"]}
    assert ran["prompted"] is None
    assert all(0 <= ran[key]["podium_own"]["acc"]["value"] <= 1 for key in ("base", "0", "2"))
    [[name, *cells]] = task_rows(found)
    assert name == "podium_own: acc"
    assert len(cells) == 3


def test_what_cannot_be_is_one_sentence(task, tmp_path):
    from rlhf.lm_eval_tasks import Tasks

    (tmp_path / "empty.yaml").write_text("dataset_path: json\n")
    for names, says in (
        ("no_such_task_at_all", "has no task 'no_such_task_at_all'"),
        (",", "wanted names of tasks"),
        (str(tmp_path / "none.yaml"), "cannot be read"),
        (str(tmp_path / "empty.yaml"), "no line 'task: NAME'"),
    ):
        with pytest.raises(ValueError, match=says):
            Tasks(names)


def test_data_that_is_gone_is_one_sentence(task, tiny_model, tmp_path):
    from rlhf.lm_eval_tasks import Tasks

    (tmp_path / "rows.jsonl").unlink()
    family = load_family(tiny_model, tuning="full", device="cpu")
    with (
        pytest.raises(ValueError, match="lm-eval could not run podium_own") as refused,
        family.use("reference") as m,
    ):
        Tasks(str(task)).run(m, family.tokenizer)
    assert "\n" not in str(refused.value)
