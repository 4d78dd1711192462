"""A real run with two policies, a base model, rankings and demonstrations, for tests of the evaluation."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from labeling.store import open_store
from rlhf.config import WorkerConfig
from rlhf.round import Outcome
from rlhf.worker import Worker


def make_run(tiny_model: str, folder: Path, tuning: str = "full") -> Path:
    """A run directory as a worker leaves it: policies 1 and 2 are the reference, disturbed more and more."""
    base = folder / "base"
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    disturb(model.parameters(), 0.05)
    model.save_pretrained(base)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(base)
    prompts = folder / "prompts.txt"
    prompts.write_text("\n".join(f"question {i}" for i in range(120)))
    config = WorkerConfig(
        model=tiny_model, base_model=str(base), prompts=str(prompts), device="cpu", open_tasks=6,
        max_new_tokens=10, tuning=tuning,
    )  # fmt: skip
    with open_store(folder / "run", create=True, migrate=True) as store:
        worker = Worker(store, folder / "run", config)
        worker.load()
        store.put_setting("config", vars(config))
        person = store.add_person("token", "anna", "human").id
        for size in (0.02, 0.04):
            worker.models.family.copy("reference", "policy")
            disturb(worker.models.family.parameters("policy"), size)
            worker.rounds._publish(store.begin_round({}), Outcome(True, "better", {"score_after": 1.0}))
            for _ in range(12):
                while (task := store.claim_task(person)) is None:
                    worker.fill()
                longer = sorted(set(map(len, task.responses)), reverse=True)
                ranks = [1 + longer.index(len(text)) for text in task.responses]
                store.add_ranking(person, task.id, str(task.id), ranks)
        for prompt in store.prompts("heldout")[:6] + store.prompts("train")[:4]:
            store.insert(
                "demonstrations", source="import", prompt_id=prompt.id, text=f"an answer to {prompt.text}",
                created_at=0.0,
            )  # fmt: skip
    return folder / "run"


@torch.no_grad()
def disturb(parameters, size: float) -> None:
    for p in parameters:
        p.add_(torch.randn_like(p) * size)
