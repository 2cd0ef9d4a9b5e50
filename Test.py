"""Test a trained classifier: tables, and metrics.json, per_label.csv and scores.csv beside the checkpoint.

    python Test.py                                     the newest run below --work-dir
    python Test.py --weights_path runs/.../best.pth
    python Test.py --images FOLDER photo.jpg           predict on pictures without labels: predictions.csv
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dataset import (Data, Normalize, Split, build_loader, dataset_name, eval_transform, fingerprint, images_at,
                     load_data)
from model import load_trained
from utils.arguments import (HelpFormatter, add_machine_options, batch_size, image_size, number, pick_device,
                             pick_num_workers)
from utils.engine import predict
from utils.errors import InputError, exit_cleanly, warn
from utils.report import evaluate, format_report, write_predictions, write_report
from utils.run_log import check_outside, make_folder


# Data sets hold a few images twice; a larger share of known images is no coincidence.
TWINS = 0.05


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False, formatter_class=HelpFormatter)
    parser.add_argument("--weights_path", metavar="FILE",
                        help="a checkpoint of Train.py, which knows its network, labels and data; or a bare state "
                             "dict, with --model and --label_num (default: the newest run's best.pth)")
    parser.add_argument("--dataset",
                        help="other data with the same labels (default: the checkpoint's, else AID_Multilabel)")
    parser.add_argument("--data_root", metavar="DIR", help="the folder that holds <dataset>/ (default: as in training)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--test_dir", metavar="LIST",
                      help="list file of the images to test, e.g. a run's val.txt (default: as in training, else the "
                           "data set's test split)")
    what.add_argument("--images", nargs="+", metavar="PATH",
                      help="predict on these pictures, and on all pictures in these folders, instead of testing")
    parser.add_argument("--label_path", metavar="TABLE",
                        help="label table (default: as in training; the data set's own, with --data_root)")
    parser.add_argument("--model", help="network of a bare state dict")
    parser.add_argument("--label_num", type=number(int, 1), metavar="C", help="number of labels of a bare state dict")
    parser.add_argument("--image_size", type=image_size, metavar="PX", help="(default: as in training, else 512)")
    parser.add_argument("--test_batch_size", type=batch_size, default=64, metavar="B",
                        help="images at a time; has no influence on the figures")
    parser.add_argument("--save_path", metavar="DIR",
                        help="folder for the results (default: test_best beside best.pth, val_best for a list val.txt, "
                             "images_best for --images)")
    parser.add_argument("--work-dir", default="./runs", metavar="DIR", help="where the newest run is looked for")
    add_machine_options(parser)
    return parser.parse_args(argv)


def newest_checkpoint(work_dir: str) -> Path:
    found = sorted(Path(work_dir).glob("**/best.pth"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InputError(f"there is no run with a best.pth below {work_dir}: train one first, or give --weights_path")
    return found[-1]


def find_test_data(args: argparse.Namespace, about: dict) -> Data:
    """The test images: the arguments say which, else those of the training, which the checkpoint `about` knows."""
    trained_with = about.get("args", {})
    dataset = dataset_name(args.dataset or trained_with.get("dataset", "AID_Multilabel"))
    same_data = dataset == trained_with.get("dataset")
    same_files = same_data and (not args.data_root or os.path.abspath(args.data_root) == trained_with["data_root"])
    if same_files and trained_with["train_dir"] and not (args.test_dir or trained_with["test_dir"]):
        raise InputError("this checkpoint was trained on a list file, which may name images of the data set's test "
                         "split: say with --test_dir which images to test")
    test_dir = args.test_dir or (trained_with["test_dir"] if same_files else None)
    label_path = args.label_path or (trained_with["label_path"] if same_files else None)
    data = load_data(dataset, args.data_root or trained_with.get("data_root", "./data"),
                     {"test": test_dir} if test_dir else None, label_path, trained_with.get("seed", 3050),
                     trained_with.get("train_ratio") if same_data else None, about.get("label_names"))
    data.check_label_num(args.label_num)
    kinds = {False: "several labels per image", True: "one label per image"}
    if about.get("single_label", data.single_label) != data.single_label:
        raise InputError(f"the checkpoint was trained for {kinds[about['single_label']]}, and the data has "
                         f"{kinds[data.single_label]}")
    return leave_out_trained(data, about, named=bool(test_dir))


def leave_out_trained(data: Data, about: dict, named: bool) -> Data:
    """See to it that a test by default is on images that were not trained on, and say so where one is.

    Args:
        named: whether a list names the images to test.
    Raises:
        InputError: where there is nothing to test on, or more than a few twins of images of the training.
    """
    say = "say with --test_dir which images to test, as test.txt of the run does"
    if data.train_ratio and "trained_on" not in about:
        raise InputError(f"this file does not know which images it was trained on, and {data.root} has no split: {say}")
    trained_on, everything = set(about.get("trained_on", ())), data.everything()
    known = {image for image in everything.images if trained_on and fingerprint(image) in trained_on}
    if data.train_ratio and len(known) <= TWINS * len(everything.images):  # a split is for training: needless here
        print(f"{data.root}: not the images of the training, so all {len(everything.images)} are tested on")
        data = replace(data, splits={"test": everything})
    if "test" not in data.splits or not data.splits["test"].images:
        raise InputError(f"{data.root} has no test images: {say}")
    images = data.splits["test"].images
    again = sum(image in known for image in images)
    if again > TWINS * len(images) and not named:
        raise InputError(f"{again} of the {len(images)} test images below {data.root} were trained or validated on: "
                         f"{say}")
    if again:
        warn(f"{again} of the {len(images)} test images were trained or validated on, or are twins of such images")
    return data


def labels_in_order(data: Data, names: list[str]) -> np.ndarray:
    """The test labels (N, C) with columns in the order of the checkpoint's label names.

    Raises:
        InputError: where the names differ.
    """
    if sorted(data.label_names) != sorted(names):
        only_here, only_there = set(data.label_names) - set(names), set(names) - set(data.label_names)
        raise InputError("the checkpoint and the data have different labels: only the data "
                         f"{sorted(only_here)}, only the checkpoint {sorted(only_there)}")
    return data.splits["test"].labels[:, [data.label_names.index(name) for name in names]]


def scores_of(split: Split, model: torch.nn.Module, about: dict, args: argparse.Namespace, title: str) -> np.ndarray:
    """Scores (N, C) of a split's images, prepared as in training."""
    device = pick_device(args.device)
    transform = eval_transform(args.image_size or about.get("image_size", 512))
    loader = build_loader(split, transform, args.test_batch_size, pick_num_workers(args.num_workers, device))
    normalize = (Normalize(about["mean"], about["std"]) if about else Normalize()).to(device)
    return predict(model.to(device), loader, normalize, device, title, about.get("activation", "sigmoid"))[0]


def predict_images(model: torch.nn.Module, about: dict, args: argparse.Namespace, folder: Path) -> None:
    """Write predictions.csv of `--images` into `folder`, and show its first lines."""
    images = images_at(args.images)
    names = about.get("label_names") or [f"label {column}" for column in range(args.label_num)]
    scores = scores_of(Split(images, np.zeros((len(images), len(names)))), model, about, args, "predicting")
    labels = write_predictions(folder / "predictions.csv", images, scores, names, about.get("single_label", False))
    for image, image_labels in list(zip(images, labels))[:10]:
        print(f"{image}: {image_labels or '(none above 0.5)'}")
    print(f"labels and scores of {len(images)} images: {folder / 'predictions.csv'}")


def main(argv: list[str] | None = None) -> dict | None:
    """Test; returns the report that metrics.json holds, or None after `--images`."""
    args = parse_arguments(argv)
    weights = Path(args.weights_path or newest_checkpoint(args.work_dir))
    model, about = load_trained(weights, args.model, args.label_num)
    part = "images" if args.images else Path(args.test_dir).stem if args.test_dir else "test"
    folder = Path(args.save_path or weights.parent / f"{part}_{weights.stem}")
    if args.images:
        return predict_images(model, about, args, make_folder(folder))

    data = find_test_data(args, about)
    if args.save_path and not args.test_dir:
        check_outside(folder, data.root)
    make_folder(folder)
    names, test = about.get("label_names", data.label_names), data.splits["test"]
    labels = labels_in_order(data, names)
    scores = scores_of(test, model, about, args, "test")
    size = args.image_size or about.get("image_size", 512)
    report = {"weights": str(weights), "epoch": about.get("epoch"), "image_size": size,
              "device": str(pick_device(args.device)), **evaluate(scores, labels, names, data.single_label)}
    print(f"{weights}: {len(test.images)} test images at {size} x {size}\n\n{format_report(report)}")
    write_report(folder, report, test.images, scores, labels)
    print(f"\nresults: {folder}")
    return report


if __name__ == "__main__":
    exit_cleanly(main)
