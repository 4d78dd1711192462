"""Rankings: one annotator's order over one task's responses. What the whole project is for."""

import json
import time
from dataclasses import dataclass, replace
from typing import Any

from labeling.ranking import InvalidRanking, Mark, Remarks, check_order, check_skip
from labeling.store.database import StoreError, now
from labeling.store.tasks import LEASE_SECONDS, Task, TaskClosed, TaskLeased, Tasks, TaskUnknown, mark_text

NOTHING = Remarks()
# A withdrawn ranking stays on record and counts nowhere; a skip counts as nobody's opinion.
COUNTED = "rankings.withdrawn_at is null and rankings.kind = 'ranked'"
AI_FEEDBACK = "ai_feedback"  # the setting: whether judges' rankings are learned from, how much each counts
# What is learned from, and counts towards the next round: of judges nothing while they are switched off, and
# never what they say of a task that a person had ranked before, which is there to compare the two.
LEARNED = f"""{COUNTED} and (rankings.person_id not in (select person_id from judges) or (
    coalesce((select json_extract(value, '$.use') from settings where key = '{AI_FEEDBACK}'), 1)
    and not exists (
        select 1 from rankings as before join people on people.id = before.person_id
        where before.task_id = rankings.task_id and before.id < rankings.id and people.kind = 'human'
          and (before.withdrawn_at is null or before.withdrawn_for = 'change') and before.kind = 'ranked'
    )
))"""


class NonceReused(StoreError):
    """The nonce belongs to another submission, or to one that was taken back."""


@dataclass(frozen=True)
class Ranking:
    id: int
    task_id: int
    person_id: int
    kind: str  # ranked or skipped
    ranks: list[int] | None  # by position, dense; None for a skip
    partial: bool = False  # those ranked last were not compared with each other


@dataclass(frozen=True)
class RankedTask:
    """A task with its standing ranking, as training reads it; `id` is the ranking's."""

    id: int
    prompt_id: int
    prompt: str
    responses: list[str]
    ranks: list[int]
    finished: list[bool]  # each response ended by EOS, not cut
    policy_version: int
    person_id: int
    person_kind: str
    partial: bool
    acceptable: bool | None
    strength: int
    comment: str
    better: str | None = None  # written by the annotator: above all that were shown
    weight: float = 1.0  # how much it counts beside one of a person's
    by_judge: bool = False  # a model that ranks by a constitution


class Rankings(Tasks):
    def add_ranking(
        self,
        person_id: int,
        task_id: int,
        nonce: str,
        ranks: list[int | None] | None,
        seconds: float | None = None,
        remarks: Remarks = NOTHING,
        guidelines: int | None = None,
        beside: bool = False,
    ) -> Ranking:
        """Store a ranking (a skip when `ranks` is None) and close the task if no other is wanted, in one
        transaction. guidelines: the version it was made under. beside: the task stays as it is.

        The nonce is made by the client, once per submission: a second click or a retry after a lost reply
        finds the stored ranking and changes nothing. Raises TaskUnknown, TaskClosed, TaskLeased,
        InvalidRanking, NonceReused; then nothing is stored.
        """
        with self.write() as db:
            stored = self.row("select * from rankings where nonce = ?", [nonce])
            if stored:
                return self._repeated(stored, person_id, task_id, ranks, remarks)
            at = now()
            task = self._free_task(task_id, person_id, at, ranked_too=beside)
            responses = self.rows(
                """
                select position, response_id, responses.text from task_responses
                join responses on responses.id = response_id where task_id = ? order by position
                """,
                [task_id],
            )
            if ranks is None:
                check_skip(remarks)
            order = None if ranks is None else check_order(ranks, len(responses), remarks)
            kind = "skipped" if order is None else "ranked"
            ranking_id = self.insert(
                "rankings",
                nonce=nonce,
                task_id=task_id,
                person_id=person_id,
                kind=kind,
                seconds=seconds,
                created_at=at,
                partial=order is not None and order.partial,
                acceptable=remarks.acceptable,
                strength=remarks.strength,
                comment=remarks.comment,
                skip_reason=remarks.skip_reason,
                guidelines=guidelines,
            )
            marks = [mark_text(mark) for mark in remarks.marks] or [mark_text(Mark())] * len(responses)
            db.conn.executemany(
                "insert into ranks (ranking_id, response_id, position, rank, marks) values (?, ?, ?, ?, ?)",
                [
                    (ranking_id, response["response_id"], response["position"], rank, mark)
                    for response, rank, mark in zip(responses, order.ranks, marks, strict=True)
                ]
                if order
                else [],
            )
            if remarks.better:
                self._add_demonstration(ranking_id, task["prompt_id"], remarks.better, responses, at)
            if not beside:
                self._close(task, kind, at)
            found = (order.ranks, order.partial) if order else (None,)
            return Ranking(ranking_id, task_id, person_id, kind, *found)

    def _add_demonstration(self, ranking_id, prompt_id, better, responses, at) -> None:
        text = _plain(better.text)
        for response in responses:
            if _plain(response["text"]) == text:
                raise InvalidRanking(
                    "The better response is the same as one that was shown; change it, or leave it out."
                )
        origin = None if better.started_from is None else responses[better.started_from]["response_id"]
        self.insert(
            "demonstrations",
            source="annotator",
            ranking_id=ranking_id,
            prompt_id=prompt_id,
            started_from=origin,
            text=text,
            created_at=at,
        )

    def _close(self, task: dict[str, Any], kind: str, at: float) -> None:
        """After a ranking or a skip: the task is done, or waits for another person."""
        alone = kind == "ranked" and task["wanted"] == 1
        which = f"{COUNTED} and task_id = ?"
        standing = 1 if alone else self.value(f"select count(*) from rankings where {which}", [task["id"]])
        done = kind == "skipped" or standing >= task["wanted"]
        state = ("ranked" if standing else "skipped") if done else "open"
        self.db.execute(
            """
            update tasks set state = ?, closed_at = ?, leased_by = null, leased_until = null, leased_at = null
            where id = ?
            """,
            [state, at if done else None, task["id"]],
        )

    def undo(
        self, person_id: int, lease_seconds: float = LEASE_SECONDS, ranking_id: int | None = None
    ) -> Task | None:
        """Withdraw this person's last standing ranking or skip; return its task, leased to them again.

        None when there is nothing left to undo. The reopened task comes before what they hold: the next
        claim, or a reload, shows it, and then the others. It does not matter how old its policy is.

        With `ranking_id`: that one of theirs, to be changed. Asked again after a lost reply it withdraws
        nothing more, and raises TaskClosed or TaskLeased when the task is no longer theirs.
        """
        at = now()
        with self.write() as db:
            last = self.row(
                """
                select id, task_id, withdrawn_at, withdrawn_for from rankings
                where person_id = ? and case when ? is null then withdrawn_at is null else id = ? end
                order by id desc limit 1
                """,
                [person_id, ranking_id, ranking_id],
            )
            if last is None:
                return None
            task_id = last["task_id"]
            if last["withdrawn_at"] is not None:
                if last["withdrawn_for"] == "good":
                    raise TaskClosed("That ranking was withdrawn for good.")
                self._free_task(task_id, person_id, at)
            else:
                self._not_with_another(self._task_row(task_id), person_id, at)
                self._withdraw(last["id"], "change", at)
            first = self.value(
                "select min(leased_at) from tasks where leased_by = ? and state = 'open'", [person_id]
            )
            db.execute(
                """
                update tasks
                set state = 'open', closed_at = null, leased_by = ?, leased_until = ?, leased_at = ?
                where id = ?
                """,
                [person_id, at + lease_seconds, at if first is None else first - 1, task_id],
            )
            return self.task(task_id, person_id)

    def withdraw(self, person_id: int, ranking_id: int) -> None:
        """Take one of this person's own rankings or skips back for good: the next training set is without it,
        and nobody is asked again. Asked again it changes nothing. Raises TaskUnknown."""
        with self.write() as db:
            ranking = self.row(
                "select task_id, withdrawn_at from rankings where id = ? and person_id = ?",
                [ranking_id, person_id],
            )
            if ranking is None:
                raise TaskUnknown(f"You have no ranking {ranking_id}.")
            if ranking["withdrawn_at"] is not None:
                return
            at = now()
            self._withdraw(ranking_id, "good", at)
            standing = self.value(
                f"select count(*) from rankings where {COUNTED} and task_id = ?", [ranking["task_id"]]
            )
            db.execute(
                "update tasks set state = ? where id = ? and state <> 'open'",
                ["ranked" if standing else "retired", ranking["task_id"]],
            )

    def _withdraw(self, ranking_id: int, why: str, at: float) -> None:
        self.db.execute(
            "update rankings set withdrawn_at = ?, withdrawn_for = ? where id = ?", [at, why, ranking_id]
        )

    def undoable(self, person_id: int) -> int | None:
        """The ranking or skip that this person's next undo withdraws."""
        return self.value(
            "select max(id) from rankings where person_id = ? and withdrawn_at is null", [person_id]
        )

    def latest_rankings(self, person_id: int, limit: int = 10) -> list[dict[str, Any]]:
        """This person's newest standing rankings and skips, newest first: `id`, `at`, `prompt`, `kind`,
        `order` (None for a skip), `remarks`, and `changed`: whether an earlier one of the task was changed.
        """
        rows = self.rows(
            """
            select rankings.*, prompts.text as prompt, exists (
                select 1 from rankings as earlier where earlier.task_id = rankings.task_id
                  and earlier.person_id = rankings.person_id and earlier.id < rankings.id
            ) as changed
            from rankings join tasks on tasks.id = rankings.task_id
            join prompts on prompts.id = tasks.prompt_id
            where rankings.person_id = ? and withdrawn_at is null
            order by rankings.id desc limit ?
            """,
            [person_id, limit],
        )
        found = []
        for row in rows:
            order, remarks = self._said(row)
            known = {name: row[name] for name in ("id", "prompt", "kind")}
            found.append(
                known
                | {
                    "at": row["created_at"],
                    "order": order,
                    "remarks": remarks,
                    "changed": bool(row["changed"]),
                }
            )
        return found

    def demonstrations(self) -> list[dict[str, Any]]:
        """What there is to learn by imitation, oldest first: `prompt`, `text`, `split`, `source` (annotator,
        import or judge), and of an annotator's better response, while its ranking stands, `person_id` and
        `ranking_id`, else None."""
        return self.rows(
            """
            select prompts.text as prompt, demonstrations.text, split, demonstrations.source, person_id,
                   ranking_id
            from demonstrations join prompts on prompts.id = demonstrations.prompt_id
            left join rankings on rankings.id = ranking_id
            where withdrawn_at is null order by demonstrations.id
            """
        )

    def demonstration_count(self) -> int:
        """How many there are to learn from: not those of prompts that policies are compared on."""
        return self.value(
            """
            select count(*) from demonstrations join prompts on prompts.id = demonstrations.prompt_id
            left join rankings on rankings.id = ranking_id
            where withdrawn_at is null and split <> 'heldout'
            """
        )

    # what the worker reads

    def ranking_count(self, include_skips: bool = False) -> int:
        """How many rankings there are to learn from; with `include_skips` how many stand, skips too."""
        which = "withdrawn_at is null" if include_skips else LEARNED
        return self.value(f"select count(*) from rankings where {which}")

    def last_ranking_id(self) -> int:
        """The newest ranking's id, 0 before the first."""
        return self.value("select coalesce(max(id), 0) from rankings")

    def new_rankings_since(self, ranking_id: int, most: int | None = None) -> int:
        """How many rankings there are to learn from that came after this one, counted up to `most`."""
        which = f"{LEARNED} and rankings.id > ?"
        return self.value(
            f"select count(*) from (select 1 from rankings where {which} limit ?)",
            [ranking_id, -1 if most is None else most],
        )

    def ai_feedback(self) -> dict[str, Any]:
        """Whether rankings by judges are learned from (`use`), and how much each counts beside one of a
        person's (`weight`)."""
        return {"use": True, "weight": 0.5} | self.get_setting(AI_FEEDBACK, {})

    def rankings(self, through: int | None = None, *, all_standing: bool = False) -> list[RankedTask]:
        """The rankings to learn from, oldest first, up to and including id `through`; or all that stand."""
        weight = self.ai_feedback()["weight"]
        rows = self.rows(
            f"""
            select rankings.id, tasks.prompt_id, prompts.text as prompt, tasks.policy_version,
                   rankings.person_id, people.kind as person_kind, partial, acceptable, strength, comment,
                   demonstrations.text as better, judges.person_id is not null as by_judge,
                   json_group_array(
                       json_array(ranks.position, ranks.rank, responses.text, responses.finished)
                   ) as shown
            from rankings
            join tasks on tasks.id = rankings.task_id
            join prompts on prompts.id = tasks.prompt_id
            join people on people.id = rankings.person_id
            join ranks on ranks.ranking_id = rankings.id
            join responses on responses.id = ranks.response_id
            left join demonstrations on demonstrations.ranking_id = rankings.id
            left join judges on judges.person_id = rankings.person_id
            where {COUNTED if all_standing else LEARNED} and (:through is null or rankings.id <= :through)
            group by rankings.id order by rankings.id
            """,
            {"through": through},
        )
        found = []
        for row in rows:
            shown = sorted(json.loads(row.pop("shown")))  # by position
            _, ranks, texts, finished = (list(column) for column in zip(*shown, strict=True))
            ended = [bool(f) for f in finished]
            acceptable = row["acceptable"]
            row |= {"partial": bool(row["partial"]), "by_judge": bool(row["by_judge"])}
            row |= {"weight": weight if row["by_judge"] else 1.0}
            row |= {"acceptable": None if acceptable is None else bool(acceptable)}
            found.append(RankedTask(**row, ranks=ranks, responses=texts, finished=ended))
        return found

    # what people read

    def person_counts(self, person_id: int) -> dict[str, int]:
        """How many rankings of this person stand: since midnight here (`today`) and in `total`."""
        midnight = time.mktime((*time.localtime(now())[:3], 0, 0, 0, 0, 0, -1))
        return self.row(
            f"""
            select ranked as total, (
                select count(*) from rankings where {COUNTED} and person_id = people.id and created_at >= ?
            ) as today
            from people where id = ?
            """,
            [midnight, person_id],
        )

    def ranking_counts_by_kind(self) -> dict[str, int]:
        """Standing rankings by humans, by judges and by other programs, never mixed in silently."""
        rows = self.rows(
            """
            select iif(judges.person_id is null, kind, 'judge') as kind, sum(ranked) as n
            from people left join judges on judges.person_id = people.id group by 1
            """
        )
        return {"human": 0, "program": 0, "judge": 0} | {row["kind"]: row["n"] for row in rows}

    def _free_task(self, task_id: int, person_id: int, at: float, ranked_too: bool = False) -> dict[str, Any]:
        """The row of a task this person may rank. Raises TaskUnknown, TaskClosed, and TaskLeased when
        somebody else holds it."""
        task = self._task_row(task_id)
        if not (ranked_too and task["state"] == "ranked"):
            task = self._standing_task(task_id)
            self._not_with_another(task, person_id, at)
        if (task["wanted"] > 1 or ranked_too) and self.value(
            "select 1 from rankings where task_id = ? and person_id = ? and withdrawn_at is null",
            [task_id, person_id],
        ):
            raise TaskClosed(f"You have ranked task {task_id} already.")
        return task

    def _not_with_another(self, task: dict[str, Any], person_id: int, at: float) -> None:
        if task["leased_by"] not in (None, person_id) and task["leased_until"] > at:
            raise TaskLeased(f"Task {task['id']} is being ranked by somebody else.")

    def _repeated(
        self,
        stored: dict[str, Any],
        person_id: int,
        task_id: int,
        ranks: list[int | None] | None,
        remarks: Remarks,
    ) -> Ranking:
        kept, said = self._said(stored)
        try:
            same = kept == (
                check_order(ranks, len(kept.ranks if kept else ()), remarks) if ranks is not None else None
            )
        except InvalidRanking:
            same = False
        if (
            not same
            or said != _as_kept(remarks)
            or (stored["task_id"], stored["person_id"]) != (task_id, person_id)
        ):
            raise NonceReused("This nonce was already used for another ranking; make a new one for each.")
        if stored["withdrawn_at"] is not None:
            raise NonceReused("The ranking of this nonce was taken back; make a new nonce to rank again.")
        found = (kept.ranks, kept.partial) if kept else (None,)
        return Ranking(stored["id"], task_id, person_id, stored["kind"], *found)


def _plain(text: str) -> str:
    """As a browser's text box gives it back: with line breaks of one kind."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _as_kept(remarks: Remarks) -> Remarks:
    """What is read back of them."""
    marks = remarks.marks if any(mark != Mark() for mark in remarks.marks) else ()
    better = remarks.better and replace(remarks.better, text=_plain(remarks.better.text))
    return replace(remarks, marks=marks, better=better)
