"""`export` of rows: a really ranked run to files and folders that the real libraries read."""

import csv
import gzip
import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from data.export_files import ExportError, put_in_place
from labeling.export import ExportConfig, check_out, export_rows
from labeling.importing import ImportConfig, import_into
from labeling.store import open_store
from tests.export_run import HISTORY, fill, open_run

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, tiny_model):
    """A run with a bit of everything. The model has a chat template."""
    folder = tmp_path_factory.mktemp("export") / "run"
    run = open_run(folder, tiny_model)
    fill(run)
    run.store.close()
    return folder


@pytest.fixture
def export(run_dir, tmp_path):
    """Export to `tmp_path/out<ending>`; returns the path and what was said."""

    def export(what, ending="", run_dir=run_dir, **options):
        config = ExportConfig(what=what, out=tmp_path / f"out{ending}", run_dir=run_dir, **options)
        check_out(config)
        with open_store(run_dir, read_only=True) as store:
            return config.out, export_rows(store, config)

    return export


def lines(path) -> list[dict]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    return [json.loads(line) for line in text.split("\n") if line]


def said_of(rows, prompt):
    return [row for row in rows if prompt in json.dumps(row["prompt"])]


def test_preferences_with_all_that_is_known_of_them(export):
    path, said = export("preferences", ".jsonl", form="text")
    rows = lines(path)
    tree = said_of(rows, "tree")
    assert [(r["chosen"], r["rejected"]) for r in tree] == [("An oak.", "A spoon."), ("An elm.", "A spoon.")]
    assert {(r["annotator"], r["annotator_kind"], r["policy_version"]) for r in tree} == {
        ("anna", "human", 0)
    }
    [hello] = said_of(rows, "hello")
    assert (hello["strength"], hello["rank_gap"], hello["tie"]) == (3, 1, False)
    assert len(said_of(rows, "Count to three")) == 3  # the best above the rest, which were not compared
    egg = said_of(rows, "egg")
    assert [(r["chosen"], r["chosen_by"]) for r in egg] == [
        ("Ten minutes in boiling water.", "annotator"),
        ("Ten minutes in boiling water.", "annotator"),
        ("In ice.", "policy"),
    ]
    assert all(r["none_acceptable"] for r in egg)
    assert said_of(rows, "cat") == said_of(rows, "Sing") == said_of(rows, "Dance") == []
    [fish] = said_of(rows, "fish")
    assert (fish["annotator_kind"], fish["chosen_finished"]) == ("judge", False)
    [planet] = said_of(rows, "planet")
    assert (planet["annotator_kind"], planet["chosen_by"], planet["split"]) == ("import", "import", "test")
    assert "4 human, 21 program, 1 judge, 1 import" in said


def test_no_prompt_is_in_both_splits_of_any_set(export):
    sides: dict[str, set[str]] = {}
    for what, ending in (("preferences", ".jsonl"), ("rankings", ".csv"), ("demonstrations", ".jsonl.gz")):
        path, _ = export(what, ending, form="text", overwrite=True)
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file)) if ending == ".csv" else lines(path)
        for row in rows:
            sides.setdefault(row["prompt"].strip(), set()).add(row["split"])
    assert {"train", "test"} == set.union(*sides.values())
    assert all(len(found) == 1 for found in sides.values())


def test_ties_withdrawn_ones_and_skips_when_asked_for(export):
    path, _ = export("preferences", ".jsonl", ties=True)
    ties = [row for row in lines(path) if row["tie"]]
    assert [(r["chosen"][0]["content"], r["rejected"][0]["content"]) for r in ties] == [
        ("An oak.", "An elm.")
    ]
    path, _ = export("rankings", ".jsonl", overwrite=True)
    assert {row["withdrawn_for"] for row in lines(path)} == {None}
    path, _ = export("rankings", ".jsonl", withdrawn=True, skips=True, overwrite=True)
    [sing], [dance] = (said_of(lines(path), name) for name in ("Sing", "Dance"))
    assert (sing["withdrawn_for"], sing["ranks"]) == ("good", [1, 2])
    assert (dance["ranks"], dance["skip_reason"]) == (None, "cannot judge")


def test_whose_rankings(export):
    path, _ = export("rankings", ".jsonl", annotators="human,judge")
    assert {row["annotator"] for row in lines(path)} == {"anna", "judge"}
    path, _ = export("rankings", ".jsonl", anonymous=True, overwrite=True)
    assert {row["annotator"] for row in lines(path)} == {f"annotator {n}" for n in (1, 2, 3, 4)}
    assert {row["comment"] for row in lines(path)} == {""}


def test_rankings_say_everything(export):
    path, _ = export("rankings", ".jsonl")
    rows = lines(path)
    [hello] = said_of(rows, "hello")
    assert hello["prompt"] == "Say hello."  # a text: who reads {"prompt", "responses", "ranks"} reads this
    assert (hello["responses"], hello["ranks"]) == (["Hello!", "What?"], [1, 2])
    assert hello["comment"] == 'The second, "oh",\nis rude.'
    assert (hello["flags"], hello["reasons_for"]) == ([[], ["rude"]], [["polite"], []])
    assert hello["ratings"][1] == [{"scale": "tone", "rating": 1}, {"scale": "safety", "rating": 4}]
    assert (hello["seconds"], hello["guidelines"], hello["response_policies"]) == (7.5, 0, [0, 0])
    [egg] = said_of(rows, "egg")
    assert (egg["better"], egg["better_started_from"], egg["acceptable"]) == (
        "Ten minutes in boiling water.",
        0,
        False,
    )
    [fish] = said_of(rows, "fish")
    assert (fish["constitution"], fish["finished"]) == (3, [False, False])


@pytest.mark.parametrize("what", ["preferences", "rankings", "demonstrations"])
def test_every_format_says_the_same(export, what):
    import datasets

    wanted = lines(export(what, ".jsonl")[0])
    assert lines(export(what, ".jsonl.gz")[0]) == wanted
    columns = list(wanted[0])
    parquet = datasets.Dataset.from_parquet(str(export(what, ".parquet")[0]), keep_in_memory=True)
    assert parquet.column_names == columns
    assert parquet.to_list() == wanted
    folder = datasets.load_from_disk(str(export(what)[0]))
    by_split = {name: [r for r in wanted if r["split"] == name] for name in ("train", "test")}
    assert {name: split.to_list() for name, split in folder.items()} == {
        name: rows
        for name, rows in by_split.items()
        if rows  # `datasets` cannot read an empty one
    }
    with export(what, ".csv")[0].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == columns
    assert [row["split"] for row in rows] == [row["split"] for row in wanted]
    if what != "rankings":
        assert [json.loads(row["prompt"]) for row in rows] == [row["prompt"] for row in wanted]


def test_load_dataset_reads_a_folder_with_its_splits(export, tmp_path):
    import datasets

    path, _ = export("preferences")
    found = datasets.load_dataset(str(path), cache_dir=str(tmp_path / "cache"))
    assert set(found) == {"train", "test"}
    assert not set(map(str, found["train"]["prompt"])) & set(map(str, found["test"]["prompt"]))


def test_demonstrations_of_people_and_imports(export):
    path, said = export("demonstrations", ".jsonl", form="messages")
    assert "all are in the test split; with --test-share 0" in said
    found = [(row["source"], row["annotator"], row["messages"]) for row in lines(path)]
    assert [(source, name) for source, name, _ in found] == [("annotator", "anna"), ("import", "")]
    assert found[0][2] == [
        {"role": "user", "content": "Boil an egg."},
        {"role": "assistant", "content": "Ten minutes in boiling water."},
    ]


def test_auto_is_chat_where_the_model_or_a_prompt_is(tmp_path):
    model = tmp_path / "model"  # without a template
    model.mkdir()
    (model / "tokenizer_config.json").write_text("{}")
    run = open_run(tmp_path / "run", str(model))
    run.rank(run.task("Name a tree.", "An oak.", "A spoon."), [1, 2])

    def prompt(what="preferences"):
        config = ExportConfig(what=what, out=tmp_path / "out.jsonl", overwrite=True)
        export_rows(run.store, config)
        return lines(config.out)[-1]["prompt"]

    assert prompt() == "Name a tree.\n"
    (model / "chat_template.jinja").write_text("{{ messages }}")
    assert prompt() == [{"role": "user", "content": "Name a tree."}]
    assert prompt("rankings") == "Name a tree."
    (model / "chat_template.jinja").unlink()
    run.rank(run.task(HISTORY, "The owl.", "No."), [1, 2])
    assert prompt() == prompt("rankings") == json.loads(HISTORY)
    run.store.close()


def test_many_rankings_go_through_in_pieces(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setattr("labeling.store.exports.PIECE", 3)  # so that the pieces are many
    monkeypatch.setattr("data.export_files.CHUNK", 4)
    run = open_run(tmp_path / "run", tiny_model)
    for number in range(11):
        run.rank(run.task(f"Question {number}?", "Yes.", "No."), [1, 2])
    config = ExportConfig(what="preferences", out=tmp_path / "out.parquet")
    export_rows(run.store, config)
    import datasets

    found = datasets.Dataset.from_parquet(str(config.out), keep_in_memory=True)
    assert sorted(found["ranking_id"]) == list(range(1, 12))
    run.store.close()


# what is refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"what": ""}, "--what is missing"),
        ({"what": "models"}, "--what is models"),
        ({"what": "policy", "out": Path()}, "--out is missing"),
        ({"what": "policy", "ties": True}, "--ties says nothing about --what policy"),
        ({"what": "rankings", "merged": False}, "--merged/--adapter says nothing about --what rankings"),
        ({"what": "rankings", "policy_version": 0}, "--policy-version says nothing"),
        ({"what": "preferences", "form": "messages"}, "--form is messages"),
        ({"what": "preferences", "annotators": "humans"}, "--annotators is humans"),
        ({"what": "preferences", "test_share": 1.0}, "--test-share is 1.0"),
        ({"what": "policy", "dtype": "int4"}, "--dtype is int4"),
        ({"what": "policy", "public": True}, "--public says nothing"),
        ({"what": "rankings", "out": Path("a.csv"), "push_to_hub": "a/b"}, "pushes a folder"),
        ({"what": "policy", "out": Path("a.csv")}, "a model is a folder"),
    ],
)
def test_options_that_make_no_sense(options, words):
    with pytest.raises(ValueError, match=words) as caught:
        ExportConfig(**{"out": Path("x"), **options})
    assert str(caught.value).endswith(".")


def test_what_is_there_stays_unless_it_is_to_be_replaced(export, tmp_path):
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(ExportError, match="--overwrite"):
        export("rankings", ".csv")
    assert (tmp_path / "out.csv").read_text() == "mine"
    export("rankings", ".csv", overwrite=True)
    assert (tmp_path / "out.csv").read_text().startswith("prompt,")
    export("rankings")
    (tmp_path / "out" / "old").touch()
    export("rankings", overwrite=True)
    assert not (tmp_path / "out" / "old").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "out.csv"]


def test_an_unknown_ending_and_the_run_itself(export, run_dir, tmp_path):
    with pytest.raises(ExportError, match=r"ends in \.xlsx; wanted: \.jsonl"):
        export("rankings", ".xlsx")
    config = ExportConfig(what="rankings", out=run_dir, run_dir=run_dir, overwrite=True)
    with pytest.raises(ExportError, match="the run directory"):
        check_out(config)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_rankings(export, tmp_path, tiny_model):
    open_run(tmp_path / "empty", tiny_model).store.close()
    for what, words in (
        ("preferences", "no ranking"),
        ("rankings", "no rankings"),
        ("demonstrations", "nobody"),
    ):
        with pytest.raises(ExportError, match=words) as caught:
            export(what, ".jsonl", run_dir=tmp_path / "empty")
        assert str(caught.value).startswith("There is nothing to export yet")
    assert not (tmp_path / "out.jsonl").exists()


def test_a_full_disk_leaves_what_was_there(export, tmp_path, monkeypatch):
    path, _ = export("rankings", ".jsonl")
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError, match="No space left on device"):
        export("rankings", ".jsonl", overwrite=True)
    with pytest.raises(ExportError, match="No space left on device"):
        export("preferences")
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.jsonl"]


def test_what_fails_half_way_leaves_nothing(tmp_path):
    def half_way():
        with put_in_place(tmp_path / "out") as aside:
            aside.mkdir()
            (aside / "half").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_way()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_no_folder(export, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="could not be written"):
        export("rankings", "/../file/out.jsonl")


# as people call it


@pytest.mark.slow
def test_the_command_line(run_dir, tmp_path):
    def call(*words):
        command = [
            sys.executable,
            str(ROOT / "app.py"),
            "export",
            "--run-dir",
            str(run_dir),
            *map(str, words),
        ]
        return subprocess.run(command, capture_output=True, text=True)

    with open_store(run_dir) as store, store.write():  # beside a server that is writing
        done = call("--what", "preferences", "--out", tmp_path / "out.jsonl")
    assert done.returncode == 0, done.stderr
    assert f"in {tmp_path / 'out.jsonl'}" in done.stdout
    assert len(lines(tmp_path / "out.jsonl")) == 31
    again = call("--what", "preferences", "--out", tmp_path / "out.jsonl")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "--overwrite" in again.stderr


def options_table() -> str:
    """README's table, made from the dataclass the command line is made from."""
    rows = ["| option | of | default | |", "|---|---|---|---|"]
    everything = len(fields(ExportConfig)[0].metadata["of"])
    for f in fields(ExportConfig):
        flags = f.metadata["flags"] or (f"--{f.name.replace('_', '-')}",)
        of = "" if len(f.metadata["of"]) == everything else ", ".join(f.metadata["of"])
        none = f.default in ("", None, Path(), False) or f.metadata["flags"]
        shown = "" if none else f"`{f.default}`"
        rows.append(f"| `{flags[0]}` | {of} | {shown} | {f.metadata['help']} |")
    return "\n".join(rows)


def test_readme_has_the_options():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert options_table() in readme, f"README.md wants this table:\n\n{options_table()}\n"


# and back


@pytest.mark.parametrize("ending", [".jsonl.gz", ".csv", ".parquet"])
@pytest.mark.parametrize("form", ["text", "chat"])
def test_another_run_imports_what_was_exported(export, tmp_path, ending, form):
    """Orders, better responses and what was not compared arrive as they were said."""
    path, _ = export("rankings", ending, form=form, annotators="human,program")
    assert import_into(str(path), ImportConfig(run_dir=tmp_path / "other")) == 0
    with open_store(tmp_path / "other") as store:
        found = {(r.prompt, r.responses): r for r in store.imported_rankings()}
    tree = found["Name a tree.", ("An oak.", "A spoon.", "An elm.")]
    assert (tree.ranks, tree.annotator) == ((1, 2, 1), "anna")
    egg = found["Boil an egg.", ("Ten minutes in boiling water.", "In ice.", "In sand.")]
    assert egg.ranks == (1, 2, 3)
    assert found["Say hello.", ("Hello!", "What?")].strength == 3
    counted = [responses for prompt, responses in found if prompt == "Count to three."]
    assert {responses[0] for responses in counted} == {"One two three."}
    assert {len(responses) for responses in counted} == {2}  # the others were not compared with each other


def test_preferences_and_demonstrations_come_back_too(export, tmp_path):
    for what, form in (("preferences", "text"), ("preferences", "chat"), ("demonstrations", "messages")):
        path, _ = export(what, ".jsonl", form=form, overwrite=True)
        assert import_into(str(path), ImportConfig(run_dir=tmp_path / "other")) == 0
    with open_store(tmp_path / "other") as store:
        pairs = [(r.prompt, r.responses) for r in store.imported_rankings()]
        assert len(pairs) == len(set(pairs)) == 31  # both forms say the same, so nothing came twice
        assert ("Say hello.", ("Hello!", "What?")) in pairs
        assert {row["text"] for row in store.demonstrations()} == {"Ten minutes in boiling water.", "Saturn."}
