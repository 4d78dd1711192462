"""The web app: the pages, the JSON API and the guard around both, over one store.

Importing this imports Gradio, which takes seconds: `labeling.serve` starts the worker first.
"""

import os
from collections.abc import Collection

# Before Gradio is imported: with them nothing leaves this machine.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import RedirectResponse, Response

from labeling import annotate, api, instructions_api, judges_api, lab, lab_api, theme
from labeling.compression import Compression
from labeling.guard import Guard
from labeling.reference import api_page
from labeling.session import Visits
from labeling.store import Store

# A page's session is about 110 kB, only ever pushed out by a newer one; Gradio by itself keeps 10,000.
SESSIONS = 500
# Gradio looks for events of its own a thousand times a second and page, and a hundred times for their
# progress. These pages have none, and each look interrupts the worker: on two cores a round of 16.9 s took
# 19.2 beside a server that nobody asked anything. So that takes 2 ms a second; looking for progress as often
# as Gradio does, 14.
SECONDS_BETWEEN_LOOKS = 0.25
DESCRIPTION = (
    'Rank responses, and ask the training loop how it is. Errors are one sentence: `{"error": ...}`.'
)


def create_app(store: Store, *, hosts: Collection[str] | None = None, port: int = 7860) -> FastAPI:
    """The ASGI app. `hosts`: the names it answers to, None for any."""
    # FastAPI's own /docs fetches its scripts from another host; ours is written on this one.
    app = FastAPI(title="Podium", description=DESCRIPTION, version=api.VERSION, docs_url=None, redoc_url=None)
    api.add_error_handlers(app)
    app.include_router(api.router(store))
    app.include_router(lab_api.router(store))
    app.include_router(instructions_api.router(store))
    app.include_router(judges_api.router(store))

    @app.get("/", include_in_schema=False)
    def home() -> Response:
        return RedirectResponse("/annotate/")

    @app.get("/favicon.ico", include_in_schema=False)
    def icon() -> Response:
        return Response(theme.FAVICON, media_type="image/svg+xml")

    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:
        return Response(api_page(app.openapi()), media_type="text/html")

    pages = {"/annotate": annotate.build(), "/lab": lab.build(store)}
    for path, blocks in pages.items():
        blocks.state_session_capacity = SESSIONS
        gr.mount_gradio_app(app, blocks, path=path, server_port=port, **theme.page_options())
        queue = getattr(blocks, "_queue", None)  # Gradio's own: another version may have none
        if queue is not None:  # an empty one is false
            queue.sleep_when_free = queue.progress_update_sleep_when_free = SECONDS_BETWEEN_LOOKS

    app.add_middleware(Compression)
    # The last added is the outermost. CORS with nobody allowed: without it Gradio would allow everybody.
    app.add_middleware(CORSMiddleware, allow_origins=[])
    app.add_middleware(Visits, store=store)
    app.add_middleware(Guard, hosts=hosts)
    return app
