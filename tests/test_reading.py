"""Files, folders and data sets as their own libraries write them, and as they should not be."""

import csv
import gzip
import io
import json
import random
import sys

import datasets
import pandas
import pyarrow
import pyarrow.parquet
import pytest
from datasets.exceptions import DatasetNotFoundError

from data.lines import LONGEST_LINE, json_array
from data.reading import SourceError, _said, hub_rows, read_rows

ROWS = [
    {
        "prompt": f"Question {i}, with a ümlaut\u2028 and \n a line?",
        "chosen": f'"{i}", yes',
        "rejected": "no;",
    }
    for i in range(30)
]
NESTED = [
    {"id": i, "conversations": [{"from": "human", "value": f"Hi {i}"}, {"from": "gpt", "value": "Ho"}]}
    for i in range(10)
]


def values(source, **how):
    found = list(read_rows(str(source), **how))
    assert not [row.why for row in found if row.values is None]
    return [row.values for row in found]


def broken(source, **how):
    return [(row.line, row.why) for row in read_rows(str(source), **how) if row.values is None]


def data_set():
    return datasets.Dataset.from_list(ROWS)


# as libraries write them


def test_what_datasets_writes(tmp_path):
    data_set().to_json(tmp_path / "a.jsonl")
    data_set().to_json(tmp_path / "b.json", lines=False)
    data_set().to_csv(tmp_path / "c.csv")
    data_set().to_parquet(tmp_path / "d.parquet")
    data_set().to_json(tmp_path / "e.jsonl.gz", compression="gzip")
    assert (tmp_path / "e.jsonl.gz").read_bytes()[:2] == b"\x1f\x8b"
    for file in sorted(tmp_path.iterdir()):
        assert values(file) == ROWS, file


def test_what_pandas_writes(tmp_path):
    frame = pandas.DataFrame(ROWS)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "b.csv", index=False, sep=";")
    frame.to_csv(tmp_path / "c.tsv", index=False, sep="\t")
    frame.to_csv(tmp_path / "d.csv.gz", index=False)
    frame.to_csv(tmp_path / "e.csv", index=False, encoding="utf-16")
    frame.to_json(tmp_path / "f.json", orient="records", indent=2)
    frame.to_json(tmp_path / "g.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "h.parquet")
    for file in sorted(tmp_path.iterdir()):
        assert values(file) == ROWS, file


def test_folders_that_datasets_saves(tmp_path):
    data_set().save_to_disk(tmp_path / "one")
    both = {"train": data_set(), "test": data_set().select(range(3))}
    datasets.DatasetDict(both).save_to_disk(tmp_path / "two")
    assert values(tmp_path / "one") == values(tmp_path / "two") == ROWS
    assert values(tmp_path / "two", split="test") == ROWS[:3]
    with pytest.raises(SourceError, match="no split 'dev'; it has: train, test"):
        read_rows(str(tmp_path / "two"), split="dev")


def test_folders_of_files_by_their_splits(tmp_path):
    data_set().select(range(10)).to_parquet(tmp_path / "data" / "train-00000-of-00002.parquet")
    data_set().select(range(10, 30)).to_parquet(tmp_path / "data" / "train-00001-of-00002.parquet")
    data_set().select(range(2)).to_parquet(tmp_path / "data" / "test-00000-of-00001.parquet")
    (tmp_path / "README.md").write_text("what it is")
    assert values(tmp_path) == ROWS
    assert values(tmp_path, split="test") == ROWS[:2]
    lines = [(row.file, row.line) for row in read_rows(str(tmp_path))]
    assert lines[10] == ("data/train-00001-of-00002.parquet", 1)
    with pytest.raises(SourceError, match="no split 'dev'; it has: test, train"):
        read_rows(str(tmp_path), split="dev")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no file that can be read"):
        read_rows(str(tmp_path / "empty"))


def test_a_data_set_that_is_streamed(tmp_path):
    """As from the hub: the same library opens a folder of files in the same way."""
    data_set().to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    assert [row.values for row in hub_rows(str(tmp_path), "train")] == ROWS
    data_set().to_json(tmp_path / "other" / "harmless" / "train.jsonl")
    found = list(hub_rows(str(tmp_path / "other"), "train", "harmless"))
    assert [row.values for row in found] == ROWS
    with pytest.raises(SourceError, match="cannot be read"):
        list(hub_rows(str(tmp_path), "dev"))


def test_a_data_set_with_configurations_names_them(tmp_path):
    data_set().to_json(tmp_path / "good" / "train.jsonl")
    data_set().to_json(tmp_path / "bad" / "train.jsonl")
    kinds = "\n".join(f"- config_name: {n}\n  data_files: {n}/train.jsonl" for n in ("good", "bad"))
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{kinds}\n---\n")
    with pytest.raises(SourceError, match="several configurations; choose one by --subset: 'good', 'bad'"):
        list(hub_rows(str(tmp_path), "train"))
    assert len(list(hub_rows(str(tmp_path), "train", "good"))) == 30


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            DatasetNotFoundError(
                "Dataset 'a/b' is a gated dataset on the Hub. Visit the dataset page to ask."
            ),
            "gated; ask for access",
        ),
        (
            DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub or cannot be accessed."),
            "no data set on",
        ),
        (ConnectionError("Couldn't reach 'a/b' on the Hub"), "the hub does not answer"),
        (ValueError("Bad split: dev. Available splits: ['train']\nmore"), "Available splits: ['train']."),
    ],
)
def test_what_the_hub_says_in_one_sentence(error, says):
    said = _said("a/b", error)
    assert says in said
    assert said.endswith(".")
    assert "\n" not in said


def test_nested_parquet(tmp_path):
    odd = pyarrow.table(
        {
            "conversations": [row["conversations"] for row in NESTED],
            "map": pyarrow.array([[("a", 1)]] * 10, pyarrow.map_(pyarrow.string(), pyarrow.int64())),
            "at": pyarrow.array([0] * 10, pyarrow.timestamp("s")),
        }
    )
    pyarrow.parquet.write_table(odd, tmp_path / "odd.parquet")
    assert [row["conversations"] for row in values(tmp_path / "odd.parquet")] == [
        row["conversations"] for row in NESTED
    ]


def test_one_prompt_a_line(tmp_path):
    (tmp_path / "p.txt").write_bytes(b"\xef\xbb\xbf a \r\n\r\n\xc3\xbc\xe2\x80\xa8b\n")
    assert values(tmp_path / "p.txt") == [{"prompt": "a"}, {"prompt": "ü\u2028b"}]


# as they should not be


def test_broken_lines_are_named_and_the_others_read(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"prompt": "a"}\n{"prompt": \n\n[1]\n{"prompt": "b"}\n{"prompt": "c"')
    found = list(read_rows(str(file)))
    assert [row.values["prompt"] for row in found if row.values] == ["a", "b"]
    assert broken(file) == [(2, "it is not JSON"), (4, "it is not a JSON object"), (6, "it is not JSON")]


def test_a_broken_array_goes_on_with_the_next_object(tmp_path):
    file = tmp_path / "a.json"
    odd = {"prompt": 'x "}],[{ \\', "y": [[1], {"z": ","}]}
    file.write_text(f'[\n{json.dumps(odd)},\n\n{{"a": nope}}, 3,\n{json.dumps(odd, indent=1)}\n,{{"b": 1')
    assert [row.values for row in read_rows(str(file)) if row.values] == [odd, odd]
    wrong = broken(file)
    assert [why for _, why in wrong] == [
        "it is not JSON",
        "it is not a JSON object",
        "the file ends in the middle of it",
    ]
    assert wrong[0][0] == 4


def test_an_array_of_anything_comes_back_however_it_is_cut_into_pieces():
    draw = random.Random(1)

    class Pieces(io.StringIO):
        def read(self, _size=-1):
            return super().read(draw.choice([1, 3, 7]))

    def anything(depth=0):
        kind = draw.random()
        if depth > 3 or kind < 0.4:
            return "".join(draw.choices('ab"\\{}[],\n\u2028ü:', k=draw.randint(0, 12)))
        if kind < 0.7:
            return [anything(depth + 1) for _ in range(draw.randint(0, 3))]
        return {anything(9): anything(depth + 1) for _ in range(draw.randint(0, 3))}

    for _ in range(300):
        rows = [{str(n): anything() for n in range(draw.randint(0, 3))} for _ in range(draw.randint(0, 6))]
        text = json.dumps(rows, indent=draw.choice([None, 1]), ensure_ascii=draw.random() < 0.5)
        assert [row.values for row in json_array(Pieces(text))] == rows
        broken = list(text)
        broken[draw.randrange(len(broken))] = draw.choice('"{}[],\\x\n')
        list(json_array(Pieces("".join(broken))))  # ends, and raises nothing


def test_an_array_larger_than_what_is_read_at_once(tmp_path):
    rows = [{"prompt": f"{i}" * 997, "n": i} for i in range(200)]
    file = tmp_path / "a.json"
    file.write_text(json.dumps(rows))
    assert values(file) == rows


def test_encodings(tmp_path):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    for name in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        (tmp_path / f"{name}.jsonl").write_bytes(text.encode(name))
        assert values(tmp_path / f"{name}.jsonl") == ROWS, name
    latin = tmp_path / "latin.jsonl"
    plain = [{"prompt": "plain"}, {"prompt": "ümlaut"}, {"prompt": "end"}]
    latin.write_text("".join(json.dumps(p, ensure_ascii=False) + "\n" for p in plain), encoding="latin-1")
    assert [line for line, why in broken(latin) if "not UTF-8" in why and "--encoding" in why] == [2]
    assert values(latin, encoding="latin-1") == plain
    with pytest.raises(SourceError, match="--encoding klingon is not known"):
        read_rows(str(latin), encoding="klingon")


def test_csv_rows_that_do_not_fit(tmp_path):
    file = tmp_path / "a.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(
            [["prompt", "chosen", "rejected"], ["a\nb", "c", "d"], ["e", "f"], ["", "", ""]]
        )
        out.write("g,h,i\r\n")
    assert broken(file) == [(4, "it does not have 3 cells, as the first line has")]
    good = [row for row in read_rows(str(file)) if row.values]
    assert [(row.line, row.values["prompt"]) for row in good] == [(2, "a\nb"), (6, "g")]


def test_a_line_without_end_is_not_held(tmp_path):
    file = tmp_path / "a.jsonl"
    with file.open("w") as out:
        out.write('{"prompt": "a"}\n{"prompt": "' + "x" * (2 * LONGEST_LINE + 5) + '"}\n{"prompt": "b"}\n')
    assert broken(file) == [(2, "the line is longer than 8 MB")]
    assert len([row for row in read_rows(str(file)) if row.values]) == 2


def test_files_that_break_off(tmp_path):
    whole = gzip.compress("".join(json.dumps({"prompt": i}) + "\n" for i in range(50_000)).encode())
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(whole[: len(whole) // 2])
    rows = read_rows(str(packed))
    with pytest.raises(SourceError, match=r"a\.jsonl\.gz' cannot be read behind line \d+"):
        list(rows)
    packed.write_bytes(whole[:2000] + b"\0" * 500 + whole[2500:])
    with pytest.raises(SourceError, match="cannot be read"):
        list(read_rows(str(packed)))
    table = tmp_path / "b.parquet"
    data_set().to_parquet(table)
    table.write_bytes(table.read_bytes()[:-200])
    with pytest.raises(SourceError, match=r"b\.parquet' cannot be read"):
        list(read_rows(str(table)))


def test_what_is_no_source(tmp_path):
    for name, text in (("a.pdf", b"%PDF"), ("b", b"\0\1\2")):
        (tmp_path / name).write_bytes(text)
        with pytest.raises(SourceError, match="of no kind that can be read"):
            read_rows(str(tmp_path / name))
    (tmp_path / "c.zip").write_bytes(b"PK\3\4")
    with pytest.raises(SourceError, match="zip archive; unpack it"):
        read_rows(str(tmp_path / "c.zip"))
    (tmp_path / "c.zip").rename(tmp_path / "c.xlsx")
    with pytest.raises(SourceError, match="is a spreadsheet"):
        read_rows(str(tmp_path / "c.xlsx"))
    (tmp_path / "two.json").write_text('{"prompt":{"0":"a","1":"b"},"response":{"0":"c","1":"d"}}')
    with pytest.raises(SourceError, match="holds columns, as pandas writes them"):
        read_rows(str(tmp_path / "two.json"))
    (tmp_path / "one.json").write_text('{\n "data": []\n}')
    with pytest.raises(SourceError, match="is one JSON object; wanted: an object a line, or an array"):
        read_rows(str(tmp_path / "one.json"))
    for name in ("gone.jsonl", "no/such/folder/at/all", "./gone"):
        with pytest.raises(SourceError, match="There is no file or folder"):
            read_rows(name)
    (tmp_path / "empty.jsonl").touch()
    assert list(read_rows(str(tmp_path / "empty.jsonl"))) == []


def test_without_a_hub_it_is_one_sentence():
    with pytest.raises(SourceError, match=r"'nobody/nothing' is no file here, and the hub may not be asked"):
        list(read_rows("nobody/nothing"))  # HF_HUB_OFFLINE: see conftest.py


@pytest.mark.skipif(sys.platform != "linux", reason="it reads the most memory from /proc")
def test_memory_does_not_grow_with_the_file(tmp_path):
    """Peak memory of reading 20 times as many rows, in processes of their own."""
    import subprocess

    code = """
import sys
from data.formats import read_items
from data.reading import read_rows
count = sum(len(read.items) for read in read_items(read_rows(sys.argv[1])))
peak = next(l.split()[1] for l in open("/proc/self/status") if l.startswith("VmHWM"))
print(count, peak)
"""
    row = json.dumps({"prompt": "p " * 200, "chosen": "c " * 200, "rejected": "r " * 200}) + "\n"
    peaks = []
    for count in (2_000, 40_000):
        file = tmp_path / f"{count}.jsonl"
        file.write_text(row * count)
        done = subprocess.run(
            [sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True
        )
        rows, peak = map(int, done.stdout.split())
        assert rows == count
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 4_000, peaks  # KB; the larger file has 50 MB
