"""`models.references`: the forms of `-m`, and the files that they name."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.hub_server import COMMIT, HubServer
from support.terminals import make_terminal, shown

from mistral_cli.errors import ModelNotAvailable, UsageError
from mistral_cli.models.catalog import ALIASES
from mistral_cli.models.references import FORMS, parse_reference, resolve_reference
from mistral_cli.models.sources import (
    HubFile,
    HubRepo,
    LocalFile,
    ModelSource,
    PyPIWheel,
    quant_of,
)
from mistral_cli.system.config import Config

REPO = "owner/many-GGUF"
FILES = {
    name: name.encode()
    for name in (
        "README.md",
        "many.Q4_K_M.gguf",
        "many.q8_0.gguf",
        "mmproj-many.Q6_K.gguf",
        "one.Q5_K_M.gguf",
        "two.Q5_K_M.gguf",
        "BF16/many-BF16-00001-of-00002.gguf",
        "BF16/many-BF16-00002-of-00002.gguf",
    )
}


@pytest.fixture
def many(server: HubServer) -> HubServer:
    server.repos[REPO] = FILES
    return server


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and an empty cache folder of the program."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.mark.parametrize(
    ("reference", "source"),
    [
        ("o/r/f.gguf", HubFile("o/r", "f.gguf")),
        ("o/r/sub/dir/f.gguf", HubFile("o/r", "sub/dir/f.gguf")),
        ("o/r/f.GGUF@v1.0", HubFile("o/r", "f.GGUF", "v1.0")),
        ("o/r/f.gguf@refs/pr/1", HubFile("o/r", "f.gguf", "refs/pr/1")),
        ("o/r", HubRepo("o/r", "Q4_K_M")),
        ("o/R-1.5_x:q8_0", HubRepo("o/R-1.5_x", "Q8_0")),
        ("o/r@main:UD-Q4_K_XL", HubRepo("o/r", "UD-Q4_K_XL", "main")),
        ("hf.co/o/r", HubRepo("o/r", "Q4_K_M")),
        ("hf.co/o/r:Q8_0", HubRepo("o/r", "Q8_0")),
        ("https://huggingface.co/o/r", HubRepo("o/r", "Q4_K_M")),
        ("https://huggingface.co/o/r/resolve/main/f.gguf", HubFile("o/r", "f.gguf", "main")),
        ("https://huggingface.co/o/r/blob/v1/s/f.gguf?x=1", HubFile("o/r", "s/f.gguf", "v1")),
        ("https://huggingface.co/o/r/", HubRepo("o/r", "Q4_K_M")),
        ("https://huggingface.co/o/r/tree/main", HubRepo("o/r", "Q4_K_M", "main")),
        ("https://hf.co/o/r/tree/main/UD-Q4_K_XL/", HubRepo("o/r", "UD-Q4_K_XL", "main")),
        ("hf.co/o/r/tree/v1/s/M-q8_0", HubRepo("o/r", "Q8_0", "v1")),
        ("o/r/s/m-00002-of-00003.gguf", HubFile("o/r", "s/m-00001-of-00003.gguf")),
        ("o/r/m-00004-of-00003.gguf", HubFile("o/r", "m-00004-of-00003.gguf")),
        ("./d/m-00003-of-00003.gguf", LocalFile(Path("d/m-00001-of-00003.gguf"))),
        (
            "https://HF.co/o/r/blob/refs%2Fpr%2F1/a%20b.gguf",
            HubFile("o/r", "a b.gguf", "refs/pr/1"),
        ),
        ("hf.co/o/r/f.gguf", HubFile("o/r", "f.gguf")),
        ("http://hub.example:81/o/r/resolve/main/f.gguf#x", HubFile("o/r", "f.gguf", "main")),
        ("f.gguf", LocalFile(Path("f.gguf"))),
        ("dir/f.gguf", LocalFile(Path("dir/f.gguf"))),
        ("./a/b/f.gguf", LocalFile(Path("a/b/f.gguf"))),
        ("../a/b/f.gguf", LocalFile(Path("../a/b/f.gguf"))),
        ("/a/b/c/f.gguf", LocalFile(Path("/a/b/c/f.gguf"))),
        ("~/a/b/f.gguf", LocalFile(Path.home() / "a/b/f.gguf")),
        ("~no-such-user/a/b/f.gguf", LocalFile(Path("~no-such-user/a/b/f.gguf"))),
        ("work", HubFile("o/r", "work.gguf")),
        ("mine", ALIASES["smollm2"]),
        ("smollm2", ALIASES["smollm2"]),
        ("mistral", LocalFile(Path("/m.gguf"))),
    ],
)
def test_parse(reference: str, source: ModelSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example:81")
    aliases = {"work": "o/r/work.gguf", "mine": "smollm2", "mistral": "/m.gguf"}
    assert parse_reference(reference, Config(aliases=aliases)) == source


def test_descriptions_parse_back() -> None:
    for source in (HubFile("o/r", "s/f.gguf", "v1"), HubRepo("o/r", "Q8_0", "v1"), HubRepo("o/r")):
        assert parse_reference(source.describe(), Config()) == source


def test_an_existing_file_wins_over_the_hub(here: Path) -> None:
    for name in ("o/r/f.gguf", "o/r2", "noextension"):
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        assert parse_reference(name, Config()) == LocalFile(Path(name))
        assert resolve_reference(name, Config(), make_terminal()) == Path(name)


def test_an_alias_wins_over_a_file(here: Path) -> None:
    (here / "smollm2").touch()
    assert isinstance(parse_reference("smollm2", Config()), PyPIWheel)


@pytest.mark.parametrize(
    "reference", ["o/r/f.bin", "o/r/f.gguf:Q4_0", "o/r@:Q4_0", "a:b", "o/r/b\udcff.bin"]
)
def test_malformed_references_show_the_forms(reference: str) -> None:
    with pytest.raises(UsageError, match="not a model reference") as caught:
        parse_reference(reference, Config())
    assert "owner/repo/file.gguf" in caught.value.hint


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://example.com/o/r/resolve/main/f.gguf", "not a URL of the model hub"),
        ("http://[", "not a URL of the model hub"),
        ("https://huggingface.co/datasets/o/r", "does not lead to a model"),
        ("https://huggingface.co/o/r/tree/main/folder", "does not lead to a model"),
        ("hf.co/o", "does not lead to a model"),
    ],
)
def test_urls_that_do_not_lead_to_a_model(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_reference(url, Config())


@pytest.mark.parametrize("reference", ["mistal", "", "x" * 5000])
def test_unknown_names(reference: str) -> None:
    with pytest.raises(ModelNotAvailable, match="there is no model") as caught:
        parse_reference(reference, Config(aliases={"mistake": "o/r"}))
    assert "owner/repo/file.gguf" in caught.value.hint
    if reference:
        assert ("Did you mean" in caught.value.hint) == (reference == "mistal")


def test_suggestions_include_the_users_aliases() -> None:
    with pytest.raises(ModelNotAvailable) as caught:
        parse_reference("wrok-model", Config(aliases={"work-model": "o/r"}))
    assert "Did you mean work-model?" in caught.value.hint


def test_the_error_names_an_invalid_alias_and_aliases_cannot_loop() -> None:
    config = Config(aliases={"bad": "o//r", "a": "b", "b": "a"})
    with pytest.raises(UsageError, match=r"the alias 'bad' in config\.toml: 'o//r'"):
        parse_reference("bad", config)
    with pytest.raises(ModelNotAvailable, match=r"the alias 'a' in config\.toml"):
        parse_reference("a", config)


def test_a_missing_local_file() -> None:
    with pytest.raises(ModelNotAvailable, match=r"no file missing\.gguf"):
        resolve_reference("./missing.gguf", Config(), make_terminal())


def test_a_cached_file_needs_no_network(many: HubServer) -> None:
    path = resolve_reference(f"{REPO}/many.q8_0.gguf", Config(), make_terminal())
    assert path.read_bytes() == b"many.q8_0.gguf"
    many.requests.clear()
    for reference in (f"{REPO}/many.q8_0.gguf", f"{REPO}:q8_0", f"{REPO}@main:Q8_0"):
        assert resolve_reference(reference, Config(), make_terminal()) == path
    assert many.requests == []


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        (REPO, "many.Q4_K_M.gguf"),
        (f"{REPO}:Q8_0", "many.q8_0.gguf"),
        (f"{REPO}@{COMMIT}:q4_k_m", "many.Q4_K_M.gguf"),
    ],
)
def test_selects_the_file_of_a_quantization(many: HubServer, reference: str, name: str) -> None:
    assert resolve_reference(reference, Config(), make_terminal()).read_bytes() == name.encode()


def test_the_hint_for_a_missing_quantization_lists_the_others(many: HubServer) -> None:
    with pytest.raises(ModelNotAvailable, match="has no Q6_K file") as caught:
        resolve_reference(f"{REPO}:Q6_K", Config(), make_terminal())
    assert "It has BF16, Q4_K_M, Q5_K_M, Q8_0: write for example " in caught.value.hint
    assert caught.value.hint.endswith(f"{REPO}:Q4_K_M.")


def test_a_repository_without_gguf(many: HubServer) -> None:
    many.repos["owner/none"] = {"model.safetensors": b""}
    with pytest.raises(ModelNotAvailable, match="has no Q4_K_M file") as caught:
        resolve_reference("owner/none", Config(), make_terminal())
    assert "-GGUF" in caught.value.hint


def test_several_files_of_one_quantization(many: HubServer) -> None:
    with pytest.raises(UsageError, match=r"one\.Q5_K_M\.gguf, two\.Q5_K_M\.gguf") as caught:
        resolve_reference(f"{REPO}:Q5_K_M", Config(), make_terminal())
    assert f"{REPO}/one.Q5_K_M.gguf" in caught.value.hint


@pytest.mark.parametrize(
    "reference",
    [
        f"{REPO}:BF16",
        f"{REPO}/BF16/many-BF16-00001-of-00002.gguf",
        f"{REPO}/BF16/many-BF16-00002-of-00002.gguf",
        f"https://hf.co/{REPO}/blob/main/BF16/many-BF16-00002-of-00002.gguf",
        f"https://hf.co/{REPO}/tree/main/BF16",
    ],
)
def test_all_parts_of_a_split_model_are_downloaded(many: HubServer, reference: str) -> None:
    path = resolve_reference(reference, Config(), make_terminal())
    assert path.name == "many-BF16-00001-of-00002.gguf"
    assert path.with_name("many-BF16-00002-of-00002.gguf").exists()
    many.requests.clear()
    assert resolve_reference(reference, Config(), make_terminal()) == path
    assert many.requests == []


def test_a_part_that_is_missing_is_downloaded(many: HubServer) -> None:
    path = resolve_reference(f"{REPO}:BF16", Config(), make_terminal())
    missing = path.with_name("many-BF16-00002-of-00002.gguf")
    for link in (missing, path):
        link.unlink()
        source = parse_reference(f"{REPO}:BF16", Config())
        assert source.locate() is None
        assert source.fetch(make_terminal()) == path
        assert missing.exists()


def test_all_parts_are_here_and_the_hub_is_silent(many: HubServer) -> None:
    path = resolve_reference(f"{REPO}:BF16", Config(), make_terminal())
    many.faults, terminal = {"resolve": "drop"}, make_terminal()
    source = HubFile(REPO, "BF16/many-BF16-00001-of-00002.gguf")
    assert source.fetch(terminal) == path
    assert shown(terminal).count("using the file on this machine") == 1
    path.with_name("many-BF16-00002-of-00002.gguf").unlink()
    with pytest.raises(ModelNotAvailable):
        source.fetch(terminal)


def test_a_part_that_the_hub_does_not_have(many: HubServer) -> None:
    """As while the owner still uploads: nothing is downloaded."""
    many.repos["owner/new"] = {"m-Q8_0-00001-of-00002.gguf": b"GGUF"}
    with pytest.raises(ModelNotAvailable, match=r"no file m-Q8_0-00002-of-00002\.gguf"):
        resolve_reference("owner/new:Q8_0", Config(), make_terminal())
    assert not many.count("storage")


FOLDERS = [
    # As unsloth and bartowski name folders and parts, and as the files of others lie in folders.
    "BF16/M-BF16-00001-of-00002.gguf",
    "BF16/M-BF16-00002-of-00002.gguf",
    "M-Q8_0/M-Q8_0-00001-of-00002.gguf",
    "M-Q8_0/M-Q8_0-00002-of-00002.gguf",
    "UD-Q4_K_XL/M-UD-Q4_K_XL-00001-of-00002.gguf",
    "UD-Q4_K_XL/M-UD-Q4_K_XL-00002-of-00002.gguf",
    "Q4_K_M/model.gguf",
    "Q6_K/model-00001-of-00001.gguf",
    "IQ2_KS/M-IQ2_KS-00001-of-00001.gguf",
    "M-UD-IQ1_S.gguf",
    "two/M-Q5_K_M-00001-of-00002.gguf",
    "two/M-Q5_K_M-00002-of-00002.gguf",
    "one/M-Q5_K_M.gguf",
    "mmproj-BF16.gguf",
    "mmproj/mmproj-Q8_0.gguf",
    "imatrix_unsloth.gguf",
    "M-Q8_0.imatrix.gguf",
]


@pytest.mark.parametrize(
    ("quant", "filename"),
    [
        ("BF16", FOLDERS[0]),
        ("q8_0", FOLDERS[2]),
        ("UD-Q4_K_XL", FOLDERS[4]),
        ("Q4_K_XL", FOLDERS[4]),
        ("Q4_K_M", FOLDERS[6]),
        ("Q6_K", FOLDERS[7]),
        ("IQ2_KS", FOLDERS[8]),
        ("IQ1_S", FOLDERS[9]),
    ],
)
def test_quantizations_in_folders(many: HubServer, quant: str, filename: str) -> None:
    many.repos[REPO] = {name: name.encode() for name in FOLDERS}
    source = parse_reference(f"{REPO}:{quant}", Config())
    assert isinstance(source, HubRepo)
    assert source.select_file().filename == filename


def test_what_a_repository_with_folders_has(many: HubServer) -> None:
    many.repos[REPO] = {name: name.encode() for name in FOLDERS}
    with pytest.raises(ModelNotAvailable, match="has no Q3_K_M file") as caught:
        resolve_reference(f"{REPO}:Q3_K_M", Config(), make_terminal())
    quants = "BF16, Q4_K_M, Q5_K_M, Q6_K, Q8_0, UD-IQ1_S, UD-Q4_K_XL"
    assert caught.value.hint == f"It has {quants}: write for example {REPO}:Q4_K_M."
    with pytest.raises(UsageError, match="has several Q5_K_M files: ") as several:
        resolve_reference(f"{REPO}:Q5_K_M", Config(), make_terminal())
    assert several.value.message.endswith("one/M-Q5_K_M.gguf, two/M-Q5_K_M-00001-of-00002.gguf")


def test_a_split_model_needs_disk_space_for_all_parts(
    many: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    many.repos[REPO] = {f"m-Q8_0-0000{n}-of-00003.gguf": bytes(600) for n in (1, 2, 3)}
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(ModelNotAvailable, match=r"its 2 other parts needs 1\.8 kB more"):
        resolve_reference(f"{REPO}:Q8_0", Config(), make_terminal())
    assert not many.count("storage")


def test_parts_of_a_local_model_that_are_missing(here: Path) -> None:
    names = [f"m-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    (here / names[2]).touch()
    with pytest.raises(ModelNotAvailable, match=f"part 1 of 3 .* there is no file {names[0]}"):
        resolve_reference(names[2], Config(), make_terminal())
    (here / names[0]).touch()
    for name in names:
        assert resolve_reference(name, Config(), make_terminal()) == Path(names[0])


@pytest.mark.parametrize(
    ("filename", "quant"),
    [
        ("mistral-7b-instruct-v0.1.Q4_K_M.gguf", "Q4_K_M"),
        ("Mistral-7B-Instruct-v0.3-IQ3_XXS.gguf", "IQ3_XXS"),
        ("m-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("m-q4_0_4_4.gguf", "Q4_0_4_4"),
        ("m.Q6_K.gguf", "Q6_K"),
        ("m.Q2_K-imat.gguf", "Q2_K"),
        ("Q8_0/m-Q8_0-00001-of-00003.gguf", "Q8_0"),
        ("m-TQ1_0.gguf", "TQ1_0"),
        ("m_bf16.gguf", "BF16"),
        ("gpt-mxfp4.gguf", "MXFP4"),
        ("m-NVFP4.gguf", "NVFP4"),
        ("ggml-model-f16.gguf", "F16"),
        ("m.gguf", None),
        ("mmproj-F16.gguf", None),
        ("m.Q4_K_M.safetensors", None),
    ],
)
def test_quant_of(filename: str, quant: str | None) -> None:
    assert quant_of(filename) == quant


def test_the_forms_in_the_hint_are_accepted() -> None:
    """`parse_reference` accepts every form that the hint shows."""
    forms = re.findall(r"owner/repo\S*", FORMS)
    assert len(forms) == 2
    for form in forms:
        for example in (re.sub(r"\[.*?\]", "", form), re.sub(r"[\[\]]", "", form)):
            assert parse_reference(example.rstrip(",."), Config())


@pytest.mark.parametrize(
    ("reference", "message", "hint"),
    [
        (
            "models/Tiny-Q4.gguf",
            "there is no file models/Tiny-Q4.gguf",
            "mean models/tiny.Q4_0.gguf",
        ),
        ("models/other.gguf", "there is no file models/other.gguf", "models list -q"),
        ("no/m.gguf", "there is no file no/m.gguf: the folder no does not exist", "models list -q"),
        ("gone", "which the alias 'gone' names", "mistral-cli models alias gone FILE"),
        ("models", "models is a folder, not a model", "use models/tiny.Q4_0.gguf."),
        (".", ". is a folder, not a model", "It has no .gguf file."),
    ],
)
def test_a_file_that_does_not_exist_leads_to_what_there_is(
    here: Path, reference: str, message: str, hint: str
) -> None:
    (here / "models").mkdir()
    (here / "models" / "tiny.Q4_0.gguf").touch()
    with pytest.raises(ModelNotAvailable) as caught:
        resolve_reference(reference, Config(aliases={"gone": "/gone.gguf"}), make_terminal())
    assert message in caught.value.message
    assert hint in caught.value.hint
