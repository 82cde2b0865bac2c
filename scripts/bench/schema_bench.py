"""Check a folder of JSON Schemas: which are accepted and why not; or ask a model for values."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from acceptance import ACCEPTED, CRASHED, MODES, REFUSED, Check, check_files, checks_as_json
from schema_answers import LIMITS, Run, print_answers

Checks = dict[str, dict[str, Check]]
"""The name of a file → mode → its check."""

_SLOWEST = 10
_EXAMPLES = 3
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")


def main() -> None:
    options = arguments()
    files = sorted(options.folder.rglob("*.json"))
    if not files:
        sys.exit(f"no *.json in {options.folder}")
    if options.answers:
        ask_for_answers(options, files)
        return
    checks: Checks = {}
    for file, check in check_files(files, options.workers, options.most_seconds):
        checks[str(file.relative_to(options.folder))] = check
        if not options.quiet and len(checks) % 200 == 0:
            print(f"{len(checks)} of {len(files)} …", file=sys.stderr)
    checks = dict(sorted(checks.items()))
    report(checks)
    if options.json:
        lines = {name: checks_as_json(check) for name, check in checks.items()}
        options.json.write_text(json.dumps(lines, indent=1, ensure_ascii=False) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder; every *.json in it is a schema")
    parser.add_argument("--json", type=Path, help="write each schema's outcome to this file")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--most-seconds", type=float, default=60, help="for one schema")
    parser.add_argument(
        "--answers", type=int, help="instead, ask a model for values of so many random schemas"
    )
    parser.add_argument("--seed", type=int, default=1, help="chooses those")
    parser.add_argument("-m", "--model", default="smollm2")
    parser.add_argument("-n", "--max-tokens", type=int, default=400, help="of an answer")
    parser.add_argument("-t", "--threads", type=int, help="of the engine")
    parser.add_argument("--on-limit", choices=LIMITS, help="one mode only; both by default")
    parser.add_argument(
        "--log",
        type=Path,
        help="append each outcome to this file; what is in it is not asked for again",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser.parse_args()


def ask_for_answers(options: argparse.Namespace, files: list[Path]) -> None:
    run = Run(options.folder, options.model, options.max_tokens, options.threads, options.log)
    modes = [options.on_limit] if options.on_limit else [*LIMITS]
    chosen, refused = run.choose(files, options.answers, options.seed)
    print(
        f"{len(chosen) + len(refused)} schemas at random (seed {options.seed}): {len(chosen)} "
        f"accepted, {len(refused)} refused"
    )
    outcomes = run.answer_all(chosen, modes, progress=not options.quiet)
    print_answers(outcomes, row, heading)


def report(checks: Checks) -> None:
    """Print the acceptance of each folder, the reasons for refusals, and the slowest."""
    print_acceptance(checks)
    for mode in MODES:
        of_mode = {name: check[mode] for name, check in checks.items()}
        print_reasons(f"{mode}: refused", of_mode, REFUSED)
        print_reasons(f"{mode}: crashed", of_mode, CRASHED)
    print_unenforced({name: check["plain"] for name, check in checks.items()})
    print_slowest(checks)


def print_acceptance(checks: Checks) -> None:
    folders = defaultdict[str, list[dict[str, Check]]](list)
    for name, check in checks.items():
        folders[str(Path(name).parent)].append(check)
    heading("folder", "schemas", *(f"{mode} {what}" for mode in MODES for what in (ACCEPTED, "%")))
    for folder, those in [*sorted(folders.items()), ("all", [*checks.values()])]:
        counts = [sum(each[mode].outcome == ACCEPTED for each in those) for mode in MODES]
        row(folder, len(those), *(x for n in counts for x in (n, f"{100 * n / len(those):.2f}")))


def print_reasons(title: str, checks: Mapping[str, Check], outcome: str) -> None:
    """Print the reasons, the most frequent first; those that differ in what they quote are one."""
    groups = defaultdict[str, list[str]](list)
    for name, check in checks.items():
        if check.outcome == outcome:
            groups[kind_of(check.reason)].append(name)
    if not groups:
        return
    heading(title, "schemas", "for example")
    for reason, names in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        row(reason, len(names), ", ".join(names[:_EXAMPLES]))


def kind_of(reason: str) -> str:
    """Shorten a message to what it has in common with others of its kind."""
    short = reason.removeprefix("the schema cannot be used: ")
    short = re.sub(r"(?<=not supported): .*", "", short)
    short = re.sub(r"\(at \$.*", "", _QUOTED.sub("'…'", short))
    return re.sub(r"\d+", "N", short)[:120].replace("|", "\\|").strip()


def print_unenforced(checks: Mapping[str, Check]) -> None:
    """Print how many of the accepted schemas leave a keyword to validation."""
    accepted = [check for check in checks.values() if check.outcome == ACCEPTED]
    notes = Counter(kind_of(note) for each in accepted for note in {*each.unenforced})
    if notes:
        heading("plain: left to validation, or not enforced", "schemas")
        for note, count in sorted(notes.items(), key=lambda item: (-item[1], item[0])):
            row(note, count)


def print_slowest(checks: Checks) -> None:
    times = {(name, mode): c.seconds for name, each in checks.items() for mode, c in each.items()}
    heading("slowest", "mode", "seconds")
    for name, mode in sorted(times, key=lambda key: -times[key])[:_SLOWEST]:
        row(name, mode, f"{times[name, mode]:.2f}")


def heading(*titles: str) -> None:
    print()
    row(*titles)
    row(*["---"] * len(titles))


def row(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
