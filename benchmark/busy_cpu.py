"""Sought: the setting of OpenMP that keeps a training step within 3 times its fair share of the cores on a machine that
is busy with other programs, and costs at most 3 % on an idle one.

    python benchmark/busy_cpu.py

OpenMP's threads spin at the end of each operation until the last of them arrives. Where another program holds a core,
they spin while the thread that they wait for does not run. Each setting trains a network of its own process, in turns:
alone, and beside one program that computes all the time for each core, so that the fair share is half of the cores.
"""

import os
import statistics
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import torch
from measure import ROOT, write_result

from utils.acceleration import cores
from utils.errors import exit_cleanly
from utils.options import Parser

SETTINGS = {"torch's default": {}, "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
            **{f"GOMP_SPINCOUNT={count}": {"GOMP_SPINCOUNT": str(count)} for count in (1000, 10_000, 30_000, 100_000)}}
STEPS = """
import resource, sys, time, torch
from loss import R4CLoss
from model import build_model
model, steps, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
model = build_model(model, 17).to(memory_format=torch.channels_last)
images = torch.randn(16, 3, size, size).to(memory_format=torch.channels_last)
labels = (torch.rand(16, 17) < 0.2).float()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True)
for step in range(steps + 2):
    start = start if step > 2 else time.perf_counter()
    optimizer.zero_grad()
    R4CLoss()(*model(images), labels)[0].backward()
    optimizer.step()
print((time.perf_counter() - start) / steps, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


def run_steps(setting: dict[str, str], model: str, steps: int, image_size: int) -> list[float]:
    """The seconds of a training step under these environment variables, and the peak memory in GB."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("OMP_", "GOMP_", "MALLOC_", "GLIBC_"))}
    printed = subprocess.run([sys.executable, "-c", STEPS, model, str(steps), str(image_size)], cwd=ROOT, check=True,
                             text=True, stdout=subprocess.PIPE, env={**environment, **setting}).stdout
    return [float(number) for number in printed.split()]


@contextmanager
def spinning(number: int):
    """So many programs that compute all the time."""
    with ExitStack() as stack:
        for _ in range(number):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(process.kill)
        yield


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--model", default="Resnet-18")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    times = {where: {name: [] for name in SETTINGS} for where in ("idle", "busy")}
    for _ in range(options.repeats):
        for where, programs in (("idle", 0), ("busy", cores())):
            for name, setting in SETTINGS.items():
                with spinning(programs):
                    times[where][name].append(run_steps(setting, options.model, options.steps, 96)[0])
    idle, busy = ({name: statistics.median(values) for name, values in times[where].items()} for where in times)
    default = idle["torch's default"]
    write_result(f"busy_{options.model}", torch.device("cpu"), {
        "model": options.model, "steps": options.steps, "repeats": options.repeats, "cores": cores(),
        "settings": {name: {"idle_ms": 1000 * idle[name], "busy_ms": 1000 * busy[name],
                            "idle_to_default": idle[name] / default, "busy_to_fair_share": busy[name] / (2 * default)}
                     for name in SETTINGS}})


if __name__ == "__main__":
    exit_cleanly(main)
