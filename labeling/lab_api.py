"""The routes that only the lab page needs; the rest of the API is in `labeling.api`."""

import threading
from typing import Any, Literal

from fastapi import APIRouter

from data.conversation import as_messages
from labeling.agreement import report
from labeling.bias import LETTERS
from labeling.ranking import Order, Remarks
from labeling.store import Store, TakenBack

Kind = Literal["human", "program", "all"]
SHOWN = 50  # of what was changed or withdrawn
LONGEST_PROMPT = 160  # characters of a prompt that is only named
STRENGTHS = ("", "slightly better", "clearly better", "much better")


def router(store: Store) -> APIRouter:
    """Routes to include in the app beside those of `labeling.api`."""
    routes = APIRouter(prefix="/api", tags=["lab"])
    reports = ReportCache(store)

    @routes.get("/people")
    def people() -> dict[str, list[dict[str, Any]]]:
        """Everybody who has visited: name, kind (human, program or judge), rankings, skips, last (when)."""
        kept = ("name", "kind", "rankings", "skips", "last")
        return {"people": [{key: person[key] for key in kept} for person in store.people()]}

    @routes.get("/taken-back", summary="Rankings that were changed or withdrawn")
    def taken_back() -> dict[str, Any]:
        """How many there are (`changed`, `withdrawn`), and the `latest` of them, newest first: who, when
        (`at`), of which task, `before` and `after` in words (after: null if they have said nothing since),
        `also` what else differs, and the ids of the `rounds` that had begun to learn from it by then."""
        return store.kept(
            "taken_back",
            lambda: store.taken_back_counts() | {"latest": [_told(one) for one in store.taken_back(SHOWN)]},
        )

    @routes.get("/commands")
    def commands() -> dict[str, list[dict[str, Any]]]:
        """The last ten commands with the worker's answers, newest first."""
        return {"commands": store.commands(10)}

    @routes.get("/demonstrations", summary="How many demonstrations and imported preferences there are")
    def demonstrations() -> dict[str, int]:
        """To learn from: `count` better responses by annotators, and what was imported or written by a judge;
        `imported_preferences`, with which a round can be started before anybody has ranked."""
        return {
            "count": store.kept("demonstrations", store.demonstration_count),
            "imported_preferences": store.kept("imported preferences", store.imported_ranking_count),
        }

    @routes.get("/agreement", summary="Agreement, bias and pace of the annotators")
    def agreement(kind: Kind = "human") -> dict[str, Any]:
        """Of the rankings by humans, by programs, or by both: whether annotators agree where a task has two
        rankings, whether a position or a length wins, and how long a ranking takes. Judges stand apart, each
        beside the people whose tasks it ranked too (`judges`). Figures have a 95 % interval (`value`, `low`,
        `high`, `n`); where there are too few rankings, `too_few` says so."""
        return reports.report(kind)

    return routes


def _told(one: TakenBack) -> dict[str, Any]:
    prompt = " ".join(as_messages(one.prompt)[-1]["content"].split())
    kept = ("id", "task_id", "at", "person", "rounds")
    return {
        **{name: getattr(one, name) for name in kept},
        "kind": one.person_kind,
        "prompt": prompt if len(prompt) <= LONGEST_PROMPT else prompt[:LONGEST_PROMPT] + " …",
        "withdrawn": one.for_good,
        "before": in_words(*one.before),
        "after": one.after and in_words(*one.after),
        "also": _differ(one.before[1], one.after[1]) if one.after else [],
    }


def in_words(order: Order | None, remarks: Remarks) -> str:
    """What was said of a task, in a line: "B > A = C > D, none acceptable"; letters are positions shown."""
    if order is None:
        return ": ".join(part for part in ("skipped", remarks.skip_reason) if part)
    ranks = order.as_given()
    ranked = sorted({rank for rank in ranks if rank})
    places = [" = ".join(LETTERS[at] for at, given in enumerate(ranks) if given == place) for place in ranked]
    if remarks.better:
        places.insert(0, "a better response")
    if None in ranks and places:
        places.append("the rest")
    none = "none acceptable" if remarks.acceptable is False else ""
    return ", ".join(part for part in (" > ".join(places), STRENGTHS[remarks.strength], none) if part)


def _differ(before: Remarks, after: Remarks) -> list[str]:
    """What is not in the words above and is not the same."""
    texts = [remarks.better and remarks.better.text for remarks in (before, after)]
    differs = {
        "marks": before.marks != after.marks,
        "comment": before.comment != after.comment,
        "the better response": all(texts) and texts[0] != texts[1],
    }
    return [name for name, does in differs.items() if does]


class ReportCache:
    """The last report of each kind, made again when the rankings have changed: several pages ask for it every
    few seconds, and 20,000 rankings take a second of a processor."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.made: dict[str, tuple[Any, dict[str, Any]]] = {}
        self.one_at_a_time = threading.Lock()

    def report(self, kind: str) -> dict[str, Any]:
        """See labeling/agreement.py."""
        with self.one_at_a_time:
            stamp = self.store.reports_stamp()  # read first: what comes meanwhile is in the next report
            made, known = self.made.get(kind, (None, {}))
            if made != stamp:
                known = self._make(kind)
                self.made[kind] = stamp, known
            return known

    def _make(self, kind: str) -> dict[str, Any]:
        judged, counts = self.store.judged_facts(), self.store.ranking_counts_by_kind()
        if kind == "all":
            return report(self.store.ranking_facts(), kind, 0, counts["judge"], judged)
        left_out = counts["program" if kind == "human" else "human"]
        return report(self.store.ranking_facts(kind), kind, left_out, counts["judge"], judged)
