"""A model in several files is the same model, however llama.cpp is run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.engine_io import GREEDY, chat, text
from support.program import needs_native
from support.split_models import split_model

from mistral_cli.engines.isolated.session import open_in_process
from mistral_cli.engines.loader import open_tokenizer
from mistral_cli.engines.protocol import LoadOptions, Session, SpeculativeConfig
from mistral_cli.engines.registry import backend
from mistral_cli.engines.selection import EngineRequirements, EngineSelection, select_engine
from mistral_cli.engines.trial_load import trial_load
from mistral_cli.engines.types import Request
from mistral_cli.errors import ModelUnusable
from mistral_cli.models.gguf import GGUF, read_gguf

OPTIONS = LoadOptions(256, 1)


@pytest.fixture(scope="module")
def split_smollm2(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 in three parts; as in the hub cache, they are links to files with other names."""
    folder = tmp_path_factory.mktemp("split")
    for number, part in enumerate(split_model(smollm2, folder / "blobs", "m")):
        blob = part.rename(part.with_name(f"blob{number}"))
        link = folder / "snapshot" / part.name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(blob)
    return folder / "snapshot" / "m-00001-of-00003.gguf"


def answer(session: Session) -> str:
    return text(list(session.stream(Request(chat(session, "Name a colour."), 12, GREEDY))))


@pytest.fixture(scope="module")
def expected(smollm2: Path) -> str:
    with backend("llama.cpp").open(read_gguf(smollm2), OPTIONS) as session:
        return answer(session)


def test_in_this_process_and_in_another(split_smollm2: Path, expected: str) -> None:
    model, engine = read_gguf(split_smollm2), backend("llama.cpp")
    with engine.open(model, OPTIONS) as session:
        assert answer(session) == expected
    selection = EngineSelection(engine, "a test", 0, "")
    with open_in_process(selection, model, OPTIONS, pytest.fail) as session:
        assert answer(session) == expected
    trial_load(engine, model, OPTIONS)
    with open_tokenizer(engine, model) as tokenizer:
        assert tokenizer.tokenize("a colour")


def test_as_its_own_draft_model(split_smollm2: Path, expected: str) -> None:
    load = replace(OPTIONS, speculative=SpeculativeConfig(split_smollm2))
    with backend("llama.cpp").open(read_gguf(split_smollm2), load) as session:
        assert answer(session) == expected


@needs_native
@pytest.mark.usefixtures("native")
def test_with_a_machine_build(split_smollm2: Path, smollm2: Path) -> None:
    def native(model: GGUF) -> str:
        with backend("native").open(model, OPTIONS) as session:
            return answer(session)

    assert native(read_gguf(split_smollm2)) == native(read_gguf(smollm2))


def test_without_tensors_in_the_first_part(mistral: Path, tmp_path: Path) -> None:
    first, *_ = split_model(mistral, tmp_path, "m", 3, first_is_empty=True)
    answers = []
    for path in (mistral, first):
        with backend("llama.cpp").open(read_gguf(path), OPTIONS) as session:
            ids = (1, *session.tokenize("Once upon a time"))
            answers.append(text(list(session.stream(Request(ids, 12, GREEDY)))))
    assert answers[0] == answers[1]


def test_ctransformers_is_not_selected(mistral: Path, tmp_path: Path) -> None:
    model = read_gguf(split_model(mistral, tmp_path, "m")[0])
    selection = select_engine(EngineRequirements(), model)
    assert selection.backend.name in ("llama.cpp", "native")
    with pytest.raises(ModelUnusable, match="from one file, and this one is split into 3"):
        select_engine(EngineRequirements("ctransformers"), model)
