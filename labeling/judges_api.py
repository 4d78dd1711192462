"""Routes for models that judge: the constitution, the judges, and whether what they say is learned from."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field, StrictBool

from data.constitution import check_constitution
from labeling.agreement import Agreed, with_judges
from labeling.api import Refused
from labeling.render import render
from labeling.session import person_asking
from labeling.store import Constitution, Store


class ConstitutionBody(BaseModel):
    text: str = Field(description="Markdown; the items of its list are the principles.")


class FeedbackBody(BaseModel):
    use: StrictBool | None = Field(None, description="Learn from rankings by judges.")
    weight: float | None = Field(
        None, allow_inf_nan=False, description="How much one of theirs counts beside one of a person's."
    )


def router(store: Store) -> APIRouter:
    """Routes to include in the app beside those of `labeling.api`."""
    routes = APIRouter(prefix="/api", tags=["judges"])
    made: list[tuple[Any, dict[int, Agreed]]] = [(None, {})]

    def known() -> dict[int, Agreed]:
        # Made again only when the rankings have changed: pages ask every few seconds.
        stamp = store.reports_stamp()  # read first: what comes meanwhile is in the next answer
        if made[0][0] != stamp:
            made[0] = stamp, {one.person_id: one.agreed for one in with_judges(store.judged_facts())}
        return made[0][1]

    @routes.get("/constitution", summary="What judges rank by")
    def get_constitution(
        version: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None,
    ) -> dict[str, Any]:
        """The newest version, or the one asked for. Version 0 is the delivered one."""
        found = store.constitution(version)
        if found is None:
            raise Refused(404, f"There is no version {version} of the constitution.")
        return _shown(found)

    @routes.get("/constitution/versions", summary="All versions, newest first")
    def get_versions() -> dict[str, Any]:
        """With their texts, who wrote them, and how many rankings stand that were made by each."""
        return {"versions": store.constitution_versions()}

    @routes.post("/constitution", summary="Write a new version")
    def post_constitution(body: ConstitutionBody, request: Request) -> dict[str, Any]:
        """Judges go by it from their next task on. The same text again is the same version."""
        person = person_asking(store, request.scope)
        try:
            return _shown(store.add_constitution(body.text, person.id))
        except ValueError as error:
            raise Refused(422, str(error)) from error

    @routes.post("/constitution/preview", summary="How a text would be shown")
    def post_preview(body: ConstitutionBody) -> dict[str, Any]:
        try:
            return {"html": render(check_constitution(body.text))}
        except ValueError as error:
            raise Refused(422, str(error)) from error

    @routes.get("/judges", summary="The judges, and what they said")
    def get_judges() -> dict[str, Any]:
        """Each with its rankings, calls and tokens, how consistent it is, and how it agrees with people on
        the tasks that both ranked (`agreed`); `ai_feedback` is the switch and the weight."""
        agreed = known()
        judges = [judge | {"agreed": agreed.get(judge["person_id"])} for judge in store.judges()]
        return {"judges": judges, "ai_feedback": store.ai_feedback()}

    @routes.post("/ai-feedback", summary="Learn from judges, or not, and how much")
    def post_feedback(body: FeedbackBody) -> dict[str, Any]:
        """From the next round on. What is left out stays as it is; nothing that a judge said is lost."""
        try:
            return {"ai_feedback": store.set_ai_feedback(use=body.use, weight=body.weight)}
        except ValueError as error:
            raise Refused(422, str(error)) from error

    return routes


def _shown(constitution: Constitution) -> dict[str, Any]:
    return vars(constitution) | {"html": render(constitution.text)}
