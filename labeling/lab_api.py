"""The two routes that only the lab page needs; the rest of the API is in `labeling.api`."""

from typing import Any

from fastapi import APIRouter

from labeling.store import Store


def router(store: Store) -> APIRouter:
    """Routes to include in the app beside those of `labeling.api`."""
    routes = APIRouter(prefix="/api", tags=["lab"])

    @routes.get("/people")
    def people() -> dict[str, list[dict[str, Any]]]:
        """Everybody who has visited: name, kind (human or program), rankings, skips, last (when)."""
        kept = ("name", "kind", "rankings", "skips", "last")
        return {"people": [{key: person[key] for key in kept} for person in store.people()]}

    @routes.get("/commands")
    def commands() -> dict[str, list[dict[str, Any]]]:
        """The last ten commands with the worker's answers, newest first."""
        return {"commands": store.commands(10)}

    return routes
