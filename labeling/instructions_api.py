"""Routes for what annotators are asked: the guidelines, the form, and the texts of the page."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from labeling.api import Refused
from labeling.form import Form, check_guidelines
from labeling.render import render
from labeling.session import person_asking
from labeling.store import Guidelines, Store
from labeling.texts import LANGUAGES, texts


class GuidelinesBody(BaseModel):
    text: str = Field(description="Markdown.")


class FormBody(BaseModel):
    # labeling/form.py says what is right, in better words than a type could.
    flags: list[Any] = Field([], description="What can be wrong with a response.")
    reasons_for: list[Any] = []
    reasons_against: list[Any] = []
    skip_reasons: list[Any] = []
    ratings: list[Any] = Field([], description="Scales from 1 to 5; empty: no ratings are asked.")


def router(store: Store) -> APIRouter:
    """Routes to include in the app beside those of `labeling.api`."""
    routes = APIRouter(prefix="/api", tags=["instructions"])

    @routes.get("/guidelines", summary="What annotators are to do")
    def get_guidelines(
        version: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None,
    ) -> dict[str, Any]:
        """The newest version, or the one asked for. Version 0 is the delivered one."""
        found = store.guidelines(version)
        if found is None:
            raise Refused(404, f"There is no version {version} of the guidelines.")
        return _shown(found)

    @routes.get("/guidelines/versions", summary="All versions, newest first")
    def get_versions() -> dict[str, Any]:
        """With their texts, who wrote them, and how many rankings stand that were made under each."""
        return {"versions": store.guideline_versions()}

    @routes.post("/guidelines", summary="Write a new version")
    def post_guidelines(body: GuidelinesBody, request: Request) -> dict[str, Any]:
        """Annotators are shown it with their next task. The same text again is the same version."""
        person = person_asking(store, request.scope)
        try:
            return _shown(store.add_guidelines(body.text, person.id))
        except ValueError as error:
            raise Refused(422, str(error)) from error

    @routes.post("/guidelines/preview", summary="How a text would be shown")
    def post_preview(body: GuidelinesBody) -> dict[str, Any]:
        try:
            return {"html": render(check_guidelines(body.text))}
        except ValueError as error:
            raise Refused(422, str(error)) from error

    @routes.get("/form", summary="What can be said beside the order")
    def get_form() -> dict[str, Any]:
        return {"form": store.form().as_dict(), "form_changes": store.form_changes()}

    @routes.post("/form", summary="Change what can be said beside the order")
    def post_form(body: FormBody) -> dict[str, Any]:
        """What is left out stays as it is, and so does what was said under other names."""
        try:
            store.put_form(Form.from_dict(store.form().as_dict() | body.model_dump(exclude_unset=True)))
        except ValueError as error:
            raise Refused(422, str(error)) from error
        return get_form()

    @routes.get("/texts/{language}", summary="The page's texts in a language")
    def get_texts(language: str) -> dict[str, Any]:
        if language not in LANGUAGES:
            raise Refused(404, f"There are no texts in '{language}'; there are: {', '.join(LANGUAGES)}.")
        return {"texts": texts(language)}

    return routes


def _shown(guidelines: Guidelines) -> dict[str, Any]:
    return vars(guidelines) | {"html": render(guidelines.text)}
