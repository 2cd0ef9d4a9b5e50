"""Where each data set keeps its images, its label table and its split, as its distributor ships it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from utils.errors import InputError


@dataclass(frozen=True)
class Layout:
    """One data set below data_root/<name>/; folders and tables are alternatives, the distributor's first."""

    folders: tuple[tuple[str, ...], ...]  # each alternative is one or more folders, all needed
    tables: tuple[str, ...]
    is_test: Callable[[Path], bool]
    download: str

    def locate(self, root: Path) -> tuple[list[Path], Path]:
        """The image folders and the label table below `root`.

        Raises:
            InputError: saying what was looked for, where, and where to download it.
        """
        folders = next((alternative for alternative in self.folders
                        if all((root / folder).is_dir() for folder in alternative)), None)
        table = next((root / table for table in self.tables if (root / table).is_file()), None)
        if folders is None or table is None:
            what = "folder " + " and ".join(self.folders[0]) if folders is None else f"table {self.tables[0]}"
            raise InputError(f"there is no {what} in {root}; download: {self.download}; "
                             "another place is given by --data_root, own lists by --train_dir ... --label_path")
        return [root / folder for folder in folders], table


def _ucm_is_test(image: Path) -> bool:
    number = re.search(r"\d\d$", image.stem)
    if not number:
        raise InputError(f"image {image} does not end with its two-digit number, which decides train (00-79) or "
                         "test (80-99); take it away, or give list files")
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
    is_test=lambda image: "images_test" in image.parts[-3:],
    download="https://github.com/Hua-YS/AID-Multilabel-Dataset",
)

LAYOUTS = {"AID_Multilabel": _AID, "UCM_Multilabel": _UCM, "Synthetic_Multilabel": _UCM}

# Spellings of the original README.
_ALIASES = {"AID_Multilable": "AID_Multilabel", "UCM_Multilable": "UCM_Multilabel"}


def dataset_name(name: str) -> str:
    """The spelling of LAYOUTS.

    Raises:
        InputError: for an unknown data set.
    """
    name = _ALIASES.get(name, name)
    if name not in LAYOUTS:
        raise InputError(f"unknown data set '{name}': choose from {', '.join(LAYOUTS)}")
    return name
