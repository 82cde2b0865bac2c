"""Chat templates as transformers renders them, and models that have nothing but a template."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mistral_cli.models.gguf import GGUF, Array
from mistral_cli.models.gguf.types import INT32, STRING


def model_of(template: str) -> GGUF:
    """A model with this template, and nothing of a vocabulary but BOS and EOS."""
    tokens = b"".join(len(t).to_bytes(8, "little") + t for t in (b"<s>", b"</s>"))
    metadata = {
        "tokenizer.chat_template": template,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": Array(STRING, 2, tokens),
        "tokenizer.ggml.token_type": Array(INT32, 2, (3).to_bytes(4, "little") * 2),
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.add_bos_token": False,
    }
    return GGUF(Path("tiny.gguf"), 3, metadata, {}, (), 0)


def compiled(template: str) -> jinja2.Template:
    """The template in transformers' settings of Jinja."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals.update(raise_exception=_refuse, strftime_now=lambda _: "today")
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    source = re.sub(r"\{%(-?)\s*(?:end)?generation\s*(-?)%\}", r"{#\1\2#}", template)
    return environment.from_string(source)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
