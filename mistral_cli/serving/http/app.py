"""The routes of the HTTP API, and who may use them."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mistral_cli.errors import MistralCliError, limit_reached
from mistral_cli.serving.http.answering import AnsweringRoute
from mistral_cli.serving.http.errors import ApiError, as_api_error
from mistral_cli.serving.http.fields import quoted, shortened
from mistral_cli.serving.http.replies import ChatWriter, CompletionWriter
from mistral_cli.serving.http.requests import ChatRequest, CompletionRequest

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from mistral_cli.serving.http.answering import ServedApi

_HEALTH = "/health"
_HOSTS = ("127.0.0.1", "localhost")


def http_app(api: ServedApi, api_key: str) -> ASGIApp:
    """The application that answers requests with `api_key` from this machine."""

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [api.fields]})

    async def model(request: Request) -> Response:
        if (name := request.path_params["name"]) != api.name:
            message = f"the model {quoted(name)} is not served"
            raise ApiError(404, message, param="model", code="model_not_found")
        return JSONResponse(api.fields)

    chat = AnsweringRoute(api, ChatRequest, ChatWriter)
    completion = AnsweringRoute(api, CompletionRequest, CompletionWriter)
    app = Starlette(
        routes=[
            Route(_HEALTH, health),
            Route("/v1/models", models),
            Route("/v1/models/{name:path}", model),
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/completions", completion, methods=["POST"]),
        ],
        exception_handlers={
            ApiError: _failure,
            MistralCliError: _failure,
            HTTPException: _no_route,
            Exception: _bug,
        },
    )
    app.router.redirect_slashes = False
    return _Guard(app, api_key.encode())


def _failure(_: Request, error: Any) -> Response:
    return _response(as_api_error(error))


def _no_route(request: Request, error: Any) -> Response:
    message = f"{request.method} {shortened(request.url.path)} is not offered"
    reply = _response(ApiError(error.status_code, message, code="unknown_url"))
    reply.headers.update(error.headers or {})
    return reply


def _bug(_: Request, error: Exception) -> Response:
    if limit := limit_reached(error):
        return _response(as_api_error(limit))
    return _response(ApiError(500, f"{type(error).__name__}: this is a bug; please report it"))


@dataclass(frozen=True)
class _Guard:
    """Refuses requests without the key, and those that a web page sends under another name.

    A page can have its own name resolved to this machine (DNS rebinding), but it cannot change the
    header `Host`. No reply has a CORS header, so browsers do not show it to a page.
    """

    app: ASGIApp
    api_key: bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as an ASGI application does."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (_response(refusal) if refusal else self.app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers = dict(scope["headers"])
        if _host_name(headers.get(b"host", b"")) not in _HOSTS:
            message = "the header Host must name 127.0.0.1 or localhost"
            return ApiError(403, message, code="wrong_host")
        if scope["path"] == _HEALTH or self._has_key(headers.get(b"authorization", b"")):
            return None
        return ApiError(401, "the API key is missing or wrong", code="invalid_api_key")

    def _has_key(self, header: bytes) -> bool:
        scheme, _, key = header.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(key.strip(), self.api_key)


def _host_name(host: bytes) -> str | None:
    try:
        return urlsplit(f"//{host.decode('latin-1')}").hostname
    except ValueError:
        return None


def _response(error: ApiError) -> Response:
    return JSONResponse(error.body(), error.status, headers=error.headers())
