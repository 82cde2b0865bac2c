"""Become another program that ends when the process that started us does, however that ends.

`python -I -S dies_with.py LIFE PROGRAM ARGUMENTS…`: LIFE is the reading end of a pipe to which
nothing is ever written. PR_SET_PDEATHSIG would not do: it goes by the thread that started us.
"""

import fcntl
import os
import select
import sys


def die_with(life: int) -> bool:
    """End when nobody holds the other end of `life`, also where native code never looks.

    The kernel sends SIGIO when that end closes, which kills where nobody handles it (Linux).
    False where it is closed already, which sends nothing.
    """
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    return not select.select([life], [], [], 0)[0]


if __name__ == "__main__" and die_with(int(sys.argv[1])):
    os.execv(sys.argv[2], sys.argv[2:])
