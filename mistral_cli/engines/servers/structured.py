"""How a server is made to write JSON, found out once by asking it.

Each way is tried with a schema that only one value matches, and that no model would write by
itself. Servers ignore fields that they do not know, so that a status of 200 says nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import regex

from mistral_cli.engines.servers.exchange import answer_events, exchange
from mistral_cli.engines.servers.trouble import ServerTrouble
from mistral_cli.engines.types import Request, Sampling, TextDelta
from mistral_cli.errors import MistralCliError, ServersGone, UsageError
from mistral_cli.models.chat import Message
from mistral_cli.models.chat.formats import encode
from mistral_cli.structured.grammar import compile_schema

if TYPE_CHECKING:
    from mistral_cli.engines.servers.balance import Server
    from mistral_cli.models.remote import RemoteModel

Fields = Mapping[str, Any]

_PROBE: dict[str, Any] = {
    "type": "object",
    "properties": {"zq": {"type": "string", "enum": ["vx"]}},
    "required": ["zq"],
    "additionalProperties": False,
}
_VALUE = regex.compile(r'\s*\{\s*"zq"\s*:\s*"vx"\s*\}\s*')
_TOKENS = 48
_SECONDS = 120.0
_GREEDY = Sampling(temperature=0.0, top_k=1, top_p=1.0, repetition_penalty=1.0, seed=0)
_QUESTION = "What is the capital of France?"


def fields_for(way: str, schema: Fields | None, grammar: str) -> dict[str, Any]:
    """The fields that ask for the JSON of `schema`, or for what `grammar` allows."""
    match way:
        case "grammar":
            return {"grammar": grammar}
        case "json_schema":
            # Without it, llama.cpp's llguidance lets a model write blanks without end.
            return {"json_schema": {**(schema or {}), "x-guidance": {"whitespace_flexible": False}}}
        case "structured_outputs":
            return {"structured_outputs": {"json": schema}}
        case "guided_json":
            return {"guided_json": schema}
        case "format":
            return {"format": schema}
        case "response_format":
            wanted = {"name": "answer", "schema": schema, "strict": True}
            return {"response_format": {"type": "json_schema", "json_schema": wanted}}
    return {}


def find_way(
    server: Server, model: RemoteModel, tokenize: Callable[[str], list[int]], *, grammars: bool
) -> str:
    """The first way that the server follows; "" if there is none.

    `grammars` says whether a Lark grammar of llguidance is wanted: it can say more than a schema.
    Raises ServerTrouble if it does not answer.
    """
    prompt = tuple(encode([Message("user", _QUESTION)], model, tokenize))
    for way in server.kind.structured:
        if way == "grammar" and not grammars:
            continue
        try:
            if _follows(server, model, prompt, way):
                return way
        except ServersGone:
            raise
        except ServerTrouble as error:
            if "(500)" not in error.message:  # what some servers say to a field they do not know
                raise
        except MistralCliError:
            continue
    return ""


def _follows(server: Server, model: RemoteModel, prompt: tuple[int, ...], way: str) -> bool:
    request = Request(prompt, _TOKENS, _GREEDY)
    structured = fields_for(way, _PROBE, compile_schema(_PROBE, many=False).text)
    asked = exchange(server, model, request, structured)
    deadline = time.monotonic() + _SECONDS
    chunks = server.client.stream(
        asked.path, asked.body, most_bytes=asked.most_bytes, deadline=deadline
    )
    text = "".join(
        event.text
        for event in answer_events(chunks, request, server)
        if isinstance(event, TextDelta)
    )
    # A model that likes blanks may not get to the end.
    return bool(text.strip() and _VALUE.fullmatch(text, partial=True))


def refuse_grammar(name: str) -> UsageError:
    """The error for an answer that needs a grammar where only schemas are understood."""
    return UsageError(
        f"{name} takes no grammars, which this answer needs",
        hint="Use a llama-server built with llguidance, or the model's GGUF on this machine.",
    )
