"""`models.hub.errors`: the table explains every exception of huggingface_hub."""

from __future__ import annotations

import errno
import inspect
import re

from mistral_cli.models.hub.errors import EXPLANATIONS, explanation_key

# Exceptions of huggingface_hub.errors that our calls never raise.
IRRELEVANT = re.compile(
    "Inference|TextGeneration|Validation|Generation|Overloaded|IncompleteGeneration|Unknown"
    "|Safetensors|NotASafetensors|Bucket|Job|StrictDataclass|DDUF|CLI|Confirmation|Sandbox"
    "|FileDuplication|HfUri|DryRun|CachedRepoTree|CacheNotFound|RevisionResolution"
)
EXPLAINED_AS_ITS_BASE = {
    "BadRequestError": "HfHubHTTPError",
    "IncompleteSnapshotError": "LocalEntryNotFoundError",
    "EntryNotFoundError": "Exception",  # never raised itself
}


def test_every_exception_of_the_library_is_explained() -> None:
    """Fails if a new version of huggingface_hub adds an exception that the table lacks."""
    from huggingface_hub import errors

    relevant = [
        value
        for name, value in vars(errors).items()
        if inspect.isclass(value)
        and issubclass(value, Exception)
        and value.__module__ == errors.__name__
        and not IRRELEVANT.match(name)
    ]
    assert len(relevant) > 15
    kinds = {value.__name__: explanation_key(value.__new__(value)) for value in relevant}
    assert kinds == {name: EXPLAINED_AS_ITS_BASE.get(name, name) for name in kinds}


def test_the_table_has_no_unused_rows() -> None:
    import builtins
    import json

    import httpx2
    from huggingface_hub import errors

    places = (errors, httpx2, builtins, json, errno)
    names = [name for name in EXPLANATIONS if not name.isdigit()]
    assert [name for name in names if not any(hasattr(place, name) for place in places)] == []
