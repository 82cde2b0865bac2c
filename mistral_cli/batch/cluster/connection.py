"""The connection to a Ray cluster, or to a Ray that is started on this machine and ends with us.

Needs the extra `ray`. Only this module and `pool.py` import Ray.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.batch.cluster.address import AUTO, LOCAL
from mistral_cli.engines.isolated.native_calls import captured_stderr
from mistral_cli.errors import EngineFailed, UsageError, first_line
from mistral_cli.system.files import scratch_folder
from mistral_cli.system.signals import STOP_SIGNALS

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

_CONNECT_SECONDS = 5.0
_OBJECT_STORE = 80 * 2**20  # bytes; rows and records are some kilobytes, and 78 MiB is Ray's least

# What a client of gRPC sends first, and an empty frame of settings (RFC 9113, 3.4 and 6.5).
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS = 4  # the type of the frame that a server sends first

# Read when Ray is imported. Without the second, it warns that it will not always hide GPUs from
# actors that reserve none.
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@contextlib.contextmanager
def connected(address: str, reporter: Reporter) -> Iterator[None]:
    """Connect to the cluster at `address` for the block. Raises EngineFailed, UsageError."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    where = "on this machine" if address == LOCAL else f"at {address}"
    reporter.status(f"{'starting' if address == LOCAL else 'connecting to'} Ray {where} …")
    with contextlib.ExitStack() as resources:
        options: dict[str, Any] = {}
        if address == LOCAL:
            folder = str(resources.enter_context(scratch_folder()))
            # Who reaches its ports can run any program as this user, and they are not only local.
            os.environ["RAY_AUTH_MODE"] = "token"
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
            options = {
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE,
                "_temp_dir": folder,
            }
        elif address != AUTO:
            _check_reachable(address)
        _connect(address, options)
        # Ray prints what it knows of nodes that died to `sys.stdout`; ours is the terminal's.
        nowhere = resources.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
        resources.enter_context(contextlib.redirect_stdout(nowhere))
        reporter.clear_status()
        yield
        # Not after an error or a stop signal: it takes 1.3 s, and the cluster ends the actors of a
        # driver that ends. A Ray of our own ends with us in any case.
        import ray

        ray.shutdown()


def _connect(address: str, options: Mapping[str, Any]) -> None:
    import ray

    try:
        with captured_stderr(), _kept_signal_handlers():
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **options)
    except (ImportError, ValueError) as error:  # ray:// without Ray's client
        raise UsageError(first_line(error), hint="Install: pip install 'ray[client]'") from error
    except ConnectionError as error:
        if "AuthenticationError" in str(error.__cause__):
            raise EngineFailed(
                f"the Ray cluster at {address} requires a token",
                hint="Set RAY_AUTH_MODE=token; RAY_AUTH_TOKEN or ~/.ray/auth_token has the token.",
            ) from error
        where = "on this machine" if address == AUTO else f"at {address}: {first_line(error)}"
        raise _unreachable(where) from error
    except RuntimeError as error:  # another version of Ray or Python, among others
        raise EngineFailed(
            f"cannot connect to Ray: {' '.join(str(error).split())}",
            hint="Use the same versions of Python and Ray on all machines.",
        ) from error


def _check_reachable(address: str) -> None:
    """Raise EngineFailed if no gRPC server listens there: Ray itself would try for 14 minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS) as server:
            if os.environ.get("RAY_USE_TLS") == "1":
                return
            server.sendall(_PREFACE)
            if server.recv(9)[3:4] != bytes([_SETTINGS]):
                raise _unreachable(f"at {address}: another program listens there")
    except (OSError, ValueError, OverflowError) as error:
        raise _unreachable(f"at {address}: {first_line(error)}") from error


def _unreachable(where: str) -> EngineFailed:
    return EngineFailed(
        f"no Ray cluster answers {where}",
        hint="Start one (ray start --head), check the address, or use --ray local.",
    )


@contextlib.contextmanager
def _kept_signal_handlers() -> Iterator[None]:
    """Restore the handlers of the stop signals: Ray sets its own, which end the process."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
