"""What goes between people and the worker: its heartbeat, their commands, and samples for the lab."""

from typing import Any

from labeling.store.database import KEEP, StoreError, from_json, now, to_json
from labeling.store.rounds import Rounds

COMMANDS = ("train", "pause", "resume", "stop", "publish", "sft")
ROUND_FACTS = (
    "id", "state", "reason", "rankings", "parent_version", "policy_version", "attempts", "started_at",
    "ended_at", "method", "summary",
)  # fmt: skip


class Worker(Rounds):
    # heartbeat

    def beat(self, state: str, detail: str = "", error: Any = KEEP, pid: int | None = None) -> None:
        """Say what the worker does now. `error` stays until it is set to None: a restart does not hide it."""
        with self.write() as db:
            db.execute(
                """
                insert into worker (id, state, detail, error, pid, seen)
                values (1, :state, :detail, :error, :pid, :now)
                on conflict (id) do update set state = :state, detail = :detail, pid = :pid, seen = :now,
                    error = case when :keep then error else :error end
                """,
                {
                    "state": state,
                    "detail": detail,
                    "error": None if error is KEEP else error,
                    "keep": error is KEEP,
                    "pid": pid,
                    "now": now(),
                },
            )

    def worker_status(self) -> dict[str, Any]:
        """The last beat: state, detail, error, pid, seen (Unix seconds; None before the first one)."""
        return self.row("select state, detail, error, pid, seen from worker") or {
            "state": "starting",
            "detail": "The worker has not started yet.",
            "error": None,
            "pid": None,
            "seen": None,
        }

    # commands

    def add_command(
        self, name: str, argument: dict[str, Any] | None = None, person_id: int | None = None
    ) -> int:
        """Ask something of the worker, which acts on it in its own time."""
        if name not in COMMANDS:
            raise StoreError(f"The worker knows {', '.join(COMMANDS)}, not {name!r}.")
        with self.write():
            text = None if argument is None else to_json(argument)
            return self.insert("commands", name=name, argument=text, person_id=person_id, created_at=now())

    def waiting_commands(self) -> list[dict[str, Any]]:
        """The commands not finished yet, oldest first. Reading marks nothing: a restart sees them again."""
        return self._commands("where done_at is null order by id", [])

    def finish_command(self, command_id: int, outcome: str) -> None:
        """Write down, in one sentence, what came of it."""
        with self.write() as db:
            db.execute(
                "update commands set done_at = ?, outcome = ? where id = ?", [now(), outcome, command_id]
            )

    def commands(self, limit: int = 10) -> list[dict[str, Any]]:
        """The last commands with their outcomes, newest first."""
        return self._commands("order by id desc limit ?", [limit])

    def _commands(self, where: str, values: list[Any]) -> list[dict[str, Any]]:
        names = "id, name, argument, person_id, created_at, done_at, outcome"
        rows = self.rows(f"select {names} from commands {where}", values)
        return [row | {"argument": from_json(row["argument"])} for row in rows]

    # samples: texts that are shown and never ranked, for before/after or kept from a round

    def add_samples(self, batch: str, prompt: str, versions: list[int]) -> list[int]:
        """Ask for one response to `prompt` from each version (-1 is the base model)."""
        with self.write():
            return [
                self.insert(
                    "samples",
                    batch=batch,
                    prompt=prompt,
                    policy_version=version,
                    state="waiting",
                    created_at=now(),
                )
                for version in versions
            ]

    def waiting_samples(self) -> list[dict[str, Any]]:
        """What is still to be written, oldest first; half-written ones too."""
        return self._samples("state in ('waiting', 'running')", [])

    def fail_running_samples(self, error: str) -> int:
        """Give up what a worker died over; return how many. Asked for again it would die again."""
        with self.write() as db:
            sql = "update samples set state = 'failed', error = ? where state = 'running'"
            return db.execute(sql, [error]).rowcount

    def update_sample(
        self, sample_id: int, *, text: Any = KEEP, score: Any = KEEP, state: Any = KEEP, error: Any = KEEP
    ) -> None:
        """Set what is given, leave the rest."""
        columns = {"text": text, "score": score, "state": state, "error": error}
        columns = {name: value for name, value in columns.items() if value is not KEEP}
        sets = ", ".join(f"{name} = :{name}" for name in columns)
        with self.write() as db:
            db.execute(f"update samples set {sets} where id = :id", columns | {"id": sample_id})

    def samples(self, batch: str) -> list[dict[str, Any]]:
        """One batch, in the order it was asked for."""
        return self._samples("batch = ?", [batch])

    def _samples(self, where: str, values: list[Any]) -> list[dict[str, Any]]:
        names = "id, batch, prompt, policy_version, text, score, state, error"
        return self.rows(f"select {names} from samples where {where} order by id", values)

    # the facts at a glance

    def status(self) -> dict[str, Any]:
        """What `GET /api/status` and `python app.py status` say: indexed counts, for every page polls it."""
        return self.kept("status", self._status) | {"now": now()}

    def _status(self) -> dict[str, Any]:
        settings = self.settings()
        config = settings.get("config", {})  # the worker's settings, put there by `app.py`
        per_round = config.get("rankings_per_round", 64)
        model = settings.get("model") or config.get("model", "")  # what it loaded, or is loading
        counts = self.ranking_counts_by_kind()
        published = self.published()
        worker = self.worker_status()
        last = next(iter(self.rounds(limit=1)), None)
        return {
            "policy_version": published.version if published else None,
            "rankings": sum(counts.values()),
            "programs": counts["program"],
            "judges": counts["judge"],
            "open_tasks": self.open_tasks(),
            "rankings_per_round": per_round,
            "until_next_round": per_round - self.new_rankings(most=per_round),
            # what the round after the running one would make, should that publish its own
            "next_policy": self.next_version() + (last is not None and last.state == "running"),
            "worker": {name: worker[name] for name in ("state", "detail", "error", "seen")},
            "paused": bool(settings.get("paused")),
            "last_round": {name: getattr(last, name) for name in ROUND_FACTS} if last else None,
            "model": model,
            "starter": model == "starter",
            "base": bool(settings.get("base")),
            "run": settings.get("run_id"),
            "guidelines": self.value("select coalesce(max(version), 0) from guidelines"),
            "form_changes": settings.get("form_changes", 0),
        }
