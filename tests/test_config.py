"""What the worker's settings may be, said before anything is started."""

from dataclasses import fields

import pytest

from rlhf.config import WorkerConfig

FLOATS = [f.name for f in fields(WorkerConfig) if f.type is float]


def test_threads_cannot_be_negative():
    assert WorkerConfig(threads=0).threads == 0
    with pytest.raises(ValueError, match="--threads is -1; wanted: 0 or more"):
        WorkerConfig(threads=-1)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("name", FLOATS)
def test_numbers_are_finite(name, value):
    option = name.replace("_", "-")
    with pytest.raises(ValueError, match=f"--{option} is {value}; wanted: a finite number"):
        WorkerConfig(**{name: value})
