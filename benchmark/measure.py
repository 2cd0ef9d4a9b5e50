"""What the speed benchmarks share: medians taken in turns, and result files. Importing it finds the project."""

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from utils.run.run_folder import environment  # noqa: E402


def medians(contestants: dict[str, Callable[[], Any]], repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each, after one warm-up; they take turns, so that a busy moment of the machine affects all."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats + 1):
        for name, run in contestants.items():
            start = _now(device)
            run()
            times[name].append(_now(device) - start)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def write_result(name: str, device: torch.device, result: dict[str, Any]) -> None:
    """Write results/speed/<name>_<device type>.json, numbers with four digits, and print it."""
    report = {"command": " ".join(["python", *sys.argv]), "date": time.strftime("%Y-%m-%d"), **environment(device),
              "cpu": _cpu(), **_rounded(result)}
    file = ROOT / "benchmark" / "results" / "speed" / f"{name}_{device.type}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(_rounded(result), indent=2), f"written to {file.relative_to(ROOT)}", sep="\n")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
