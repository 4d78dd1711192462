"""Experiment trackers beside the built-in curves: TensorBoard, Weights & Biases, Trackio, MLflow.

Through Accelerate's tracker classes, without an Accelerator: this process trains one model at a time and
needs none of the rest. What they write goes into the run directory, `trackers/`, unless environment variables
(`MLFLOW_TRACKING_URI`, `WANDB_MODE`, `TRACKIO_DIR` ...) send it elsewhere. The step counts what was written
to them in this run, over all rounds and restarts: a round's own steps begin again at 1.

A tracker may fail in any way (no network, no account, a full disk). It is then left out until the next round,
which is said once: training and annotators never wait for it.
"""

import contextlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from rlhf.beforehand import check_installed, tracker_names

FOLDER = "trackers"  # in the run directory
WITHOUT_WORDS = ("mlflow",)  # of these a metric is a number
FAREWELL = 5.0  # seconds that all of them have to finish


class Trackers:
    """All that `--log-to` names; with none, every call does nothing.

    Raises ValueError, when made, for packages that are not installed.
    """

    def __init__(self, log_to: str, run_dir: Path, settings: dict[str, Any]):
        self.names = tracker_names(log_to)
        check_installed(self.names)
        self.folder, self.settings = run_dir / FOLDER, settings
        self.run = f"{run_dir.resolve().name}-{time.strftime('%Y%m%d-%H%M%S')}"  # a run of theirs
        self.running: dict[str, Any] = {}
        self.reported: set[str] = set()
        self.step = self._kept_step()

    def begin_round(self) -> None:
        """Start those that do not run: at first all, later those that had failed."""
        for name in self.names:
            if name not in self.running:
                self._try(name, self._start, name)

    def log(self, values: dict[str, float | str]) -> None:
        """Write metrics at the next step."""
        if not self.names:
            return
        self.step += 1
        for name, tracker in list(self.running.items()):
            words = name not in WITHOUT_WORDS
            own = {key: value for key, value in values.items() if words or not isinstance(value, str)}
            self._try(name, tracker.log, own, step=self.step)
        self._keep_step()

    def end_round(self, round_id: int, state: str, reason: str | None, summary: dict | None) -> None:
        """Write down how a round ended: its summary's figures, whether it was published, and why."""
        known = (summary or {}).items()
        figures = {f"round/{name}": value for name, value in known if isinstance(value, int | float)}
        published = {"round/published": float(state == "published")}
        self.log(figures | published | {"round/outcome": f"round {round_id} {state}: {reason or ''}"})

    def finish(self) -> None:
        """Let them write what they hold, for a few seconds at most."""

        threads = [
            threading.Thread(target=_finish, args=(tracker,), daemon=True)
            for tracker in self.running.values()
        ]
        for thread in threads:
            thread.start()
        end = time.monotonic() + FAREWELL
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        self.running.clear()

    def _start(self, name: str) -> None:
        from accelerate import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState()  # their log messages ask it which process this is
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        match name:
            case "tensorboard":
                options = {"run_name": self.run, "logging_dir": str(folder)}
            case "wandb":
                options = {"run_name": "podium", "name": self.run, "dir": str(folder)}
            case "trackio":
                os.environ.setdefault("TRACKIO_DIR", str(folder))  # read when it is imported
                options = {"run_name": "podium", "name": self.run}
            case "mlflow":
                os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{(folder / 'mlflow.db').resolve()}")
                options = {"experiment_name": "podium", "run_name": self.run}
                options["logging_dir"] = str((folder / "artifacts").resolve())
        tracker = LOGGER_TYPE_TO_CLASS[name](**options)
        tracker.start()
        tracker.store_init_configuration(self.settings)
        self.running[name] = tracker

    def _try(self, name: str, act, *values: Any, **options: Any) -> None:
        try:
            act(*values, **options)
        except (Exception, SystemExit) as error:  # whatever it is, training goes on
            if failed := self.running.pop(name, None):  # what it holds, as far as it can
                threading.Thread(target=_finish, args=(failed,), daemon=True).start()
            if name not in self.reported:
                self.reported.add(name)
                first = (str(error).strip().splitlines() or [""])[0]
                print(
                    f"The tracker {name} fails ({type(error).__name__}: {first[:200]}); it is tried again "
                    "with every round, and training goes on.",
                    flush=True,
                )

    def _kept_step(self) -> int:
        try:
            return int(json.loads((self.folder / "step.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return 0

    def _keep_step(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "step.json").write_text(json.dumps(self.step), encoding="utf-8")
        except OSError:  # a full disk: after a restart steps begin again
            pass


def _finish(tracker: Any) -> None:
    with contextlib.suppress(Exception, SystemExit):
        tracker.finish()
