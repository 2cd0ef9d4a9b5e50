"""Class folders: one folder of images per class, as AID, NWPU-RESISC45 and most people's own data come."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import InputError

from .image_list import IMAGE_SUFFIXES, find_images, is_visible

# Folders that are a split and no classes.
_PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
          "testing": "test"}


@dataclass(frozen=True)
class ImageClasses:
    """Single-label counterpart of LabelTable. names: C class names. classes: image -> the name of its class."""

    names: list[str]
    classes: dict[Path, str]
    single_label = True

    def labels_of(self, images: list[Path]) -> np.ndarray:
        """The labels of N images, one-hot: (N, C) uint8."""
        columns = {name: column for column, name in enumerate(self.names)}
        return np.eye(len(self.names), dtype=np.uint8)[[columns[self.classes[image]] for image in images]]


def image_classes(images: dict[str, list[Path]], classes: dict[Path, str], names: list[str] | None) -> ImageClasses:
    """Name the classes: `names` where they cover all that occur, else those of the images to learn from, sorted.

    Args:
        images: by part of the split, "all" where there is none.
        classes: image -> the name of its class.
    Raises:
        InputError: where two names differ only by case, or a class has images in val or test but none in train.
    """
    found = set(classes.values())
    spellings: dict[str, str] = {}
    for name in sorted(found):
        twin = spellings.setdefault(name.casefold(), name)
        if twin != name:
            raise InputError(f"the classes '{twin}' and '{name}' differ only by case, as in "
                             f"{next(image for image, known in classes.items() if known == name)}; "
                             "rename or merge them")
    if names and found <= set(names):
        return ImageClasses(names, classes)
    learnt = {classes[image] for image in images.get("train", images.get("all", classes))}
    if found - learnt:
        unseen = next(image for image, name in classes.items() if name not in learnt)
        raise InputError(f"{unseen} has the class '{classes[unseen]}', which no training image has; "
                         "correct its class, or add training images of it")
    return ImageClasses(sorted(learnt), classes)


def find_class_images(folders: dict[str, Path],
                      names: list[str] | None = None) -> tuple[dict[str, list[Path]], ImageClasses]:
    """The images below class folders and their classes.

    Args:
        folders: by part of the split ("all" where there is none), the folder that holds the class folders.
        names: the classes' order, for a trained classifier.
    Raises:
        InputError: for no class folder, an empty one, an image beside them, and as `image_classes` does.
    """
    images, classes = {}, {}
    for part, folder in folders.items():
        known = {class_folder.name for class_folder in subfolders(folder)}
        if not known:
            raise InputError(f"there are no class folders in {folder}: put the images of each class into a folder "
                             "that has its name, or give a label table (--label_path)")
        images[part] = find_images(folder)
        for image in images[part]:
            name = image.relative_to(folder).parts[0]
            if name not in known:
                raise InputError(f"image {image} lies beside the class folders; move it into the folder of its class")
            classes[image] = unicodedata.normalize("NFC", name)
        empty = known - {image.relative_to(folder).parts[0] for image in images[part]}
        if empty:
            raise InputError(f"class folder {folder / min(empty)} holds no images ({', '.join(IMAGE_SUFFIXES)}); "
                             "put some in, or delete it")
    return images, image_classes(images, classes, names)


def split_folders(root: Path) -> dict[str, Path]:
    """The folders of a split: "train", and "val", "test" or both, where `root` holds these; else {"all": root}.

    Raises:
        InputError: for folders that look like a split, with others, images or twins beside them, or without "train".
    """
    root = unpacked(root)
    folders, beside = subfolders(root), _images_in(root)
    parts = {_PARTS[folder.name.lower()]: folder for folder in folders if folder.name.lower() in _PARTS}
    looks_like_split = [folder.name for folder in folders if folder.name.lower() in _PARTS]
    if len(looks_like_split) < 2:  # a class may be called "train"
        return {"all": root}
    beside = [folder.name for folder in folders if folder.name.lower() not in _PARTS] + beside
    if "train" not in parts or len(parts) < len(looks_like_split) or beside:
        wrong = f"beside them lies {beside[0]}" if beside else "a split has one train folder, and val, test or both"
        raise InputError(f"the folders {', '.join(looks_like_split)} in {root} look like a split, but {wrong}; "
                         "move or rename what does not belong there")
    return parts


def unpacked(root: Path) -> Path:
    """`root`, or the folder with folders of its own that is all it holds, as archives unpack, and so on down."""
    folders = subfolders(root)
    wraps = len(folders) == 1 and not _images_in(root) and subfolders(folders[0])
    return unpacked(folders[0]) if wraps else root


def _images_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()
                  if path.suffix.lower() in IMAGE_SUFFIXES and is_visible(path.name))


def subfolders(folder: Path) -> list[Path]:
    """The visible folders in a folder, sorted."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and is_visible(path.name))
