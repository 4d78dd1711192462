"""What was not made here: prompts, demonstrations and rankings from files and data sets.

Known by their contents, so that a file that is imported twice, or half and then whole, is there once.
Imported rankings teach the reward model beside the annotators' own, and never count towards the next round.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from data.incoming import ImportedDemonstration, ImportedPrompt, ImportedRanking, Item
from data.prompts import LEAST_DIFFERENT, split_prompts
from labeling.store.database import from_json, now, to_json
from labeling.store.tasks import Tasks

# A prompt that judges policies is not to be learned from; one that is only kept judges nothing.
LEARNED = "not (prompts.active and prompts.split = 'heldout')"


@dataclass(frozen=True)
class Import:
    """One call of `python app.py import`."""

    id: int
    source: str
    format: str
    added: dict[str, int]  # prompts, demonstrations, preferences; known: they were there before
    refused: dict[str, dict[str, Any]]  # why -> {"rows": how many, "lines": the first of them}
    created_at: float


class Imports(Tasks):
    def begin_import(self, source: str) -> int:
        """Note that something is being imported; its id."""
        with self.write():
            return self.insert(
                "imports", source=source, format="", added="{}", refused="{}", created_at=now()
            )

    def add_imported(self, import_id: int, items: Sequence[Item], *, ask: bool = False) -> dict[str, int]:
        """Add what is not there yet, in one transaction; how many of each kind were added, and `known`.

        Imported prompts are asked from now on, a tenth of them held out. Prompts that only come with a
        demonstration or a ranking are asked too if `ask`, and else kept for these. A known text keeps its
        split, see `add_prompts`.
        """
        own = [item.prompt for item in items if isinstance(item, ImportedPrompt)]
        others = [item.prompt for item in items if not isinstance(item, ImportedPrompt)]
        splits = split_prompts(list(dict.fromkeys([*own, *others])))
        demonstrations = [
            (import_id, item.response, now(), item.prompt)
            for item in items
            if isinstance(item, ImportedDemonstration)
        ]
        rankings = [
            (
                import_id,
                key_of(item),
                to_json(item.responses),
                to_json(item.ranks),
                item.strength,
                item.annotator,
                item.prompt,
            )
            for item in items
            if isinstance(item, ImportedRanking)
        ]
        with self.write() as db:
            self._inserted(
                """
                insert into prompts (text, source, split, created_at, active) values (?, ?, ?, ?, 0)
                on conflict do nothing
                """,
                [(text, f"import {import_id}", split, now()) for text, split in splits],
            )
            few = self._has_few_of_its_own()
            asked = self._ask(import_id, own)
            added = {
                "demonstrations": self._inserted(
                    """
                    insert into demonstrations (source, import_id, text, created_at, prompt_id)
                    values ('import', ?, ?, ?, (select id from prompts where text = ?)) on conflict do nothing
                    """,
                    demonstrations,
                ),
                "preferences": self._inserted(
                    """
                    insert into imported_rankings
                        (import_id, key, responses, ranks, strength, annotator, prompt_id)
                    values (?, ?, ?, ?, ?, ?, (select id from prompts where text = ?)) on conflict do nothing
                    """,
                    rankings,
                ),
            }
            known = len(items) - asked - sum(added.values())
            if ask:
                asked += self._ask(import_id, others)
            if few and not self._has_few_of_its_own():
                self._make_room(db)
            added |= {"prompts": asked, "known": known}
            before = from_json(self.value("select added from imports where id = ?", [import_id]))
            sums = {name: before.get(name, 0) + count for name, count in added.items()}
            db.execute("update imports set added = ? where id = ?", [to_json(sums), import_id])
            return added

    def _ask(self, import_id: int, texts: Sequence[str]) -> int:
        """Make these the run's own; how many were not yet."""
        return self._inserted(
            "update prompts set active = 1, import_id = ? where text = ? and import_id is null",
            [(import_id, text) for text in dict.fromkeys(texts)],
        )

    def _has_few_of_its_own(self) -> bool:
        some = "select count(*) from (select 1 from prompts where import_id is not null limit ?)"
        return self.value(some, [LEAST_DIFFERENT]) < LEAST_DIFFERENT

    def _make_room(self, db: Any) -> None:
        """Who brings prompts of their own does not want the starter's; a few are no replacement."""
        db.execute("update prompts set active = 0 where source = 'starter' and import_id is null and active")
        self._retire("prompt_id in (select id from prompts where not active)", {})

    def _inserted(self, sql: str, rows: Sequence[tuple]) -> int:
        """How many rows it changed, of those that it might have."""
        before = self.db.conn.total_changes
        self.db.conn.executemany(sql, rows)
        return self.db.conn.total_changes - before

    def end_import(self, import_id: int, format: str, refused: dict[str, dict[str, Any]]) -> None:
        """Write down what else there is to say of it."""
        with self.write() as db:
            db.execute(
                "update imports set format = ?, refused = ? where id = ?",
                [format, to_json(refused), import_id],
            )

    def imports(self) -> list[Import]:
        """All imports, newest first."""
        return [
            Import(**row | {name: from_json(row[name]) for name in ("added", "refused")})
            for row in self.rows("select * from imports order by id desc")
        ]

    def imported_in_all(self) -> dict[str, int]:
        """How many prompts, demonstrations and preferences all imports have added."""
        kinds = ("prompts", "demonstrations", "preferences")
        return {kind: sum(i.added.get(kind, 0) for i in self.imports()) for kind in kinds}

    # what the worker reads

    def imported_prompts(self) -> list[tuple[str, str]]:
        """(text, split) of the prompts that were imported to be asked, whether they are asked now or not."""
        rows = self.rows("select text, split from prompts where import_id is not null order by id")
        return [(row["text"], row["split"]) for row in rows]

    def leave_out(self, prompt_ids: Sequence[int]) -> None:
        """Ask these no more: the model cannot read them, say."""
        with self.write() as db:
            db.conn.executemany("update prompts set active = 0 where id = ?", [(i,) for i in prompt_ids])

    def imported_rankings(self, limit: int | None = None) -> list[ImportedRanking]:
        """Imported rankings to learn from, without those of prompts that are held out here.

        limit: so many at most, drawn at random, the same ones every time.
        """
        rows = self.rows(
            f"""
            select prompts.text as prompt, responses, ranks, strength, annotator
            from imported_rankings join prompts on prompts.id = prompt_id
            where {LEARNED} order by key limit ?
            """,
            [-1 if limit is None else limit],
        )
        return [
            ImportedRanking(**row | {name: tuple(json.loads(row[name])) for name in ("responses", "ranks")})
            for row in rows
        ]

    def imported_ranking_count(self) -> int:
        """How many there are to learn from."""
        return self.value(
            f"select count(*) from imported_rankings join prompts on prompts.id = prompt_id where {LEARNED}"
        )


def key_of(ranking: ImportedRanking) -> str:
    """What tells a ranking from others: all that it says, in whatever order its responses stand."""
    rows = sorted(zip(ranking.ranks, ranking.responses, strict=True))
    text = json.dumps([ranking.prompt, rows, ranking.strength, ranking.annotator], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
