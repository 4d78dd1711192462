"""Judges: models that rank by a constitution. What they say counts apart, less, or not at all.

A judge is a person of kind 'program' with a row in `judges`; what is known of a ranking of theirs beside the
order is in `judgements`. They rank open tasks like annotators, but take the newest and leave some to people;
and tasks that people have ranked, to be compared with them, which leaves those tasks as they are. What a
judge could not rank is kept as a skip, so that it is not asked again, and the task stays open to people.

Whether and how much rankings of judges are learned from is one setting (`ai_feedback`); which of them are
learned from at all is in `labeling.store.rankings.LEARNED`.
"""

from dataclasses import dataclass
from typing import Any

from data.constitution import CONSTITUTION, check_constitution
from labeling.ranking import LONGEST_NAME, Remarks
from labeling.store.database import StoreError, now
from labeling.store.people import People, Person
from labeling.store.rankings import AI_FEEDBACK, Ranking
from labeling.store.reports import Reports
from labeling.store.tasks import LEASE_SECONDS, Task, TaskClosed, TaskLeased

HEAVIEST = 10.0
# Nobody who has ranked or skipped a task, or was given it and withdrew for good, is asked again.
NOT_ASKED = """not exists (select 1 from rankings where task_id = tasks.id and person_id = :person
    and (withdrawn_at is null or withdrawn_for = 'good'))"""


@dataclass(frozen=True)
class Constitution:
    version: int  # 0: as delivered
    text: str  # Markdown
    created_at: float | None


class Judges(People, Reports):
    # the constitution

    def constitution(self, version: int | None = None) -> Constitution | None:
        """One version, the newest if not said; None if there is none such."""
        found = self.row(
            """
            select version, text, created_at from constitutions
            where version = coalesce(?, (select max(version) from constitutions))
            """,
            [version],
        )
        if found:
            return Constitution(**found)
        return Constitution(0, CONSTITUTION, None) if version in (None, 0) else None

    def constitution_versions(self) -> list[dict[str, Any]]:
        """All versions, newest first: `version`, `text`, `created_at`, `by`, and how many `rankings` stand
        that were made by it. The delivered one is the last."""
        made_by = """(select count(*) from judgements join rankings on rankings.id = ranking_id
            where constitution = {} and withdrawn_at is null and rankings.kind = 'ranked') as rankings"""
        return self.rows(
            f"""
            select version, text, constitutions.created_at, people.name as by, {made_by.format("version")}
            from constitutions left join people on people.id = person_id
            union all select 0, ?, null, null, {made_by.format("0")} order by version desc
            """,
            [CONSTITUTION],
        )

    def add_constitution(self, text: str, person_id: int | None = None) -> Constitution:
        """Write a new version; the same text again is the same version. Raises ValueError."""
        text = check_constitution(text)
        with self.write():
            known = self.constitution()
            if known.text.strip() == text:
                return known
            self.insert(
                "constitutions",
                version=known.version + 1,
                text=text,
                person_id=person_id,
                created_at=now(),
            )
            return self.constitution()

    # the switch

    def set_ai_feedback(self, *, use: bool | None = None, weight: float | None = None) -> dict[str, Any]:
        """Change it, from the next round on; what is None stays. Raises ValueError."""
        if weight is not None and not 0 < weight <= HEAVIEST:
            raise ValueError(
                f"The weight is {weight:g}; wanted: above 0, at most {HEAVIEST:g}. To learn nothing from "
                "judges, switch them off."
            )
        with self.write():
            given = {"use": use, "weight": weight}
            kept = self.ai_feedback() | {name: value for name, value in given.items() if value is not None}
            self.put_setting(AI_FEEDBACK, kept)
        return kept

    # who judges

    def judge(self, name: str, model: str, endpoint: str = "") -> Person:
        """The person that stands for this judge, made when first asked for. One of the same name and model is
        the same, wherever it answers; endpoint: '' in this process."""
        with self.write() as db:
            # No cookie hashes to it: those are 64 hexadecimal digits.
            person = self._add_person(f"judge:{name}:{model}", f"judge {name}", "program")
            db.execute(
                """
                insert into judges (person_id, model, endpoint, created_at) values (?, ?, ?, ?)
                on conflict do update set endpoint = excluded.endpoint
                """,
                [person.id, model, endpoint, now()],
            )
            return person

    def judges(self) -> list[dict[str, Any]]:
        """All judges, busiest first: `person_id`, `name`, `model`, `endpoint`; of what stands, `rankings` and
        `failed` (tasks it gave no usable answer to), `consistent` (mean over rankings, None before the
        first), `calls`, `prompt_tokens`, `response_tokens`, `seconds`, and `last` (Unix seconds)."""
        return self.rows(
            """
            select people.id as person_id, name, model, endpoint,
                   count(*) filter (where rankings.kind = 'ranked') as rankings,
                   count(*) filter (where rankings.kind = 'skipped') as failed,
                   avg(consistent) as consistent,
                   coalesce(sum(calls), 0) as calls,
                   coalesce(sum(prompt_tokens), 0) as prompt_tokens,
                   coalesce(sum(response_tokens), 0) as response_tokens,
                   coalesce(sum(judgements.seconds), 0.0) as seconds,
                   max(rankings.created_at) as last
            from judges join people on people.id = judges.person_id
            left join rankings on rankings.person_id = people.id and withdrawn_at is null
            left join judgements on ranking_id = rankings.id
            group by people.id order by rankings desc, people.id
            """
        )

    # what they rank

    def claim_to_judge(self, person_id: int, leave: int, lease_seconds: float = LEASE_SECONDS) -> Task | None:
        """Lease the newest open task to this judge, while more than `leave` are free: those are people's, who
        get the oldest first. None when there is none; what several people are to rank is never given."""
        at = now()
        with self.write():
            claimed = self.value(
                f"""
                update tasks set leased_by = :person, leased_until = :until, leased_at = :now
                where id = (
                    select id from tasks
                    where state = 'open' and wanted = 1 and (leased_until is null or leased_until <= :now)
                      and {NOT_ASKED}
                      and not exists (select 1 from rankings
                                      where task_id = tasks.id and withdrawn_for = 'change')
                      and (select count(*) from tasks where state = 'open'
                           and (leased_until is null or leased_until <= :now)) > :leave
                    order by policy_version desc, id desc limit 1
                )
                returning id
                """,
                {"person": person_id, "until": at + lease_seconds, "now": at, "leave": leave},
            )
            return None if claimed is None else self.task(claimed)

    def to_compare(self, person_id: int, limit: int) -> list[Task]:
        """Tasks ranked by people and not by this judge, newest first: to compare it with them."""
        found = self.rows(
            f"""
            select id from tasks
            where state = 'ranked' and {NOT_ASKED} and exists (
                select 1 from rankings join people on people.id = rankings.person_id
                where task_id = tasks.id and withdrawn_at is null and rankings.kind = 'ranked'
                  and people.kind = 'human'
            )
            order by id desc limit :limit
            """,
            {"person": person_id, "limit": limit},
        )
        return self.tasks([row["id"] for row in found])

    def hold_to_judge(self, person_id: int, task_id: int, lease_seconds: float = LEASE_SECONDS) -> bool:
        """Hold on to a task while the judge is asked; whether it still has it."""
        with self.write() as db:
            return bool(
                db.execute(
                    "update tasks set leased_until = ? where id = ? and leased_by = ? and state = 'open'",
                    [now() + lease_seconds, task_id, person_id],
                ).rowcount
            )

    def add_judgement(
        self,
        person_id: int,
        task_id: int,
        nonce: str,
        ranks: list[int] | None,
        *,
        why: str = "",
        compare: bool = False,
        constitution: int = 0,
        calls: int = 0,
        prompt_tokens: int = 0,
        response_tokens: int = 0,
        consistent: float | None = None,
        seconds: float = 0.0,
    ) -> Ranking | None:
        """Store a judge's ranking, or (ranks None) that it had no usable answer. why: its reason, or what
        was wrong. None where somebody else has ranked the task meanwhile: then nothing is stored.

        compare: of a task that people have ranked, which stays as it is. Without an answer the task stays
        open, and is on nobody's screen. The rest is what is known beside the order: the constitution's
        version, requests (retries too), tokens, share of pairs ranked alike in both orders, seconds.
        """
        remarks = Remarks(comment=why) if ranks is not None else Remarks(skip_reason=why[:LONGEST_NAME])
        try:
            with self.write() as db:
                beside = compare or ranks is None
                ranking = self.add_ranking(person_id, task_id, nonce, ranks, seconds, remarks, beside=beside)
                if ranks is None:
                    free = "update tasks set leased_by = null, leased_until = null"
                    db.execute(f"{free} where id = ? and leased_by = ?", [task_id, person_id])
                db.execute(
                    """
                    insert into judgements (ranking_id, constitution, calls, prompt_tokens, response_tokens,
                                            consistent, seconds)
                    values (?, ?, ?, ?, ?, ?, ?) on conflict do nothing
                    """,
                    [ranking.id, constitution, calls, prompt_tokens, response_tokens, consistent, seconds],
                )
                return ranking
        except (TaskClosed, TaskLeased):
            return None

    # critique and revise

    def to_revise(self, limit: int) -> list[dict[str, Any]]:
        """The policies' newest responses to training prompts that no judge has revised yet, one of each:
        `response_id`, `prompt_id`, `prompt`, `text`."""
        return self.rows(
            """
            select max(responses.id) as response_id, prompts.id as prompt_id, prompts.text as prompt,
                   responses.text
            from responses join prompts on prompts.id = responses.prompt_id
            where split = 'train' and active and finished and trim(responses.text) <> ''
              and not exists (select 1 from demonstrations
                              where source = 'judge' and demonstrations.prompt_id = prompts.id)
            group by prompts.id order by response_id desc limit ?
            """,
            [limit],
        )

    def add_revision(self, response_id: int, text: str) -> bool:
        """Keep a judge's revision of a response as a demonstration; False when it is there already. Raises
        StoreError for no such response."""
        with self.write() as db:
            prompt_id = self.value("select prompt_id from responses where id = ?", [response_id])
            if prompt_id is None:
                raise StoreError(f"There is no response {response_id}.")
            return bool(
                db.execute(
                    """
                    insert into demonstrations (source, prompt_id, started_from, text, created_at)
                    values ('judge', ?, ?, ?, ?) on conflict do nothing
                    """,
                    [prompt_id, response_id, text.strip(), now()],
                ).rowcount
            )
