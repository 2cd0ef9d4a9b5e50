"""Claim: two processes train as one. With batch normalisation over the whole batch, the loss of the last epoch by two
processes lies within that of two seeds by one process; ranking within each process is another method.

    python benchmark/distributed_run.py --data_root data --pretrained_path weights/mobilenet_v2_imagenet.pth

Trains R4C on UCM_Multilabel with AiTLAS's lists (PROTOCOL.md): MobileNet-V2, 96 px, 20 epochs, on the CPU, a thread for
each process. Dropout draws by process, so the runs cannot be equal. Runs that are finished are not repeated.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from measure import ROOT, write_result

from utils.errors import InputError, exit_cleanly
from utils.figures.curves import read_log
from utils.options import Parser, select_device
from utils.run.run_folder import best_epoch

RUNS = {"one process": (1, []), "one process, another seed": (1, ["--seed", "3051"]), "two processes": (2, []),
        "two processes, --sync_bn": (2, ["--sync_bn"]), "two processes, --rank_within_gpu": (2, ["--rank_within_gpu"])}
RECIPE = ("--dataset UCM_Multilabel --model MobileNet-V2 --image_size 96 --max_epoch 20 --lr 5e-4 --device cpu "
          "--num_workers 0")


def train(processes: int, options: list[str], work_dir: Path) -> dict[str, object]:
    """Train, unless that was done before, test, and read the results."""
    launcher = [] if processes == 1 else ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    if not list(work_dir.glob("*/best.pth")):
        _run([*launcher, "Train.py", *options, "--work-dir", str(work_dir)])
    folder, = (file.parent for file in work_dir.glob("*/best.pth"))
    _run(["Test.py", "--weights_path", str(folder)])
    columns = read_log(folder / "log.csv")
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    metrics = json.loads((folder / "test_best" / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    return {"command": " ".join(["python", *launcher, "Train.py", *options]), "best_epoch": int(best_epoch(rows)[0]),
            "git_commit": json.loads((folder / "args.json").read_text(encoding="utf-8"))["git_commit"],
            "train_loss_of_last_epoch": rows[-1]["train_loss"],
            "images_per_second": statistics.median(columns["train_images_per_second"]),
            "test": {name: metrics[name] for name in ("mAP", "OF1", "CF1", "example_F1")}}


def _run(words: list[str]) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, check=False).returncode:
        raise InputError(f"this failed: python {' '.join(words)}")


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--data_root", default="data")
    parser.add_argument("--pretrained_path", default="weights/mobilenet_v2_imagenet.pth")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "runs" / "distributed")
    args = parser.parse_args()
    splits = Path(args.data_root, "UCM_Multilabel", "splits")
    lists = [word for name in ("train", "val", "test")
             for word in (f"--{name}_dir", str(splits / f"aitlas_{name}.txt"))]
    options = [*RECIPE.split(), "--data_root", args.data_root, *lists, "--pretrained_path", args.pretrained_path]
    write_result("distributed_run", select_device("cpu"), {
        name: train(processes, [*options, *more], args.work_dir / name.replace(" ", "_").replace(",", ""))
        for name, (processes, more) in RUNS.items()})


if __name__ == "__main__":
    exit_cleanly(main)
