"""`--ray [ADDRESS]`: with an address, without one, and in front of an input."""

from __future__ import annotations

import importlib.util

import pytest

from mistral_cli.batch.cluster.address import LOCAL, checked_address, is_address
from mistral_cli.cli.framework import with_optional_value
from mistral_cli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("local", True),
        ("auto", True),
        ("10.0.0.1:6379", True),
        ("head.example:6379", True),
        ("[::1]:6379", True),
        ("ray://head:10001", True),
        ("rows.jsonl", False),
        ("./auto", False),
        ("folder/rows:1", False),
        ("-", False),
        ("--parallel", False),
        ("head:", False),
        ("", False),
    ],
)
def test_the_form_of_an_address(text: str, expected: bool) -> None:
    assert is_address(text) is expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--ray"], ["--ray=local"]),
        (["--ray", "rows.jsonl"], ["--ray=local", "rows.jsonl"]),
        (["--ray", "auto", "rows.jsonl"], ["--ray=auto", "rows.jsonl"]),
        (["--ray", "-o", "out"], ["--ray=local", "-o", "out"]),
        (["--ray=head:1", "x"], ["--ray=head:1", "x"]),
        (["a", "--", "--ray"], ["a", "--", "--ray"]),
        (["--ray-actors", "2"], ["--ray-actors", "2"]),
    ],
)
def test_an_option_with_an_optional_value(arguments: list[str], expected: list[str]) -> None:
    assert with_optional_value(arguments, "--ray", is_address, LOCAL) == expected


def test_auto_is_the_cluster_that_the_environment_names() -> None:
    assert checked_address("auto", {"RAY_ADDRESS": "head:6379"}) == "head:6379"
    assert checked_address("auto", {}) == "auto"
    assert checked_address("local", {"RAY_ADDRESS": "head:6379"}) == "local"
    with pytest.raises(UsageError, match="'here' is not the address of a Ray cluster"):
        checked_address("auto", {"RAY_ADDRESS": "here"})


def test_without_ray_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "ray" else find(name, *a)
    )
    with pytest.raises(UsageError) as raised:
        checked_address("local", {})
    assert raised.value.hint == "Install: pip install 'mistral-cli[ray]'"
