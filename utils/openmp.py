"""How the threads that compute torch's operations on a CPU wait for each other."""

import os


def limit_spinning() -> None:
    """Have OpenMP's threads sleep after a short wait, unless the user has said how they wait; call it before torch loads.

    At the end of each operation they spin until the last one arrives. Where another program holds a core, the last one
    does not run, and the others waste the rest of the machine. benchmark/busy_cpu.py has compared lengths of the wait.
    """
    if not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        os.environ["GOMP_SPINCOUNT"] = "10000"
