"""What goes wrong between this program and a server, each with its next step."""

from __future__ import annotations

import contextlib
import json
import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from mistral_cli.errors import ContextExceeded, EngineFailed, MistralCliError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KEY_HINT = (
    "Put the key into the variable MISTRAL_CLI_SERVER_KEY, or name a variable or a file with it in "
    "config.toml (server_key_env, server_key_file)."
)
_LONGEST_MESSAGE = 300
_LONGEST_WAIT = 300.0
_MARKUP = re.compile(r"<[^>]*>|\s+")
_CONTEXT = re.compile(
    r"context|too long|exceeds? .*(?:tokens|length)|maximum .*length", re.IGNORECASE
)


class ServerTrouble(EngineFailed):
    """A server did not answer a request; another server, or the same one later, may.

    It is `overloaded` if it answers too many requests already, and has not `received` a request if
    it could not be reached: neither is a fault of the request. If it `may_be_gone`, another one may
    take its place. `after` is the number of seconds that the server asks us to wait.
    """

    overloaded = False
    received = True
    may_be_gone = True
    after: float | None = None


class ServerUnusable(ServerTrouble):
    """A server refuses us, or does not have the model: it is not asked again."""


@contextlib.contextmanager
def understood(name: str) -> Iterator[None]:
    """Raise ServerTrouble where the reply of the server `name` has another shape than expected."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ServerTrouble(
            f"{name} does not answer as a server of its kind does ({type(error).__name__})",
            hint="Check the address of the server, and its version.",
        ) from error


def refusal(
    status: int, headers: Mapping[str, str], body: str, name: str, path: str = "the request"
) -> MistralCliError:
    """The error for a reply of the server `name` with a status that is not 200."""
    message = _message(body)
    if 300 <= status < 400:
        target = headers.get("location", "")[:_LONGEST_MESSAGE]
        return ServerUnusable(
            f"{name} redirects to {target!r}, where the key is not sent",
            hint="Give the address that it redirects to, if that is your server, as --server.",
        )
    if status in (401, 403):
        return ServerUnusable(f"{name} refuses the API key ({status}): {message}", hint=KEY_HINT)
    if status in (404, 405):
        hint = "Check the address, and with -m the name of the model."
        return ServerUnusable(f"{name} answers {path} with {status}: {message}", hint=hint)
    if status in (408, 409, 425, 429, 500, 502, 503, 504, 529):
        trouble = ServerTrouble(
            f"{name} cannot answer now ({status}): {message}", hint="Try again later."
        )
        trouble.overloaded = status in (429, 503, 529)
        trouble.may_be_gone = status in (502, 503, 504)
        trouble.after = seconds_to_wait(headers.get("retry-after", ""))
        return trouble
    if status in (400, 413, 422) and _CONTEXT.search(message):
        return ContextExceeded(
            f"{name} refuses the prompt: {message}",
            hint="Shorten the text, use --overflow, or lower -n/--max-tokens.",
        )
    return EngineFailed(
        f"{name} refuses the request ({status}): {message}",
        hint="With -v the program says what it found out about the server.",
    )


def reported(body: str, name: str) -> MistralCliError:
    """The error for a JSON object with an `error`, in a reply that began well."""
    error = json.loads(body)["error"]
    status = error.get("code") if isinstance(error, dict) else None
    return refusal(status if isinstance(status, int) and status >= 400 else 500, {}, body, name)


def seconds_to_wait(header: str) -> float | None:
    """The seconds that `Retry-After` asks for, as a number or a date; at most five minutes."""
    if re.fullmatch(r"\s*\d{1,9}(\.\d{0,9})?\s*", header):
        return min(float(header), _LONGEST_WAIT)
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        left = parsedate_to_datetime(header).timestamp() - time.time()
        return min(max(left, 0.0), _LONGEST_WAIT)
    return None


def _message(body: str) -> str:
    """The message in the body of an error, in one line: servers send JSON, proxies HTML."""
    text = body
    with contextlib.suppress(ValueError, RecursionError):
        text = _found(json.loads(text)) or text
    if "<html" in text.lower() or text.lstrip().startswith("<"):
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        text = f"an HTML page: {title[1] if title else text}"
    line = _MARKUP.sub(" ", text).strip()
    return line[:_LONGEST_MESSAGE] or "no message"


def _found(value: object) -> str:
    """OpenAI's `error.message`; FastAPI's `detail`; ollama's `error`."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        for key in ("error", "message", "detail", "msg"):
            if key in value and (text := _found(value[key])):
                return text
    if isinstance(value, list) and value:
        return _found(value[0])
    return ""
