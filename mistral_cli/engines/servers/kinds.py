"""The kinds of servers: how each is recognized, described and asked. One entry each.

Sources: llama.cpp's `tools/server/README.md`; vLLM's and SGLang's pages about their
OpenAI-compatible servers; ollama's `docs/api.md`; LM Studio's page about its REST API.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mistral_cli.engines.servers.facts import (
    MARKERS,
    Fields,
    ServedFacts,
    ServerKind,
    ServerTokenizer,
)
from mistral_cli.engines.servers.trouble import ServerTrouble
from mistral_cli.errors import EngineFailed, MistralCliError

if TYPE_CHECKING:
    from mistral_cli.engines.servers.client import ServerClient

_SECONDS = 30.0
_SENTENCEPIECE = 1  # llama.cpp's number for that kind of vocabulary
_SPACE = "\u2581"  # which SentencePiece puts before a text

_OPENAI = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
_LLAMA = {
    **_OPENAI,
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
    "repeat_last_n": "repeat_last_n",
    "dry_multiplier": "dry_multiplier",
    "dry_base": "dry_base",
    "dry_allowed_length": "dry_allowed_length",
    "dry_penalty_last_n": "dry_penalty_last_n",
}
_VLLM = {
    **_OPENAI,
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
}
_OURS = {
    **{name: name for name in _LLAMA if name != "repetition_penalty"},
    "repetition_penalty": "repetition_penalty",
}
_LM_STUDIO = {**_OPENAI, "top_k": "top_k", "repetition_penalty": "repeat_penalty"}
_OLLAMA = {
    **_OPENAI,
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repeat_penalty",
    "repeat_last_n": "repeat_last_n",
}


def recognize(client: ServerClient, listed: Sequence[Fields]) -> ServerKind:
    """The kind of the server that lists these models. Raises MistralCliError."""
    owners = {str(each.get("owned_by", "")) for each in listed}
    for owner, kind in _BY_OWNER.items():
        if owner in owners:
            return kind
    if _answers(client, "/api/version", "version"):
        return OLLAMA
    if _answers(client, "/api/v0/models", "data"):
        return LM_STUDIO
    return OPENAI


def _answers(client: ServerClient, path: str, key: str) -> bool:
    """Whether the server has an object with that `key` at that `path`."""
    with contextlib.suppress(MistralCliError):
        value = client.get(path, _SECONDS)
        return isinstance(value, dict) and key in value
    return False


def _describe_llama_server(client: ServerClient, model: str, listed: Fields) -> ServedFacts:
    props = _object(client.get("/props", _SECONDS), client)
    meta = _object(listed.get("meta") or {}, client)
    template = props.get("chat_template")
    template = template if isinstance(template, str) and template.strip() else None
    tokenizer = "llama" if meta.get("vocab_type") == _SENTENCEPIECE else "gpt2"

    def ids(text: str, **more: Any) -> list[Any]:
        body = {"content": text, "add_special": False, "parse_special": False, **more}
        return _list(_object(client.post("/tokenize", body, _SECONDS), client), "tokens", client)

    def detokenize(tokens: Sequence[int]) -> str:
        reply = _object(client.post("/detokenize", {"tokens": [*tokens]}, _SECONDS), client)
        return str(reply.get("content", ""))

    texts = {str(props.get(f"{role}_token") or "") for role in ("bos", "eos")}
    known = _candidates(template, texts)
    pieces = ids(" ".join(known), parse_special=True, with_pieces=True)
    by_text = {
        each["piece"]: int(each["id"])
        for each in pieces
        if isinstance(each, dict) and isinstance(each.get("piece"), str)
    }
    controls = {text: by_text[text] for text in known if text in by_text and len(text) > 1}
    bos, eos = (controls.get(str(props.get(f"{role}_token"))) for role in ("bos", "eos"))
    settings = _object(props.get("default_generation_settings") or {}, client)
    return ServedFacts(
        model,
        _number(settings.get("n_ctx")) or _number(meta.get("n_ctx")),
        _identity(template, meta, "n_vocab", "n_params", "n_embd", "size"),
        _number(props.get("total_slots")),
        ServerTokenizer(
            tokenizer,
            lambda text: [int(token) for token in ids(text)],
            detokenize,
            controls,
            bos,
            eos,
            adds_bos=bos is not None and ids("a", add_special=True)[:1] == [bos],
        ),
        template,
        scores="n_probs",
        version=str(props.get("build_info") or ""),
    )


def _describe_vllm(client: ServerClient, model: str, listed: Fields) -> ServedFacts:
    """vLLM shows its tokenizer's configuration only on demand; its template it always applies."""

    def tokenized(**body: Any) -> Fields:
        body = {"model": model, "add_special_tokens": False, **body}
        return _object(client.post("/tokenize", body, _SECONDS), client)

    def tokenize(text: str) -> list[int]:
        return [int(each) for each in _list(tokenized(prompt=text), "tokens", client)]

    def detokenize(tokens: Sequence[int]) -> str:
        body = {"model": model, "tokens": [*tokens]}
        return str(_object(client.post("/detokenize", body, _SECONDS), client).get("prompt", ""))

    context = _number(listed.get("max_model_len"))
    version = _version_of_vllm(client)
    identity = {"root": str(listed.get("root") or model)}
    plain = ServedFacts(model, context, identity, version=version)
    try:
        template, bos_text, eos_text = _tokenizer_info(client)

        @lru_cache(maxsize=256)
        def rendered(messages: str, variables: str = "{}") -> str:
            body = {"messages": json.loads(messages), "add_generation_prompt": True}
            body |= {"chat_template_kwargs": json.loads(variables)}
            return detokenize([int(each) for each in _list(tokenized(**body), "tokens", client)])

        example = "" if template else rendered('[{"role": "user", "content": "text"}]')
        known = _candidates(template or example, {bos_text, eos_text})
        controls = _controls_of_vllm(
            tokenized(prompt=" ".join(known), return_token_strs=True), known
        )
        start = tokenized(prompt="a", add_special_tokens=True, return_token_strs=True)
        first = _list(start, "tokens", client)[:1]
        puts_space = str((start.get("token_strs") or [""])[-1]).startswith(_SPACE)
        bos = controls.get(bos_text)
        if bos is None and first and int(first[0]) in controls.values():
            bos = int(first[0])
    except MistralCliError:
        return plain
    tokenizer = ServerTokenizer(
        "llama" if puts_space else "gpt2",
        tokenize,
        detokenize,
        controls,
        bos,
        controls.get(eos_text),
        adds_bos=bos is not None and first == [bos],
    )
    return ServedFacts(
        model,
        context,
        {**identity, **_identity(template, {})},
        None,
        tokenizer,
        template,
        None if template else lambda turns, more: rendered(json.dumps(turns), json.dumps(more)),
        "prompt_logprobs",
        version,
    )


def _version_of_vllm(client: ServerClient) -> str:
    with contextlib.suppress(MistralCliError):
        return str(_object(client.get("/version", _SECONDS), client).get("version", ""))
    return ""


def _controls_of_vllm(reply: Fields, known: Sequence[str]) -> dict[str, int]:
    """The ids of the control tokens among texts, which are tokenized in every text."""
    ids, texts = reply.get("tokens") or (), reply.get("token_strs") or ()
    by_text = dict(zip(texts, ids, strict=False))
    return {text: int(by_text[text]) for text in known if text in by_text and len(text) > 1}


def _tokenizer_info(client: ServerClient) -> tuple[str | None, str, str]:
    """The chat template and the texts of BOS and EOS, as far as vLLM tells them."""
    info: Fields = {}
    with contextlib.suppress(MistralCliError):
        info = _object(client.get("/tokenizer_info", _SECONDS), client)

    def text(value: Any) -> str:
        value = value.get("content") if isinstance(value, dict) else value
        return value if isinstance(value, str) else ""

    template = info.get("chat_template")
    return (
        template if isinstance(template, str) and template else None,
        text(info.get("bos_token")),
        text(info.get("eos_token")),
    )


def _describe_sglang(client: ServerClient, model: str, listed: Fields) -> ServedFacts:
    info: Fields = {}
    for path in ("/model_info", "/get_model_info"):
        with contextlib.suppress(MistralCliError):
            info = info or _object(client.get(path, _SECONDS), client)
    root = str(info.get("model_path") or listed.get("root") or model)
    return ServedFacts(model, _number(listed.get("max_model_len")), {"root": root})


def _describe_ollama(client: ServerClient, model: str, listed: Fields) -> ServedFacts:  # noqa: ARG001
    shown = _object(client.post("/api/show", {"model": model}, _SECONDS), client)
    info = _object(shown.get("model_info") or {}, client)
    architecture = str(info.get("general.architecture", ""))
    details = _object(shown.get("details") or {}, client)
    tags = _object(client.get("/api/tags", _SECONDS), client)
    digest = next(
        (each.get("digest") for each in tags.get("models") or () if each.get("name") == model), None
    )
    identity = {
        "digest": digest,
        "parameters": info.get("general.parameter_count"),
        "quantization": details.get("quantization_level"),
    }
    return ServedFacts(
        model,
        _number(info.get(f"{architecture}.context_length")),
        {name: value for name, value in identity.items() if value is not None},
    )


def _describe_lm_studio(client: ServerClient, model: str, listed: Fields) -> ServedFacts:  # noqa: ARG001
    models = _object(client.get("/api/v0/models", _SECONDS), client).get("data") or ()
    found: Fields = next((each for each in models if each.get("id") == model), {})
    context = found.get("loaded_context_length") or found.get("max_context_length")
    told = {name: found[name] for name in ("quantization", "arch") if found.get(name)}
    return ServedFacts(model, _number(context), told)


def _describe_ours(client: ServerClient, model: str, listed: Fields) -> ServedFacts:
    return ServedFacts(
        model,
        _number(listed.get("max_model_len")),
        _identity(None, _object(listed.get("meta") or {}, client), "n_vocab", "n_params"),
        _number(listed.get("slots")),
    )


def _describe_openai(client: ServerClient, model: str, listed: Fields) -> ServedFacts:  # noqa: ARG001
    names = ("max_model_len", "context_length", "context_window", "max_context_length")
    return ServedFacts(
        model, next(filter(None, (_number(listed.get(each)) for each in names)), None)
    )


def _identity(template: str | None, meta: Fields, *names: str) -> dict[str, Any]:
    facts: dict[str, Any] = {name: meta[name] for name in names if meta.get(name) is not None}
    if template:
        facts["template"] = hashlib.sha256(template.encode("utf-8", "replace")).hexdigest()[:16]
    return facts


def _candidates(template: str | None, texts: set[str]) -> list[str]:
    """Texts that may be control tokens: those of the template, of the families, and BOS and EOS."""
    from mistral_cli.models.gguf.control_tokens import markers_in

    return [*dict.fromkeys(filter(None, (*texts, *markers_in(template or ""), *MARKERS)))]


def _object(value: Any, client: ServerClient) -> Fields:
    if not isinstance(value, dict):
        raise ServerTrouble(
            f"{client.name} does not answer as a server of its kind does",
            hint="Check the address of the server.",
        )
    return value


def _list(fields: Fields, name: str, client: ServerClient) -> list[Any]:
    value = fields.get(name)
    if not isinstance(value, list):
        raise EngineFailed(
            f"{client.name} does not tokenize: {json.dumps(fields)[:100]}",
            hint="Check the address of the server.",
        )
    return value


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


_NO_THOUGHT = {"chat_template_kwargs": {"enable_thinking": False}}

LLAMA_SERVER = ServerKind(
    "llama-server",
    _describe_llama_server,
    _LLAMA,
    ("grammar", "json_schema", "response_format"),
    no_thought=_NO_THOUGHT,
)
VLLM = ServerKind(
    "vllm",
    _describe_vllm,
    _VLLM,
    ("structured_outputs", "guided_json", "response_format"),
    no_thought=_NO_THOUGHT,
)
SGLANG = ServerKind("sglang", _describe_sglang, _VLLM, ("response_format",), no_thought=_NO_THOUGHT)
OLLAMA = ServerKind("ollama", _describe_ollama, _OLLAMA, ("format",), no_thought={"think": False})
LM_STUDIO = ServerKind("lm-studio", _describe_lm_studio, _LM_STUDIO, ("response_format",))
OURS = ServerKind(
    "mistral-cli",
    _describe_ours,
    _OURS,
    ("response_format",),
    parses_controls=False,
    no_thought={"reasoning_effort": "none"},
)
OPENAI = ServerKind("openai", _describe_openai, _OPENAI, ("response_format",))

_BY_OWNER: Mapping[str, ServerKind] = {
    "llamacpp": LLAMA_SERVER,
    "vllm": VLLM,
    "sglang": SGLANG,
    "mistral-cli": OURS,
    "library": OLLAMA,
    "organization_owner": LM_STUDIO,
}
