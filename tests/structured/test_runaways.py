"""Runaways in JSON answers: what repeats itself or grows beyond its text, and what does not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_cli.structured.runaways import Limits, Runaway, RunawayWatch
from mistral_cli.structured.spans import pointer

SOURCE = "Alice Martin, 34, bought two laptops in Lyon on 3 May 2024 for 1,299.90 euros."
STREAMING, CUT = Limits.while_streaming(SOURCE), Limits.when_cut(SOURCE)


def watched(
    answer: str, step: int = 3, source: str = SOURCE, limits: Limits = STREAMING
) -> Runaway | None:
    """The first runaway of an answer that streams `step` characters at a time."""
    watch = RunawayWatch(source, limits)
    for start in range(0, len(answer), step):
        if found := watch.feed(answer[start : start + step]):
            return found
    return None


REPEATING = [
    # the answer up to where it repeats, what it repeats, the path and part, what is kept of it
    ('{"a": 1, "b": "well', " and so on", "/b", "string", '{"a": 1, "b": "well and so on'),
    ('{"a": {"b": ["x", "', "-", "/a/b/1", "string", '{"a": {"b": ["x", "-'),
    ('{"a": ["Madrid"', ', "Barcelona Fashion"', "/a", "list", None),
    ('[{"name": "A"}', ', {"name": "B", "of": [1, 2]}', "", "list", None),
    ('{"m": {"x": "y"', ', "self": "that one"', "/m", "object", None),
    ('{"n": [', "0, ", "/n", "list", None),
    ('{"node": ', '{"left": 1, "node": ', "/node/node", "nesting", '{"node": {"left": 1, "node": '),
    ('{"a": "', "\\ud83d\\ude00", "/a", "string", '{"a": "\\ud83d\\ude00'),
]


@pytest.mark.parametrize(("before", "again", "path", "part", "kept"), REPEATING)
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_repetition_is_found(
    before: str, again: str, path: str, part: str, kept: str | None, step: int
) -> None:
    found = watched(before + again * max(6, 200 // len(again)), step)
    assert found is not None
    assert (pointer(found.path), found.part) == (path, part)
    assert "repeats itself" in found.message or "has the key 'self' twice" in found.message
    if kept is not None:
        assert (before + again)[: found.kept] == kept
    # One copy stays, and at most one more.
    assert found.kept <= len(before) + 2 * len(again) + 2


NOT_REPEATING = [
    json.dumps({"rows": [[0, 1], [0, 1], [0, 1]], "line": "-" * 80}),
    json.dumps({"answers": ["yes", "no", "yes", "yes", "no", "yes", "yes", "yes", "yes"]}),
    json.dumps([{"name": "A", "of": None}, {"name": "B", "of": None}, {"name": "C", "of": None}]),
    json.dumps({"laugh": "ha ha ha ha ha", "pi": 3.141592653589793, "big": 10**18}),
    json.dumps({"quoted": '\\" \\" \\"', "brackets": "[[[[{{{{", "keys": {"a:b": 1, "c,d": 2}}),
    json.dumps(SOURCE),
    json.dumps({str(number): number for number in range(60)}),
]


@pytest.mark.parametrize("answer", NOT_REPEATING)
def test_ordinary_answers_are_left_alone(answer: str) -> None:
    assert watched(answer, 1) is None


def test_what_the_source_repeats_may_be_repeated() -> None:
    lines = "la la la la, " * 20
    answer = json.dumps({"refrain": lines})
    assert watched(answer) is not None
    assert watched(answer, source=f"They sang: {lines}") is None


@pytest.mark.parametrize("line", ["la la la,\n", 'he said "no",\n', "C:\\tmp\\é\n", "\t0\t0\t0\n"])
@pytest.mark.parametrize("step", [1, 7])
def test_the_source_may_repeat_what_json_escapes(line: str, step: int) -> None:
    source = f"They sang:\n{line * 20}The end."
    assert watched(json.dumps([line * 20], ensure_ascii=False), step, source) is None
    spaced = " ".join((line * 20).split())  # as a grounded answer writes it
    assert watched(json.dumps([spaced], ensure_ascii=False), step, source) is None
    assert watched(json.dumps(["over and " * 20]), step, source) is not None


APPLE = {"item": "Green apple", "price": 1.5}
PEAR = {"item": "Pear", "price": 2, "note": None}
RECEIPT = "Green apple 1.50\n" * 7 + "Pear 2.00\n" * 7


@pytest.mark.parametrize("step", [1, 7, 4000])
def test_a_list_may_repeat_what_the_source_repeats(step: int) -> None:
    for items in ([APPLE] * 7, [APPLE, PEAR] * 7, [PEAR, *[APPLE] * 7], [["Pear", 2]] * 7):
        assert watched(json.dumps(items), step, RECEIPT) is None
    assert watched(json.dumps({"hours": [0] * 80}), step, "Hours: " + "0 " * 80) is None
    for items in ([APPLE] * 30, [PEAR, *[APPLE] * 30], [PEAR] * 30):
        answer = json.dumps(items)
        found = watched(answer, step, RECEIPT)
        assert found is not None
        assert found.part == "list"
        # As many stay as the text has.
        assert json.loads(answer[: found.kept] + "]") == items[: 7 + (items[0] != items[1])]
    assert watched(json.dumps([{"item": None, "price": None}] * 30), step, RECEIPT) is not None


@pytest.mark.parametrize(
    ("answer", "limits", "path", "part"),
    [
        ('{"a": "' + "".join(map(chr, range(0x4E00, 0x4E00 + 600))), STREAMING, "/a", "string"),
        ('{"a": ["' + "".join(map(chr, range(0x4E00, 0x4E00 + 600))), CUT, "/a/0", "string"),
        ('{"a": 12345678901234567890123456789', STREAMING, "/a", "number"),
        ('{"a": 0.98765432109876543210987654', CUT, "/a", "number"),
        (json.dumps([*range(300)])[:-1], STREAMING, "", "list"),
        (
            '{"a": ' + json.dumps([{"id": n, "name": "Mike"} for n in range(50)])[:-1],
            CUT,
            "/a",
            "list",
        ),
        ('{"' + "".join(map(chr, range(0x4E00, 0x4E00 + 600))), STREAMING, "", "object"),
        ('{"a": {"' + "".join(map(chr, range(0x4E00, 0x4E00 + 600))), STREAMING, "/a", "object"),
    ],
)
def test_what_grows_beyond_its_text_is_found(
    answer: str, limits: Limits, path: str, part: str
) -> None:
    found = watched(answer, limits=limits)
    assert found is not None
    assert (pointer(found.path), found.part) == (path, part)
    assert 0 < found.kept < len(answer)


NO_JSON = [
    'Sure: {"a\\q": 1, "b\nc": {"\\ud8": [2',
    '}]}],:"," {"x" {"y": ]:',
    '{"\\u12": {"\\uzz": "\\u1',
    "{'a': 1} " * 40,
]


@pytest.mark.parametrize("answer", NO_JSON)
def test_what_is_not_json_raises_no_error(answer: str) -> None:
    """An engine that cannot enforce a grammar goes on without it; the answer is refused later."""
    for limits in (STREAMING, CUT):
        watch = RunawayWatch(SOURCE, limits)
        for character in answer + ' "\x00' + "-" * 200:
            watch.feed(character)
        assert all(each.kept <= len(answer) + 200 for each in watch.idle())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


@given(JSON, st.booleans(), st.integers(1, 9))
def test_the_path_is_that_of_the_open_value(value: object, ascii_only: bool, step: int) -> None:
    """A string that runs away is found where it stands, whatever was written before it."""
    whole = json.dumps({"first": value, "second": [value, "END"]}, ensure_ascii=ascii_only)
    before = whole[: whole.rindex('END"')]
    found = watched(before + "abcdefghij" * 12, step)
    assert found is not None
    assert (found.path, found.part) == (("second", 1), "string")
    assert found.kept <= len(before) + 20


@given(JSON, st.integers(1, 9))
def test_each_runaway_is_reported_once(value: object, step: int) -> None:
    watch, answer = RunawayWatch(SOURCE, STREAMING), json.dumps([value])[:-1] + ', "' + "ab" * 200
    found = [watch.feed(answer[start : start + step]) for start in range(0, len(answer), step)]
    assert len([each for each in found if each]) == 1
