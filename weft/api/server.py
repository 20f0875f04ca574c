"""The agent's own HTTP API, on a unix socket that only root opens. Thin: every answer comes from ``Backend``."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from weft.model.origin import ManifestError

log = logging.getLogger("weft.api")
Json = Any


class Refusal(Exception):
    """A request that cannot be granted. ``lines`` tell a person what, why and what to do; ``status`` is HTTP's."""

    def __init__(self, *lines: str, status: int = 422) -> None:
        super().__init__("\n".join(lines))
        self.lines, self.status = list(lines), status


class Backend(Protocol):
    """What the agent can be asked. Every method raises Refusal or ManifestError for what it does not grant."""

    async def status(self) -> Json: ...
    async def apply(self, sources: list[dict[str, str]], dry_run: bool) -> Json: ...
    async def run(self, pod: Json) -> Json: ...
    async def get(self, kind: str, name: str, namespace: str | None, output: str) -> str: ...
    async def delete(self, body: Json) -> list[str]: ...
    async def wait(self, pods: list[dict[str, str]], namespace: str, condition: str, timeout: float) -> None: ...
    async def lint(self, sources: list[dict[str, str]]) -> list[Json]: ...
    async def explain(self, body: Json) -> Json: ...
    async def bpf(self, name: str) -> Json: ...
    async def exec_argv(self, namespace: str, name: str) -> list[str]: ...
    def logs(self, namespace: str, name: str, follow: bool, tail: int | None) -> AsyncIterator[bytes]: ...
    def flows(self, query: Json) -> AsyncIterator[Json]: ...


Handler = Callable[[Request], Awaitable[Response]]


def build(backend: Backend) -> ASGIApp:
    """The application. Paths are versioned; bodies and answers are JSON, streams one JSON value per line.

    It is what a Starlette application has inside, without its pages for people, which cost the agent 1 MB."""

    async def status(request: Request) -> Response:
        return JSONResponse(await backend.status())

    async def apply(request: Request) -> Response:
        body = await request.json()
        return JSONResponse(await backend.apply(body["sources"], bool(body.get("dryRun"))))

    async def run(request: Request) -> Response:
        return JSONResponse(await backend.run((await request.json())["pod"]))

    async def get(request: Request) -> Response:
        query = request.query_params
        text = await backend.get(query["kind"], query.get("name", ""), query.get("namespace"), query.get("output", ""))
        return JSONResponse({"text": text})

    async def delete(request: Request) -> Response:
        return JSONResponse({"deleted": await backend.delete(await request.json())})

    async def wait(request: Request) -> Response:
        body = await request.json()
        await backend.wait(body["pods"], body["namespace"], body["condition"], float(body["timeout"]))
        return JSONResponse({})

    async def lint(request: Request) -> Response:
        return JSONResponse({"warnings": await backend.lint((await request.json())["sources"])})

    async def explain(request: Request) -> Response:
        return JSONResponse(await backend.explain(await request.json()))

    async def bpf(request: Request) -> Response:
        return JSONResponse(await backend.bpf(request.path_params["name"]))

    async def exec_argv(request: Request) -> Response:
        return JSONResponse({"argv": await backend.exec_argv(**request.path_params)})

    async def logs(request: Request) -> Response:
        query = request.query_params
        tail = int(query["tail"]) if "tail" in query else None
        lines = backend.logs(**request.path_params, follow=query.get("follow") == "1", tail=tail)
        first = await anext(lines, None)  # a pod that does not exist is refused before the answer starts
        return StreamingResponse(_resume(first, lines), media_type="text/plain")

    async def flows(request: Request) -> Response:
        records = backend.flows(await request.json())

        async def lines() -> AsyncIterator[bytes]:
            async for record in records:
                yield json.dumps(record, separators=(",", ":")).encode() + b"\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    routes: list[tuple[str, str, Handler]] = [
        ("GET", "/v1/status", status),
        ("POST", "/v1/apply", apply),
        ("POST", "/v1/run", run),
        ("GET", "/v1/get", get),
        ("POST", "/v1/delete", delete),
        ("POST", "/v1/wait", wait),
        ("POST", "/v1/lint", lint),
        ("POST", "/v1/explain", explain),
        ("GET", "/v1/bpf/{name}", bpf),
        ("GET", "/v1/pods/{namespace}/{name}/exec", exec_argv),
        ("GET", "/v1/pods/{namespace}/{name}/logs", logs),
        ("POST", "/v1/flows", flows),
    ]
    return ExceptionMiddleware(
        Router([Route(path, handler, methods=[method]) for method, path, handler in routes]),
        {Refusal: _refused, ManifestError: _manifest, Exception: _failed},
    )


async def _resume(first: bytes | None, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first is not None:
        yield first + b"\n"
    async for line in rest:
        yield line + b"\n"


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return JSONResponse({"errors": error.lines}, error.status)


async def _manifest(request: Request, error: Exception) -> Response:
    return JSONResponse({"errors": [str(error)]}, 422)


async def _failed(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse({"errors": [f"{type(error).__name__}: {error} (the agent's log has more)"]}, 500)
