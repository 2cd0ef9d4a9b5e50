"""Which images a checkpoint may be tested on, and their labels in its order."""

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from utils.errors import InputError, summarize_names, warn
from utils.run.run_folder import read_args

from .data import Data, Source, Split, find_source, label_images, make_splits
from .image_list import fingerprints, relative_name
from .layouts import dataset_name

_KINDS = {False: "several labels per image", True: "one label per image"}
_ADVICE = "name the images to test with --test_dir, as in the run's test.txt"


def find_test_data(metadata: dict[str, Any], dataset: str | None, data_root: str | None, test_dir: str | None,
                   label_path: str | None) -> Data:
    """The images to test a checkpoint on: the test images of its run, unless the options name others.

    The run's test images are found by the names that the checkpoint records, wherever the data set lies now and
    whatever was added to it. Of other images, those that were trained or validated on are left out.

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
    if test_dir and training and not data_root:
        _check_list_of_run(test_dir, training)
    lists = {"test": test_dir or training["test_dir"]} if test_dir or (same_files and training["test_dir"]) else None
    if lists and not Path(lists["test"]).exists() and not test_dir:
        raise InputError(f"list file {lists['test']}, which this checkpoint's run tested, does not exist: {_ADVICE}")
    absent: list[str] = []
    source = find_source(dataset, data_root or training.get("data_root", "./data"), lists,
                         label_path or (training["label_path"] if same_files else None), metadata.get("label_names"),
                         absent if lists and not test_dir else None)
    if metadata.get("single_label", source.labels.single_label) != source.labels.single_label:
        raise InputError(f"the checkpoint was trained for {_KINDS[metadata['single_label']]}, but the data have "
                         f"{_KINDS[source.labels.single_label]}")
    if same_dataset and not test_dir and metadata.get("test_images"):
        images, missing = _find_by_name(source, metadata["test_images"], metadata["trained_on"])
        if not missing:
            return _test_images_of_run(source, images, metadata)
        if same_files:
            raise InputError(f"{summarize_names(missing, 'test image')} of this checkpoint's run cannot be found below "
                             f"{source.root}: restore them, or {_ADVICE}")
        stems = {image.stem for image in source.all_images()}
        if images or any(PurePosixPath(name).stem in stems for name in missing):
            warn(f"{summarize_names(missing, 'test image')} of this checkpoint's run cannot be found below "
                 f"{source.root}, which is taken for other data, though some file names are the same: images of the "
                 f"training are only left out if their files have not changed. If these were converted, {_ADVICE}")
    data = make_splits(source, label_images(source), training.get("train_ratio") if same_dataset else None,
                       training.get("seed", 3050))
    return _without_known_images(data, metadata, test_dir)


def _check_list_of_run(test_dir: str, training: dict[str, Any]) -> None:
    """Raise InputError for the list of a run on other data than the checkpoint's, where its names may exist too."""
    try:
        args = read_args(Path(test_dir).parent)["args"]
    except InputError:  # not the list of a run
        return
    same_root = args.get("data_root") == training["data_root"] or not os.path.isabs(str(args.get("data_root")))
    if args.get("dataset") != training["dataset"] or not same_root:
        raise InputError(f"{test_dir} is the list of a run on other data than the checkpoint's: add --dataset "
                         f"{args.get('dataset')} --data_root {args.get('data_root')}")


def _find_by_name(source: Source, names: Sequence[str], trained_on: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The images below the root with these relative names, and the names without an image. An image may have been saved
    in another format: then it is another one of its name without the extension, if that was not trained on."""
    images = {_nfc(relative_name(source.root, image)): image for image in source.all_images()}
    recorded = {_nfc(name): name for name in names}
    converted = {_stem(name): image for name, image in images.items() if name not in recorded}
    converted = {name: converted[_stem(name)] for name in recorded if name not in images and _stem(name) in converted}
    digests, known = fingerprints(list(converted.values()), like=trained_on), set(trained_on)
    images |= {name: image for (name, image), digest in zip(converted.items(), digests) if digest not in known}
    return ([images[name] for name in recorded if name in images],
            [name for key, name in recorded.items() if key not in images])


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()


def _test_images_of_run(source: Source, images: list[Path], metadata: dict[str, Any]) -> Data:
    recorded, now = list(metadata["test_images"].values()), fingerprints(images)
    changed = [str(image) for image, before, after in zip(images, recorded, now) if before != after]
    if changed:
        warn(f"the content of {summarize_names(changed, 'test image')} changed since the training; if these are other "
             "images of the same names, name all that are to be tested with --test_dir")
    _warn_of_known(np.isin(now, metadata["trained_on"]).sum(), len(now))
    source = replace(source, images={"test": images}, must_be_complete=False)
    data = make_splits(source, label_images(source), None, seed=0)
    _warn_of_changed_labels(data, list(metadata["test_images"]), metadata)
    return data


def _warn_of_changed_labels(data: Data, names: list[str], metadata: dict[str, Any]) -> None:
    """Warn of test images whose labels are not those that the checkpoint records under the same name."""
    recorded = dict(zip(metadata.get("test_images", ()), metadata.get("test_labels", ())))
    changed = [str(image) for image, name, labels in
               zip(data.splits["test"].images, names, labels_in_order(data, metadata["label_names"]))
               if name in recorded and (recorded[name].numpy() != labels).any()]
    if changed:
        warn(f"the labels of {summarize_names(changed, 'test image')} changed since the training; the new ones are "
             "used")


def _without_known_images(data: Data, metadata: dict[str, Any], test_dir: str | None) -> Data:
    """The test images, or all images of data without a split, but none that were trained or validated on. A list may
    name validation images, and the run's test images even if they have duplicates in training."""
    if data.train_ratio and "trained_on" not in metadata:
        raise InputError(f"this file does not record which images it was trained on, and {data.root} has no split: "
                         f"{_ADVICE}")
    pool = data.all_images() if data.train_ratio else data.splits.get("test")
    if pool is None or not pool.images:
        raise InputError(f"{data.root} has no test images: {_ADVICE}")
    trained_on = metadata.get("trained_on", ())
    digests = fingerprints(pool.images, like=trained_on) if trained_on else [""] * len(pool.images)
    known, of_run = set(trained_on), {}
    if test_dir:
        known = set(trained_on[:len(metadata.get("labels", {}).get("train", trained_on))])
        of_run = metadata.get("test_images", {})
    left_out = np.array([digest in known and relative_name(data.root, image) not in of_run
                         for image, digest in zip(pool.images, digests)])
    where, used = test_dir or data.root, "trained on" if test_dir else "trained or validated on"
    if left_out.all():
        raise InputError(f"all {len(left_out)} test images of {where} were {used}: {_ADVICE}")
    if left_out.any():
        warn(f"{left_out.sum()} of the {len(left_out)} images of {where} were {used} and are left out")
    elif data.train_ratio and trained_on:
        print(f"{data.root}: none of its {len(left_out)} files was trained or validated on, so all are tested")
    tested = np.flatnonzero(~left_out)
    _warn_of_known(np.isin(digests, trained_on)[tested].sum(), len(tested))
    data = replace(data, splits={"test": Split([pool.images[index] for index in tested], pool.labels[tested])})
    if of_run:
        names = [relative_name(data.root, image) for image in data.splits["test"].images]
        _warn_of_changed_labels(data, names, metadata)
    return data


def _warn_of_known(count: int, number: int) -> None:
    if count:
        warn(f"{count} of the {number} test images, or duplicates of them, were trained or validated on")


def labels_in_order(data: Data, label_names: list[str]) -> np.ndarray:
    """The test labels (N, C) with columns in the order of the checkpoint's label names.

    Raises:
        InputError: if the names differ, except for names that no test image has.
    """
    labels = data.splits["test"].labels
    only_data = {name for name, column in zip(data.label_names, labels.T) if column.any()} - set(label_names)
    only_checkpoint = set(label_names) - set(data.label_names)
    if only_data or only_checkpoint:
        raise InputError("the checkpoint and the data have different labels: only the data "
                         f"{sorted(only_data)}, only the checkpoint {sorted(only_checkpoint)}")
    return labels[:, [data.label_names.index(name) for name in label_names]]


@dataclass
class Candidate:
    """A checkpoint to test. label_names: in its order. metadata: empty for a bare state dict, which takes the label
    names of the data."""

    weights: Path
    label_names: list[str]
    metadata: dict[str, Any]


def find_common_test_data(checkpoints: Sequence[Candidate], **options: str | None) -> Data:
    """`find_test_data` for checkpoints that are to be compared, with the label columns in the order of the first one.
    Of a list, the images that all of them may be tested on.

    Raises:
        InputError: also if their test images or labels differ.
    """
    first, *rest = sorted(checkpoints, key=lambda checkpoint: not checkpoint.metadata)  # those that know their data
    data = find_test_data(first.metadata, **options)
    unify_labels(checkpoints, data.label_names)
    images = [image.resolve() for image in data.splits["test"].images]
    common = set(images)
    for checkpoint in rest:
        testable = set(images)
        if checkpoint.metadata:
            tested = find_test_data(checkpoint.metadata, **options).splits["test"]
            testable = {image.resolve() for image in tested.images}
        common &= testable
        if not common or testable != set(images) and not options["test_dir"]:
            raise InputError(f"{first.weights} and {checkpoint.weights} do not have the same test images; name the "
                             "images to test with --test_dir, and with --data_root where they are")
    rows = [row for row, image in enumerate(images) if image in common]
    test = Split([data.splits["test"].images[row] for row in rows], labels_in_order(data, first.label_names)[rows])
    return replace(data, label_names=first.label_names, splits={"test": test})


def unify_labels(checkpoints: Sequence[Candidate], label_names: list[str] | None = None) -> list[str]:
    """Give bare state dicts the label names of another checkpoint, else `label_names`; returns the first one's.

    Raises:
        InputError: if the checkpoints have different labels, and so cannot be compared.
    """
    first, *rest = sorted(checkpoints, key=lambda checkpoint: not checkpoint.metadata)
    for checkpoint in checkpoints:
        if not checkpoint.metadata:
            checkpoint.label_names = first.label_names if first.metadata else label_names or first.label_names
    for candidate in rest:
        kinds = [checkpoint.metadata.get("single_label", False) for checkpoint in (first, candidate)]
        names = [set(checkpoint.label_names) for checkpoint in (first, candidate)]
        if names[0] != names[1] or (candidate.metadata and kinds[0] != kinds[1]):
            raise InputError(f"{first.weights} ({_KINDS[kinds[0]]}) and {candidate.weights} ({_KINDS[kinds[1]]}) have "
                             f"different labels: only the first {sorted(names[0] - names[1])}, only the second "
                             f"{sorted(names[1] - names[0])}; compare checkpoints of the same labels")
    return first.label_names
