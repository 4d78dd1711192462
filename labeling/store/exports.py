"""What an export reads: every ranking with all that was said, in pieces, so that large runs fit in memory."""

import json
from collections.abc import Iterator
from typing import Any

from data.export_rows import DemonstrationRecord, RankingRecord
from labeling.store.database import File

PIECE = 500  # rankings read at once

# Who ranked: people of kind program that are models have a row in judges.
KIND = "case when judges.person_id is not null then 'judge' else people.kind end"


class Exports(File):
    def ranking_records(
        self, *, withdrawn: bool = False, skips: bool = False, through: int | None = None
    ) -> Iterator[RankingRecord]:
        """The rankings, oldest first, up to id `through`. withdrawn: also those that were taken back."""
        after = 0
        while True:
            rows = self.rows(
                f"""
                select rankings.id, rankings.task_id, tasks.prompt_id, prompts.text as prompt,
                       rankings.kind = 'skipped' as skipped, people.name as annotator,
                       {KIND} as annotator_kind, tasks.policy_version, partial, acceptable, strength,
                       comment, skip_reason, rankings.seconds, rankings.created_at, guidelines, constitution,
                       withdrawn_at, withdrawn_for,
                       demonstrations.text as better, demonstrations.started_from
                from rankings
                join tasks on tasks.id = rankings.task_id
                join prompts on prompts.id = tasks.prompt_id
                join people on people.id = rankings.person_id
                left join judges on judges.person_id = people.id
                left join judgements on judgements.ranking_id = rankings.id
                left join demonstrations on demonstrations.ranking_id = rankings.id
                where rankings.id > :after and (:through is null or rankings.id <= :through)
                  and (:withdrawn or withdrawn_at is null) and (:skips or rankings.kind = 'ranked')
                order by rankings.id limit {PIECE}
                """,
                {"after": after, "through": through, "withdrawn": withdrawn, "skips": skips},
            )
            if not rows:
                return
            shown = self._shown([row["id"] for row in rows])
            for row in rows:
                yield _record(row, shown[row["id"]])
            after = rows[-1]["id"]

    def _shown(self, ranking_ids: list[int]) -> dict[int, list[dict[str, Any]]]:
        """By ranking, its responses by position, each with its rank and marks (None for a skip)."""
        found: dict[int, list[dict[str, Any]]] = {ranking_id: [] for ranking_id in ranking_ids}
        marks = ", ".join("?" * len(ranking_ids))
        for row in self.rows(
            f"""
            select rankings.id as ranking_id, responses.id as response_id, responses.text,
                   responses.policy_version, finished, tokens, sampling, rank, marks
            from rankings
            join task_responses on task_responses.task_id = rankings.task_id
            join responses on responses.id = task_responses.response_id
            left join ranks on ranks.ranking_id = rankings.id and ranks.response_id = responses.id
            where rankings.id in ({marks}) order by rankings.id, task_responses.position
            """,
            ranking_ids,
        ):
            found[row["ranking_id"]].append(row)
        return found

    def imported_records(self) -> Iterator[RankingRecord]:
        """Rankings that were made elsewhere, in the order they came."""
        after = 0
        while rows := self.rows(
            f"""
            select imported_rankings.id, prompts.text as prompt, responses, ranks, strength, annotator,
                   imports.created_at
            from imported_rankings
            join prompts on prompts.id = prompt_id
            join imports on imports.id = imported_rankings.import_id
            where imported_rankings.id > ? order by imported_rankings.id limit {PIECE}
            """,
            [after],
        ):
            for row in rows:
                row |= {name: json.loads(row[name]) for name in ("responses", "ranks")}
                yield RankingRecord(**row, annotator_kind="import", source="import")
            after = rows[-1]["id"]

    def demonstration_records(self) -> list[DemonstrationRecord]:
        """What there is to learn by imitation, while the ranking it came with stands, oldest first."""
        rows = self.rows(
            """
            select prompts.text as prompt, demonstrations.text, demonstrations.source,
                   coalesce(people.name, '') as annotator, ranking_id
            from demonstrations join prompts on prompts.id = demonstrations.prompt_id
            left join rankings on rankings.id = ranking_id
            left join people on people.id = rankings.person_id
            where withdrawn_at is null order by demonstrations.id
            """
        )
        return [DemonstrationRecord(**row) for row in rows]

    def prompts_in_use(self) -> list[tuple[str, bool]]:
        """Prompts that anything can be exported of, and whether the run holds them out."""
        rows = self.rows(
            """
            select text, split = 'heldout' as heldout from prompts where id in (
                select prompt_id from tasks where id in (select task_id from rankings)
                union select prompt_id from imported_rankings
                union select prompt_id from demonstrations
            ) order by id
            """
        )
        return [(row["text"], bool(row["heldout"])) for row in rows]

    def ranking_counts_through(self, ranking_id: int) -> dict[str, int]:
        """How many of the standing rankings up to this one are by a human, a program or a judge, and how many
        were imported in all."""
        rows = self.rows(
            f"""
            select {KIND} as kind, count(*) as n from rankings
            join people on people.id = rankings.person_id
            left join judges on judges.person_id = people.id
            where withdrawn_at is null and rankings.kind = 'ranked' and rankings.id <= ? group by 1
            """,
            [ranking_id],
        )
        imported = self.value("select count(*) from imported_rankings")
        nobody = {"human": 0, "program": 0, "judge": 0}
        return nobody | {row["kind"]: row["n"] for row in rows} | {"import": imported}

    def response_records(self, limit: int) -> list[tuple[str, str, bool]]:
        """The newest responses that nobody ranked: prompt, text, and whether it ended by itself."""
        rows = self.rows(
            """
            select prompts.text as prompt, responses.text, finished from responses
            join prompts on prompts.id = responses.prompt_id
            where not exists (select 1 from ranks where response_id = responses.id)
            order by responses.id desc limit ?
            """,
            [limit],
        )
        return [(row["prompt"], row["text"], bool(row["finished"])) for row in rows]


def _record(row: dict[str, Any], shown: list[dict[str, Any]]) -> RankingRecord:
    """One of `rankings` and what was shown with it."""
    same = ("id", "prompt", "task_id", "annotator", "annotator_kind", "policy_version", "strength", "comment")
    said = ("skip_reason", "better", "seconds", "created_at", "guidelines", "constitution")
    acceptable, started = row["acceptable"], row["started_from"]
    ids = [r["response_id"] for r in shown]
    return RankingRecord(
        **{name: row[name] for name in (*same, *said)},
        withdrawn_for=None if row["withdrawn_at"] is None else row["withdrawn_for"] or "change",
        responses=[r["text"] for r in shown],
        ranks=None if row["skipped"] else [r["rank"] for r in shown],
        policies=[r["policy_version"] for r in shown],
        finished=[bool(r["finished"]) for r in shown],
        tokens=[r["tokens"] for r in shown],
        sampling=[r["sampling"] for r in shown],
        marks=[json.loads(r["marks"] or "{}") for r in shown],
        partial=bool(row["partial"]),
        acceptable=None if acceptable is None else bool(acceptable),
        started_from=ids.index(started) if started in ids else None,
    )
