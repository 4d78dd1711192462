"""Rows of text files: JSON Lines, one large JSON array, CSV, and prompts one a line.

Read piece by piece. A piece that is broken is a row that says so, and the next one begins behind it.
"""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

LONGEST_LINE = 8 << 20  # characters: what is longer is no row, and is not read into memory


@dataclass(frozen=True)
class Row:
    line: int  # in its file, from 1; of a table without lines, the row
    values: dict[str, Any] | None
    why: str = ""  # it cannot be read, as a clause
    file: str = ""  # of a folder with several


def _text_lines(file: IO[str]) -> Iterator[tuple[int, str | None]]:
    """Lines with their numbers, without blank ones; None for one that is too long. Only line feeds end one:
    JSON and prose have other separators inside a line."""
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        whole = len(line) < LONGEST_LINE or line.endswith("\n")
        while not whole:
            rest = file.readline(LONGEST_LINE)
            whole = not rest or rest.endswith("\n")
            line = ""
        if line.strip():
            yield number, line
        elif not line:
            yield number, None


def _checked(number: int, line: str | None) -> Row | None:
    """The row of a line that cannot be read for what its characters are."""
    if line is None:
        return Row(number, None, f"the line is longer than {LONGEST_LINE >> 20} MB")
    if not line.isascii() and _escaped(line):
        return Row(
            number, None, "the line is not UTF-8 (if all of the file is in latin-1: --encoding latin-1)"
        )
    return None


def _escaped(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def prompt_lines(file: IO[str]) -> Iterator[Row]:
    for number, line in _text_lines(file):
        yield _checked(number, line) or Row(number, {"prompt": line.strip()})


def json_lines(file: IO[str]) -> Iterator[Row]:
    for number, line in _text_lines(file):
        yield _checked(number, line) or _json_row(number, line)


def _json_row(number: int, text: str) -> Row:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return Row(number, None, "it is not JSON")
    return Row(number, values) if isinstance(values, dict) else Row(number, None, "it is not a JSON object")


_MARKS = re.compile(r'["\\{}\[\],\n]')


def json_array(file: IO[str]) -> Iterator[Row]:
    """The objects of one large JSON array, each by itself."""
    number, begun, depth, quoted, skip = 1, 1, 0, False, -1
    parts: list[str] = []
    held, too_long = 0, False

    def row() -> Row | None:
        text = "".join(parts).strip()
        if too_long:
            return Row(begun, None, f"it is longer than {LONGEST_LINE >> 20} MB")
        if not text:
            return None
        if not text.isascii() and _escaped(text):
            return _checked(begun, text)
        return _json_row(begun, text)

    position = 0
    while chunk := file.read(1 << 16):
        start = 0
        for mark in _MARKS.finditer(chunk):
            at, what = mark.start(), mark.group()
            if position + at == skip:
                if what == "\n":
                    number += 1
                continue
            if what == "\n":
                number += 1
            elif what == "\\":
                skip = position + at + 1 if quoted else -1
            elif what == '"':
                quoted = not quoted
            elif quoted:
                continue
            elif what in "{[":
                depth += 1
                if depth == 1:
                    start = at + 1
                elif depth == 2:
                    begun = number
            elif what in "}]" or (what == "," and depth == 1):
                depth -= what != ","
                if depth == 0 or what == ",":
                    parts.append(chunk[start:at])
                    found = row()
                    if found:
                        yield found
                    parts, held, too_long, start = [], 0, False, at + 1
                if depth == 0:
                    return
        if not too_long:
            parts.append(chunk[start:])
            held += len(chunk) - start
            if held > LONGEST_LINE:
                parts, too_long = [], True
        position += len(chunk)
    yield Row(begun, None, "the file ends in the middle of it")


def separator_of(start: str) -> str:
    """A comma, but where the first line has none: Excel writes semicolons in half of the world."""
    head = start.split("\n", 1)[0]
    return "," if "," in head or (";" not in head and "\t" not in head) else ";" if ";" in head else "\t"


def csv_rows(file: IO[str], separator: str) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_LINE)
    reader = csv.reader(iter(lambda: file.readline(LONGEST_LINE), ""), delimiter=separator)
    names: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(line, None, f"it is not a row of a CSV file ({error})")
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if names is None:
            names = [cell.strip() for cell in cells]
        elif len(cells) != len(names):
            yield Row(line, None, f"it does not have {len(names)} cells, as the first line has")
        else:
            yield _checked(line, "".join(cells)) or Row(line, dict(zip(names, cells, strict=True)))
