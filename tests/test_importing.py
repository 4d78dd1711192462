"""`python app.py import` as people use it: what it says, what it stores, and beside whom it works."""

import gzip
import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pytest
from typer.testing import CliRunner

from app import cli
from labeling.importing import ImportConfig, import_into
from labeling.report import report
from labeling.store import open_store

ROOT = Path(__file__).resolve().parent.parent
HH = Path(os.environ.get("PODIUM_HH", ROOT.parent / "shared" / "real" / "hh_harmless_1000.jsonl.gz"))
PAIRS = [{"prompt": f"Question {i}?", "chosen": "Yes.", "rejected": f"No, {i}."} for i in range(25)]


def command(*words):
    return subprocess.run(
        [sys.executable, str(ROOT / "app.py"), "import", *map(str, words)],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(source, tmp_path, **options):
    return import_into(str(source), ImportConfig(run_dir=tmp_path / "run", **options))


def test_a_file_from_the_command_line_twice(tmp_path, capsys):
    file = write(
        tmp_path / "pairs.jsonl", [*PAIRS, {"prompt": "a", "chosen": "b"}, {"prompt": "x" * 1_000_000}]
    )
    with file.open("a") as out:
        out.write("{broken\n")
    done = command(file, "--run-dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert f"added to {tmp_path / 'run'}: 25 preferences" in done.stdout
    assert "refused: 3 rows" in done.stdout
    assert "1 x it is not JSON (line 28)" in done.stdout
    assert "1 x a prompt is longer than 100,000 characters (line 27)" in done.stdout
    assert "1 x its columns are prompt, chosen; wanted: " in done.stdout
    run(file, tmp_path)
    assert "nothing; 25 there already" in capsys.readouterr().out
    with open_store(tmp_path / "run", read_only=True) as store:
        assert len(store.imported_rankings()) == 25
        assert [i.source for i in store.imports()] == [str(file)] * 2
    assert "imported    25 preferences" in report(tmp_path / "run", as_json=False)


def test_a_dry_run_shows_what_would_be_and_stores_nothing(tmp_path, capsys):
    file = write(tmp_path / "pairs.jsonl", PAIRS)
    assert run(file, tmp_path, dry_run=True) == 0
    said = capsys.readouterr().out
    assert "preference: Question 0?\n  rank 1: Yes.\n  rank 2: No, 0." in said
    assert "would be added to" in said
    assert "25 preferences" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["gone.jsonl"], "There is no file or folder 'gone.jsonl'."),
        (["nobody/nothing"], "'nobody/nothing' is no file here, and the hub may not be asked"),
        (["x", "--format", "xml"], "--format is xml; wanted: auto, argilla,"),
        (["x", "--as", "poems"], "--as is poems; wanted: prompts, demonstrations, preferences."),
    ],
)
def test_what_cannot_be_is_one_sentence_and_makes_no_run(tmp_path, words, says):
    done = CliRunner().invoke(cli, ["import", *words, "--run-dir", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert done.stderr.startswith(says)
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_as_prompts_they_are_asked(tmp_path, capsys):
    assert run(write(tmp_path / "pairs.jsonl", PAIRS), tmp_path, as_="prompts") == 0
    assert "25 prompts" in capsys.readouterr().out
    with open_store(tmp_path / "run", read_only=True) as store:
        assert len(store.prompts()) == 25
        assert store.imported_rankings() == []


def test_preferences_whose_prompts_are_asked_here(tmp_path, capsys):
    assert run(write(tmp_path / "pairs.jsonl", PAIRS), tmp_path, ask_prompts=True) == 0
    with open_store(tmp_path / "run", read_only=True) as store:
        heldout = {p.text for p in store.prompts("heldout")}
        assert len(store.prompts()) == 25
        assert {r.prompt for r in store.imported_rankings()} == {p["prompt"] for p in PAIRS} - heldout
    assert "25 prompts, 25 preferences" in capsys.readouterr().out


def test_only_the_first_rows(tmp_path, capsys):
    run(write(tmp_path / "pairs.jsonl", PAIRS), tmp_path, limit=4)
    assert "4 rows read as trl" in capsys.readouterr().out


def test_a_data_sets_folder(tmp_path, capsys):
    datasets.Dataset.from_list([{"instruction": "Add.", "input": "1, 2", "output": "3"}]).save_to_disk(
        tmp_path / "saved"
    )
    assert run(tmp_path / "saved", tmp_path) == 0
    assert "1 demonstration" in capsys.readouterr().out


def test_a_file_that_breaks_off_is_there_as_far_as_it_goes(tmp_path, capsys):
    whole = gzip.compress(
        "".join(json.dumps(p | {"n": i}) + "\n" for i, p in enumerate(PAIRS * 999)).encode()
    )
    file = tmp_path / "pairs.jsonl.gz"
    file.write_bytes(whole[: len(whole) // 2])
    assert run(file, tmp_path) == 2
    said = capsys.readouterr()
    assert "25 preferences" in said.out
    assert "cannot be read behind line" in said.err
    with open_store(tmp_path / "run", read_only=True) as store:
        assert store.imported_ranking_count() == 25


def test_nothing_usable_is_an_error_that_says_why(tmp_path, capsys):
    file = write(tmp_path / "odd.jsonl", [{f"column {i}": i} for i in range(100)])
    assert run(file, tmp_path) == 1
    said = capsys.readouterr().out
    assert "refused: 100 rows" in said
    assert "x other reasons (line 41, 42, 43, 44, 45 ...)" in said


def test_others_write_between_two_batches(tmp_path):
    """Annotators of a running server, while a file is imported by a process of its own."""
    with open_store(tmp_path / "run", create=True, migrate=True) as store:
        file = write(tmp_path / "many.jsonl", [{"prompt": f"p {i}", "response": "r"} for i in range(2000)])
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "app.py"), "import", str(file), "--run-dir", str(tmp_path / "run")],
            stdout=subprocess.PIPE,
            text=True,
        )
        written = 0
        while process.poll() is None:
            store.put_setting("written", written)
            written += bool(store.imports())
            time.sleep(0.005)  # as many annotators would, and not to keep it from its turn
        assert process.returncode == 0
        assert written > 5
        assert store.value("select count(*) from demonstrations") == 2000
        assert store.prompts() == []


def test_a_killed_import_has_whole_batches_and_is_completed_by_the_next(tmp_path, capsys):
    with open_store(tmp_path / "run", create=True, migrate=True) as store:
        file = write(tmp_path / "many.jsonl", [{"prompt": f"p {i}", "response": "r"} for i in range(20_000)])
        words = [
            sys.executable,
            str(ROOT / "app.py"),
            "import",
            str(file),
            "--run-dir",
            str(tmp_path / "run"),
        ]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and store.value("select count(*) from demonstrations") < 500:
            pass
        process.kill()
        process.wait()
        count = store.value("select count(*) from demonstrations")
        assert 500 <= count < 20_000
        assert count % 250 == 0
        assert store.imports()[0].added["demonstrations"] == count
    run(file, tmp_path, limit=count + 250)
    assert f"250 demonstrations; {count:,} there already" in capsys.readouterr().out
    assert sqlite3.connect(tmp_path / "run" / "labels.db").execute("pragma integrity_check").fetchone() == (
        "ok",
    )


@pytest.mark.skipif(not HH.is_file(), reason=f"there is no {HH}; PODIUM_HH may say where it is")
def test_no_line_of_real_preferences_is_lost(tmp_path, capsys):
    assert run(HH, tmp_path) == 0
    said = capsys.readouterr().out
    assert "1,000 rows read as hh" in said
    assert "1,000 preferences" in said
    assert "refused" not in said
    with open_store(tmp_path / "run", read_only=True) as store:
        stored = store.imported_rankings()
    with gzip.open(HH, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    ends = {(r.responses[0], r.responses[1]) for r in stored}
    assert len(stored) == len(rows) == 1000
    assert ends == {
        tuple(row[n].split("\n\nAssistant:")[-1].strip() for n in ("chosen", "rejected")) for row in rows
    }


def test_readme_names_every_option():
    from dataclasses import fields

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for f in fields(ImportConfig):
        name = (f.metadata.get("flags") or (f"--{f.name.replace('_', '-')}",))[0]
        assert f"| `{name}` |" in readme, name
        assert f.metadata["help"] in readme, name
