"""Which images a checkpoint may be tested on, and their labels in its order."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import InputError, warn

from .data import Data, Split, load_data
from .image_list import fingerprint
from .layouts import dataset_name

# Data sets contain a few duplicates; a larger share of known images is no coincidence.
DUPLICATES = 0.05
_KINDS = {False: "several labels per image", True: "one label per image"}


def find_test_data(metadata: dict[str, Any], dataset: str | None, data_root: str | None, test_dir: str | None,
                   label_path: str | None) -> Data:
    """The images to test a checkpoint on: what the options name, else the test images of its training.

    Args:
        metadata: the checkpoint's; empty for a bare state dict.
        dataset, data_root, test_dir, label_path: options of Test.py, None if not given.
    Raises:
        InputError: if there are no such images, they were trained on, or their kind of labels differs.
    """
    training = metadata.get("args", {})
    dataset = dataset_name(dataset or training.get("dataset", "AID_Multilabel"))
    same_dataset = dataset == training.get("dataset")
    same_files = same_dataset and (not data_root or os.path.abspath(data_root) == training["data_root"])
    if same_files and training["train_dir"] and not (test_dir or training["test_dir"]):
        raise InputError("this checkpoint was trained on a list file, which may name images of the data set's test "
                         "split: name the images to test with --test_dir")
    test_dir = test_dir or (training["test_dir"] if same_files else None)
    label_path = label_path or (training["label_path"] if same_files else None)
    data = load_data(dataset, data_root or training.get("data_root", "./data"),
                     {"test": test_dir} if test_dir else None, label_path, training.get("seed", 3050),
                     training.get("train_ratio") if same_dataset else None, metadata.get("label_names"))
    if metadata.get("single_label", data.single_label) != data.single_label:
        raise InputError(f"the checkpoint was trained for {_KINDS[metadata['single_label']]}, but the data have "
                         f"{_KINDS[data.single_label]}")
    return _without_training_images(data, metadata, is_list=bool(test_dir))


def _without_training_images(data: Data, metadata: dict[str, Any], is_list: bool) -> Data:
    """Refuse to test on images that were trained or validated on, except a few duplicates; images in a list are tested
    with a warning. Other images than those of the training need no split: all are tested."""
    advice = "name the images to test with --test_dir, as in the run's test.txt"
    if data.train_ratio and "trained_on" not in metadata:
        raise InputError(f"this file does not record which images it was trained on, and {data.root} has no split: "
                         f"{advice}")
    trained_on, all_images = set(metadata.get("trained_on", ())), data.all_images()
    known = {image for image in all_images.images if trained_on and fingerprint(image) in trained_on}
    if data.train_ratio and len(known) <= DUPLICATES * len(all_images.images):
        print(f"{data.root}: not the images of the training, so all {len(all_images.images)} are tested")
        data = replace(data, splits={"test": all_images})
    if "test" not in data.splits or not data.splits["test"].images:
        raise InputError(f"{data.root} has no test images: {advice}")
    images = data.splits["test"].images
    count = sum(image in known for image in images)
    if count > DUPLICATES * len(images) and not is_list:
        raise InputError(f"{count} of the {len(images)} test images below {data.root} were trained or validated on: "
                         f"{advice}")
    if count:
        warn(f"{count} of the {len(images)} test images, or duplicates of them, were trained or validated on")
    return data


def labels_in_order(data: Data, label_names: list[str]) -> np.ndarray:
    """The test labels (N, C) with columns in the order of the checkpoint's label names.

    Raises:
        InputError: if the names differ.
    """
    if sorted(data.label_names) != sorted(label_names):
        only_data, only_checkpoint = set(data.label_names) - set(label_names), set(label_names) - set(data.label_names)
        raise InputError("the checkpoint and the data have different labels: only the data "
                         f"{sorted(only_data)}, only the checkpoint {sorted(only_checkpoint)}")
    return data.splits["test"].labels[:, [data.label_names.index(name) for name in label_names]]


@dataclass
class Candidate:
    """A checkpoint to test. label_names: in its order. metadata: empty for a bare state dict, which takes the label
    names of the data."""

    weights: Path
    label_names: list[str]
    metadata: dict[str, Any]


def find_common_test_data(checkpoints: Sequence[Candidate], **options: str | None) -> Data:
    """`find_test_data` for checkpoints that are to be compared, with the label columns in the order of the first one.

    Raises:
        InputError: also if their test images or labels differ.
    """
    first, *rest = sorted(checkpoints, key=lambda checkpoint: not checkpoint.metadata)  # those that know their data
    data = find_test_data(first.metadata, **options)
    unify_labels(checkpoints, data.label_names)
    test = data.splits["test"]
    for checkpoint in rest:
        if checkpoint.metadata and set(find_test_data(checkpoint.metadata, **options).splits["test"].images) != set(
                test.images):
            raise InputError(f"{first.weights} and {checkpoint.weights} do not have the same test images; name the "
                             "images to test with --test_dir, and with --data_root where they are")
    labels = labels_in_order(data, first.label_names)
    return replace(data, label_names=first.label_names, splits={"test": Split(test.images, labels)})


def unify_labels(checkpoints: Sequence[Candidate], label_names: list[str] | None = None) -> list[str]:
    """Give bare state dicts the `label_names`, by default those of another checkpoint; returns the first one's.

    Raises:
        InputError: if the checkpoints have different labels, and so cannot be compared.
    """
    first, *rest = sorted(checkpoints, key=lambda checkpoint: not checkpoint.metadata)
    for checkpoint in checkpoints:
        if not checkpoint.metadata:
            checkpoint.label_names = label_names or first.label_names
    for candidate in rest:
        kinds = [checkpoint.metadata.get("single_label", False) for checkpoint in (first, candidate)]
        names = [set(checkpoint.label_names) for checkpoint in (first, candidate)]
        if names[0] != names[1] or (candidate.metadata and kinds[0] != kinds[1]):
            raise InputError(f"{first.weights} ({_KINDS[kinds[0]]}) and {candidate.weights} ({_KINDS[kinds[1]]}) have "
                             f"different labels: only the first {sorted(names[0] - names[1])}, only the second "
                             f"{sorted(names[1] - names[0])}; compare checkpoints of the same labels")
    return first.label_names
