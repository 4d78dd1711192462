"""TRL's own command line and scripts train on what is exported."""

import os
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from labeling.export import ExportConfig, export_rows
from tests.export_run import bring_in, fill, open_run


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny_model):
    """Exported preferences and demonstrations, as folders."""
    place = tmp_path_factory.mktemp("trl")
    run = open_run(place / "run", tiny_model)
    fill(run)
    for number in range(10):  # so that there are demonstrations on both sides
        bring_in(run, f"Name planet {number}.", ["Mars.", "The moon."], [1, 2])
    for what in ("preferences", "demonstrations"):
        export_rows(run.store, ExportConfig(what=what, out=place / what, test_share=0.3))
    run.store.close()
    return place


def options(data, model, out) -> list[str]:
    said = {
        "dataset_name": data,
        "model_name_or_path": model,
        "output_dir": out,
        "dtype": "float32",
        "max_steps": 1,
        "learning_rate": 1e-2,
        "per_device_train_batch_size": 2,
        "per_device_eval_batch_size": 2,
        "eval_strategy": "steps",
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
    }
    return [word for name, value in said.items() for word in (f"--{name}", str(value))]


def moved(out, model) -> bool:
    name = "model.safetensors"
    after, before = load_file(out / name), load_file(f"{model}/{name}")
    return any(not after[key].equal(before[key]) for key in before if key in after)


@pytest.mark.slow
def test_trl_dpo_trains_on_exported_preferences(folders, tiny_model, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "trl.cli.main",
            "dpo",
            *options(folders / "preferences", tiny_model, tmp_path),
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_DATASETS_CACHE": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "'eval_loss'" in done.stdout  # on the test split
    assert moved(tmp_path, tiny_model)


@pytest.mark.parametrize(("script", "data"), [("reward", "preferences"), ("sft", "demonstrations")])
def test_trls_scripts_train_on_it(script, data, folders, tiny_model, tmp_path, monkeypatch):
    """What `trl reward` and `trl sft` launch, without a process of their own."""
    import importlib

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    module = importlib.import_module(f"trl.scripts.{script}")
    words = options(folders / data, tiny_model, tmp_path)
    module.main(*module.make_parser().parse_args_and_config(words))
    assert moved(tmp_path, tiny_model)
