import json

import pytest

from data.prompts import read_prompts, split_prompts


def questions(count, start=0):
    return [f"What is number {i}?" for i in range(start, start + count)]


def test_a_byte_order_mark_and_other_line_breaks_do_no_harm(tmp_path):
    wanted = [*questions(19), "one\u2028line\x85only"]
    plain, lines = tmp_path / "p.txt", tmp_path / "p.jsonl"
    plain.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(wanted).encode())
    assert read_prompts(plain) == wanted
    records = [json.dumps({"prompt": p}, ensure_ascii=False) for p in wanted]
    lines.write_bytes(b"\xef\xbb\xbf" + "\n".join(records).encode())
    assert read_prompts(lines) == wanted


def test_what_cannot_be_read_is_one_sentence_that_names_the_line(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a"}\n\n{"text": "b"}\n')
    with pytest.raises(ValueError, match=r"line 3: wanted a JSON object"):
        read_prompts(path)
    path = tmp_path / "p.txt"
    path.write_text("a\nb\n")
    with pytest.raises(ValueError, match="2 different prompts; wanted at least 20"):
        read_prompts(path)


def heldout(prompts):
    return {p for p, split in split_prompts(prompts) if split == "heldout"}


def test_every_file_has_held_out_prompts():
    for start in range(0, 2000, 20):  # a threshold on the hash alone leaves about 12 of these with none
        prompts = questions(20, start)
        assert [p for p, _ in split_prompts(prompts)] == prompts
        assert 2 <= len(heldout(prompts)) <= 10
    assert 150 < len(heldout(questions(2000))) < 250


def test_a_prompt_held_out_by_its_hash_stays_so_when_others_come():
    everything = heldout(questions(2000))
    for start in range(0, 200, 20):
        prompts = questions(20, start)
        assert everything & set(prompts) <= heldout(prompts)
