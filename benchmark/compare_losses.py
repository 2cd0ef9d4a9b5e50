"""Claim: which loss reaches which test figures, at equal budget and each at the learning rate its validation set chose.

    python benchmark/compare_losses.py --dataset UCM_Multilabel --model MobileNet-V2 \
        --pretrained_path weights/mobilenet_v2_imagenet.pth --image_size 128 --max_epoch 30

Trains every loss:rate of --runs with every seed by Train.py, tests the best epoch with Test.py, and copies what
they wrote (args.json, log.csv, metrics.json, per_label.csv, confusion.csv) to benchmark/results/<name>/<run>/.
table.md, made from these files alone, has a row per run and the means of the seeds. In bold is the rate that the first
seed's validation set chose, by the figure that also chooses the epoch: micro F1, or accuracy for a single label. A
finished run is not repeated.
"""

import argparse
import csv
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from utils.compare import columns_of, figures_of  # noqa: E402


def train(options: argparse.Namespace, loss: str, lr: str, seed: int, runs: Path) -> Path:
    """The run's folder, relative to the repository; trains unless one with all epochs is there, and goes on with one
    that was interrupted."""
    work_dir = runs / f"{loss}_{lr}_seed{seed}"
    for log in (ROOT / work_dir).glob("*/log.csv"):
        if len(log.read_text().splitlines()) == options.max_epoch + 1:
            return log.parent.relative_to(ROOT)
    pretrained = ["--pretrained_path", options.pretrained_path] if options.pretrained_path else []
    command = ["Train.py", "--dataset", options.dataset, "--data_root", options.data_root, "--model", options.model,
               *pretrained, "--image_size", str(options.image_size), "--max_epoch", str(options.max_epoch),
               "--loss", loss, "--lr", lr, "--seed", str(seed), "--work-dir", str(work_dir), "--resume", "auto"]
    print("python", *command, flush=True)
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    return max((ROOT / work_dir).glob("*/log.csv"), key=os.path.getmtime).parent.relative_to(ROOT)


def collect(run: Path, results: Path) -> None:
    """Test the run and copy its record into `results`."""
    subprocess.run([sys.executable, "Test.py", "--weights_path", str(run / "best.pth")], cwd=ROOT, check=True)
    results.mkdir(parents=True, exist_ok=True)
    files = ["args.json", "log.csv", "test_best/metrics.json", "test_best/per_label.csv", "test_best/confusion.csv"]
    for file in (ROOT / run / file for file in files):
        if file.exists():  # a confusion matrix is for a single label only
            shutil.copy(file, results)


def read_run(folder: Path) -> tuple[tuple, list[str], list[float]]:
    """((loss, learning rate), seed, epoch), the names of its figures, and the figures in percent, validation first."""
    args = json.loads((folder / "args.json").read_text(encoding="utf-8"))["args"]
    test = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    columns, figures = columns_of(test), figures_of(test)
    selects = "accuracy" if "single_label" in test else "OF1"
    with open(folder / "log.csv", newline="", encoding="utf-8") as file:
        val = max(float(row[f"val_{selects}"]) for row in csv.DictReader(file))
    return (((args["loss"], args["lr"]), args["seed"], test["epoch"]),
            [f"val {columns[selects]}", *(f"test {title}" for title in columns.values())],
            [100 * figure for figure in (val, *figures.values())])


def table(results: Path) -> str:
    """table.md from the files below `results`."""
    runs = [read_run(folder) for folder in sorted(path for path in results.iterdir() if path.is_dir())]
    runs.sort(key=lambda run: (run[0][0][0] != "r4c", run[0]))
    first_seed = {}  # of each loss: the one with which all rates were tried
    for ((loss, _), seed, _), *_ in runs:
        first_seed[loss] = min(seed, first_seed.get(loss, seed))
    best = {}  # loss -> (validation figure, learning rate)
    for ((loss, lr), seed, _), _, figures in runs:
        if seed == first_seed[loss]:
            best[loss] = max(best.get(loss, (0, 0)), (figures[0], lr))
    titles = ["loss", "lr", "seed", "epoch", *runs[0][1]]
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for (loss, lr), group in itertools.groupby(runs, key=lambda run: run[0][0]):
        rows = [(str(seed), str(epoch), figures) for (_, seed, epoch), _, figures in group]
        if len(rows) > 1:
            means = [sum(column) / len(rows) for column in zip(*(figures for *_, figures in rows))]
            rows.append((f"mean of {len(rows)}", "", means))
        for seed, epoch, figures in rows:
            cells = [loss, f"{lr:g}", seed, epoch, *(f"{figure:.2f}" for figure in figures)]
            mark = "**" if best[loss][1] == lr else ""
            lines.append("| " + " | ".join(cell and f"{mark}{cell}{mark}" for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="UCM_Multilabel")
    parser.add_argument("--data_root", default="data")
    parser.add_argument("--model", default="MobileNet-V2")
    parser.add_argument("--pretrained_path")
    parser.add_argument("--image_size", type=int, default=128)
    parser.add_argument("--max_epoch", type=int, default=30)
    parser.add_argument("--runs", nargs="+", metavar="LOSS:LR",
                        default=["r4c:1e-4", "r4c:2e-4", "r4c:5e-4", "bce:2e-4", "bce:5e-4", "bce:1e-3"],
                        help="what to train; widen it where a loss's best rate is the first or last")
    parser.add_argument("--seeds", nargs="+", type=int, default=[3050])
    options = parser.parse_args()
    name = f"{options.dataset}_{options.model}_{options.image_size}px_{options.max_epoch}epochs"
    results = ROOT / "benchmark" / "results" / name
    for seed in options.seeds:
        for loss, lr in (run.split(":") for run in options.runs):
            folder = train(options, loss, lr, seed, Path("runs") / name)
            if not (results / f"{loss}_{lr}_seed{seed}" / "metrics.json").exists():
                collect(folder, results / f"{loss}_{lr}_seed{seed}")
            (results / "table.md").write_text(table(results), encoding="utf-8")
    print((results / "table.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
