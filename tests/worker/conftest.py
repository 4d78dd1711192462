"""A worker in this process, on a tiny model: what a real run shows too seldom."""

from dataclasses import replace

import pytest

from labeling.store import open_store
from rlhf.config import WorkerConfig
from rlhf.worker import Worker


@pytest.fixture
def config(tiny_model, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(f"question {i}" for i in range(24)))
    return WorkerConfig(
        model=tiny_model,
        prompts=str(prompts),
        device="cpu",
        open_tasks=4,
        max_new_tokens=6,
        rankings_per_round=4,
    )


@pytest.fixture
def start(config, tmp_path):
    """A worker on the run directory, as after a restart."""
    stores = []

    def start(run_dir=tmp_path / "run", **changes):
        store = open_store(run_dir, create=True, migrate=True)
        stores.append(store)
        worker = Worker(store, run_dir, replace(config, **changes))
        worker.load()
        return worker

    yield start
    for store in stores:
        store.close()
