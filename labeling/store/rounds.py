"""Policies, and the rounds that make them.

`rounds.trained_through`, the last ranking id a round uses, is the hinge of crash safety. A round that was
killed keeps its row: beginning again takes the same rankings under the same id, so none is lost and none
counts towards two rounds. Rankings that arrive meanwhile have larger ids and count towards the next one.
"""

import math
from dataclasses import dataclass
from typing import Any

from labeling.store.database import StoreError, from_json, now, to_json
from labeling.store.rankings import COUNTED, LEARNED, Rankings

OUTCOMES = ("published", "rejected", "failed", "stopped")
METHODS = ("ppo", "dpo", "both", "sft")


@dataclass(frozen=True)
class Policy:
    version: int
    parent_version: int | None
    round_id: int | None
    path: str
    model: str
    summary: dict[str, Any] | None
    created_at: float


@dataclass(frozen=True)
class NewPolicy:
    """A policy whose folder is complete on disk: its row is its publication."""

    version: int
    path: str  # seen from the run directory, which may be moved
    model: str
    summary: dict[str, Any] | None = None


@dataclass(frozen=True)
class Round:
    id: int
    state: str  # running, published, rejected, failed or stopped
    reason: str | None
    trained_from: int  # exclusive
    trained_through: int  # inclusive
    rankings: int
    parent_version: int
    attempts: int
    config: dict[str, Any]
    summary: dict[str, Any] | None
    started_at: float
    ended_at: float | None
    method: str  # ppo, dpo, both (the better of the two), or sft, which uses no rankings
    policy_version: int | None  # what it made


class Rounds(Rankings):
    # policies

    def add_reference(self, path: str, model: str) -> Policy:
        """Version 0, the SFT reference: added and published once.

        Its path may change (the project was moved), its model may not: every ranking, KL and score here is
        about responses of that one.
        """
        with self.write() as db:
            known = self.policy(0)
            if known and known.model != model:
                raise StoreError(
                    f"{self.run_dir} was made with {known.model}, not {model}; choose another --run-dir."
                )
            if known:
                db.execute("update policies set path = ? where version = 0", [path])
            else:
                self.insert("policies", version=0, path=path, model=model, created_at=now())
                self.publish(0, "the reference")
            return self.policy(0)

    def policy(self, version: int) -> Policy | None:
        """One policy."""
        return next(iter(self._policies("where version = ?", [version])), None)

    def policies(self) -> list[Policy]:
        """All policies, oldest first."""
        return self._policies("order by version")

    def next_version(self) -> int:
        """What the next policy will be called."""
        return self.value("select coalesce(max(version), -1) + 1 from policies")

    def publish(self, version: int, reason: str) -> None:
        """Let this policy answer from now on. Going back to an older one adds a row like any other."""
        with self.write():
            if self.policy(version) is None:
                raise StoreError(f"There is no policy {version}.")
            self.insert("publications", policy_version=version, reason=reason, created_at=now())

    def published(self) -> Policy | None:
        """The policy that answers now; None until the worker has added the reference."""
        newest = "where version = (select policy_version from publications order by id desc limit 1)"
        return next(iter(self._policies(newest)), None)

    # rounds

    def begin_round(self, config: dict[str, Any], method: str = "ppo") -> Round:
        """Start a round over what there is to learn from (sft: no rankings), or one that was killed again.

        A repeated round keeps its id, method, rankings, but for those taken back since, and parent; its
        settings are the new attempt's.
        """
        if method not in METHODS:
            raise StoreError(f"A round's method is {', '.join(METHODS)}, not {method!r}.")
        with self.write() as db:
            running = self.running_round()
            if running is not None:
                db.execute(
                    "update rounds set attempts = attempts + 1, config = ?, rankings = ? where id = ?",
                    [to_json(config), self._learned(running.method, running.trained_through), running.id],
                )
                return self.round(running.id)
            parent = self.published()
            if parent is None:
                raise StoreError("There is no policy to train yet.")
            through = self.trained_through() if method == "sft" else self.last_ranking_id()
            round_id = self.insert(
                "rounds",
                state="running",
                trained_from=self.trained_through(),
                trained_through=through,
                rankings=self._learned(method, through),
                parent_version=parent.version,
                config=to_json(config),
                method=method,
                started_at=now(),
            )
            return self.round(round_id)

    def end_round(
        self,
        round_id: int,
        state: str,
        reason: str | None = None,
        summary: dict[str, Any] | None = None,
        policy: NewPolicy | None = None,
    ) -> Round:
        """Write down how the round ended and, if published, its policy: one transaction.

        So a policy without a round, or a round that claims a policy nobody can load, cannot arise.
        """
        if state not in OUTCOMES or (state == "published") != (policy is not None):
            raise StoreError(
                f"A round ends {', '.join(OUTCOMES)}, and published with a policy; this one: {state}."
            )
        with self.write() as db:
            round_ = self.round(round_id)
            if round_ is None or round_.state != "running":
                raise StoreError(f"Round {round_id} is not running.")
            db.execute(
                "update rounds set state = ?, reason = ?, summary = ?, ended_at = ? where id = ?",
                [state, reason, to_json(summary) if summary is not None else None, now(), round_id],
            )
            if policy:
                self.insert(
                    "policies",
                    version=policy.version,
                    parent_version=round_.parent_version,
                    round_id=round_id,
                    path=policy.path,
                    model=policy.model,
                    summary=to_json(policy.summary) if policy.summary is not None else None,
                    created_at=now(),
                )
                self.publish(policy.version, reason or f"round {round_id}")
            return self.round(round_id)

    def round(self, round_id: int) -> Round | None:
        """One round."""
        return next(iter(self._rounds("where rounds.id = ?", [round_id])), None)

    def rounds(self, limit: int = -1) -> list[Round]:
        """The rounds, newest first."""
        return self._rounds("order by rounds.id desc limit ?", [limit])

    def running_round(self) -> Round | None:
        """The round that runs, or that a killed worker left running."""
        return next(iter(self._rounds("where rounds.state = 'running'", [])), None)

    def trained_through(self) -> int:
        """The last ranking id any round has used, also the running one; 0 before the first."""
        return self.value("select trained_through from rounds order by id desc limit 1") or 0

    def new_rankings(self, most: int | None = None) -> int:
        """How many rankings to learn from no round has used: they count towards the next one. Counted up to
        `most`, where it only matters whether there are enough."""
        return self.new_rankings_since(self.trained_through(), most)

    def effect(self, person_id: int) -> dict[str, Any] | None:
        """What rankings did: of the round that made the published policy, `policy_version`,
        `parent_version`, `rankings`, those of this person (`mine`) and, by the reward model on held-out
        prompts, the `win_rate` over the parent with its interval; None for a policy that no round made.
        """
        found = self.kept("effect", self._effect)
        if found is None:
            return None
        through, said = found
        mine = self.value(
            # +id: counted within the index, where the other one would read every ranking of theirs
            f"select count(*) from rankings where {COUNTED} and person_id = ? and +id <= ?",
            [person_id, through],
        )
        return said | {"mine": mine}

    def _effect(self) -> tuple[int, dict[str, Any]] | None:
        """The last ranking that the published policy's round used, and what there is to say to everybody."""
        found = self.row(
            """
            select policies.version as policy_version, rounds.parent_version, rankings, rounds.summary,
                   trained_through
            from policies join rounds on rounds.id = round_id
            where version = (select policy_version from publications order by id desc limit 1)
            """
        )
        if found is None:
            return None
        through, summary = found.pop("trained_through"), from_json(found.pop("summary")) or {}
        return through, found | {n: summary.get(n) for n in ("win_rate", "win_rate_low", "win_rate_high")}

    # curves

    def add_metrics(self, round_id: int, attempt: int, step: int, values: dict[str, float]) -> None:
        """Add one step's points. NaN and infinity are left out: the curve has a gap, JSON has no word."""
        points = [(name, float(value)) for name, value in values.items()]
        with self.write() as db:
            db.conn.executemany(
                """
                insert into metrics (round_id, attempt, step, name, value, created_at)
                values (?, ?, ?, ?, ?, ?)
                """,
                [
                    (round_id, attempt, step, name, value, now())
                    for name, value in points
                    if math.isfinite(value)
                ],
            )

    def metrics(self, since_id: int = 0, limit: int = 5000) -> list[dict[str, Any]]:
        """Points after `since_id`, oldest first, of each round's newest attempt only."""
        return self.rows(
            """
            select metrics.id, round_id as round, attempt, step, name, value, created_at as at
            from metrics join rounds on rounds.id = round_id and rounds.attempts = attempt
            where metrics.id > ? order by metrics.id limit ?
            """,
            [since_id, limit],
        )

    def _learned(self, method: str, through: int) -> int:
        """How many rankings such a round learns from."""
        used = f"select count(*) from rankings where {LEARNED} and rankings.id <= ?"
        return 0 if method == "sft" else self.value(used, [through])

    def _policies(self, where: str, values: list[Any] | None = None) -> list[Policy]:
        names = "version, parent_version, round_id, path, model, summary, created_at"
        rows = self.rows(f"select {names} from policies {where}", values or [])
        return [Policy(**row | {"summary": from_json(row["summary"])}) for row in rows]

    def _rounds(self, where: str, values: list[Any]) -> list[Round]:
        rows = self.rows(
            f"""
            select rounds.*, policies.version as policy_version
            from rounds left join policies on policies.round_id = rounds.id {where}
            """,
            values,
        )
        return [
            Round(**row | {"config": from_json(row["config"]), "summary": from_json(row["summary"])})
            for row in rows
        ]
