"""The JSON API: the page's own, and anybody's.

    GET  /api/task        a task to rank, and how things stand
    POST /api/rankings    rank or skip it; answers with the next task
    POST /api/undo        take the last one, or another, back to change it

and what the lab page reads and asks for: status, metrics, rounds, policies, commands, compare. What
annotators are asked (guidelines, form, texts) is in `labeling.instructions_api`.

Errors are `{"error": "one sentence"}` with a 4xx, and then nothing was stored. Routes are `def`, not
`async def`: they run in threads, so a write that waits for the worker's transaction, or for a slow disk,
holds up nobody else.
"""

import logging
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, StrictBool, StrictInt, StringConstraints
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from data.conversation import as_messages, as_transcript
from labeling.render import render
from labeling.session import SessionUnknown, cookie_header, new_token, person_asking, read_token
from labeling.store import (
    Better,
    InvalidRanking,
    Mark,
    NonceReused,
    Person,
    Remarks,
    Store,
    StoreError,
    Task,
    TaskClosed,
    TaskLeased,
    TaskUnknown,
)
from labeling.writer import Writer

VERSION = "0.1.0"
log = logging.getLogger(__name__)

MOST_AHEAD = 3
Id = Annotated[StrictInt, Field(ge=-1, le=2**63 - 1)]  # what SQLite holds
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60)]
Run = Annotated[
    str | None,
    Field(max_length=100, description="The status's `run` when the task was shown: another one is refused."),
]


Ahead = Annotated[
    int, Field(ge=0, le=MOST_AHEAD, description="How many tasks to send along, as `next`, leased too.")
]


class SessionBody(BaseModel):
    name: Name
    kind: Literal["human", "program"] = "program"


class MarkBody(BaseModel):
    """What is said of one response; names as in the form."""

    flags: list[str] = []
    reasons_for: list[str] = []
    reasons_against: list[str] = []
    ratings: dict[str, StrictInt] = {}

    def mark(self) -> Mark:
        return Mark(
            tuple(self.flags), tuple(self.reasons_for), tuple(self.reasons_against), dict(self.ratings)
        )


class BetterBody(BaseModel):
    text: str
    started_from: StrictInt | None = Field(None, description="Position of the response that was edited.")


class RankingBody(BaseModel):
    task_id: Id = Field(description="The task that was shown.")
    nonce: str = Field(
        min_length=1,
        max_length=100,
        description="Made once per submission, a UUID for example: sending it again changes nothing.",
    )
    # labeling/ranking.py says what is right, in better words than a type could.
    ranks: list[Any] | None = Field(
        None,
        description="One rank per response as shown; 1 is best, equal is a tie. null: not compared with the "
        "others that have none, and worse than all that have one.",
        examples=[[1, 2, 2, 3], [1, None, None, None]],
    )
    acceptable: StrictBool | None = Field(
        None, description="false: none of the responses is, and then none needs a rank. true: the best is."
    )
    strength: StrictInt = Field(
        0, description="Of two: the better one is slightly (1), clearly (2), much (3) better; 0: not said."
    )
    comment: str = Field("", description="Anything, for who reads the rankings.")
    marks: list[MarkBody] = Field(
        [],
        description="For each response as shown: flags, reasons_for, reasons_against (lists of names) and "
        "ratings (name: 1 to 5); or left out.",
        examples=[[{"flags": ["false"], "ratings": {"tone": 2}}, {"reasons_for": ["clear"]}]],
    )
    better: BetterBody | None = Field(
        None, description="A response the person wrote, better than all: {text, started_from}."
    )
    skip: StrictBool = Field(False, description="Instead of ranks: none of this can be judged.")
    skip_reason: str = Field("", description="Why, if that is said; names as in the form.")
    seconds: float | None = Field(
        None, ge=0, le=86400, allow_inf_nan=False, description="How long the person was active on it."
    )
    guidelines: Annotated[StrictInt, Field(ge=0, le=2**63 - 1)] | None = Field(
        None, description="Version of the guidelines it was made under."
    )
    ahead: Ahead = 0
    run: Run = None

    def remarks(self) -> Remarks:
        better = self.better and Better(self.better.text.strip(), self.better.started_from)
        marks = tuple(mark.mark() for mark in self.marks)
        return Remarks(
            self.acceptable, self.strength, self.comment.strip(), self.skip_reason.strip(), marks, better
        )


class UndoBody(BaseModel):
    ranking_id: Id | None = Field(
        None, description="The one that is meant; asked for again it takes back nothing more."
    )
    ahead: Ahead = 0
    run: Run = None


class CommandBody(BaseModel):
    name: Literal["train", "pause", "resume", "stop", "publish", "sft"]
    argument: dict[str, Any] | None = Field(
        None, description="For publish.", examples=[{"policy_version": 0}]
    )


class CompareBody(BaseModel):
    prompt: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=8000)]
    versions: list[Id] = Field(
        min_length=1, max_length=4, description="Policy versions; -1 is the base model."
    )


class Refused(Exception):
    """A request that is understood and cannot be done."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def router(store: Store) -> APIRouter:
    """The routes, over one store."""
    api = APIRouter(prefix="/api")
    writer = Writer(store)
    store.run_id()  # made now: later it is only read, and a full disk does not matter

    def asking(request: Request) -> Person:
        return person_asking(store, request.scope)

    Asking = Annotated[Person, Depends(asking)]

    async def turn(request: Request, act: Callable[[Person], tuple[list[Task], dict[str, Any]]]) -> Response:
        # What somebody does, and then what their page shows: `act` returns tasks, and what else to answer.
        def write() -> tuple[Person, list[Task], dict[str, Any]]:
            person = asking(request)
            return person, *act(person)

        def reply(written: tuple[Person, list[Task], dict[str, Any]]) -> Response:
            # FastAPI would look through all of it once more, in the loop's thread.
            return Response(to_json(task_reply(store, *written)), media_type="application/json")

        return await writer.run(write, reply)

    def claimed(person: Person, ahead: int) -> list[Task]:
        # What was sent is stored, and a 503 would deny it; they ask again.
        try:
            return store.claim_tasks(person.id, ahead)
        except StoreError as error:
            log.error("no next task: %s", error)
            return []

    def check_run(sent: str | None) -> None:
        # A page left open while the server was started on another run directory means other responses.
        if sent not in (None, store.run_id()):
            raise Refused(409, "This task is of another run than the one served now; ask for a new task.")

    # ranking

    @api.get("/task", summary="A task to rank")
    async def get_task(request: Request, ahead: Annotated[int, Query(ge=0, le=MOST_AHEAD)] = 0) -> Response:
        """The task this person holds, or the next one; null while the worker is still writing responses.
        `next` holds up to `ahead` tasks to follow it: leased too, so a page can show them at once."""
        return await turn(request, lambda person: (store.claim_tasks(person.id, ahead), {}))

    @api.post("/rankings", summary="Rank or skip a task")
    async def post_ranking(body: RankingBody, request: Request) -> Response:
        """Store the ranking and answer with the next task. When this has answered, it is on the disk."""

        def rank(person: Person) -> tuple[list[Task], dict[str, Any]]:
            if body.skip == (body.ranks is not None):
                raise Refused(422, 'Send either "ranks" or "skip": true.')
            check_run(body.run)
            ranking = store.add_ranking(
                person.id,
                body.task_id,
                body.nonce,
                body.ranks,
                body.seconds,
                body.remarks(),
                body.guidelines,
            )
            return claimed(person, body.ahead), {"ranking_id": ranking.id}

        return await turn(request, rank)

    @api.post("/undo", summary="Take the last ranking or skip back")
    async def post_undo(
        request: Request, body: Annotated[UndoBody, Body(default_factory=UndoBody)]
    ) -> Response:
        """Answers with the reopened task and the ranks it had. `last_ranking_id` is the next to take back."""

        def undo(person: Person) -> tuple[list[Task], dict[str, Any]]:
            check_run(body.run)
            task = store.undo(person.id, ranking_id=body.ranking_id)
            if task is None:
                raise Refused(409, "There is nothing to undo.")
            others = claimed(person, body.ahead) if body.ahead else []
            return [task, *(other for other in others if other.id != task.id)], {}

        return await turn(request, undo)

    @api.get("/rankings", summary="Your latest rankings")
    def get_rankings(person: Asking, limit: Annotated[int, Query(ge=1, le=100)] = 10) -> dict[str, Any]:
        """Rankings and skips that stand, newest first; `ranks` as they were given, null for a skip."""
        return {"rankings": [_said(found) for found in store.latest_rankings(person.id, limit)]}

    @api.post("/rankings/{ranking_id}/withdraw", status_code=204, summary="Withdraw a ranking for good")
    async def post_withdraw(ranking_id: int, request: Request) -> Response:
        """It leaves the next training set and stays on record; the task is not asked again. To change it,
        use /api/undo with its id."""
        await writer.run(lambda: store.withdraw(asking(request).id, _id(ranking_id)))
        return Response(status_code=204)

    @api.post("/leave", status_code=204, summary="Give your tasks back")
    async def post_leave(request: Request) -> Response:
        """For a page that is closed: in ten seconds others may be given what this person holds."""
        await writer.run(lambda: store.leave(asking(request).id))
        return Response(status_code=204)

    @api.post("/tasks/{task_id}/lease", status_code=204, summary="Hold on to a task")
    async def post_lease(task_id: int, request: Request) -> Response:
        """Call it every minute while the task is on screen: after two it may be given to somebody else."""
        await writer.run(lambda: store.renew_lease(asking(request).id, _id(task_id)))
        return Response(status_code=204)

    @api.post("/session", summary="Say who you are")
    def post_session(body: SessionBody, request: Request, response: Response) -> dict[str, Any]:
        """Name yourself: a new person with a cookie, or another name for the one whose cookie is sent.

        A human does not become a program or the other way round: what was ranked as one stays so.
        """
        token = read_token(request.scope)
        person = store.session(token) if token else None
        if person is not None and person.kind == body.kind:
            person = store.rename_person(person.id, body.name)
        else:
            token = new_token()
            person = store.add_person(token, body.name, body.kind)
            response.headers.append("Set-Cookie", cookie_header(token, request.url.scheme == "https"))
        return {"person_id": person.id, "name": person.name, "kind": person.kind}

    # how things stand

    @api.get("/health", summary="Is the server there")
    def get_health() -> dict[str, Any]:
        return {"ok": True, "version": VERSION}

    @api.get("/status", summary="How things stand")
    def get_status() -> dict[str, Any]:
        """Which policy answers, what the worker does, how far the next round is. Times are Unix seconds."""
        return store.status()

    @api.get("/metrics", summary="Points of the training curves")
    def get_metrics(since: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0) -> dict[str, Any]:
        """Points after `since`; ask again from `last_id`. Of a repeated round only the last attempt."""
        points = store.metrics(since)
        return {"metrics": points, "last_id": points[-1]["id"] if points else since}

    @api.get("/rounds", summary="Rounds, newest first")
    def get_rounds() -> dict[str, Any]:
        return {"rounds": [asdict(round_) for round_ in store.rounds()]}

    @api.get("/policies", summary="Policies, oldest first")
    def get_policies() -> dict[str, Any]:
        published = store.published()
        return {
            "policies": [
                {
                    "version": policy.version,
                    "parent_version": policy.parent_version,
                    "round": policy.round_id,
                    "published": published is not None and policy.version == published.version,
                    "created_at": policy.created_at,
                    "summary": policy.summary,
                }
                for policy in store.policies()
            ]
        }

    # what is asked of the worker

    @api.post("/commands", summary="Ask something of the worker")
    def post_command(body: CommandBody, person: Asking) -> dict[str, Any]:
        """train: a round now. sft: a round on demonstrations. pause, resume. stop: end the running round.
        publish: go to another policy."""
        argument = None
        if body.name == "publish":
            version = (body.argument or {}).get("policy_version")
            if type(version) is not int:
                raise Refused(422, 'publish needs {"policy_version": number}.')
            if store.policy(_id(version)) is None:
                raise Refused(422, f"There is no policy {version}.")
            argument = {"policy_version": version}
        return {"id": store.add_command(body.name, argument, person.id)}

    @api.post("/compare", summary="One prompt, several policies")
    def post_compare(body: CompareBody) -> dict[str, Any]:
        """The worker writes a response of each version; read them, growing, at /api/compare/{batch}."""
        for version in body.versions:
            if version >= 0 and store.policy(version) is None:
                raise Refused(422, f"There is no policy {version}.")
        if -1 in body.versions and not store.status()["base"]:
            raise Refused(422, "There is no base model here; start with --base-model to have one.")
        batch = secrets.token_urlsafe(9)
        store.add_samples(batch, body.prompt, body.versions)
        return {"batch": batch}

    @api.get("/compare/{batch}", summary="What the policies wrote")
    def get_compare(batch: str) -> dict[str, Any]:
        samples = store.samples(batch)
        if not samples:
            raise Refused(404, "There is no such comparison.")
        return {
            "samples": [
                sample | {"html": render(sample["text"]), "prompt": as_transcript(sample["prompt"])}
                for sample in samples
            ]
        }

    return api


def task_reply(store: Store, person: Person, tasks: list[Task], more: dict[str, Any]) -> dict[str, Any]:
    """What the annotator's page is drawn from: the first task, and those to follow it."""
    status = store.status()
    counts = store.person_counts(person.id)
    return {
        **more,
        "task": _shown(tasks[0]) if tasks else None,
        "next": [_shown(task) for task in tasks[1:]],
        "progress": {
            "mine_today": counts["today"],
            "mine_total": counts["total"],
            "total": status["rankings"],
            "until_next_round": status["until_next_round"],
            "effect": store.effect(person.id),
        },
        "last_ranking_id": store.undoable(person.id),
        "status": status,
        "person": {"name": person.name, "kind": person.kind},
    }


def _shown(task: Task) -> dict[str, Any]:
    *before, last = as_messages(task.prompt)
    return {
        "id": task.id,
        "prompt": last["content"],
        "prompt_html": render(last["content"]),
        "history": [{"role": m["role"], "html": render(m["content"])} for m in before],
        "responses": [{"text": text, "html": render(text)} for text in task.responses],
        "policy_version": task.policy_version,
        "previous_ranks": task.previous_ranks,
        "previous_remarks": task.previous_remarks and asdict(task.previous_remarks),
    }


def _said(found: dict[str, Any]) -> dict[str, Any]:
    order = found["order"]
    return {
        **{name: found[name] for name in ("id", "at", "changed")},
        "prompt": as_messages(found["prompt"])[-1]["content"],
        "ranks": order and order.as_given(),
        **asdict(found["remarks"]),
    }


def add_error_handlers(app: FastAPI) -> None:
    """Every error leaves as `{"error": "one sentence"}`."""
    statuses = {
        TaskUnknown: 404,
        TaskClosed: 409,
        TaskLeased: 409,
        NonceReused: 409,
        StoreError: 503,
        InvalidRanking: 422,
    }

    def answer(status: int, sentence: str) -> JSONResponse:
        return JSONResponse({"error": sentence}, status)

    for kind, status in statuses.items():
        app.add_exception_handler(kind, lambda _request, error, status=status: answer(status, str(error)))
    app.add_exception_handler(Refused, lambda _request, error: answer(error.status, str(error)))
    app.add_exception_handler(
        SessionUnknown,
        lambda *_: answer(
            401, "This server does not know your session; reload the page (it needs a cookie)."
        ),
    )

    @app.exception_handler(HTTPException)
    def http(_request: Request, error: HTTPException) -> JSONResponse:
        sentences = {
            400: "The body is not JSON.",
            404: "There is nothing here.",
            405: "This cannot be done here; see /docs.",
        }
        return answer(error.status_code, sentences.get(error.status_code) or f"{error.detail}.")

    @app.exception_handler(RequestValidationError)
    def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = [str(part) for part in first["loc"]]
        if first["type"] == "json_invalid":
            return answer(400, "The body is not JSON.")
        if where == ["body"]:
            return answer(400, "The body must be a JSON object, sent as application/json.")
        return answer(422, f"{'.'.join(where[1:])}: {first['msg']}.")

    @app.exception_handler(sqlite3.Error)
    def unreadable(_request: Request, error: sqlite3.Error) -> JSONResponse:
        log.error("database: %s", error)
        return answer(503, f"The database cannot be used: {error}.")

    @app.exception_handler(Exception)
    def failed(_request: Request, _error: Exception) -> JSONResponse:
        return answer(500, "Something went wrong here; the server's log says what.")


def _id(number: int) -> int:
    """A number from a path or an argument that SQLite can hold; a larger one names nothing."""
    return number if -1 <= number < 2**63 else -2
