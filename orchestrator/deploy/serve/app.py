"""The server as an ASGI app: who may ask what, and what that is answered."""

import asyncio
import hmac
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator import __version__
from orchestrator.deploy.serve.answers import Answer, Prediction, Problem, Served
from orchestrator.deploy.serve.engine import Batches, Engine, EngineError
from orchestrator.deploy.serve.metrics import Metrics
from orchestrator.deploy.serve.pages import HEADERS, render
from orchestrator.deploy.serve.uploads import (
    FORMATS,
    PICTURES,
    Decoders,
    Limits,
    RequestError,
    read_pictures,
)

PATHS = ("/", "/predict", "/health", "/metrics", "/docs", "/openapi.json")
"""Of which requests are counted by name."""
SOON = {"retry-after": "1"}
FIELDS = Prediction.model_fields
FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {
                            "type": "array",
                            "maxItems": PICTURES,
                            "items": {"type": "string", "format": "binary"},
                            "description": f"one picture or up to {PICTURES}: {', '.join(FORMATS)}",
                        },
                        "gender": {
                            "type": "array",
                            "items": {"type": "string"},
                            "description": "of each picture, -1 or woman, 1 or man, or empty; it "
                            "matters only where thresholds by gender are served",
                        },
                    },
                }
            }
        },
    }
}
"""What /predict takes; it is read as it arrives, within limits that FastAPI has none of."""


class Server:
    """Answers for one network.

    Parameters
    ----------
    served
        What is served.
    engine
        What runs the network.
    limits
        What a request may ask for.
    token
        What ``Authorization: Bearer`` has to say to see predictions or metrics; None: nothing.
    """

    def __init__(
        self, served: Served, engine: Engine, limits: Limits, token: str | None = None
    ) -> None:
        self._served, self._limits, self._token = served, limits, token
        self._batches = Batches(engine)
        self._decoders = Decoders(served.image_size, limits)
        self._metrics = Metrics(served.run, served.trial_id)
        self._at_work = 0
        self._metrics.in_flight.set_function(lambda: self._at_work)
        self.app = self._make_app()

    async def predict(self, request: Request) -> Response:
        """Label one picture or several, and say the probability of class 1 of each."""
        self._check_token(request)
        begun = time.perf_counter()
        with self._place():
            try:
                async with asyncio.timeout(self._limits.seconds):
                    pictures = await read_pictures(request, self._limits)
            except TimeoutError:
                why = f"the request took more than {self._limits.seconds:g} s to arrive"
                raise RequestError(408, why, {"connection": "close"}) from None
            try:
                async with asyncio.timeout(self._limits.seconds):
                    images = await self._decoders.decode(pictures)
                    logits = await self._batches.logits(np.stack(images))
            except TimeoutError:
                why = f"too busy to answer within {self._limits.seconds:g} s; ask again later"
                raise RequestError(429, why, SOON) from None
        answer = self._served.answer(pictures, logits)
        labels = [one.label for one in answer.predictions]
        self._metrics.labelled(pictures.gender, labels, time.perf_counter() - begun)
        return Response(answer.model_dump_json(by_alias=True), media_type="application/json")

    async def health(self) -> Response:
        """Tell that the server is up, and what it serves."""
        told = {"status": "ok", "run": self._served.run, "trial": self._served.trial_id}
        return JSONResponse(told)

    async def metrics(self, request: Request) -> Response:
        """Count requests, times and labels, for Prometheus."""
        self._check_token(request)
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")

    async def page(self) -> Response:
        """Show a page to drop a picture on."""
        asks = self._token is not None
        page = render("page.html.j2", served=self._served, limits=self._limits, asks_token=asks)
        return HTMLResponse(page)

    async def docs(self, request: Request) -> Response:
        """Show how to ask, for people."""
        return HTMLResponse(render("docs.html.j2", api=self.app.openapi(), url=request.base_url))

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Hold one of the places for requests that are at work."""
        if self._at_work >= self._limits.at_a_time:
            raise RequestError(429, "too many requests at a time; ask again in a second", SOON)
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1

    def _check_token(self, request: Request) -> None:
        if self._token is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        known = hmac.compare_digest(given.strip().encode(), self._token.encode())
        if scheme.lower() != "bearer" or not known:
            why = "give the server's token, as in Authorization: Bearer TOKEN"
            raise RequestError(401, why, {"www-authenticate": "Bearer"})

    def _make_app(self) -> FastAPI:
        app = FastAPI(
            title="fairfront",
            version=__version__,
            description=f"Trial {self._served.trial_id} of {self._served.run}.",
            docs_url=None,  # its pages fetch their scripts from elsewhere
            redoc_url=None,
            redirect_slashes=False,  # to wherever the header Host says
        )
        app.add_middleware(_Around, metrics=self._metrics)
        app.add_exception_handler(RequestError, _refuse)
        app.add_exception_handler(HTTPException, _refuse)
        app.add_exception_handler(EngineError, _fail)
        app.add_exception_handler(ClientDisconnect, _gone)
        guard = [Depends(HTTPBearer(auto_error=False))] if self._token else []
        app.post(
            "/predict",
            response_model=Answer,
            response_description="run, trial and, in the order of the pictures, predictions, each "
            f"with {', '.join(field.alias or name for name, field in FIELDS.items())}",
            responses=_problems(self._limits),
            openapi_extra=FORM,
            dependencies=guard,
        )(self.predict)
        app.get("/health", response_description="status, run and trial")(self.health)
        text = "Prometheus' text format"
        app.get("/metrics", response_description=text, dependencies=guard)(self.metrics)
        for path, made in (("/", self.page), ("/docs", self.docs)):
            app.get(path, include_in_schema=False)(made)
        return app


class _Around:
    """Adds to every answer what tells a browser to be careful, and counts it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics
        self._headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in PATHS else "other"

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.answered(path, message["status"])
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        await self._app(scope, receive, tell)


# Coroutines, since Starlette has a thread for each handler that is none.
async def _refuse(_request: Request, error: Exception) -> Response:
    if isinstance(error, RequestError):
        return _problem(error.status, error.why, error.headers)
    if isinstance(error, HTTPException):  # no such page, or not by this method
        return _problem(error.status_code, f"{error.detail}; see /docs", dict(error.headers or {}))
    raise error


async def _fail(_request: Request, error: Exception) -> Response:
    return _problem(503, f"the network does not answer: {error}", SOON)


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # to nobody


def _problem(status: int, why: str, headers: dict[str, str]) -> Response:
    return JSONResponse(Problem(error=why).model_dump(), status, headers)


def _problems(limits: Limits) -> dict[int | str, dict[str, Any]]:
    """Say what each refusal means."""
    whys = {
        400: "the form is broken",
        401: "the token is missing, or another",
        408: f"the request took more than {limits.seconds:g} s to arrive",
        413: f"more than {limits.megabytes:g} MB",
        415: "no form",
        422: "no picture that is read here, more than "
        f"{limits.megapixels:g} megapixels, a URL, or genders that do not fit",
        429: f"more than {limits.at_a_time} requests at a time, or too busy",
        503: "what runs the network has failed",
    }
    return {status: {"model": Problem, "description": why} for status, why in whys.items()}
