"""A run of five tasks, and the JSON API of it."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from labeling import api, instructions_api, lab_api
from labeling.guard import Guard
from labeling.session import Visits
from labeling.store import NewResponse, open_store


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path, create=True, migrate=True) as store:
        store.add_reference("models/sft", "starter")
        store.add_prompts([(f"prompt **{i}**", "train") for i in range(5)], "test")
        responses = [NewResponse(f"response *{i}*", 3, True) for i in range(4)]
        for i in range(5):
            store.add_task(i + 1, 0, responses, seed=i)
        yield store


@pytest.fixture
def app(store):
    """Everything of `labeling.web` but Gradio; a page stands in for Gradio's."""
    app = FastAPI()
    api.add_error_handlers(app)
    app.include_router(api.router(store))
    app.include_router(lab_api.router(store))
    app.include_router(instructions_api.router(store))
    for path in ("/annotate/", "/annotate/gradio_api/upload", "/lab/"):
        app.add_api_route(path, lambda: "page", methods=["GET", "POST"], include_in_schema=False)
    app.add_middleware(Visits, store=store)
    app.add_middleware(Guard)
    return app


@pytest.fixture
def client(app):
    return TestClient(app, raise_server_exceptions=False)
