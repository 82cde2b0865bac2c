"""llama.cpp's own server on a port of this machine: `python llama_server.py MODEL SLOTS`.

It prints its port as soon as it answers, and runs until it is killed.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def llama_server(model: Path, slots: int = 2) -> Iterator[str]:
    """The address of a server that has `model` loaded; it ends with the block."""
    command = [sys.executable, __file__, str(model), str(slots)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout
        port = int(process.stdout.readline())
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def main() -> None:
    import xllamacpp

    model, slots = sys.argv[1], int(sys.argv[2])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx, params.n_parallel, params.n_gpu_layers = 1024 * slots, slots, 0
    params.n_batch = params.n_ubatch = 64
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.fit_params = params.warmup = params.ui = False
    params.no_extra_bufts, params.cache_ram_mib = True, 0
    params.hostnames, params.port = ["127.0.0.1"], port
    _server = xllamacpp.Server(params)
    print(port, flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
