"""What an engine knew after the beginning of a prompt, kept on disk for later runs.

The way of the data: `prefixes` (which beginnings come again) → `identity` (whose states they
are) → `cache` (what is restored and saved in one run) → `store` (the files).
"""

from mistral_cli.generation.prompt_cache.cache import (
    PromptCache,
    states_folder,
    states_path,
)
from mistral_cli.generation.prompt_cache.prefixes import (
    LEAST_TOKENS,
    common,
    prefixes_of,
)
from mistral_cli.generation.prompt_cache.store import Store

__all__ = [
    "LEAST_TOKENS",
    "PromptCache",
    "Store",
    "common",
    "prefixes_of",
    "states_folder",
    "states_path",
]
