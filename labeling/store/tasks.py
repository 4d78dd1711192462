"""Prompts, and tasks: one prompt with its responses, put before annotators, leased to one at a time.

A task may want more than one ranking (`wanted`), each by another person, one after the other: on these
people can be compared. A person holds the task on the screen, and those sent along to come after it.
"""

import json
import random
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from labeling.ranking import Better, Mark, Order, Remarks
from labeling.store.database import File, StoreError, now, to_json

LEASE_SECONDS = 120.0
LEAVING_SECONDS = 10.0  # a page that is loaded again has its task back within this time
MOST_RESPONSES = 4
FEW_PROMPTS = 2000  # how often each was used is counted in 10 ms; of 100,000 it would take half a second


class TaskUnknown(StoreError):
    """There is no such task."""


class TaskClosed(StoreError):
    """The task is ranked, skipped or retired."""


class TaskLeased(StoreError):
    """Somebody else holds the task, or the person does not."""


@dataclass(frozen=True)
class Prompt:
    id: int
    text: str
    source: str
    split: str


@dataclass(frozen=True)
class NewResponse:
    """A response as the worker sampled it."""

    text: str
    tokens: int
    finished: bool
    sampling: dict[str, Any] = field(default_factory=dict)
    policy_version: int | None = None  # who wrote it; None: the task's policy


@dataclass(frozen=True)
class Task:
    """What an annotator is shown: response texts by position, and who wrote them left out but the version."""

    id: int
    prompt: str
    responses: list[str]
    policy_version: int
    previous_ranks: list[int | None] | None = None  # this person's own, withdrawn by undo
    previous_remarks: Remarks | None = None  # and what else they had said


class Tasks(File):
    def run_id(self) -> str:
        """What tells this run from others, whose task numbers start at 1 too. Made once, kept in the file."""
        if (known := self.get_setting("run_id")) is None:
            with self.write() as db:  # of two that find none, both return what the first one made
                made = to_json(secrets.token_hex(8))
                db.execute("insert into settings values ('run_id', ?) on conflict do nothing", [made])
            known = self.get_setting("run_id")
        return known

    # prompts

    def add_prompts(self, prompts: Iterable[tuple[str, str]], source: str) -> int:
        """Add (text, split) pairs; return how many were new. A known text keeps its split for good:
        a prompt that moved from held-out to train would make every later measurement a lie.
        """
        with self.write() as db:
            before = self.value("select count(*) from prompts")
            db.conn.executemany(
                """
                insert into prompts (text, source, split, created_at) values (?, ?, ?, ?)
                on conflict do nothing
                """,
                [(text, source, split, now()) for text, split in prompts],
            )
            return self.value("select count(*) from prompts") - before

    def use_prompts(self, prompts: Iterable[tuple[str, str]], source: str) -> None:
        """From now on these (text, split) pairs are the run's prompts: earlier ones are neither answered nor
        trained on any more, their rankings stay. Tasks on nobody's screen that ask them are retired.
        """
        prompts = list(prompts)
        with self.write() as db:
            self.add_prompts(prompts, source)
            db.execute("update prompts set active = 0")
            db.conn.executemany("update prompts set active = 1 where text = ?", [(t,) for t, _ in prompts])
            self._retire("prompt_id in (select id from prompts where not active)", {})

    def prompts(self, split: str | None = None, seed: int | None = None) -> list[Prompt]:
        """The run's prompts, or those of one split, in the order they were added, or shuffled by a seed."""
        sql = """
            select id, text, source, split from prompts
            where active and (? is null or split = ?) order by id
        """
        found = [Prompt(**row) for row in self.rows(sql, [split, split])]
        if seed is not None:
            random.Random(seed).shuffle(found)
        return found

    def next_prompts(self, n: int, policy_version: int, seed: int = 0) -> list[Prompt]:
        """The `n` training prompts to write tasks for: least used first, among equals shuffled by the seed.

        A retired task does not count as use, nobody answered it; being passed over does, for that policy.
        Every policy version has its own shuffle.
        """
        ids = self._unused_prompts(n, policy_version, seed)
        if len(ids) < n:
            ids = self._least_used_prompts(n, policy_version, seed)
        found = {
            row["id"]: Prompt(**row)
            for row in self.rows(
                "select id, text, source, split from prompts where id in (select value from json_each(?))",
                [json.dumps(ids)],
            )
        }
        return [found[prompt_id] for prompt_id in ids]

    def _unused_prompts(self, n: int, policy_version: int, seed: int) -> list[int]:
        """Of many prompts, where most are unused: some that are, found by looking at a few of all. There may
        be others where this finds fewer than `n`."""
        last = self.value("select coalesce(max(id), 0) from prompts")
        if last <= FEW_PROMPTS:
            return []
        rng = random.Random(f"{seed}:{policy_version}:{self.prompts_used()}")
        drawn = rng.sample(range(1, last + 1), min(last, 100 + 10 * n))
        rows = self.rows(
            """
            select id from prompts where id in (select value from json_each(?)) and active and split = 'train'
              and not exists (select 1 from tasks where prompt_id = prompts.id and state <> 'retired')
              and not exists (select 1 from passed_over where prompt_id = prompts.id and policy_version = ?)
            """,
            [json.dumps(drawn), policy_version],
        )
        unused = {row["id"] for row in rows}
        return [prompt_id for prompt_id in drawn if prompt_id in unused][:n]

    def _least_used_prompts(self, n: int, policy_version: int, seed: int) -> list[int]:
        found = self.rows(
            """
            select id, (select count(*) from tasks where prompt_id = prompts.id and state <> 'retired')
                       + coalesce(passed_over.times, 0) as uses
            from prompts left join passed_over on prompt_id = id and policy_version = ?
            where active and split = 'train' order by id
            """,
            [policy_version],
        )
        random.Random(f"{seed}:{policy_version}").shuffle(found)
        found.sort(key=lambda row: row["uses"])  # stable: the shuffle stays inside each number of uses
        return [row["id"] for row in found[:n]]

    def pass_over(self, prompt_id: int, policy_version: int) -> None:
        """Note that this policy's responses to a prompt were all alike: asking it again soon is no use."""
        with self.write() as db:
            db.execute(
                """
                insert into passed_over (prompt_id, policy_version) values (?, ?)
                on conflict do update set times = times + 1
                """,
                [prompt_id, policy_version],
            )

    # the queue

    def add_task(
        self,
        prompt_id: int,
        policy_version: int,
        responses: list[NewResponse],
        seed: int | None = None,
        wanted: int = 1,
    ) -> int:
        """Store the responses and an open task over them, in a shuffled order that never changes again.

        policy_version: whom the task is there to judge; responses of another policy may stand beside.
        wanted: by how many people it is to be ranked.
        Shuffled here and not on the page: everybody sees the same A-D, and position bias can be measured.
        """
        if not 2 <= len(responses) <= MOST_RESPONSES:
            raise StoreError(f"A task has 2 to {MOST_RESPONSES} responses, not {len(responses)}.")
        with self.write() as db:
            at = now()
            ids = [
                self.insert(
                    "responses",
                    prompt_id=prompt_id,
                    policy_version=policy_version if (own := response.policy_version) is None else own,
                    text=response.text,
                    tokens=response.tokens,
                    finished=int(response.finished),
                    sampling=to_json(response.sampling),
                    created_at=at,
                )
                for response in responses
            ]
            task_id = self.insert(
                "tasks", prompt_id=prompt_id, policy_version=policy_version, wanted=wanted, created_at=at
            )
            random.Random(seed).shuffle(ids)
            db.conn.executemany(
                "insert into task_responses (task_id, position, response_id) values (?, ?, ?)",
                [(task_id, position, response_id) for position, response_id in enumerate(ids)],
            )
            return task_id

    def claim_task(self, person_id: int, lease_seconds: float = LEASE_SECONDS) -> Task | None:
        """Lease a task to this person, or None when there is none. The one they hold comes back first: a
        reload shows the same task."""
        return next(iter(self.claim_tasks(person_id, lease_seconds=lease_seconds)), None)

    def claim_tasks(self, person_id: int, ahead: int = 0, lease_seconds: float = LEASE_SECONDS) -> list[Task]:
        """Lease up to 1 + `ahead` tasks to this person: the one for the screen, then those to follow it.

        What they hold comes first, in the order it was leased; then the published policy's tasks, then the
        newest one's, of these the oldest.
        """
        at = now()
        with self.write() as db:
            held = self.rows(
                "select id from tasks where leased_by = ? and state = 'open' order by leased_at, id limit ?",
                [person_id, 1 + ahead],
            )
            ids = [row["id"] for row in held]
            marks = ", ".join("?" * len(ids))
            db.execute(f"update tasks set leased_until = ? where id in ({marks})", [at + lease_seconds, *ids])
            while len(ids) <= ahead and (found := self._claim_another(person_id, at, lease_seconds)):
                ids.append(found)
            return self.tasks(ids, person_id)

    def _claim_another(self, person_id: int, at: float, lease_seconds: float) -> int | None:
        # Asked twice, each time in the order of the index: to sort by "is published" is to read all of them.
        published = "policy_version = (select policy_version from publications order by id desc limit 1)"
        for which in (published, "true"):
            claimed = self.value(
                f"""
                update tasks set leased_by = :person, leased_until = :until, leased_at = :now
                where id = (
                    select id from tasks
                    where state = 'open' and {which} and leased_by is not :person
                      and (leased_until is null or leased_until <= :now)
                      and (wanted = 1 or not exists (
                        select 1 from rankings
                        where task_id = tasks.id and person_id = :person
                          and (withdrawn_at is null or withdrawn_for = 'good')
                      ))
                    order by policy_version desc, id limit 1
                )
                returning id
                """,
                {"person": person_id, "until": at + lease_seconds, "now": at},
            )
            if claimed is not None:
                return claimed
        return None

    def leave(self, person_id: int, seconds: float = LEAVING_SECONDS) -> None:
        """Give this person's tasks back, not at once: who only loads the page again wants the same."""
        with self.write() as db:
            db.execute(
                """
                update tasks set leased_until = min(leased_until, ?) where leased_by = ? and state = 'open'
                """,
                [now() + seconds, person_id],
            )

    def renew_lease(self, person_id: int, task_id: int, lease_seconds: float = LEASE_SECONDS) -> None:
        """Hold on to a task while its page is open, and to those that follow it. One that ran out is renewed
        if nobody else took it."""
        with self.write() as db:
            task = self._standing_task(task_id)
            if task["leased_by"] != person_id:
                raise TaskLeased(f"Task {task_id} is not leased to you any more.")
            db.execute(
                "update tasks set leased_until = ? where leased_by = ? and state = 'open'",
                [now() + lease_seconds, person_id],
            )

    def open_tasks(self, policy_version: int | None = None) -> int:
        """How many tasks wait to be ranked, leased ones included."""
        return self.value(
            "select count(*) from tasks where state = 'open' and (? is null or policy_version = ?)",
            [policy_version, policy_version],
        )

    def claimable_tasks(self, policy_version: int) -> int:
        """How many tasks of a policy the next annotators could be given, whoever they are: those on nobody's
        screen, and ranked by nobody yet."""
        return self.value(
            """
            select count(*) from tasks
            where state = 'open' and policy_version = ? and (leased_by is null or leased_until <= ?)
              and (wanted = 1 or not exists (
                select 1 from rankings
                where task_id = tasks.id and (withdrawn_at is null or withdrawn_for = 'good')
              ))
            """,
            [policy_version, now()],
        )

    def prompts_used(self) -> int:
        """How often any prompt was answered, for a task or in vain; it only grows, so it can vary a seed."""
        return self.value(
            "select (select count(*) from tasks) + (select coalesce(sum(times), 0) from passed_over)"
        )

    def retire_tasks(self, *, before: int | None = None, other_than: int | None = None) -> int:
        """Close the open tasks of policies before this version, or of all others; return how many.

        One that somebody is looking at stays: taking it away would lose the work they just put in. So does
        one that was brought back to be changed: what was said of it would be lost.
        """
        which = "policy_version < :before or policy_version <> :other_than"
        return self._retire(which, {"before": before, "other_than": other_than})

    def _retire(self, which: str, values: dict[str, Any]) -> int:
        with self.write() as db:
            return db.execute(
                f"""
                update tasks set closed_at = :now, leased_by = null, leased_until = null,
                    state = case when wanted > 1 and exists (
                        select 1 from rankings where task_id = tasks.id and withdrawn_at is null
                    ) then 'ranked' else 'retired' end
                where state = 'open' and ({which}) and (leased_until is null or leased_until <= :now)
                  and not exists (
                    select 1 from rankings where task_id = tasks.id and withdrawn_for = 'change'
                  )
                """,
                {"now": now(), **values},
            ).rowcount

    def task(self, task_id: int, person_id: int | None = None) -> Task:
        """A task as `person_id` sees it: with the ranks they withdrew from it, if they did."""
        [task] = self.tasks([task_id], person_id)
        return task

    def tasks(self, task_ids: list[int], person_id: int | None = None) -> list[Task]:
        """Several in this order, by two queries: every reply has three. Raises TaskUnknown."""
        marks = ", ".join("?" * len(task_ids))
        shown = self.rows(
            f"""
            select tasks.id, prompts.text as prompt, tasks.policy_version, responses.text
            from tasks join prompts on prompts.id = tasks.prompt_id
            join task_responses on task_id = tasks.id join responses on responses.id = response_id
            where tasks.id in ({marks}) order by tasks.id, position
            """,
            task_ids,
        )
        withdrawn = self.rows(  # +: found by the task, where SQLite would go through all this person's
            f"""
            select * from rankings
            where task_id in ({marks}) and +person_id = ? and withdrawn_for = 'change' order by id
            """,
            [*task_ids, person_id],
        )
        newest = {ranking["task_id"]: ranking for ranking in withdrawn}
        found = []
        for task_id in task_ids:
            rows = [row for row in shown if row["id"] == task_id]
            if not rows:
                raise TaskUnknown(f"There is no task {task_id}.")
            texts = [row["text"] for row in rows]
            before = self._previous(newest[task_id]) if task_id in newest else {}
            found.append(Task(task_id, rows[0]["prompt"], texts, rows[0]["policy_version"], **before))
        return found

    def _task_row(self, task_id: int) -> dict[str, Any]:
        """Raises TaskUnknown."""
        task = self.row(
            "select id, prompt_id, state, wanted, leased_by, leased_until from tasks where id = ?", [task_id]
        )
        if task is None:
            raise TaskUnknown(f"There is no task {task_id}.")
        return task

    def _standing_task(self, task_id: int) -> dict[str, Any]:
        """The row of an open task. Raises TaskUnknown, TaskClosed."""
        task = self._task_row(task_id)
        if task["state"] != "open":
            raise TaskClosed(f"Task {task_id} is already {task['state']}.")
        return task

    def _previous(self, ranking: dict[str, Any]) -> dict[str, Any]:
        """What a ranking said that its person took back, by the names that `Task` has."""
        order, remarks = self._said(ranking)
        if order is None:  # a skip
            return {"previous_remarks": remarks} if remarks != Remarks() else {}
        return {"previous_ranks": order.as_given(), "previous_remarks": remarks}

    def _said(self, ranking: dict[str, Any]) -> tuple[Order | None, Remarks]:
        """What a row of `rankings` says: the order, None for a skip, and all else."""
        rows = self.rows(
            "select rank, marks from ranks where ranking_id = ? order by position", [ranking["id"]]
        )
        order = Order([row["rank"] for row in rows], bool(ranking["partial"])) if rows else None
        marks = tuple(mark_of(row["marks"]) for row in rows)
        written = self.row(
            """
            select text, position from demonstrations left join task_responses
              on task_id = ? and response_id = started_from where ranking_id = ?
            """,
            [ranking["task_id"], ranking["id"]],
        )
        acceptable = ranking["acceptable"]  # SQLite has no true and false
        return order, Remarks(
            None if acceptable is None else bool(acceptable),
            ranking["strength"],
            ranking["comment"],
            ranking["skip_reason"],
            marks if any(mark != Mark() for mark in marks) else (),
            Better(written["text"], written["position"]) if written else None,
        )


def mark_of(text: str) -> Mark:
    """A mark as its column holds it."""
    kept = json.loads(text)
    names = {name: tuple(kept.get(name, ())) for name in ("flags", "reasons_for", "reasons_against")}
    return Mark(**names, ratings=kept.get("ratings", {}))


def mark_text(mark: Mark) -> str:
    """The column: a JSON object with what was said, and nothing of what was not."""
    return to_json({name: value for name, value in vars(mark).items() if value})
