"""The routes that only the lab page needs; the rest of the API is in `labeling.api`."""

import threading
from typing import Any, Literal

from fastapi import APIRouter

from labeling.agreement import report
from labeling.store import Store

Kind = Literal["human", "program", "all"]


def router(store: Store) -> APIRouter:
    """Routes to include in the app beside those of `labeling.api`."""
    routes = APIRouter(prefix="/api", tags=["lab"])
    reports = ReportCache(store)

    @routes.get("/people")
    def people() -> dict[str, list[dict[str, Any]]]:
        """Everybody who has visited: name, kind (human, program or judge), rankings, skips, last (when)."""
        kept = ("name", "kind", "rankings", "skips", "last")
        return {"people": [{key: person[key] for key in kept} for person in store.people()]}

    @routes.get("/commands")
    def commands() -> dict[str, list[dict[str, Any]]]:
        """The last ten commands with the worker's answers, newest first."""
        return {"commands": store.commands(10)}

    @routes.get("/demonstrations", summary="How many demonstrations there are to learn from")
    def demonstrations() -> dict[str, int]:
        """Better responses by annotators, and what was imported or written by a judge."""
        return {"count": store.kept("demonstrations", store.demonstration_count)}

    @routes.get("/agreement", summary="Agreement, bias and pace of the annotators")
    def agreement(kind: Kind = "human") -> dict[str, Any]:
        """Of the rankings by humans, by programs, or by all: whether annotators agree where a task has two
        rankings, whether a position or a length wins, and how long a ranking takes. Figures have a 95 %
        interval (`value`, `low`, `high`, `n`); where there are too few rankings, `too_few` says so."""
        return reports.report(kind)

    return routes


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
        judged = self.store.judged_facts()
        if kind == "all":
            return report(self.store.ranking_facts(), kind, judged=judged)
        counts = self.store.ranking_counts_by_kind()
        left_out = {"human": counts["program"] + counts["judge"], "program": counts["human"]}[kind]
        return report(self.store.ranking_facts(kind), kind, left_out, judged)
