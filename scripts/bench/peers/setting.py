"""The setting of a benchmark: this tool, the peers, the models and the machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from timing import Unavailable

from mistral_cli.system.machine import processor, usable_cores

HERE = Path(__file__).parent


@dataclass
class Setting:
    """`native` contains llama.cpp's programs, `python` the peers' packages; both may be missing.

    `smollm2`, `smollm2_2023` (for ctransformers) and `shape_7b` are model files; `work` is a
    folder for temporary files. With `tiny`, few tokens are used, to check that everything works.
    """

    native: Path
    python: Path
    smollm2: Path
    smollm2_2023: Path
    shape_7b: Path
    work: Path
    repeats: int
    tiny: bool
    skipped: list[str] = field(default_factory=list)

    @property
    def models(self) -> dict[str, Path]:
        """The model files that every llama.cpp reads."""
        return {"SmolLM2": self.smollm2, "7B shape": self.shape_7b}

    def for_ctransformers(self, model: str) -> Path:
        """Return the file that ctransformers reads for `model`."""
        return self.smollm2_2023 if model == "SmolLM2" else self.shape_7b

    def tokens(self, count: int) -> int:
        """Return `count`, or a fraction of it with `tiny`."""
        return max(4, count // 8) if self.tiny else count

    @cached_property
    def cores(self) -> str:
        return str(usable_cores())

    def ours(self, *arguments: object) -> list[str]:
        """Return this tool's command line, as a user calls it."""
        return [str(Path(sys.executable).parent / "mistral-cli"), *map(str, arguments)]

    def generate(self, model: Path, *arguments: object, fresh: bool = True) -> list[str]:
        """Return a greedy `mistral-cli generate`; `fresh` reuses nothing of earlier calls."""
        plain = [flag for flag in ("--no-cache", "--no-serve") if fresh and self.knows(flag)]
        greedy = ("--temperature", 0, "--repetition-penalty", 1, "-q", "--seed", 1)
        return self.ours("generate", "-m", model, *greedy, *plain, *arguments)

    def knows(self, flag: str, command: str = "generate") -> bool:
        """Whether a command of this version has the option `flag`."""
        return flag in self._help(command)

    def _help(self, command: str) -> str:
        known = self.__dict__.setdefault("_helps", {})
        if command not in known:
            done = subprocess.run(
                self.ours(*command.split(), "--help"), capture_output=True, text=True, check=False
            )
            known[command] = done.stdout
        return str(known[command])

    @cached_property
    def engines(self) -> dict[str, str]:
        """This tool's name of each engine, and the name of the variant."""
        engines = {"llama.cpp": "mistral-cli, wheel"}
        listed = subprocess.run(
            self.ours("doctor", "--json"), capture_output=True, text=True, check=False
        )
        native = json.loads(listed.stdout)["engines"].get("native", {"missing": "not made"})
        if native["missing"]:
            self.skipped.append(f"mistral-cli, machine build: {native['missing']}")
        else:
            engines["native"] = "mistral-cli, machine build"
        return engines

    def program(self, name: str) -> Path:
        """Return the path of one of llama.cpp's programs. Raises Unavailable."""
        path = self.native / name
        if not path.exists():
            raise Unavailable(f"there is no {path} (`mistral-cli engines build --tools` makes it)")
        return path

    def peer_script(self, name: str, *arguments: object) -> list[str]:
        """Return a command that runs our script in the peers' Python. Raises Unavailable."""
        if not self.python.exists():
            raise Unavailable("--python names no Python with the peers' packages")
        return [str(self.python), str(HERE / name), *map(str, arguments)]

    def our_script(self, name: str, *arguments: object) -> list[str]:
        """Return a command that runs our script in this Python."""
        return [sys.executable, str(HERE / name), *map(str, arguments)]


def machine() -> dict[str, str]:
    """Describe the machine that the figures belong to."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "CPU": f"{processor()}, {usable_cores()} cores",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
    }


def versions(python: Path) -> dict[str, str]:
    """Return the versions of the packages that are compared."""
    packages = _installed(Path(sys.executable), "mistral-cli", "xllamacpp", "ctransformers")
    return packages | _installed(python, "llama-cpp-python", "llm", "llm-gguf")


def _installed(python: Path, *packages: str) -> dict[str, str]:
    code = (
        "import sys\nfrom importlib.metadata import PackageNotFoundError, version\n"
        "for name in sys.argv[1:]:\n try: print(name, version(name))\n"
        " except PackageNotFoundError: pass"
    )
    if not python.exists():
        return {}
    done = subprocess.run(
        [python, "-c", code, *packages], capture_output=True, text=True, check=False
    )
    return dict(line.split() for line in done.stdout.splitlines())
