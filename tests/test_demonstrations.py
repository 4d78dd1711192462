"""`python app.py sft --data SOURCE`: whatever `import` reads, as demonstrations."""

import gzip
import json

import datasets
import pytest

from data.conversation import as_prompt
from data.demonstrations import Demonstration
from data.formats import read_items
from data.prompts import split_prompts
from data.reading import SourceError
from labeling.demonstrations import import_demonstrations, read_demonstrations
from labeling.importing import SourceConfig
from labeling.store import open_store

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
MORE = [*TURNS, {"role": "user", "content": "Who?"}]
PAIR = {"prompt": "Which?", "chosen": "This.", "rejected": "That."}


def write(path, *rows):
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows), encoding="utf-8")
    return path


def read(source, **config):
    """The demonstrations and what was said."""
    said = []
    return read_demonstrations(str(source), SourceConfig(**config), said.append), said


def test_rows_of_every_form_in_one_file(tmp_path):
    rows = [
        {"prompt": "a", "response": "b"},
        {"prompt": " c ", "completion": "d\n"},
        {"instruction": "Add", "input": "1 and 2", "output": "3"},
        {"instruction": "Say", "input": "", "output": "so"},
        {"messages": TURNS},
        "",
        {"messages": [*MORE, {"role": "assistant", "content": "Me."}]},
        {"conversations": [{"from": "human", "value": "Hey"}, {"from": "gpt", "value": "Ho."}]},
    ]
    found, said = read(write(tmp_path / "all.jsonl", *rows))
    assert found == [
        Demonstration("a", "b"),
        Demonstration("c", "d"),
        Demonstration("Add\n\n1 and 2", "3"),
        Demonstration("Say", "so"),
        Demonstration("Hi", "Hello."),
        Demonstration(as_prompt(MORE), "Me."),
        Demonstration("Hey", "Ho."),
    ]
    assert said == [
        f"{tmp_path / 'all.jsonl'}: 7 rows read as demonstrations, alpaca, chat, sharegpt, "
        "with 7 demonstrations"
    ]


@pytest.mark.parametrize("kind", ["csv", "json", "parquet", "jsonl.gz", "folder", "saved"])
def test_sources_of_every_kind(tmp_path, kind):
    data = datasets.Dataset.from_list([{"instruction": f"Do {i}", "output": f"Done {i}."} for i in range(3)])
    file = tmp_path / f"data.{kind}"
    match kind:
        case "csv":
            data.to_csv(file)
        case "json":
            data.to_json(file, lines=False)
        case "parquet":
            data.to_parquet(file)
        case "jsonl.gz":
            file.write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in data)))
        case "folder":
            file.mkdir()
            data.to_json(file / "train.jsonl")
            (file / "test.jsonl").write_text('{"instruction": "of another split", "output": "no"}')
        case "saved":
            data.save_to_disk(file)
    found, said = read(file)
    assert found == [Demonstration(f"Do {i}", f"Done {i}.") for i in range(3)]
    assert "read as alpaca, with 3 demonstrations" in said[0]


def test_rows_that_are_none_are_counted_and_the_others_used(tmp_path):
    rows = [{"prompt": "a", "response": "b"}, "{", "{", {"prompt": "a", "response": " "}, {"text": "a"}, PAIR]
    found, said = read(write(tmp_path / "some.jsonl", *rows, {"prompt": "alone"}))
    assert found == [Demonstration("a", "b")]
    assert said[1:] == [
        "refused: 4 rows",
        "  2 x it is not JSON (line 2, 3)",
        "  1 x a response is empty (line 4)",
        "  1 x its columns are text; wanted: chosen and rejected; prompt, responses and ranks; messages; "
        "instruction and output; prompt and response; or prompt (line 5)",
        "left out: 1 preferences, which are no demonstrations (python app.py import takes them)",
        "left out: 1 prompts, which are no demonstrations (python app.py import takes them)",
    ]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([PAIR, PAIR], "has no demonstrations, but 2 preferences; import them to teach the reward model"),
        ([PAIR, {"prompt": "p"}], "1 preferences and 1 prompts; import them to teach"),
        ([{"prompt": "p"}], "has no demonstrations, but 1 prompts; import them to be asked"),
        (["{a", "{b", "[]"], "3 rows were refused, 2 of them because it is not JSON"),
        ([""], "has no rows"),
    ],
)
def test_a_source_without_any_is_one_sentence_and_changes_nothing(tmp_path, rows, says):
    file = write(tmp_path / "none.jsonl", *rows)
    with open_store(tmp_path / "run", create=True, migrate=True) as store:
        for act in (
            lambda: read(file),
            lambda: import_demonstrations(store, tmp_path / "run", str(file), SourceConfig(), print),
        ):
            with pytest.raises(SourceError) as refused:
                act()
            assert says in str(refused.value)
            assert "\n" not in str(refused.value)
        assert store.imports() == []
    with pytest.raises(SourceError, match="There is no file or folder"):
        read(tmp_path / "gone.jsonl")


def test_of_preferences_the_preferred_responses_when_asked_for(tmp_path):
    found, _ = read(write(tmp_path / "pairs.jsonl", PAIR), as_="demonstrations")
    assert found == [Demonstration("Which?", "This.")]


def test_in_a_run_they_are_there_once_and_none_of_a_held_out_prompt_is_learned_from(tmp_path):
    rows = [{"prompt": f"say {n}", "response": f"{n}!"} for n in range(40)]
    own = {text for text, split in split_prompts([row["prompt"] for row in rows]) if split == "heldout"}
    rows += [{"prompt": "judged by", "response": "never"}, PAIR, {"prompt": "not to be asked"}]
    file, said = write(tmp_path / "data.jsonl", *rows), []
    with open_store(tmp_path / "run", create=True, migrate=True) as store:
        store.add_prompts([("judged by", "heldout"), ("another", "train")], "test")
        for _ in range(2):
            import_demonstrations(store, tmp_path / "run", str(file), SourceConfig(), said.append)
        known = store.demonstrations()
        assert len(known) == 41
        assert {d["prompt"] for d in known if d["split"] == "heldout"} == {"judged by"} | own
        assert {p.text for p in store.prompts()} == {"judged by", "another"}  # what is asked is as it was
        assert store.imported_rankings() == []
        assert [i.added["demonstrations"] for i in store.imports()] == [0, 41]
    assert f"added to {tmp_path / 'run'}: 41 demonstrations" in said
    assert f"added to {tmp_path / 'run'}: nothing; 41 there already" in said
    count = len(own)
    assert (
        said[-1]
        == f"There are {40 - count} demonstrations to learn from, and {count + 1} of held-out prompts."
    )


def test_a_file_that_breaks_off_is_said_and_what_was_read_is_there(tmp_path):
    rows = [json.dumps({"prompt": f"say {n}", "response": f"{n}!"}) for n in range(3000)]
    whole = gzip.compress("\n".join(rows).encode())
    file = tmp_path / "half.jsonl.gz"
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"cannot be read behind line \d+"):
        read(file)
    with open_store(tmp_path / "run", create=True, migrate=True) as store:
        with pytest.raises(SourceError, match=r"behind line \d+.*; what was read before is in the run"):
            import_demonstrations(store, tmp_path / "run", str(file), SourceConfig(), lambda _: None)
        assert store.demonstrations()


@pytest.mark.parametrize("rows", [[PAIR], [{"prompt": "a", "response": "b"}, PAIR]])
def test_ctrl_c_while_it_is_read_is_no_error_of_the_source(tmp_path, monkeypatch, rows):
    """Neither before nor after the first demonstration."""

    def interrupted(*arguments):
        yield from read_items(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr("labeling.importing.read_items", interrupted)
    file = write(tmp_path / "some.jsonl", *rows)
    with pytest.raises(KeyboardInterrupt):
        read(file)
    with open_store(tmp_path / "run", create=True, migrate=True) as store:
        with pytest.raises(KeyboardInterrupt) as stopped:
            import_demonstrations(store, tmp_path / "run", str(file), SourceConfig(), print)
        assert len(store.demonstrations()) == len(rows) - 1
        assert ("is in the run" in str(stopped.value)) == (len(rows) > 1)
