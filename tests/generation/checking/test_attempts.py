"""One more request for an answer that fails a check, the better of the two, and what is printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_engine import Script
from support.plans import LONG, Model, jobs_of
from support.program import Run

from mistral_cli.checks.check import Check, Finding
from mistral_cli.checks.preamble import without_preamble
from mistral_cli.engines.types import Request
from mistral_cli.errors import UsageError
from mistral_cli.generation.answer import Answer
from mistral_cli.generation.checking.attempts import AnswerRejected
from mistral_cli.generation.checking.beginning import Beginning
from mistral_cli.generation.checking.merging import PlacedChecks, merged
from mistral_cli.generation.checking.options import CheckOptions, FactsMode
from mistral_cli.generation.checking.rules import AnswerRules
from mistral_cli.generation.checking.wording import failure
from mistral_cli.generation.session import Executor
from mistral_cli.generation.task import Task
from mistral_cli.generation.writers import ResultWriter
from mistral_cli.system.config import Config
from mistral_cli.tasks.generate import generate
from mistral_cli.tasks.summarize import summarize
from mistral_cli.tasks.translate import translate

TWO = "The committee met on Monday. It bought a boat."
THREE = f"{TWO} All were in favour of it."
TEXT = f"One. Two. Three. Four. {THREE} Nothing was said of its price."


class Printed(ResultWriter):
    """Keeps the deltas that it gets."""

    def __init__(self, *, streams: bool = True) -> None:
        self.deltas: list[str] = []
        self.streams = streams  # type: ignore[misc]

    def delta(self, text: str) -> None:
        self.deltas.append(text)


class Streaming(Model):
    """Sends the answer word by word."""

    def __call__(self, request: Request, stop: Sequence[str], on_text: Any) -> Answer:
        from mistral_cli.generation.answer import AnswerEnded

        whole = super().__call__(request, stop, lambda _: None)
        text = ""
        for word in whole.text.split(" "):
            text += (" " if text else "") + word
            try:
                on_text((" " if text != word else "") + word)
            except AnswerEnded:
                break
        return replace(whole, text=text)


def ask(
    task: Task,
    model: Path,
    text: str,
    answers: Sequence[str],
    *,
    streams: bool = True,
    **options: Any,
) -> tuple[Any, Streaming, Printed]:
    """Answer one text with `answers`, one after the other; return what was printed too."""
    ((job,), planner) = jobs_of(task, model, text, **options)
    left, printed = list(answers), Printed(streams=streams)
    scripted = Streaming(planner, lambda _: left.pop(0))
    result = task.strategy.respond(job, Executor(planner, scripted), printed)
    assert left == [], "an answer was not requested"
    return result, scripted, printed


# --- one more request --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "answers", "kept", "failed"),
    [
        # fewer failed constraints
        ({"sentences": 3, "max_chars": 30}, ["One. Two.", "One. Two. Three."], 1, []),
        ({"sentences": 5, "max_chars": 10}, [THREE, "One. Two."], 1, ["sentences"]),
        # as many: the first
        ({"sentences": 4}, [THREE, TWO], 0, ["sentences"]),
        ({"sentences": 4}, [TWO, THREE], 0, ["sentences"]),
    ],
)
def test_the_answer_with_fewer_failed_constraints_is_kept(
    mistral: Path, values: dict[str, Any], answers: list[str], kept: int, failed: list[str]
) -> None:
    result, model, printed = ask(summarize(**values), mistral, TEXT, answers)
    assert result.answer.text == answers[kept]
    assert [check.name for check in result.checks if not check.ok] == failed
    assert {check.attempts for check in result.checks} == {2}
    assert "That is wrong: the summary has" in model.prompts[1]
    assert printed.deltas == [answers[kept]]  # and nothing of the other
    assert result.answer.completion_tokens == 14  # the cost of both


def test_an_answer_that_is_right_costs_one_request(mistral: Path) -> None:
    result, model, _ = ask(summarize(sentences=2), mistral, TEXT, [TWO])
    assert len(model.prompts) == 1
    assert result.warnings == ()
    assert all(check.ok for check in result.checks)
    assert [(c.name, c.expected, c.found, c.attempts) for c in result.checks[:2]] == [
        ("sentences", 2, 2, 1),
        ("complete", None, None, 1),
    ]


def test_two_constraints_are_named_and_cut_together(mistral: Path) -> None:
    task = summarize(sentences=2, words="3-12")
    long = f"{THREE} And one more sentence that is far too long for this."
    result, model, _ = ask(task, mistral, TEXT, [long, long])
    again = "the summary has 4 sentences, not 2 sentences; the summary has 26 words, not 3 to 12"
    assert again in model.prompts[1]
    assert "Write it again in exactly 2 sentences and 3 to 12 words," in model.prompts[1]
    assert result.answer.text == TWO
    assert result.warnings == ("the model wrote 4 sentences: cut after 2 sentences",)


def test_without_room_for_a_correction_the_request_gets_another_seed(mistral: Path) -> None:
    task = summarize(sentences=2)
    text = "word " * 430  # the prompt fits a context of 512, its correction does not
    options = {"context_length": 512, "max_tokens": 40, "seed": 7}
    _, model, _ = ask(task, mistral, text, [THREE, TWO], **options)
    assert [request.sampling.seed for request in model.requests] == [7, 8]
    assert model.requests[0].prompt_token_ids == model.requests[1].prompt_token_ids
    greedy = {**options, "temperature": 0.0}  # it would be the same answer
    result, model, _ = ask(task, mistral, text, [THREE], **greedy)
    assert len(model.requests) == 1
    assert result.answer.text == TWO


# --- strict ------------------------------------------------------------------------------------


def test_strict_prints_nothing_of_an_answer_that_fails(mistral: Path) -> None:
    for answers in ([THREE, f"{THREE} Four."], ["One.", "One."]):
        printed = Printed()
        task = summarize(sentences=5, strict=True)
        ((job,), planner) = jobs_of(task, mistral, TEXT)
        left = list(answers)
        model = Streaming(planner, lambda _, left=left: left.pop(0))
        with pytest.raises(AnswerRejected) as caught:
            task.strategy.respond(job, Executor(planner, model), printed)
        assert caught.value.exit_code == 7
        assert "not 5 sentences (after 2 attempts)" in caught.value.message
        assert answers[0] in caught.value.details
        assert [c.name for c in caught.value.checks if not c.ok] == ["sentences"]
        assert printed.deltas == []
        named = caught.value.with_message("a.txt: no")
        assert named.checks == caught.value.checks


def test_strict_accepts_what_a_cut_or_a_retry_made_right(mistral: Path) -> None:
    result, _, printed = ask(summarize(sentences=2, strict=True), mistral, TEXT, [THREE, "One."])
    assert result.answer.text == TWO
    assert printed.deltas == [TWO]


def test_strict_translates_all_or_nothing(mistral: Path) -> None:
    text = "Good morning to you.\n\nRead `this` now, please.\n"

    def replies(prompt: str) -> str:
        return "Guten Morgen." if "Good morning" in prompt else "Lies das jetzt."

    for strict, expected in (
        (True, []),
        (False, ["Guten Morgen.", "\n\n", "Lies das jetzt.", "\n"]),
    ):
        task = translate(to="German", strict=strict)
        ((job,), planner) = jobs_of(task, mistral, text, source="a.txt")
        printed = Printed()
        executor = Executor(planner, Streaming(planner, replies))
        if strict:
            with pytest.raises(AnswerRejected, match="line 3: the answer lacks `this`"):
                task.strategy.respond(job, executor, printed)
        else:
            result = task.strategy.respond(job, executor, printed)
            assert result.warnings == ("line 3: the answer lacks `this`",)
            assert [c.name for c in result.checks if not c.ok] == ["structure"]
        assert printed.deltas == expected


def test_a_refused_answer_is_exit_code_7_with_an_empty_stdout(
    run: Run, mistral: Path, script: Script
) -> None:
    script(pieces=["One.", " Two.", " Three."])
    call = ("summarize", TEXT, "-m", mistral, "--engine", "fake", "--sentences", 4)
    for more in ((), ("--json",)):
        refused = run(*call, "--strict", *more)
        assert (refused.status, refused.stdout) == (7, "")
        assert "error: the summary has 3 sentences, not 4 sentences" in refused.stderr
        assert "The model had written: One. Two. Three." in refused.stderr
    warned = run(*call)
    assert (warned.status, warned.stdout) == (0, "One. Two. Three.\n")
    assert warned.stderr == (
        "mistral-cli: warning: the summary has 3 sentences, not 4 sentences (after one retry)\n"
    )
    cut = run(*call[:-1], 2, "-n", 1, "--strict")
    assert (cut.status, cut.stdout) == (7, "")


# --- text that streams -------------------------------------------------------------------------


def test_a_text_without_constraints_streams_from_its_first_word(mistral: Path) -> None:
    for task in (generate(), summarize(), translate()):
        result, _, printed = ask(task, mistral, "Nothing of note.", [THREE])
        assert len(printed.deltas) >= len(THREE.split()) - 1, task.name
        assert "".join(printed.deltas) == result.answer.text == THREE


def test_a_constraint_holds_the_text_back_until_it_is_checked(mistral: Path) -> None:
    _, _, printed = ask(summarize(sentences=3), mistral, TEXT, [THREE])
    assert printed.deltas == [THREE]
    # A language that cannot be checked holds nothing back.
    result, _, printed = ask(summarize(language="Klingon"), mistral, TEXT, [THREE])
    assert len(printed.deltas) > 3
    assert "language" not in {check.name for check in result.checks}


def test_a_preamble_is_removed_from_text_that_streams(mistral: Path) -> None:
    answer = f"Sure! Here is the summary:\n\n{THREE}"
    for task in (generate(), summarize(), translate()):
        for streams in (True, False):
            result, _, printed = ask(task, mistral, "Much was said.", [answer], streams=streams)
            assert "".join(printed.deltas) == result.answer.text == THREE
            assert (len(printed.deltas) > 3) == streams
    kept, _, printed = ask(generate(preamble=True), mistral, TEXT, [answer])
    assert "".join(printed.deltas) == kept.answer.text == answer
    raw, _, printed = ask(generate(), mistral, TEXT, [answer], raw=True)
    assert "".join(printed.deltas) == raw.answer.text == answer


GERMAN = "Der Ausschuss traf sich am Montag und kaufte nach langer Beratung ein neues Boot."
ENGLISH = "The committee met on Monday, and after long deliberation it bought a new boat."


@pytest.mark.parametrize(
    ("task", "text", "flawed", "problem"),
    [
        (translate(to="German"), ENGLISH, ENGLISH, "is in English, not in German"),
        (translate(to="German"), ENGLISH, "<|im_start|>assistant\nDer", "control token"),
        (
            summarize(),
            ENGLISH,
            "\u041a\u043e\u043c\u0438\u0442\u0435\u0442 met.\nIt",
            "Cyrillic script",
        ),
    ],
)
def test_a_flawed_beginning_is_refused_before_it_is_printed(
    mistral: Path, task: Task, text: str, flawed: str, problem: str
) -> None:
    good = GERMAN if task.name == "translate" else "It bought a boat."
    longer = f"{flawed} and more\nof this kind " + "and so on " * 60
    result, model, printed = ask(task, mistral, text, [longer, good])
    assert problem in model.prompts[1]
    assert "".join(printed.deltas) == result.answer.text == good
    assert len(model.prompts[1]) < len(model.prompts[0]) + 600  # the model was stopped early
    assert {check.attempts for check in result.checks} == {2}
    assert result.warnings == ()


def test_the_end_of_a_text_that_streams_is_only_reported(mistral: Path) -> None:
    loop = "It bought a boat and then it met again on Monday at noon. " * 6
    result, _, printed = ask(summarize(), mistral, ENGLISH, [f"It met. {loop}"])
    assert len(printed.deltas) > 20
    assert [check.name for check in result.checks if not check.ok] == ["repetition"]
    assert result.warnings[0].startswith('repetition: "It bought a boat')
    # Where nothing is printed yet, it is requested once more.
    result, _, _ = ask(summarize(), mistral, ENGLISH, [f"It met. {loop}", "It met."], streams=False)
    assert result.answer.text == "It met."
    result, _, _ = ask(summarize(strict=True), mistral, ENGLISH, [f"It met. {loop}", "It met."])
    assert result.answer.text == "It met."


def test_the_language_of_a_summary_is_a_constraint(mistral: Path) -> None:
    task = summarize(language="German")
    result, model, printed = ask(task, mistral, ENGLISH * 3, [ENGLISH, GERMAN])
    assert "the summary is in English, not in German. Write it again in German," in model.prompts[1]
    assert printed.deltas == [GERMAN]
    result, _, _ = ask(task, mistral, ENGLISH * 3, [ENGLISH, ENGLISH])
    assert result.warnings == ("the summary is in English, not in German (after one retry)",)


BEGINNINGS = st.sampled_from(
    ["Sure", "sure, ", "Here", " is the", " summary", ":", "\n", "\n\n", " ", "A boat", ". ", "- x"]
)


@given(st.lists(BEGINNINGS, max_size=9))
def test_text_that_streams_is_the_same_as_whole_text(deltas: list[str]) -> None:
    shown: list[str] = []
    beginning = Beginning(AnswerRules((), "answer", ""), "", shown.append)
    for delta in deltas:
        beginning.feed(delta)
    whole = without_preamble("".join(deltas)).rstrip()
    assert "".join(shown) == beginning.written
    # An answer that ends before it is released is not printed yet.
    assert beginning.written.rstrip() == (whole if beginning.released else "")


# --- settings ----------------------------------------------------------------------------------


def test_the_option_is_before_the_template_and_that_before_the_configuration(
    mistral: Path, tmp_path: Path
) -> None:
    from mistral_cli.generation.templates import read_template

    path = tmp_path / "t.txt"
    path.write_text('+++\nfacts = "retry"\npreamble = "on"\n+++\n{{ text }}')
    header, plain = read_template(path), read_template(_plain(tmp_path))
    config = Config(facts="off", preamble="on")
    wants = summarize().checks
    assert wants.facts_mode is FactsMode.REPORT
    assert wants.resolve(plain, Config()).facts_mode is FactsMode.REPORT
    assert wants.resolve(plain, config).facts_mode is FactsMode.OFF
    assert wants.resolve(plain, config).keeps_preamble
    assert wants.resolve(header, config).facts_mode is FactsMode.RETRY
    option = summarize(facts=FactsMode.STRICT, preamble=False).checks.resolve(header, config)
    assert (option.facts_mode, option.keeps_preamble) == (FactsMode.STRICT, False)
    # A prompt of the user's own may have any facts.
    assert generate().checks.resolve(header, config).facts_mode is FactsMode.OFF
    for wrong in (Config(facts="always"), Config(preamble="yes")):
        with pytest.raises(UsageError, match=r"cannot be '(always|yes)' in the configuration"):
            wants.resolve(plain, wrong)
    path.write_text('+++\nfacts = "always"\n+++\n{{ text }}')
    with pytest.raises(UsageError, match="'facts' in its header must be one of: report, retry"):
        read_template(path)


def _plain(folder: Path) -> Path:
    path = folder / "plain.txt"
    path.write_text("{{ text }}")
    return path


def test_a_report_does_not_change_the_identity_of_a_row() -> None:
    assert CheckOptions().identity == summarize(facts=FactsMode.OFF).checks.identity == {}
    assert summarize(facts=FactsMode.RETRY, strict=True).checks.identity == {
        "facts": "retry",
        "strict": True,
    }
    assert generate(preamble=True).checks.identity == {"preamble": True}


@pytest.mark.parametrize(
    "options", [("--strict",), ("--facts", "report"), ("--facts", "strict"), ("--no-preamble",)]
)
def test_a_raw_prompt_cannot_be_checked(run: Run, mistral: Path, options: tuple[str, ...]) -> None:
    call = ("summarize", "A text.", "-m", mistral, "--engine", "fake", "--raw")
    refused = run(*call, *options)
    assert (refused.status, refused.stdout) == (2, "")
    assert f"{options[0]} and --raw cannot be combined" in refused.stderr
    assert run(*call, "--facts", "off", "--preamble").status == 0


def test_a_dry_run_shows_the_checks_that_apply(run: Run, mistral: Path) -> None:
    call = ("summarize", "A text.", "-m", mistral, "--engine", "fake", "--dry-run")
    constraints = ("--sentences", 2, "--max-chars", 90, "--strict")
    shown = json.loads(run(*call, *constraints, "--json").stdout)["checks"]
    assert shown[:3] == [
        {"name": "sentences", "expected": "exactly 2 sentences", "on_failure": "fail"},
        {"name": "characters", "expected": "at most 90 characters", "on_failure": "fail"},
        {"name": "complete", "expected": None, "on_failure": "fail"},
    ]
    text = run(*call, "--words", "5-9").stderr
    assert "mistral-cli: checks: words (5 to 9 words, retry), complete (retry)" in text


# --- long texts and documents -------------------------------------------------------------------


def test_a_long_text_is_compared_as_a_whole(mistral: Path) -> None:
    """Not the summaries of its chunks: here these have a number that the text does not have."""

    def reply(prompt: str) -> str:
        chunk = "one part of a longer text" in prompt
        return "9731 boats were bought." if chunk else "On day 3 it met about 9731 boats."

    ((job,), planner) = jobs_of(summarize(), mistral, LONG, max_tokens=40)
    model = Streaming(planner, reply)
    result = summarize().strategy.respond(job, Executor(planner, model), Printed())
    assert result.chunks > 1
    (failed,) = (check for check in result.checks if not check.ok)
    assert [finding.text for finding in failed.findings] == ["9731"]


def test_each_segment_of_a_document_has_its_own_source(mistral: Path) -> None:
    text = "The pier has 40 planks in it.\n\nThe boat has 7 lamps on board.\n"

    def reply(prompt: str) -> str:
        segment = prompt.rsplit("only.\n\n", 1)[1].split("[/INST]")[0].strip()
        return segment.replace("7", "40")  # the other segment has it

    for facts, requests in ((FactsMode.REPORT, 2), (FactsMode.RETRY, 3), (FactsMode.OFF, 2)):
        task = translate(facts=facts)
        ((job,), planner) = jobs_of(task, mistral, text, source="a.txt")
        model = Streaming(planner, reply)
        printed = Printed()
        result = task.strategy.respond(job, Executor(planner, model), printed)
        assert len(model.prompts) == requests
        if facts is FactsMode.OFF:
            assert result.warnings == ()
            continue
        (warning,) = result.warnings
        assert warning.startswith('line 3: numbers: "40" (')
        assert 'missing: "7" (not in the translation)' in warning
        (finding,) = next(c for c in result.checks if c.name == "numbers").findings
        assert result.answer.text[finding.start : finding.end] == "40"


def test_findings_have_their_place_in_the_whole_answer() -> None:
    finding = Finding("7", "not in the text", 3, 4)
    parts = [
        PlacedChecks([Check("numbers", True), Check("structure", True)], "Eins.", 0),
        PlacedChecks([Check("numbers", False, findings=(finding,), attempts=2)], "Um 7 Uhr", 7),
        PlacedChecks([Check("numbers", False, findings=(finding,))], "Es\r\n7", 17),  # it moved
        PlacedChecks([Check("numbers", False, findings=(Finding("9", "missing"),))], "x", 30),
    ]
    numbers, structure = merged(parts)
    assert (numbers.ok, numbers.attempts, structure.ok) == (False, 2, True)
    whole = "Eins.\n\nUm 7 Uhr\n\nEs\r\n7"
    assert [(f.start, f.end) for f in numbers.findings] == [(10, 11), (21, 22), (None, None)]
    assert all(whole[f.start : f.end] == "7" for f in numbers.findings[:2])


def test_a_message_names_each_reason_once_and_five_findings() -> None:
    findings = [Finding(f"{n} lamps", "not in the text") for n in range(6)]
    check = Check("numbers", False, findings=(*findings, Finding("May", "the text has June")))
    assert failure(check, "summary") == (
        'numbers: "0 lamps", "1 lamps", "2 lamps", "3 lamps", "4 lamps" (not in the text), 2 more'
    )
    other = Check("dates", False, findings=(findings[0], Finding("May", "the text has June")))
    assert failure(other, "summary") == (
        'dates: "0 lamps" (not in the text), "May" (the text has June)'
    )
