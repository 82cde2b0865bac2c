"""Compare this tool with others in one run; write docs/performance/benchmarks.{md,json,svg}."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import lookup
import one_off
import prefix
import slots
import speeds
import start
import warm
from chart import svg
from compare import compare
from report import page, summary
from results import Results, Table
from setting import Setting, machine, versions
from synthetic.models import write_smollm2_for_ctransformers

from mistral_cli.engines.llama_cpp.machine_build import native_folder

PAGES = Path(__file__).parents[3] / "docs" / "performance"
MEASURES = {
    "start": start,
    "one-off": one_off,
    "speeds": speeds,
    "prefix": prefix,
    "slots": slots,
    "warm": warm,
    "lookup": lookup,
}


def main() -> None:
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)  # fail now, not after minutes of measurements
    results_file = options.out / "benchmarks.json"
    if not options.render:
        with tempfile.TemporaryDirectory() as work:
            results = run(options, Path(work))
        if before := last_results(results_file):
            compare(before, results)
        results_file.write_text(json.dumps(results.as_json(), indent=1) + "\n", encoding="utf-8")
    results = Results.from_json(json.loads(results_file.read_text(encoding="utf-8")))
    (options.out / "benchmarks.svg").write_text(svg(results), encoding="utf-8")
    (options.out / "benchmarks.md").write_text(page(results, "benchmarks.svg"), encoding="utf-8")
    print("".join(summary(results)))
    print(f"{options.out / 'benchmarks.md'}")


def last_results(file: Path) -> Results | None:
    """The results of the run before; None if there are none that can be read."""
    try:
        return Results.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        log(f"nothing to compare with: {error}")
        return None


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="scripts/bench_peers")
    parser.add_argument(
        "--native",
        type=Path,
        default=native_folder() / "bin",
        help="folder with llama.cpp's programs (default: those of the machine build)",
    )
    parser.add_argument(
        "--python",
        type=Path,
        default=Path("/nonexistent"),
        help="a Python with the packages llama-cpp-python, llm and llm-gguf",
    )
    parser.add_argument(
        "--shape-7b", type=Path, help="the file that scripts/make_model wrote (default: make one)"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="use few tokens, as a quick check")
    parser.add_argument("--only", choices=MEASURES, action="append", help="repeatable")
    parser.add_argument("--out", type=Path, default=PAGES)
    parser.add_argument("--render", action="store_true", help="only rewrite the page")
    return parser.parse_args()


def run(options: argparse.Namespace, work: Path) -> Results:
    setting = prepare(options, work)
    about = machine() | {"compared": ", ".join(map(" ".join, versions(options.python).items()))}
    results = Results(about, date.today().isoformat(), options.repeats, skipped=setting.skipped)
    started = time.monotonic()
    for name, module in MEASURES.items():
        if not options.only or name in options.only:
            log(f"{name} (after {time.monotonic() - started:.0f} s)")
            try:
                module.measure(setting, results, log)
            except Exception as error:  # keep the other results, which took minutes
                reason = f"{type(error).__name__}: {error}"
                log(f"  {name} failed: {reason}")
                results.tables.append(Table(name, "", {}, "", failed={"the whole measure": reason}))
                setting.skipped.append(f"{name}: {reason}")
    log(f"done after {time.monotonic() - started:.0f} s")
    return results


def prepare(options: argparse.Namespace, work: Path) -> Setting:
    ours = [sys.executable, "-m", "mistral_cli", "models"]
    subprocess.run([*ours, "pull", "smollm2", "-q"], check=True, stdout=sys.stderr)
    located = subprocess.run([*ours, "path", "smollm2"], check=True, capture_output=True, text=True)
    smollm2 = Path(located.stdout.strip())
    rewritten = write_smollm2_for_ctransformers(smollm2, work / "smollm2-2023.gguf")
    shape = options.shape_7b
    if shape is None:
        from synthetic.mistral_7b import write_7b

        log("making the 7B shape; --shape-7b takes an existing file")
        shape = write_7b(work / "mistral-7b-shape.Q4_K_M.gguf")
    return Setting(
        native=options.native,
        python=options.python,
        smollm2=smollm2,
        smollm2_2023=rewritten,
        shape_7b=shape,
        work=work,
        repeats=options.repeats,
        tiny=options.tiny,
    )


def log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
