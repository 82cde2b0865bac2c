"""The patches to llama.cpp's source that `build.py` applies, with their reasons.

Raise `machine_build.RECIPE` with every change here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Patch:
    """Replaces `before`, which occurs once in `file`, by `after`."""

    file: str
    before: str
    after: str


# At each load the server evaluates two tokens to find out whether its memory can forget some of the
# tokens that it has evaluated. A KV cache of the architecture `llama` (Mistral's too) can. Two
# tokens of a 7B model take 0.25 s on 2 cores, a fifth of the time to its first word.
_NO_TRIAL = Patch(
    "common/common.cpp",
    """\
    common_context_seq_rm_type res = COMMON_CONTEXT_SEQ_RM_TYPE_PART;

    llama_memory_clear(mem, true);
""",
    """\
    common_context_seq_rm_type res = COMMON_CONTEXT_SEQ_RM_TYPE_PART;

    llama_memory_clear(mem, true);

    char arch[16];
    const char * key = "general.architecture";
    if (llama_model_meta_val_str(llama_get_model(ctx), key, arch, sizeof(arch)) > 0 &&
        std::string(arch) == "llama") {
        return res;
    }
""",
)

PATCHES = (_NO_TRIAL,)


def apply(patches: tuple[Patch, ...], source: Path) -> None:
    """Patch llama.cpp's source in the folder `source`.

    Raises ValueError if it is not the source that the patches were written for.
    """
    for patch in patches:
        path = source / patch.file
        text = path.read_text("utf-8")
        if text.count(patch.before) != 1:
            raise ValueError(f"{patch.file} is not as expected")
        path.write_text(text.replace(patch.before, patch.after), "utf-8")
