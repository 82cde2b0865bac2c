"""The address in `--ray [ADDRESS]`. Nothing here imports Ray: every batch command reads this."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping

from mistral_cli.errors import UsageError

LOCAL = "local"
"""A Ray on this machine, which is started for the batch and ends with it."""
AUTO = "auto"
"""The cluster that RAY_ADDRESS names, or else the one that this machine belongs to."""

_ADDRESS = re.compile(r"local|auto|ray://\S+|[^\s/:]+:[0-9]{1,5}|\[[0-9A-Fa-f:.]+\]:[0-9]{1,5}")
_INSTALL = "pip install 'mistral-cli[ray]'"


def is_address(text: str) -> bool:
    """Whether `text` has the form of an address: local, auto, HOST:PORT or ray://HOST:PORT."""
    return _ADDRESS.fullmatch(text) is not None


def checked_address(text: str, environment: Mapping[str, str]) -> str:
    """The address that `--ray` names. Raises UsageError, also if Ray is not installed."""
    address = (environment.get("RAY_ADDRESS") or text) if text == AUTO else text
    if not is_address(address):
        raise UsageError(
            f"{address!r} is not the address of a Ray cluster",
            hint="Write --ray local, --ray auto (the cluster of this machine), --ray HOST:PORT or "
            "--ray ray://HOST:PORT.",
        )
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--ray needs Ray, which is not installed", hint=f"Install: {_INSTALL}")
    return address
