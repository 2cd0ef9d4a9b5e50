"""Settings of the C libraries for training on a CPU, unless the user has made them: how threads wait, and what becomes
of freed memory. They are made when a program starts, before torch loads."""

import ctypes
import os
from contextlib import suppress

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def prepare_cpu() -> None:
    """Have OpenMP's threads sleep after a short wait, and keep freed memory for the next step.

    At the end of each operation the threads spin until the last one arrives. Where another program holds a core, the
    last one does not run, and the others waste the rest of the machine (lengths of the wait: benchmark/busy_cpu.py).

    Freed tensors of more than 32 MB would go back to the system, which fills their pages with zeros before it gives
    them out again, in each step (what that costs: benchmark/freed_memory.py).
    """
    if not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        os.environ["GOMP_SPINCOUNT"] = "10000"
    if not os.environ.keys() & {"MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"}:
        with suppress(AttributeError, OSError, TypeError):  # not glibc
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_M_MMAP_MAX, 0)
            mallopt(_M_TRIM_THRESHOLD, -1)
