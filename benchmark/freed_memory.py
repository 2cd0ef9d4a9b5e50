"""Claim: on a CPU with glibc, keeping freed memory, as Train.py does, makes a training step at 224 px faster.

    python benchmark/freed_memory.py

By default, freed tensors of more than 32 MB go back to the system, which fills the pages with zeros before it gives
them out again. Each setting trains a network in a process of its own, in turns.
"""

import statistics

import torch
from busy_cpu import run_steps
from measure import write_result

from utils.errors import exit_cleanly
from utils.options import Parser

# What utils/cpu.py sets in a running program.
SETTINGS = {"glibc's default": {}, "kept": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "1000000000000"}}


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["MobileNet-V2", "Resnet-50"])
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    networks = {}
    for model in options.models:
        runs = {name: [] for name in SETTINGS}
        for _ in range(options.repeats):
            for name, setting in SETTINGS.items():
                runs[name].append(run_steps(setting, model, options.steps, options.image_size))
        seconds = {name: statistics.median(second for second, _ in values) for name, values in runs.items()}
        networks[model] = {
            "seconds": seconds, "times_as_fast": seconds["glibc's default"] / seconds["kept"],
            "peak_gigabytes": {name: max(memory for _, memory in values) for name, values in runs.items()}}
    write_result("freed_memory", torch.device("cpu"), {
        "image_size": options.image_size, "steps": options.steps, "repeats": options.repeats, "networks": networks})


if __name__ == "__main__":
    exit_cleanly(main)
