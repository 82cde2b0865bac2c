"""The engines, and which of them serves a request. The only package that imports one."""

from mistral_cli.engines.base import Engine, Listening, LoadOptions, OpenEngine, ScaledAdapter
from mistral_cli.engines.choice import Choice, choose, place
from mistral_cli.engines.guessing import Guessing
from mistral_cli.engines.opening import open_engine, open_tokenizer
from mistral_cli.engines.registry import ENGINES, automatic, engine_class, verdicts
from mistral_cli.engines.repacking import repack_pays
from mistral_cli.engines.requests import (
    Event,
    Finish,
    FinishReason,
    Piece,
    Prefix,
    PromptProgress,
    Request,
    Sampling,
)
from mistral_cli.engines.slots import slots_for
from mistral_cli.engines.wanted import Wanted

__all__ = [
    "ENGINES",
    "Choice",
    "Engine",
    "Event",
    "Finish",
    "FinishReason",
    "Guessing",
    "Listening",
    "LoadOptions",
    "OpenEngine",
    "Piece",
    "Prefix",
    "PromptProgress",
    "Request",
    "Sampling",
    "ScaledAdapter",
    "Wanted",
    "automatic",
    "choose",
    "engine_class",
    "open_engine",
    "open_tokenizer",
    "place",
    "repack_pays",
    "slots_for",
    "verdicts",
]
