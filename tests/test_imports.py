"""Imports run one way, and the people's side never loads the model's side.

Held twice: by reading the source, which sees imports inside functions too, and by importing in a fresh
interpreter, which sees what the libraries pull in.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TRAINING = {"torch", "transformers", "trl", "peft", "accelerate", "datasets", "safetensors", "tokenizers"}
WEB = {"gradio", "fastapi", "starlette", "uvicorn", "httpx", "typer"}

# A file imports from its own level or a lower one, never a higher one, and never in a circle.
LEVELS = {
    "data": 0,
    "labeling.schema": 0,
    "labeling.ranking": 0,
    "labeling.form": 0,
    "labeling.options": 0,
    "labeling.plots": 0,
    "labeling.render": 0,
    "labeling.code_colours": 0,
    "labeling.compression": 0,
    "labeling.estimates": 0,
    "labeling.guard": 0,
    "labeling.protocol": 0,
    "labeling.reference": 0,
    "labeling.theme": 0,
    "rlhf.config": 0,
    "rlhf.evaluate_config": 0,
    "rlhf.beforehand": 0,
    "rlhf.asked": 0,
    "rlhf.quiet": 0,
    "rlhf.good_prompt": 0,
    "rlhf.functional": 0,
    "rlhf.batching": 0,
    "rlhf.borrowed": 0,
    "rlhf.passes": 0,
    "rlhf.models": 0,
    "rlhf.bf16_layers": 0,
    "rlhf.memory": 0,
    "rlhf.needs": 0,
    "rlhf.loading": 0,
    "rlhf.refusals": 0,
    "rlhf.chat": 0,
    "rlhf.lora_targets": 0,
    "rlhf.tuning": 0,
    "labeling.store": 1,
    "rlhf.decoding": 0,
    "rlhf.graph_steps": 0,
    "rlhf.model_steps": 0,
    "rlhf.quick_steps": 0,
    "rlhf.voices": 0,
    "rlhf.four_bit": 0,
    "rlhf.lora_product": 0,
    "rlhf.generate": 1,
    "rlhf.prompts": 1,
    "rlhf.imported": 1,
    "rlhf.likelihood": 1,
    "rlhf.pooled": 0,
    "rlhf.probe": 0,
    "rlhf.ranking_loss": 0,
    "rlhf.recorded": 1,
    "rlhf.reward_model": 1,
    "rlhf.reward_training": 1,
    "rlhf.reward_accuracy": 1,
    "rlhf.checkpoint": 1,
    "rlhf.told": 0,
    "rlhf.trainer_steps": 1,
    "rlhf.prompting": 0,
    "rlhf.sft_training": 2,
    "rlhf.sft": 1,
    "labeling": 2,
    "rlhf": 2,
    "labeling.web": 3,
    "labeling.serve": 3,
    "labeling.learn": 3,
    "rlhf.arena": 3,
    "rlhf.export": 3,
    "rlhf.export_reward": 3,
    "rlhf.sft_model": 3,
    "rlhf.worker": 3,
    "rlhf.worker_commands": 3,
    "rlhf.worker_models": 3,
    "rlhf.worker_rounds": 3,
    "rlhf.worker_tasks": 3,
    "app": 4,
}


def source_files() -> list[Path]:
    folders = [ROOT / name for name in ("labeling", "rlhf", "data")]
    return [ROOT / "app.py", *(path for folder in folders for path in sorted(folder.rglob("*.py")))]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in source_files()}


def imports(path: Path) -> set[str]:
    """Every module a file imports, wherever in the file; `from package import module` counts too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = inner & MODULES.keys()
            found |= modules
            if len(modules) < len(inner):
                found.add(node.module)
    return found


IMPORTS = {name: imports(path) for name, path in MODULES.items()}


def top(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def level(name: str) -> int:
    while name not in LEVELS:
        name = name.rpartition(".")[0]
    return LEVELS[name]


def below(package: str) -> list[str]:
    return [name for name in MODULES if name == package or name.startswith(f"{package}.")]


def test_no_file_imports_from_a_higher_level():
    wrong = [
        f"{name} imports {other}"
        for name, names in IMPORTS.items()
        for other in names & MODULES.keys()
        if level(other) > level(name)
    ]
    assert not wrong


def test_no_imports_in_a_circle():
    finished, open_ = set(), []

    def visit(name):
        assert name not in open_, " -> ".join([*open_, name])
        if name in finished:
            return
        open_.append(name)
        for other in sorted(IMPORTS[name] & MODULES.keys() - {name}):
            visit(other)
        finished.add(open_.pop())

    for name in MODULES:
        visit(name)


def test_labeling_names_no_training_library():
    for name in below("labeling"):
        assert not top(IMPORTS[name]) & (TRAINING | {"rlhf"}), name


def test_rlhf_names_no_web_library():
    for name in below("rlhf"):
        assert not top(IMPORTS[name]) & WEB, name


def test_the_worker_is_the_one_bridge():
    """In five files, each with a part of the work on the store; what is not the worker imports none."""
    rooms = {f"rlhf.worker{room}" for room in ("", "_commands", "_models", "_rounds", "_tasks")}
    bridges = {name for name in below("rlhf") if "labeling" in top(IMPORTS[name])}
    assert bridges == rooms
    for name in rooms:
        assert {other for other in IMPORTS[name] if other.startswith("labeling")} == {"labeling.store"}, name
    assert {name for name, names in IMPORTS.items() if names & rooms} <= rooms


def test_data_needs_the_standard_library_only():
    scripts = {"data.starter.train", "data.starter.evaluate"}
    for name in set(below("data")) - scripts:
        assert top(IMPORTS[name]) <= sys.stdlib_module_names | {"data", "datasets", "pyarrow"}, name
    importers = {name for name, names in IMPORTS.items() if names & scripts}
    assert not importers


def test_only_the_store_has_sql():
    users = {name for name, names in IMPORTS.items() if top(names) & {"sqlite3", "sqlite_utils"}}
    assert users <= {"labeling.schema", "labeling.store.database", "labeling.api"}  # the api names its errors


def test_packages_are_empty():
    for name, path in MODULES.items():
        if path.name == "__init__.py" and name != "labeling.store":  # a package that reads as one module
            assert not path.read_text(encoding="utf-8").strip(), path


def loaded(*names: str) -> set[str]:
    """The modules in memory after importing these in a fresh interpreter."""
    code = f"import sys; [__import__(name) for name in {names!r}]; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


@pytest.mark.slow
def test_the_web_process_loads_no_training_library():
    modules = loaded("app", *below("labeling"))
    assert {"gradio", "labeling.web"} <= modules
    assert not modules & TRAINING


def test_the_command_line_waits_for_nothing_heavy():
    assert not loaded("app", "rlhf.asked", "rlhf.beforehand") & (TRAINING | {"gradio", "fastapi", "uvicorn"})


@pytest.mark.slow
def test_the_worker_loads_no_web_library_and_waits_for_no_trainer():
    assert not loaded("rlhf.worker") & {
        "gradio",
        "fastapi",
        "uvicorn",
        "trl",
        "datasets",
        "transformers.trainer",
    }
