"""Runs xllamacpp's server on the loopback: `wheel_server.py FILE PORT SLOTS CONTEXT THREADS`."""

import sys
import time

import xllamacpp

path, *numbers = sys.argv[1:]
port, slots, context, threads = map(int, numbers)
params = xllamacpp.CommonParams()
params.model.path = path
params.hostnames, params.port = ["127.0.0.1"], port
params.n_parallel, params.n_ctx = slots, context
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
params.fit_params = False
server = xllamacpp.Server(params)
while True:
    time.sleep(60)
