"""Where each data set keeps its images, its labels and its split, as its distributor ships it."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from utils.errors import InputError, summarize_names, warn
from utils.options import find_name

from .image_list import is_visible
from .published import LABEL_COUNTS


@dataclass(frozen=True)
class Layout:
    """One data set below data_root/<name>/; folders and tables are alternatives, the distributor's first.

    With `is_test`, the data set ships a label table and a split. Without, it has class folders, or a table if there is
    one, and is split by seed: `train_ratio` of each class or label for training.
    """

    download: str
    tables: tuple[str, ...] = ()
    folders: tuple[tuple[str, ...], ...] = ()  # each alternative is one or more folders, all needed
    is_test: Callable[[Path], bool] | None = None  # of an image's path relative to the root
    train_ratio: float | None = None

    def locate(self, root: Path) -> tuple[list[Path], Path]:
        """The image folders and the label table below `root`.

        Raises:
            InputError: naming what is missing, where it was searched for, and where to download it.
        """
        folders = next((alternative for alternative in self.folders
                        if all((root / folder).is_dir() for folder in alternative)), None)
        table = next((root / table for table in self.tables if (root / table).is_file()), None)
        if folders is None or table is None:
            what = "folder " + " and ".join(self.folders[0]) if folders is None else f"table {self.tables[0]}"
            raise InputError(f"there is no {what} in {root}; download: {self.download}; "
                             "--data_root names another place, --train_dir ... --label_path your own lists, "
                             "--dataset Custom your own images")
        return [root / folder for folder in folders], table


def _ucm_is_test(image: Path) -> bool:
    number = re.search(r"(?<!\d)\d\d$", image.stem)
    if not number:
        raise InputError(f"image {image} does not end with a two-digit number, which decides between train (00-79) and "
                         "test (80-99); remove it, or give list files")
    return int(number[0]) >= 80


# Yang & Newsam, "Bag-of-visual-words and spatial extensions for land-use classification" (2010): 2100 images
# of 21 classes. Labels by Chaudhuri et al., "Multilabel remote sensing image retrieval using a semisupervised
# graph-theoretic method" (2018). No official split; 00-79 / 80-99 of each class is the most common one.
_UCM = Layout(
    folders=(("UCMerced_LandUse/Images",), ("Images",)),
    tables=("multilabels/LandUse_Multilabeled.txt", "LandUse_Multilabeled.txt"),
    is_test=_ucm_is_test,
    download="images http://weegee.vision.ucmerced.edu/datasets/landuse.html, "
             "labels multilabels.zip from https://bigearth.eu/datasets",
)

# Hua, Mou & Zhu, "Relation network for multilabel aerial image classification" (2020): 3000 images of AID
# (Xia et al. 2017), 100 of each of 30 scenes, and the official split 2400 / 600.
_AID = Layout(
    folders=(("images_tr", "images_test"),),
    tables=("multilabel.csv",),
    is_test=lambda image: image.parts[0] == "images_test",
    download="https://github.com/Hua-YS/AID-Multilabel-Dataset",
)

# Xia et al., "AID: A benchmark data set for performance evaluation of aerial scene classification" (2017): 10000
# images of 30 scenes. 20 % of each scene for training is the harder of its two usual splits.
_AID_SCENES = Layout(download="https://captain-whu.github.io/AID", train_ratio=0.2)

# Cheng, Han & Lu, "Remote sensing image scene classification: benchmark and state of the art" (2017): 45 scenes of
# 700 images each. 10 % of each scene for training is the harder of its two usual splits.
_NWPU = Layout(download="https://gcheng-nwpu.github.io/#Datasets (NWPU-RESISC45)", train_ratio=0.1)

_CUSTOM = Layout(download="", tables=("labels.csv", "labels.tsv", "labels.txt"),
                 train_ratio=0.8)

LAYOUTS = {"AID_Multilabel": _AID, "UCM_Multilabel": _UCM, "AID": _AID_SCENES, "NWPU-RESISC45": _NWPU,
           "Synthetic_Multilabel": _UCM, "Custom": _CUSTOM}

# Spellings in the original README, and other common ones.
_ALIASES = {"AID_Multilable": "AID_Multilabel", "UCM_Multilable": "UCM_Multilabel", "NWPU": "NWPU-RESISC45",
            "RESISC45": "NWPU-RESISC45"}


def dataset_name(name: str) -> str:
    """The spelling of LAYOUTS, for a name in any case and with `-`, `_` or nothing between its words.

    Raises:
        InputError: for an unknown data set.
    """
    return find_name(name, LAYOUTS, "data set", _ALIASES)


def data_folder(name: str, data_root: str | Path, lists: bool = False) -> Path:
    """data_root/<name>; else data_root itself for Custom; else the only folder like data_root/<name>(0.2-0.8).

    Args:
        lists: whether list files name the images, which then may lie anywhere.
    Raises:
        InputError: if there are several folders of the last kind; or, without lists, if data_root itself is the folder
            of the data set.
    """
    root = Path(data_root) / name
    if root.is_dir():
        found = sorted(Path(data_root).iterdir()) if name == "Custom" else ()
        beside = [path.name for path in found if path.is_dir() and is_visible(path.name)
                  and path.name.split("(")[0] not in LAYOUTS]
        if beside:
            warn(f"the images are those of {root}, without {summarize_names(beside, 'folder')} beside it; if Custom is "
                 "a class, rename it")
    named_by_ratio = sorted(Path(data_root).glob(f"{name}(*-*)"))
    if root.is_dir():
        if named_by_ratio and not lists:
            warn(f"the images and their split are those of {root}, not of {named_by_ratio[0]}; to use that, move the "
                 "former elsewhere")
        return root
    if len(named_by_ratio) > 1:
        raise InputError(f"{data_root} holds {' and '.join(path.name for path in named_by_ratio)}: rename the right "
                         f"folder to {name}")
    if name == "Custom" or named_by_ratio:
        return named_by_ratio[0] if named_by_ratio else Path(data_root)
    folder = Path(os.path.abspath(data_root))
    same_name = folder.name == name or folder.name.startswith(f"{name}(")
    if not lists and (same_name or _is_dataset(name, folder)):
        raise InputError(f"--data_root {data_root} is the folder of {name} itself: "
                         f"{'' if same_name else f'rename it to {name} and '}give its parent, {folder.parent}")
    return root


def _is_dataset(name: str, folder: Path) -> bool:
    """Whether a folder of another name has the folders and the table of this data set, or those of its classes."""
    if not LAYOUTS[name].is_test:
        return sum((folder / label).is_dir() for label in LABEL_COUNTS.get(name, ())) > 1
    try:
        return bool(LAYOUTS[name].locate(folder))
    except InputError:
        return False
