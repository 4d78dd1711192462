"""A run that people, programs, a judge and an import have filled, made through the store."""

import json
from dataclasses import dataclass
from pathlib import Path

from labeling.store import Better, Mark, NewResponse, Remarks, Store, open_store

HISTORY = json.dumps(
    [
        {"role": "user", "content": "Name a bird."},
        {"role": "assistant", "content": "The wren."},
        {"role": "user", "content": "And another?"},
    ]
)


@dataclass
class Run:
    """The open store, and who ranks."""

    store: Store
    anna: int
    program: int
    judge: int

    def task(self, prompt: str, *texts: str, version: int = 0, finished: bool = True) -> int:
        """A task whose responses are shown in this order."""
        store = self.store
        store.add_prompts([(prompt, "train")], "file")
        [prompt_id] = store.rows("select id from prompts where text = ?", [prompt])
        responses = [NewResponse(t, len(t), finished, {"temperature": 0.8}) for t in texts]
        task_id = store.add_task(prompt_id["id"], version, responses)
        with store.write() as db:  # unshuffled, so that a test can say which is which
            ids = [
                row["response_id"]
                for row in store.rows(
                    "select response_id from task_responses where task_id = ? order by response_id", [task_id]
                )
            ]
            db.execute("delete from task_responses where task_id = ?", [task_id])
            for position, response_id in enumerate(ids):
                store.insert("task_responses", task_id=task_id, position=position, response_id=response_id)
        return task_id

    def rank(self, task_id: int, ranks, person: int | None = None, **remarks) -> int:
        """Rank it, and return the ranking's id."""
        person = person or self.anna
        nonce = f"{task_id} {person} {ranks} {remarks}"
        said = Remarks(**remarks)
        return self.store.add_ranking(person, task_id, nonce, ranks, 7.5, said, guidelines=0).id


def open_run(run_dir: Path, model: str) -> Run:
    """An empty run of this model."""
    store = open_store(run_dir, create=True, migrate=True)
    store.add_reference(model, "some/model")
    store.put_setting("model", "some/model")
    anna = store.add_person("a", "anna", "human").id
    program = store.add_person("p", "counter", "program").id
    judge = store.add_person("j", "judge", "program").id
    with store.write():
        store.insert("judges", person_id=judge, model="some/judge", created_at=0.0)
    return Run(store, anna, program, judge)


def fill(run: Run) -> None:
    """Of everything that can be said at least one."""
    plain = run.task("Name a tree.", "An oak.", "A spoon.", "An elm.")
    run.rank(plain, [1, 2, 1])
    part = run.task("Count to three.", "One two three.", "One.", "Two.", "No.")
    run.rank(part, [1, None, None, None], run.program)
    two = run.task("Say hello.", "Hello!", "What?")
    marks = (
        Mark(reasons_for=("polite",), ratings={"tone": 5}),
        Mark(flags=("rude",), reasons_against=("unclear",), ratings={"tone": 1, "safety": 4}),
    )
    run.rank(two, [1, 2], strength=3, comment='The second, "oh",\nis rude.', marks=marks)
    worse = run.task("Boil an egg.", "In ice.", "In sand.")
    run.rank(worse, [1, 2], acceptable=False, better=Better("Ten minutes in boiling water.", 0))
    none = run.task("Spell cat.", "D o g", "C o w")
    run.rank(none, [None, None], acceptable=False)
    judged = run.task("Name a fish.", "A trout.", "A shoe.", finished=False)
    ranking = run.rank(judged, [1, 2], run.judge)
    with run.store.write():
        costs = {"calls": 2, "prompt_tokens": 10, "response_tokens": 4, "consistent": 1.0, "seconds": 0.5}
        run.store.insert("judgements", ranking_id=ranking, constitution=3, **costs)
    taken_back = run.task("Sing.", "La.", "Lo.")
    run.store.withdraw(run.anna, run.rank(taken_back, [1, 2]))
    skipped = run.task("Dance.", "Hop.", "Hip.")
    run.rank(skipped, None, skip_reason="cannot judge")
    for number in range(20):
        task = run.task(f"What is {number} and 1?", f"It is {number + 1}.", "I forgot.")
        run.rank(task, [1, 2], run.program)
    bring_in(run, "Name a planet.", ["Mars.", "The moon."], [1, 2], split="heldout")


def bring_in(run: Run, prompt: str, responses: list[str], ranks: list[int], split: str = "train") -> None:
    """A ranking that was made elsewhere."""
    store = run.store
    store.add_prompts([(prompt, split)], "import")
    with store.write():
        [row] = store.rows("select id from prompts where text = ?", [prompt])
        made = {"source": "file.jsonl", "format": "trl", "added": "{}", "refused": "{}", "created_at": 1.0}
        import_id = store.insert("imports", **made)
        store.insert(
            "imported_rankings",
            import_id=import_id,
            key=prompt,
            prompt_id=row["id"],
            responses=json.dumps(responses),
            ranks=json.dumps(ranks),
            annotator="worker 9",
        )
        store.insert(
            "demonstrations",
            source="import",
            import_id=import_id,
            prompt_id=row["id"],
            text="Saturn.",
            created_at=1.0,
        )
