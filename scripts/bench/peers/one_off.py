"""One call from the shell, the whole process: about 20 prompt tokens and 64 new ones."""

from __future__ import annotations

from collections.abc import Callable

from results import Results, Table
from setting import Setting
from timing import Log, Timed, alternate, in_page_cache, timed

PROMPT = (
    "Once upon a time, in a small harbour town at the edge of the sea, an old fisherman found a"
)
LLM = "llm with llm-gguf"
DEFAULTS, BEST = "llama-completion", "llama-completion --no-repack --no-warmup"


def measure(setting: Setting, results: Results, log: Log) -> None:
    """Compare complete calls on both models."""
    for model, path in setting.models.items():
        in_page_cache(path)
        measured = alternate(_variants(setting, model), setting.repeats, setting.skipped, log)
        whole = {w: [t.seconds for t in runs] for w, runs in measured.items() if w != LLM}
        note = "From start to exit of the process: about 20 prompt tokens, 64 new tokens, greedy."
        table = Table(f"One-off call, {model}", "s", whole, BEST, note, measured.failed)
        first = {variant: [each.first_byte for each in runs] for variant, runs in measured.items()}
        note = "From the start of the process to the first text on stdout, in the same calls."
        results.tables += [
            table,
            Table(f"First text, {model}", "s", first, BEST, note, measured.failed),
        ]
        if model == "SmolLM2":
            continue
        for name in setting.engines.values():
            for other, limit in ((DEFAULTS, 0.6), (BEST, 1.05)):
                what = f"One-off call on the 7B shape, {name}, of `{other}`"
                results.target(what, table, name, other, limit, at_most=True)


def _variants(setting: Setting, model: str) -> dict[str, Callable[[], Timed]]:
    path, tokens = setting.models[model], setting.tokens(64)

    def ours(engine: str) -> Timed:
        return timed(setting.generate(path, "--raw", "-n", tokens, "--engine", engine, PROMPT))

    def native(*flags: str) -> Timed:
        command = [str(setting.program("llama-completion")), "-m", str(path), "-p", PROMPT]
        command += ["-n", str(tokens), "--temp", "0", "-no-cnv", "--ignore-eos"]
        command += ["--no-display-prompt", "-t", setting.cores]
        return timed([*command, *flags])

    def python(script: str) -> Timed:
        return timed(setting.peer_script(script, path, PROMPT, tokens, setting.cores))

    def article() -> Timed:
        file = setting.for_ctransformers(model)
        return timed(setting.our_script("article.py", file, PROMPT, tokens))

    variants: dict[str, Callable[[], Timed]] = {
        name: lambda engine=engine: ours(engine)  # type: ignore[misc]
        for engine, name in setting.engines.items()
    }
    variants |= {
        DEFAULTS: native,
        BEST: lambda: native("--no-repack", "--no-warmup"),
        "llama-cpp-python": lambda: python("plain_llama_cpp_python.py"),
        "the article's ctransformers script": article,
    }
    if model == "SmolLM2":  # it loads a large model as slowly as llama-completion
        variants[LLM] = lambda: _llm(setting, model)
    return variants


def _llm(setting: Setting, model: str) -> Timed:
    """Time llm to its first text only, since it has no option to limit the tokens."""
    home, name = setting.work / "llm", model.replace(" ", "-")
    env, llm = {"LLM_USER_PATH": str(home)}, str(setting.python.parent / "llm")
    home.mkdir(exist_ok=True)
    timed([llm, "gguf", "register-model", name, setting.models[model]], env)
    return timed([llm, "-m", f"gguf/{name}", "-n", PROMPT], env, whole=False)
