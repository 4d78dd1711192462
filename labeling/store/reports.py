"""What the reports on the annotators' rankings are made from (labeling/agreement.py), and the record of what
they took back."""

import json
from dataclasses import dataclass
from typing import Any

from labeling.ranking import Order, Remarks
from labeling.store.instructions import Instructions


@dataclass(frozen=True)
class RankingFacts:
    """A standing ranking, or a skip, without the texts: lists by position, empty for a skip."""

    id: int
    task_id: int
    person_id: int
    person: str
    kind: str  # human or program
    policy_version: int  # whom the task judges
    created_at: float  # Unix seconds
    seconds: float | None  # active on the task; None: not said
    partial: bool  # those ranked last were not compared with each other
    ranks: list[int]  # dense, 1 is best
    characters: list[int]  # length of each response
    tokens: list[int]  # the same, without EOS
    judge: bool = False  # a model that ranks by a constitution


@dataclass(frozen=True)
class TakenBack:
    """A ranking, or a skip, that its annotator changed or withdrew."""

    id: int
    task_id: int
    prompt: str
    person: str
    person_kind: str  # human, program, or judge
    at: float  # Unix seconds: when it was taken back
    for_good: bool  # withdrawn; else taken back to be changed
    before: tuple[Order | None, Remarks]  # what it said; no order: a skip
    after: tuple[Order | None, Remarks] | None  # what they said next; None: nothing, or not yet
    rounds: list[int]  # ids of those that had begun to learn from it by then


@dataclass(frozen=True)
class ArenaRanking:
    """A standing ranking, by who wrote the responses: lists by position."""

    task_id: int
    kind: str  # human, program, or judge: a model that ranks by a constitution
    partial: bool  # those ranked last were not compared with each other
    versions: list[int]  # of the policy that wrote each
    ranks: list[int]  # dense, 1 is best
    tokens: list[int]  # length of each, without EOS


class Reports(Instructions):
    def arena_rankings(self) -> list[ArenaRanking]:
        """The standing rankings of responses that more than one policy wrote, oldest first."""
        rows = self.rows(
            """
            select rankings.task_id, rankings.partial,
                   case when judges.person_id is null then people.kind else 'judge' end as kind,
                   json_group_array(
                       json_array(ranks.position, responses.policy_version, ranks.rank, responses.tokens)
                   ) as shown
            from rankings
            join people on people.id = rankings.person_id
            left join judges on judges.person_id = rankings.person_id
            join ranks on ranks.ranking_id = rankings.id
            join responses on responses.id = ranks.response_id
            where rankings.withdrawn_at is null and rankings.kind = 'ranked'
            group by rankings.id having count(distinct responses.policy_version) > 1 order by rankings.id
            """
        )
        found = []
        for row in rows:
            columns = zip(*sorted(json.loads(row.pop("shown"))), strict=True)  # by position
            _, versions, ranks, tokens = (list(column) for column in columns)
            row["partial"] = bool(row["partial"])
            found.append(ArenaRanking(**row, versions=versions, ranks=ranks, tokens=tokens))
        return found

    def ranking_facts(self, kind: str | None = None) -> list[RankingFacts]:
        """The standing rankings and skips of humans, of programs, or of both (None), in order; no judges."""
        return self._facts("judges.person_id is null and (:kind is null or people.kind = :kind)", kind)

    def judged_facts(self) -> list[RankingFacts]:
        """The standing rankings of what judges have ranked: theirs, and those of people."""
        judged = "select task_id from rankings where person_id in (select person_id from judges)"
        who = "(people.kind = 'human' or judges.person_id is not null)"
        return self._facts(f"rankings.kind = 'ranked' and {who} and rankings.task_id in ({judged})")

    def _facts(self, which: str, kind: str | None = None) -> list[RankingFacts]:
        rows = self.rows(
            f"""
            select rankings.id, rankings.task_id, rankings.person_id, people.name as person, people.kind,
                   tasks.policy_version, rankings.created_at, rankings.seconds, rankings.partial,
                   judges.person_id is not null as judge,
                   json_group_array(
                       json_array(ranks.position, ranks.rank, length(responses.text), responses.tokens)
                   ) filter (where ranks.ranking_id is not null) as shown
            from rankings
            join tasks on tasks.id = rankings.task_id
            join people on people.id = rankings.person_id
            left join judges on judges.person_id = rankings.person_id
            left join ranks on ranks.ranking_id = rankings.id
            left join responses on responses.id = ranks.response_id
            where rankings.withdrawn_at is null and ({which})
            group by rankings.id order by rankings.id
            """,
            {"kind": kind},
        )
        found = []
        for row in rows:
            shown = sorted(json.loads(row.pop("shown")))  # by position
            columns = zip(*shown, strict=True) if shown else ((),) * 4
            _, ranks, characters, tokens = (list(column) for column in columns)
            row |= {"partial": bool(row["partial"]), "judge": bool(row["judge"])}
            found.append(RankingFacts(**row, ranks=ranks, characters=characters, tokens=tokens))
        return found

    def reports_stamp(self) -> tuple[Any, ...]:
        """What changes whenever `ranking_facts` does: a ranking more, one withdrawn, another name."""
        return tuple(
            self.row(
                """
                select (select coalesce(max(id), 0) from rankings) as newest,
                       (select count(*) from rankings where withdrawn_at is null) as standing,
                       (select group_concat(name, char(10)) from people) as names
                """
            ).values()
        )

    def taken_back(self, limit: int = 50) -> list[TakenBack]:
        """The rankings and skips last changed or withdrawn, newest first."""
        rows = self.rows(
            """
            select rankings.*, prompts.text as prompt, people.name as person,
                   iif(judges.person_id is null, people.kind, 'judge') as person_kind,
                   (select min(later.id) from rankings as later where later.task_id = rankings.task_id
                    and later.person_id = rankings.person_id and later.id > rankings.id) as next_id,
                   (select json_group_array(rounds.id) from rounds
                    where rankings.kind = 'ranked' and rounds.method <> 'sft'
                      and rounds.trained_through >= rankings.id
                      and rounds.started_at < rankings.withdrawn_at) as rounds
            from rankings
            join tasks on tasks.id = rankings.task_id
            join prompts on prompts.id = tasks.prompt_id
            join people on people.id = rankings.person_id
            left join judges on judges.person_id = people.id
            where rankings.id in (
                select id from rankings where withdrawn_at is not null
                order by withdrawn_at desc, id desc limit ?
            )
            order by withdrawn_at desc, rankings.id desc
            """,
            [limit],
        )
        found = []
        for row in rows:
            for_good = row["withdrawn_for"] == "good"
            later = None if for_good else self.row("select * from rankings where id = ?", [row["next_id"]])
            same = {name: row[name] for name in ("id", "task_id", "prompt", "person", "person_kind")}
            found.append(
                TakenBack(
                    **same,
                    at=row["withdrawn_at"],
                    for_good=for_good,
                    before=self._said(row),
                    after=self._said(later) if later else None,
                    rounds=sorted(json.loads(row["rounds"])),
                )
            )
        return found

    def taken_back_counts(self) -> dict[str, int]:
        """How many rankings and skips were `changed`, and how many `withdrawn` for good."""
        return self.row(
            """
            select count(*) filter (where withdrawn_for <> 'good') as changed,
                   count(*) filter (where withdrawn_for = 'good') as withdrawn
            from rankings where withdrawn_at is not null
            """
        )
