"""README says what the code says: every option with its default and help; every file it links to."""

import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from labeling.serve import ServeConfig
from rlhf.config import WorkerConfig
from rlhf.judge import JudgeConfig

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def settings_table(*configs: type) -> str:
    """The table of options, made from the dataclasses the command line is made from."""
    rows = ["| option | default | |", "|---|---|---|"]
    for config in configs:
        for f in fields(config):
            assert f.default is not MISSING, f"--{f.name} needs a default"
            shown = f"`{f.default}`" if f.default != "" else ""
            rows.append(f"| `--{f.name.replace('_', '-')}` | {shown} | {f.metadata['help']} |")
    return "\n".join(rows)


@pytest.mark.parametrize("configs", [(ServeConfig, WorkerConfig), (JudgeConfig,)])
def test_the_options_table_is_the_command_lines(configs):
    table = settings_table(*configs)
    assert table in README, f"README.md wants this table:\n\n{table}\n"


def test_every_file_readme_links_to_is_there():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    local = [link for link in links if not link.startswith("http")]
    assert local
    for link in local:
        assert (ROOT / link).exists(), f"README.md links to {link}, which is not there"
