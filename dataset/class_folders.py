"""Class folders: one folder of images per class, as AID, NWPU-RESISC45 and most people's own data come."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import InputError

from .image_list import IMAGE_SUFFIXES, find_images

# Folders that are a split and no classes.
_PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class ImageClasses:
    """Single-label counterpart of LabelTable. names: C class names. classes: image -> the name of its class."""

    names: list[str]
    classes: dict[Path, str]

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
        InputError: where two names differ only by case, a class has images in val or test but none in train, or there
            is only one class.
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
    if len(learnt) == 1:
        raise InputError(f"all images are of the class '{learnt.pop()}', as {next(iter(classes))}; to tell classes "
                         "apart takes at least two")
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


def part_folders(root: Path) -> dict[str, Path]:
    """The folders of a split: "train", and "val", "test" or both, where `root` holds these and no others; else
    {"all": root}, where `root` may also be the one folder, with folders of its own, that it holds."""
    folders = subfolders(root)
    images = any(path.suffix.lower() in IMAGE_SUFFIXES for path in root.iterdir())
    if len(folders) == 1 and not images and subfolders(folders[0]):  # as archives unpack
        root, folders = folders[0], subfolders(folders[0])
    parts = {_PARTS.get(folder.name.lower(), "a class"): folder for folder in folders}
    is_split = "train" in parts and len(parts) == len(folders) > 1 and "a class" not in parts
    return parts if is_split else {"all": root}


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; hidden ones, and what macOS adds to archives, are passed over."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX")))
