"""Everything that is measured on a GPU that is at hand for minutes only, the most important first.

    python -m tests.benchmarks.gpu --minutes 9 --out /tmp/gpu \\
        --trl-ppo-path /tmp/trl112 --trl-reward-path /tmp/trl116

Each run is a process of its own, both sides in turn (`limits`, `ppo_vs_trl`, `reward_vs_trl`). What no longer
fits into the minutes is left out, and said; a run that fails is written down, and the next goes on. After
every run `results.json` and `table.txt` in `--out` hold all that is known so far. `--only` takes parts of the
names that `--list` shows; what these runs need is made all the same. With `--device cpu --shape tiny` all
can be tried without a GPU, in float32.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.benchmarks import floor, limits, ppo_vs_trl, reward_vs_trl
from tests.benchmarks.apart import run_apart
from tests.benchmarks.workload import config_of

PLAN = (  # PPO by shape, workload and setting of both, the reward model by shape; in order of importance
    ("ppo", "0.6B", "random", "LoRA r16, bf16"),
    ("ppo", "0.6B", "random", "full, bf16"),
    ("reward", "0.6B", "trained", "LoRA"),
    ("ppo", "1B", "random", "LoRA r16, bf16"),
    ("ppo", "1B", "random", "full, bf16"),
    ("ppo", "0.6B", "trained", "LoRA r16, bf16"),
    ("reward", "0.6B", "trained", "full"),
)
STEP = 8  # rankings of the reward model's
SPARE = 3  # seconds at the end, for the table


@dataclass(frozen=True)
class Job:
    """One process."""

    name: str
    seconds: float  # what it will take, at a guess
    work: Callable[[float], dict]  # given how many seconds it may take
    needs: tuple[str, ...] = ()
    alike: str = ""  # jobs that take as long


@dataclass
class Notes:
    """What is known so far."""

    found: dict[str, dict] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def jobs(a: argparse.Namespace) -> Iterator[Job]:
    """All of them, in order."""
    common = {"device": a.device, "threads": a.threads}
    rankings = a.train + a.heldout, a.response_length

    def folder(shape: str, workload: str) -> str:
        return str(a.folder / f"{shape}-{workload}")

    def apart(name: str, seconds: float, module: str, ask: dict, *needs: str) -> Job:
        return Job(
            name, seconds, lambda left: run_apart(sys.executable, module, common | ask, limit=left), needs
        )

    def make(shape: str, workload: str) -> Job:
        trained = workload == "trained"
        ask = {"folder": folder(shape, workload), "shape": shape, "trained": trained, "prompts": 2048}
        return apart(f"workload {shape} {workload}", 70 if trained else 30, "workload", ask)

    def decoding(shape: str) -> Job:
        ask = {"folder": folder(shape, "random"), "runs": 1, "tunings": ["lora", "full"]}
        needs = f"workload {shape} random"
        return apart(f"decoding {shape}", 60, "limits", ask | {"tokens": a.decode_tokens}, needs)

    def ppo(shape: str, workload: str, names: Sequence[str], turn: int) -> Iterator[Job]:
        for name in names:
            who, own = ppo_vs_trl.settings_on("cuda")[name]
            ask = ppo_vs_trl.COMMON | common | {"imitate": False, "seed": turn} | own
            ask |= {"folder": folder(shape, workload), "response_length": a.response_length}
            ask["updates"] = a.updates + (who == "podium")  # of its updates the last is not counted
            ask["bf16"] = a.device == "cuda"
            ask["profile"] = 2 if turn == 1 else 0

            def work(left: float, who=who, ask=ask) -> dict:
                return ppo_vs_trl.run(who, ask, path=a.trl_ppo_path, limit=left)

            alike = f"ppo {shape} {workload}: {name}"
            yield Job(f"{alike} #{turn}", 50, work, (f"workload {shape} {workload}",), alike)

    def reward(shape: str, kind: str, turn: int, other_rate: bool = False) -> Iterator[Job]:
        file = reward_vs_trl.rankings_file(Path(folder(shape, "trained")), *rankings)
        other = f"rate {reward_vs_trl.RATES[kind][shape][-1]:g}"
        for name, own in reward_vs_trl.settings_on("cuda", shape).items():
            if f", {kind}," not in name or (other in name) != other_rate:
                continue
            ask = common | own | {"folder": folder(shape, "trained"), "rankings": str(file), "seed": turn}
            ask |= {"train": a.train, "passes": 1, "bf16": a.device == "cuda"}

            def work(left: float, ask=ask) -> dict:
                return reward_vs_trl.run(ask, path=a.trl_reward_path, limit=left)

            alike = f"reward {shape}: {name}"
            yield Job(f"{alike} #{turn}", 40, work, (f"rankings {shape}",), alike)

    def rankings_of(shape: str) -> Job:
        ask = {"who": "rankings", "folder": folder(shape, "trained"), "count": rankings[0]}
        ask |= {"response_length": rankings[1]}
        return apart(f"rankings {shape}", 30, "reward_vs_trl", ask, f"workload {shape} trained")

    yield apart("rates", 20, "floor", {})
    made = set()
    for turn in range(1, a.runs + 1):
        for what, shape, workload, kind in PLAN:
            shape = a.shape or shape
            if (shape, workload) not in made:
                made.add((shape, workload))
                yield make(shape, workload)
                if workload == "random" and shape != "1B":
                    yield decoding(shape)
                if workload == "trained":
                    yield rankings_of(shape)
            if what == "reward":
                yield from reward(shape, kind, turn)
            else:
                yield from ppo(shape, workload, [f"TRL, {kind}", f"Podium, {kind}"], turn)
        if turn == 1:  # less important than all of these, more than the same again
            for kind in ("LoRA", "full"):
                yield from reward(a.shape or "0.6B", kind, turn, other_rate=True)
            if not a.shape:
                yield decoding("1B")
            for shape in ("0.6B", "1B"):
                yield from ppo(a.shape or shape, "random", ["TRL, full, bf16 weights"], turn)


def picked(every: list[Job], only: list[str]) -> list[Job]:
    """Those whose names hold one of these, what they need, and the rates that all is held against."""
    if not only:
        return every
    by_name = {job.name: job for job in every}
    wanted = {"rates"}
    for job in every:
        if any(part in job.name for part in only):
            line = [job.name]
            while line:
                wanted.add(line[-1])
                line += by_name[line.pop()].needs
    return [job for job in every if job.name in wanted]


def go(every: list[Job], notes: Notes, until: float, say: Callable[[str], None]) -> None:
    """Run what fits before `until`, a time of `time.monotonic`."""
    guesses: dict[str, float] = {}
    broken: set[str] = set()
    for job in every:
        kind = job.alike or job.name
        missing = [need for need in job.needs if need not in notes.found]
        left, guess = until - time.monotonic(), guesses.get(kind, job.seconds)
        if missing or kind in broken or left < guess:
            reason = f"no {missing[0]}" if missing else f"{left:.0f} s left, wanted {guess:.0f}"
            reason = "failed before" if kind in broken else reason
            notes.skipped.append(f"{job.name} ({reason})")
            say(f"left out: {notes.skipped[-1]}")
            continue
        begun = time.monotonic()
        try:
            notes.found[job.name] = job.work(left)
        except (Exception, SystemExit) as error:  # whatever it was, the next may do
            notes.failed[job.name] = str(error)[-2000:]
            broken.add(kind)
        notes.took[job.name] = taken = time.monotonic() - begun
        guesses[kind] = 1.1 * taken
        word = "failed" if kind in broken else "done"
        say(f"{word}: {job.name}, {taken:.0f} s, {until - time.monotonic():.0f} s left")


def report(notes: Notes, a: argparse.Namespace) -> Iterator[str]:
    """The tables, with the least times beside them."""
    rates = floor.Rates(*(notes.found["rates"][key] for key in ("operations", "bytes")))
    where = notes.found["rates"].get("device", "CPU")
    yield f"{where}: {rates.operations / 1e12:.4g} TFLOP/s, copy {rates.bytes / 1e12:.3g} TB/s"
    for name, run in notes.found.items():
        if name.startswith("decoding"):
            yield from limits.decoding_table(run, name.split()[1], rates)
    groups: dict[str, dict[str, list[dict]]] = {}
    for name, run in notes.found.items():
        if name.startswith(("ppo", "reward")):
            group, setting = name.rpartition(" #")[0].split(": ")
            groups.setdefault(group, {}).setdefault(setting, []).append(run)
    for group, settings in groups.items():
        yield group
        ordered = dict(sorted(settings.items(), key=lambda item: item[0].startswith("Podium")))
        shape = group.split()[1]
        yield from (ppo_vs_trl if group.startswith("ppo") else reward_vs_trl).table(ordered)
        for kind in ("LoRA", "full"):
            if own := {name: runs for name, runs in ordered.items() if f", {kind}" in name}:
                yield from floor_lines(group, shape, kind, own, rates, a)


def floor_lines(
    group: str,
    shape: str,
    kind: str,
    settings: dict[str, list[dict]],
    rates: floor.Rates,
    a: argparse.Namespace,
) -> Iterator[str]:
    """The least time of what was done, and how many times that it took."""
    frozen = kind == "LoRA"
    sizes = sizes_of(shape, 16 if frozen else None)
    if group.startswith("ppo"):
        prompts = json.loads((a.folder / f"{shape}-{group.split()[2]}" / "prompts.json").read_text())
        episodes = ppo_vs_trl.COMMON["episodes"]
        for name, runs in settings.items():
            tokens = runs[-1]["tokens"]
            parts = next((r["parts"] for r in runs if "parts" in r), {})
            longest = parts.get("longest", a.response_length)
            work = floor.ppo_work(prompts, episodes, tokens, longest)
            least = floor.ppo_seconds(
                sizes,
                work,
                rates,
                inner_epochs=ppo_vs_trl.COMMON["inner_epochs"],
                minibatches=ppo_vs_trl.COMMON["minibatches"],
                frozen=frozen,
            )
            times = min(r["seconds_per_update"] for r in runs) / least["all"]
            told = ", ".join(f"{part} {seconds:.4f}" for part, seconds in least.items())
            yield f"  floor of {name}: {told} s an update; its best run took {times:.1f} times that"
        return
    kept = a.folder / f"{shape}-trained", a.train + a.heldout, a.response_length
    data = json.loads(reward_vs_trl.rankings_file(*kept).read_text())[: a.train]
    tokens = sum(len(r) for d in data for r in d["responses"])
    work = floor.Work(len(data), sum(len(d["prompt"]) for d in data), tokens, 0)
    least = floor.reward_seconds(sizes, work, rates, passes=1, steps=len(data) // STEP, frozen=frozen)
    for name, runs in settings.items():
        times = min(r["seconds"] for r in runs) / least
        yield f"  floor of {name}: {least:.4f} s; its best run took {times:.1f} times that"


@cache
def sizes_of(shape: str, lora_rank: int | None) -> floor.Sizes:
    return floor.sizes_of(config_of(shape), lora_rank)


def main() -> None:
    begun = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True, help="it ends before these are over")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trl-ppo-path", default="", help="folder of packages with trl 1.12.0")
    parser.add_argument("--trl-reward-path", default="", help="folder of packages with a current trl")
    parser.add_argument("--only", nargs="+", default=[], help="parts of names")
    parser.add_argument("--list", action="store_true", help="say the names, and run nothing")
    parser.add_argument("--runs", type=int, default=3, help="of each, as long as they fit")
    parser.add_argument("--updates", type=int, default=4, help="of PPO; the first is not counted")
    parser.add_argument("--response-length", type=int, default=48)
    parser.add_argument("--train", type=int, default=128, help="rankings the reward model learns from")
    parser.add_argument("--heldout", type=int, default=64, help="rankings that judge it")
    parser.add_argument("--decode-tokens", type=int, nargs="+", default=[48, 256])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--shape", help="this one in place of 0.6B and 1B")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, help="where the workloads are, or shall be kept")
    a = parser.parse_args()
    a.folder = (a.folder or Path(tempfile.mkdtemp())).resolve()
    every = picked(list({job.name: job for job in jobs(a)}.values()), a.only)
    if a.list:
        print("\n".join(job.name for job in every))
        return
    a.out.mkdir(parents=True, exist_ok=True)
    notes = Notes()

    def say(line: str) -> None:
        print(line, flush=True)
        told = {**vars(notes), "minutes": a.minutes, "argv": sys.argv[1:]}
        (a.out / "results.json").write_text(json.dumps(told, indent=1))
        try:
            text = "\n".join(report(notes, a)) if "rates" in notes.found else "no rates, so no table"
        except Exception as error:  # what was measured is kept; what is still to measure matters more
            text = f"no table: {error!r}"
        (a.out / "table.txt").write_text(text + "\n")

    go(every, notes, begun + 60 * a.minutes - SPARE, say)
    print((a.out / "table.txt").read_text())
    for name, error in notes.failed.items():
        print(f"failed: {name}: {error[-400:]}")


if __name__ == "__main__":
    main()
