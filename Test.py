"""Test a trained classifier: one table, and metrics.json, per_label.csv and scores.csv beside the checkpoint.

    python Test.py                                     the newest run below --work-dir
    python Test.py --weights_path runs/.../best.pth
"""

import argparse
from pathlib import Path

import numpy as np

from dataset import Data, Normalize, build_loader, dataset_name, eval_transform, load_data
from model import load_trained
from utils.arguments import (HelpFormatter, add_machine_options, batch_size, image_size, number, pick_device,
                             pick_num_workers)
from utils.engine import predict
from utils.errors import InputError, exit_cleanly
from utils.report import evaluate, format_report, write_report


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False, formatter_class=HelpFormatter)
    parser.add_argument("--weights_path", metavar="FILE",
                        help="a checkpoint of Train.py, which knows its network, labels and data; or a bare state "
                             "dict, with --model and --label_num (default: the newest run's best.pth)")
    parser.add_argument("--dataset",
                        help="other data with the same labels (default: the checkpoint's, else AID_Multilabel)")
    parser.add_argument("--data_root", metavar="DIR", help="the folder that holds <dataset>/ (default: as in training)")
    parser.add_argument("--test_dir", metavar="LIST",
                        help="list file of the images to test, e.g. a run's val.txt (default: as in training, else the "
                             "data set's test split)")
    parser.add_argument("--label_path", metavar="TABLE",
                        help="label table (default: as in training, else the data set's)")
    parser.add_argument("--model", help="network of a bare state dict")
    parser.add_argument("--label_num", type=number(int, 1), metavar="C", help="number of labels of a bare state dict")
    parser.add_argument("--image_size", type=image_size, metavar="PX", help="(default: as in training, else 512)")
    parser.add_argument("--test_batch_size", type=batch_size, default=64, metavar="B",
                        help="images at a time; has no influence on the figures")
    parser.add_argument("--save_path", metavar="DIR",
                        help="folder for the results (default: test_best beside best.pth, val_best for a list val.txt)")
    parser.add_argument("--work-dir", default="./runs", metavar="DIR", help="where the newest run is looked for")
    add_machine_options(parser)
    return parser.parse_args(argv)


def newest_checkpoint(work_dir: str) -> Path:
    found = sorted(Path(work_dir).glob("**/best.pth"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InputError(f"there is no run with a best.pth below {work_dir}: train one first, or give --weights_path")
    return found[-1]


def find_test_data(args: argparse.Namespace, trained_with: dict) -> Data:
    """The test images: the arguments say which, else the arguments of the training do."""
    dataset = dataset_name(args.dataset or trained_with.get("dataset", "AID_Multilabel"))
    same_data = dataset == trained_with.get("dataset")
    if same_data and trained_with["train_dir"] and not (args.test_dir or trained_with["test_dir"]):
        raise InputError("this checkpoint was trained on a list file, which may name images of the data set's test "
                         "split: say with --test_dir which images to test")
    test_dir = args.test_dir or (trained_with["test_dir"] if same_data else None)
    label_path = args.label_path or (trained_with["label_path"] if same_data else None)
    lists = {"test": test_dir} if test_dir else None
    return load_data(dataset, args.data_root or trained_with.get("data_root", "./data"), lists, label_path)


def labels_in_order(data: Data, names: list[str]) -> np.ndarray:
    """The test labels (N, C) with columns in the order of the checkpoint's label names."""
    if sorted(data.label_names) != sorted(names):
        only_here, only_there = set(data.label_names) - set(names), set(names) - set(data.label_names)
        raise InputError("the checkpoint and the data have different labels: only the data "
                         f"{sorted(only_here)}, only the checkpoint {sorted(only_there)}")
    return data.splits["test"].labels[:, [data.label_names.index(name) for name in names]]


def main(argv: list[str] | None = None) -> dict:
    """Test; returns the report that metrics.json holds."""
    args = parse_arguments(argv)
    device = pick_device(args.device)
    weights = Path(args.weights_path or newest_checkpoint(args.work_dir))
    model, about = load_trained(weights, args.model, args.label_num)
    data = find_test_data(args, about.get("args", {}))
    data.check_label_num(args.label_num)
    names = about.get("label_names", data.label_names)

    test = data.splits["test"]
    labels = labels_in_order(data, names)
    size = args.image_size or about.get("image_size", 512)
    normalize = (Normalize(about["mean"], about["std"]) if about else Normalize()).to(device)
    loader = build_loader(test, eval_transform(size), args.test_batch_size, pick_num_workers(args.num_workers, device))
    scores, _ = predict(model.to(device), loader, normalize, device, "test")

    report = {"weights": str(weights), "epoch": about.get("epoch"), "image_size": size, "device": str(device),
              **evaluate(scores, labels, names)}
    print(f"{weights}: {len(test.images)} test images at {size} x {size}\n\n{format_report(report)}")
    part = Path(args.test_dir).stem if args.test_dir else "test"
    folder = Path(args.save_path or weights.parent / f"{part}_{weights.stem}")
    write_report(folder, report, test.images, scores, labels)
    print(f"\nresults: {folder}")
    return report


if __name__ == "__main__":
    exit_cleanly(main)
