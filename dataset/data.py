"""Aerial images: what is on the disk, as training, validation and test sets with their labels."""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from utils.errors import InputError, summarize_names, warn

from .class_folders import ImageClasses, find_class_images, image_classes, split_folders, unpacked
from .image_list import find_images, read_image_list, write_image_list
from .label_table import LabelTable, read_label_table
from .layouts import LAYOUTS, Layout, data_folder, dataset_name
from .splits import stratified_holdout

# Part of the training images that selects the model; never the test set.
VALIDATION_FRACTION = 0.1


@dataclass(frozen=True)
class Split:
    """images: N paths. labels: (N, C) uint8 of 0 and 1."""

    images: list[Path]
    labels: np.ndarray


@dataclass(frozen=True)
class Data:
    """label_names: C names, the labels' columns. root: what the list files' paths are relative to.

    splits: "train", "val" and "test"; with list files, only what they give. single_label: each image has exactly one
    label. made: the parts that were made here by seed, out of one. train_ratio: the share of training images, where the
    test images were.
    """

    label_names: list[str]
    root: Path
    splits: dict[str, Split]
    single_label: bool
    made: list[str]
    train_ratio: float | None

    def check_label_num(self, label_num: int | None) -> None:
        """Raise InputError where `--label_num` is given and is not the number of labels."""
        if label_num not in (None, len(self.label_names)):
            raise InputError(f"--label_num {label_num}, but the data has {len(self.label_names)} labels; "
                             "correct one of them")

    def check_train_ratio(self, train_ratio: float | None) -> None:
        """Raise InputError where `--train_ratio` is given for images that were split already."""
        if train_ratio and self.train_ratio is None:
            raise InputError("--train_ratio is for images without a split; these are split by their distributor, by "
                             "their folders or by --train_dir")

    def write_lists(self, folder: Path) -> None:
        """Write train.txt, val.txt, test.txt, which --train_dir, --val_dir and --test_dir read."""
        for name, split in self.splits.items():
            classes = [self.label_names[c] for c in split.labels.argmax(1)] if self.single_label else None
            write_image_list(folder / f"{name}.txt", split.images, self.root, classes)

    def all_images(self) -> Split:
        """The images of all parts."""
        splits = self.splits.values()
        return Split([image for split in splits for image in split.images],
                     np.concatenate([split.labels for split in splits]))

    def check_trainable(self) -> None:
        """Raise InputError where no training image has a label, or where there are too few images for each part of a
        split made here to have one, or for a single label, one of each class."""
        if self.single_label and len(self.label_names) < 2:
            raise InputError(f"all images in {self.root} are of the class '{self.label_names[0]}'; to tell classes "
                             "apart takes at least two")
        if not self.splits["train"].labels.any():
            raise InputError(f"no training image in {self.root} has any label; check the label table")
        parts = self.made or ["train"]
        counts = np.stack([self.splits[part].labels.sum(0) for part in parts])
        small = [f"{name}: {count.sum()}" for name, count in zip(self.label_names, counts.T) if not count.all()]
        if small and self.single_label:
            advice = ", raise --train_ratio" * (self.train_ratio is not None)
            raise InputError(f"too few images in {summarize_names(small, 'class')} of {self.root} for each of "
                             f"{', '.join(parts)} to get one; add images{advice}, take the class out, or give list "
                             "files")
        for part in parts:
            if not self.splits[part].images:
                raise InputError(f"too few images in {self.root} for a {part} set; add images, or give list files")


def load_data(dataset: str, data_root: str | Path, lists: dict[str, str] | None = None,
              label_path: str | Path | None = None, seed: int = 3050, train_ratio: float | None = None,
              label_names: list[str] | None = None) -> Data:
    """Find the images and labels of a data set; a validation set is carved out of train where none is given.

    Args:
        dataset: one of LAYOUTS. The synthetic set is drawn on first use.
        data_root: the folder that holds data_root/<dataset>/ in its distributor's layout.
        lists: "train", "val", "test" -> list file, in place of the layout's split.
        label_path: a label table, in place of the layout's.
        seed: of the split, where there is none, and of the carving.
        train_ratio: share of the images to train on, in place of the layout's, where there is no split.
        label_names: a trained classifier's, for data in which not all of them may occur.
    Raises:
        InputError: for anything missing or inconsistent.
    """
    layout, root = find_layout(dataset, data_root)
    images, source = find_labelled_images(layout, root, lists, label_path, label_names)
    if isinstance(source, LabelTable) and not lists:
        source.check_all_present([image for paths in images.values() for image in paths], root)
    return split_data(layout, root, images, source, seed, train_ratio)


def find_layout(dataset: str, data_root: str | Path) -> tuple[Layout, Path]:
    """A data set's layout, and its folder; the synthetic one is drawn there on first use."""
    name = dataset_name(dataset)
    root = data_folder(name, data_root)
    if name == "Synthetic_Multilabel" and not root.exists():
        from .synthetic import write_synthetic

        write_synthetic(root)
    return LAYOUTS[name], root


def find_labelled_images(layout: Layout, root: Path, lists: dict[str, str] | None, label_path: str | Path | None,
                         label_names: list[str] | None = None, absent: list[str] | None = None
                         ) -> tuple[dict[str, list[Path]], LabelTable | ImageClasses]:
    """The images by part of the split ("all" where there is none yet), and what knows their labels.

    Args as `load_data` and `read_image_list`.
    """
    if lists:
        read = {part: read_image_list(path, [root], absent) for part, path in lists.items()}
        images = {part: paths for part, (paths, _) in read.items()}
        _warn_of_overlap(images)
        table = label_path or (layout.locate(root)[1] if layout.is_test else _own_table(layout, root))
        if table:
            return images, read_label_table(table, label_names)
        classes: dict[Path, str] = {}
        for image, name in (item for _, of_list in read.values() for item in of_list.items()):
            if classes.setdefault(image, name) != name:
                raise InputError(f"the lists give {image} two classes, '{classes[image]}' and '{name}'; correct one")
        return images, image_classes(images, classes, label_names)
    if layout.is_test:
        folders, table = layout.locate(root)
        found = [image for folder in folders for image in find_images(folder)]
        return {"train": [image for image in found if not layout.is_test(image)],
                "test": [image for image in found if layout.is_test(image)]
                }, read_label_table(label_path or table, label_names)
    if not root.is_dir():
        download = f"; download: {layout.download}" * bool(layout.download)
        raise InputError(f"there is no folder {root}{download}; another place is given by --data_root, own lists by "
                         "--train_dir ...")
    folders, table = split_folders(root), Path(label_path) if label_path else _own_table(layout, root)
    if table is None:
        return find_class_images(folders, label_names)
    return {part: find_images(folder, table) for part, folder in folders.items()}, read_label_table(table, label_names)


def _own_table(layout: Layout, root: Path) -> Path | None:
    """The label table of one's own images, if there is one: in the root, or in a folder that an archive put in it."""
    innermost = unpacked(root) if root.is_dir() else root
    places = [place for place in (innermost, *innermost.parents) if place.is_relative_to(root)]
    return next(filter(None, map(layout.table, places)), None)


def split_data(layout: Layout, root: Path, images: dict[str, list[Path]], source: LabelTable | ImageClasses,
               seed: int, train_ratio: float | None) -> Data:
    """Give the images their labels; make the split where there is none, and the validation set.

    Args as `load_data` and the results of `find_labelled_images`.
    """
    for part, paths in images.items():
        if not paths:
            raise InputError(f"there are no {'' if part == 'all' else part + ' '}images below {root}; "
                             "unpack the images again")
    labels = source.labels_of([image for paths in images.values() for image in paths])
    ends = np.cumsum([len(paths) for paths in images.values()])
    splits = {part: Split(paths, own) for (part, paths), own in zip(images.items(), np.split(labels, ends[:-1]))}
    if "all" in splits:
        train_ratio = train_ratio or layout.train_ratio
        splits = _hold_out(splits["all"], ("train", "test"), 1 - train_ratio, seed)
    else:
        train_ratio = None
    if "train" in splits and "val" not in splits:
        splits |= _hold_out(splits["train"], ("train", "val"), VALIDATION_FRACTION, seed)
    splits = {part: splits[part] for part in ("train", "val", "test") if part in splits}
    made = [part for part in splits if part not in images or (part == "train" and "val" not in images)]
    return Data(source.names, root, splits, source.single_label, made, train_ratio)


def _warn_of_overlap(images: dict[str, list[Path]]) -> None:
    for (one, ours), (other, theirs) in combinations(images.items(), 2):
        common = {path.resolve() for path in ours} & {path.resolve() for path in theirs}
        if common:
            warn(f"{len(common)} images are both in the {one} and in the {other} list; figures on them mean little")


def _hold_out(split: Split, parts: tuple[str, str], fraction: float, seed: int) -> dict[str, Split]:
    """Divide in two parts, of which the second gets `fraction` of each label's images."""
    held_out = stratified_holdout(split.labels, fraction, seed)
    return {part: Split([image for image, chosen in zip(split.images, mask) if chosen], split.labels[mask])
            for part, mask in zip(parts, (~held_out, held_out))}
