"""Aerial images: what is on the disk, as training, validation and test sets with their labels."""

import zlib
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from utils.errors import InputError, warn

from .class_folders import ImageClasses, find_class_images, image_classes, part_folders
from .image_list import find_images, images_at, read_image_list, write_image_list
from .label_table import LabelTable, read_label_table
from .layouts import LAYOUTS, Layout, data_folder, dataset_name
from .splits import stratified_holdout
from .transforms import IMAGENET_MEAN, IMAGENET_STD, Normalize, eval_transform, load_image, train_transform

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
    label. train_ratio: the share of training images in a split made here by seed; None for any other split.
    """

    label_names: list[str]
    root: Path
    splits: dict[str, Split]
    single_label: bool
    train_ratio: float | None

    def check_label_num(self, label_num: int | None) -> None:
        """Raise InputError where `--label_num` is given and is not the number of labels."""
        if label_num not in (None, len(self.label_names)):
            raise InputError(f"--label_num {label_num}, but the data has {len(self.label_names)} labels; "
                             "correct one of them")

    def write_lists(self, folder: Path) -> None:
        """Write train.txt, val.txt, test.txt, which --train_dir, --val_dir and --test_dir read."""
        for name, split in self.splits.items():
            classes = [self.label_names[c] for c in split.labels.argmax(1)] if self.single_label else None
            write_image_list(folder / f"{name}.txt", split.images, self.root, classes)

    def test_fingerprint(self) -> int | None:
        """A checksum of which images a split by seed leaves for testing; None for any other split."""
        if self.train_ratio is None:
            return None
        images = (image.relative_to(self.root).as_posix() for image in self.splits["test"].images)
        return zlib.crc32("\n".join(images).encode())


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
    name = dataset_name(dataset)
    layout, root = LAYOUTS[name], data_folder(name, data_root)
    if name == "Synthetic_Multilabel" and not root.exists():
        from .synthetic import write_synthetic

        write_synthetic(root)
    images, source = find_labelled_images(layout, root, lists, label_path, label_names)
    if isinstance(source, LabelTable) and not lists:
        source.check_all_present([image for paths in images.values() for image in paths], root)
    return split_data(layout, root, images, source, seed, train_ratio)


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
        table = label_path or (layout.locate(root)[1] if layout.is_test else layout.table(root))
        if table:
            return images, read_label_table(table, label_names)
        return images, image_classes(images, {k: v for _, of in read.values() for k, v in of.items()}, label_names)
    if layout.is_test:
        folders, table = layout.locate(root)
        found = [image for folder in folders for image in find_images(folder)]
        return {"train": [image for image in found if not layout.is_test(image)],
                "test": [image for image in found if layout.is_test(image)]}, read_label_table(label_path or table)
    if not root.is_dir():
        download = f"; download: {layout.download}" * bool(layout.download)
        raise InputError(f"there is no folder {root}{download}; another place is given by --data_root, own lists by "
                         "--train_dir ...")
    folders, table = part_folders(root), Path(label_path) if label_path else layout.table(root)
    if table is None:
        return find_class_images(folders, label_names)
    return {part: find_images(folder, table) for part, folder in folders.items()}, read_label_table(table, label_names)


def split_data(layout: Layout, root: Path, images: dict[str, list[Path]], source: LabelTable | ImageClasses,
               seed: int, train_ratio: float | None) -> Data:
    """Give the images their labels; make the split where there is none, and the validation set."""
    for part, paths in images.items():
        if not paths:
            raise InputError(f"there are no {'' if part == 'all' else part + ' '}images below {root}; "
                             "unpack the images again")
    splits = {part: Split(paths, source.labels_of(paths)) for part, paths in images.items()}
    if "all" in splits:
        train_ratio = train_ratio or layout.train_ratio
        splits = _hold_out(splits["all"], ("train", "test"), 1 - train_ratio, seed)
    elif train_ratio:
        raise InputError("--train_ratio is for images without a split; these are split by their distributor, by "
                         "their folders or by --train_dir")
    if "train" in splits and "val" not in splits:
        splits |= _hold_out(splits["train"], ("train", "val"), VALIDATION_FRACTION, seed)
    splits = {part: splits[part] for part in ("train", "val", "test") if part in splits}
    single_label = isinstance(source, ImageClasses)
    made = {part: split for part, split in splits.items() if part not in images or part == "train"}
    if single_label and len(made) > 1:
        _check_every_class(source.names, made, train_ratio)
    for part, split in made.items():
        if not split.images:
            raise InputError(f"there are too few images in {root} for a {part} set; add images, or give list files")
    return Data(source.names, root, splits, single_label, train_ratio)


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


def _check_every_class(names: list[str], splits: dict[str, Split], train_ratio: float | None) -> None:
    """Raise InputError where a class has too few images for each part of a split made here to have one."""
    counts = np.stack([split.labels.sum(0) for split in splits.values()])
    for name, count in zip(names, counts.T):
        if not count.all():
            advice = ", raise --train_ratio" * (train_ratio is not None)
            raise InputError(f"class '{name}' has {count.sum()} image(s), too few for each of {', '.join(splits)} to "
                             f"get one; add images{advice}, take the class out, or give list files")


class ImageDataset(Dataset):
    """Item i: the transformed image, uint8 (3, H, W), and its labels, float32 (C,)."""

    def __init__(self, split: Split, transform):
        self.images, self.transform = split.images, transform
        self.labels = torch.from_numpy(split.labels).float()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(load_image(self.images[index])), self.labels[index]


def build_loader(split: Split, transform, batch_size: int, num_workers: int, shuffle: bool = False,
                 seed: int = 0) -> DataLoader:
    """Batches of (uint8 images (B, 3, H, W), float32 labels (B, C)); the last, partial batch is used too."""
    return DataLoader(ImageDataset(split, transform), batch_size, shuffle, num_workers=num_workers,
                      pin_memory=torch.cuda.is_available(), persistent_workers=num_workers > 0,
                      generator=torch.Generator().manual_seed(seed))
