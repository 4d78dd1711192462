"""The whole loop as a stranger would run it: does the policy become what was preferred, how fast?

    python -m tests.benchmarks.loop --seeds 3 --rankings 200 --scorer helpful

For each seed: an empty run directory, `python app.py`, programs that rank through the JSON API (10 % noise)
and wait while a round trains, then `python app.py evaluate` with the same scorer on 200 prompts never ranked.
The clock runs from the start of the server to the end of the last round. Report the median and every seed.
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[2]
APP = [sys.executable, "app.py"]


def run(arguments: argparse.Namespace, seed: int, run_dir: Path) -> dict:
    """One seed, from an empty run directory to the figures."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    begun, stolen = time.monotonic(), stolen_seconds()
    options = ["--port", str(port), "--run-dir", str(run_dir), "--seed", str(seed), *arguments.server]
    server, programs = subprocess.Popen([*APP, *options], cwd=ROOT), None
    try:
        wait(url, lambda status: True, 120)
        options = ["--url", url, "--wait-for-rounds", "--rankings", str(arguments.rankings)]
        options += ["--scorer", arguments.scorer, "--noise", str(arguments.noise), "--seed", str(seed)]
        programs = subprocess.Popen([*APP, "simulate", *options], cwd=ROOT)  # when `--simulate` starts them
        wait(url, lambda status: status["policy_version"] is not None, 120)
        first = time.monotonic() - begun
        if programs.wait():
            raise SystemExit("The programs that rank have failed.")
        status = wait(url, at_rest, 1800)
        seconds = time.monotonic() - begun
        stolen = stolen_seconds() - stolen
        worker = next(p for p in psutil.Process(server.pid).children() if "rlhf.worker" in p.cmdline())
        memory = {
            "web_mb": round(psutil.Process(server.pid).memory_info().rss / 1e6),
            "worker_mb": peak_mb(worker.pid),
        }
    finally:
        if programs:
            programs.kill()
        server.terminate()
        server.wait(timeout=30)
    options = ["--run-dir", str(run_dir), "--scorer", arguments.scorer, "--seed", str(seed), "--json"]
    command = [*APP, "evaluate", *options, "--prompts", str(arguments.prompts)]
    figures = json.loads(subprocess.check_output(command, cwd=ROOT, text=True))
    return figures | memory | {
        "seed": seed,
        "seconds": round(seconds),
        "stolen_seconds": round(stolen),
        "first_policy_seconds": round(first, 1),
        "policy_version": status["policy_version"],
        "rounds": (status["last_round"] or {}).get("id", 0),
    }  # fmt: skip


def peak_mb(pid: int) -> int:
    """The most memory a process ever held: at rest, after a round, it holds far less."""
    status = Path(f"/proc/{pid}/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return round(int(kilobytes) * 1024 / 1e6)


def stolen_seconds() -> float:
    """What a virtual machine's host has withheld from each core so far; 0 where that is not known."""
    return getattr(psutil.cpu_times(), "steal", 0.0) / (psutil.cpu_count() or 1)


def at_rest(status: dict) -> bool:
    """No round is running and none is due."""
    last = status["last_round"]
    running = last is not None and last["state"] == "running"
    return not running and status["until_next_round"] > 0


def wait(url: str, ready, seconds: float) -> dict:
    """Poll the status until `ready(status)`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            status = httpx.get(f"{url}/api/status", timeout=30).json()
            if ready(status):
                return status
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"{url} was not ready within {seconds:g} s.")


def line(result: dict) -> str:
    """One seed in one line."""
    return (
        f"seed {result['seed']}: win rate {result['win_rate']:.3f} "
        f"[{result['win_rate_low']:.3f}, {result['win_rate_high']:.3f}], "
        f"reference against itself {result['self_win_rate']:.3f}, KL {result['kl']:.1f}, "
        f"length {result['length_before']:.1f} to {result['length_after']:.1f} tokens, "
        f"length-controlled {result['length_controlled_win_rate'] or float('nan'):.3f}, "
        f"policy {result['policy_version']} after {result['rounds']} rounds, "
        f"{result['seconds']} s of which the host withheld {result['stolen_seconds']}, "
        f"web {result['web_mb']} MB, worker {result['worker_mb']} MB at most"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rankings", type=int, default=200)
    parser.add_argument("--scorer", default="helpful")
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--keep", type=Path, help="keep the run directories here")
    parser.add_argument("server", nargs="*", help="more options of `python app.py`, after --")
    arguments = parser.parse_args()
    results = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            run_dir = (arguments.keep or Path(folder)) / f"{arguments.scorer.split(':')[-1]}-{seed}"
            if run_dir.exists():
                raise SystemExit(f"{run_dir} is there already; each seed begins in an empty run directory.")
            results.append(run(arguments, seed, run_dir))
        print(line(results[-1]), flush=True)
    rates = [r["win_rate"] for r in results]
    print(f"median win rate {statistics.median(rates):.3f} over {len(rates)} seeds")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
