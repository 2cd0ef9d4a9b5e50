"""Multilabel aerial images: what is on the disk, as training, validation and test sets with their labels."""

import sys
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from utils.errors import InputError

from .image_list import find_images, read_image_list, write_image_list
from .label_table import LabelTable, read_label_table
from .layouts import LAYOUTS, dataset_name
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
    """label_names: C names, in the table's order. root: what the list files' paths are relative to.

    splits: "train", "val" and "test"; with list files, only what they give.
    """

    label_names: list[str]
    root: Path
    splits: dict[str, Split]

    def check_label_num(self, label_num: int | None) -> None:
        """Raise InputError where `--label_num` is given and is not the table's number of labels."""
        if label_num not in (None, len(self.label_names)):
            raise InputError(f"--label_num {label_num}, but the label table has {len(self.label_names)} labels; "
                             "correct one of them")

    def write_lists(self, folder: Path) -> None:
        """Write train.txt, val.txt, test.txt, which --train_dir, --val_dir and --test_dir read."""
        for name, split in self.splits.items():
            write_image_list(folder / f"{name}.txt", split.images, self.root)


def load_data(dataset: str, data_root: str | Path, lists: dict[str, str] | None = None,
              label_path: str | Path | None = None, seed: int = 3050) -> Data:
    """Find the images and labels of a data set; a validation set is carved out of train where none is given.

    Args:
        dataset: one of LAYOUTS. The synthetic set is drawn on first use.
        data_root: the folder that holds data_root/<dataset>/ in its distributor's layout.
        lists: "train", "val", "test" -> list file, in place of the layout's split.
        label_path: a label table, in place of the layout's.
        seed: of the carving.
    Raises:
        InputError: for anything missing or inconsistent.
    """
    name = dataset_name(dataset)
    root = Path(data_root) / name
    if name == "Synthetic_Multilabel" and not root.exists():
        from .synthetic import write_synthetic

        write_synthetic(root)
    if lists:
        table = read_label_table(label_path or LAYOUTS[name].locate(root)[1])
        images = {part: read_image_list(path, [root]) for part, path in lists.items()}
        _warn_of_overlap(images)
    else:
        images, table = _official_split(LAYOUTS[name], root, label_path)
    for part, paths in images.items():
        if not paths:
            raise InputError(f"{name} has no {part} images below {root}; unpack the images again")
    splits = {part: Split(paths, table.labels_of(paths)) for part, paths in images.items()}
    if "train" in splits and "val" not in splits:
        splits |= _carve_validation(splits["train"], seed)
    return Data(table.names, root, splits)


def _warn_of_overlap(images: dict[str, list[Path]]) -> None:
    for (one, ours), (other, theirs) in combinations(images.items(), 2):
        common = {path.resolve() for path in ours} & {path.resolve() for path in theirs}
        if common:
            print(f"warning: {len(common)} images are both in the {one} and in the {other} list; figures on them mean "
                  "little", file=sys.stderr)


def _official_split(layout, root: Path, label_path: str | Path | None) -> tuple[dict[str, list[Path]], LabelTable]:
    folders, table_path = layout.locate(root)
    table = read_label_table(label_path or table_path)
    images = [image for folder in folders for image in find_images(folder)]
    table.check_all_present(images, root)
    return {"train": [image for image in images if not layout.is_test(image)],
            "test": [image for image in images if layout.is_test(image)]}, table


def _carve_validation(train: Split, seed: int) -> dict[str, Split]:
    held_out = stratified_holdout(train.labels, VALIDATION_FRACTION, seed)
    if held_out.all() or not held_out.any():
        raise InputError(f"{len(train.images)} training images are too few to carve a validation set out of; "
                         "give one with --val_dir")
    return {part: Split([image for image, chosen in zip(train.images, mask) if chosen], train.labels[mask])
            for part, mask in (("train", ~held_out), ("val", held_out))}


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
