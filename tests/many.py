"""Several processes that train together, as torchrun starts them, but forked from one that has imported everything."""

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

import small_network
import Test
import Train
from processes import Stop, send
from utils import distributed
from utils.errors import exit_cleanly

SECONDS = 120


class Ended(NamedTuple):
    """code: as the system reports it, negative for a signal. output: what it printed. result: what it returned."""

    code: int
    output: str
    result: Any


def run(folder: Path, number: int, target: Callable, *args: Any) -> list[Ended]:
    """`target(*args)` in each of `number` processes, until all have ended. What they print goes into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(number),
                   "LOCAL_WORLD_SIZE": str(number), "TORCHELASTIC_RUN_ID": "test", "OMP_NUM_THREADS": "1"}
    processes = []
    for rank in range(number):
        ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        processes.append(multiprocessing.get_context("forkserver").Process(
            target=_run, args=(folder / f"{rank}", environment | ranks, target, args)))
        processes[-1].start()
    ended = []
    for rank, process in enumerate(processes):
        process.join(SECONDS)
        is_stuck = process.is_alive()
        process.kill()
        output = (folder / f"{rank}.txt").read_text()
        assert not is_stuck, f"process {rank} does not end: {output}"
        file = folder / f"{rank}.pt"
        ended.append(Ended(process.exitcode, output, torch.load(file) if file.exists() else None))
    return ended


def results(folder: Path, number: int, target: Callable, *args: Any) -> list[Any]:
    """What `target(*args)` returns in each of `number` processes that have joined."""
    ended = run(folder, number, _join, target, *args)
    assert [process.code for process in ended] == [0] * number, [process.output for process in ended]
    return [process.result for process in ended]


def _join(target: Callable, *args: Any) -> Any:
    return distributed.in_every_process(target)(*args)


def _run(file: Path, environment: dict[str, str], target: Callable, args: tuple) -> None:
    os.environ.update(environment)
    with open(file.with_suffix(".txt"), "wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    torch.set_num_threads(1)
    torch.save(target(*args), file.with_suffix(".pt"))


def train(argv: list[str], change: Callable[[], None] | None = None) -> None:
    """Train.py, with the small network; `change` is called first in each process."""
    small_network.register()
    Train.save_figure = lambda figure, path: None
    if change:
        change()
    sys.argv = ["Train.py", *argv]
    exit_cleanly(lambda: Train.main(argv))


def evaluate(argv: list[str]) -> None:
    """Test.py."""
    small_network.register()
    sys.argv = ["Test.py", *argv]
    exit_cleanly(lambda: Test.main(argv))


def comparable() -> None:
    """Without dropout, which draws by process, and without biases before batch normalisation: their gradients are
    rounding errors, of which Adam makes whole steps."""
    start = small_network.SmallNetwork.__init__

    def without(self, weights=None):
        start(self)
        self.dropout, self.body[0].bias, self.body[3].bias = torch.nn.Identity(), None, None

    small_network.SmallNetwork.__init__ = without


def kill(kills: int) -> None:
    """In the first `kills` starts by torchrun, kill one process after another, and every fourth time all, after so many
    steps that some starts finish an epoch and some do not."""
    start, rank = int(os.environ["TORCHELASTIC_RESTART_COUNT"]), int(os.environ["RANK"])
    comparable()
    if start < kills and (start % 4 == 3 or rank == start % 4):
        send(Stop("KILL", "training", 1 + start % 5))


if __name__ == "__main__":
    train(sys.argv[2:], lambda: kill(int(sys.argv[1])))
