"""Class folders: one folder of images per class, the layout of AID, NWPU-RESISC45 and most custom data."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import InputError, summarize_names, warn

from .image_list import COPY, IMAGE_SUFFIXES, find_images, is_visible, spelling
from .label_table import check_class, letters, warn_of_combinations

# Names of folders that hold a split and not a class.
SPLIT_FOLDERS = {name + suffix: split
                 for split, names in {"train": ("train", "training"), "val": ("val", "valid", "validation"),
                                      "test": ("test", "testing")}.items()
                 for name in names for suffix in ("", "_set")}

_MORE_SPLITS = ("tr", "te", "ts", "trainval", "trainset", "testset", "valset", "eval", "evaluation", "dev", "holdout")
_KIND, _ANY_SPLIT = "(?:images?|imgs?|data|jpe?g|png|tiff?)", f"(?:{'|'.join((*SPLIT_FOLDERS, *_MORE_SPLITS))})"
_OF_SPLIT = re.compile(f"{_KIND}[ _-]?{_ANY_SPLIT}|{_ANY_SPLIT}[ _-]?{_KIND}")

# Names of folders for what was put aside, and what versions of a class end with, by their letters.
_PUT_ASIDE = {"rejected", "rejects", "unsorted", "unknown", "bad", "delete", "deleted", "exclude", "excluded", "ignore",
              "ignored", "backup", "bak", "old", "temp", "tmp", "trash", "duplicates", "newfolder"}
_VERSION = re.compile(r"(.*)[ _-](?:new|clean|raw|extra|copy|\w*\d+|" + "|".join(_PUT_ASIDE) + ")", re.IGNORECASE)

# Names of folders for the bands or the annotations of the same places.
_NOT_CLASSES = {"image", "images", "img", "imgs", "rgb", "nir", "ndvi", "mask", "masks", "label", "labels", "gt",
                "annotation", "annotations", "ground_truth", "groundtruth"}


@dataclass(frozen=True)
class ImageClasses:
    """Single-label counterpart of LabelTable. names: C class names. classes: image -> its class name."""

    names: list[str]
    classes: dict[Path, str]
    single_label = True

    def labels_of(self, images: list[Path]) -> np.ndarray:
        """The one-hot labels of N images: (N, C) uint8."""
        columns = {name: column for column, name in enumerate(self.names)}
        return np.eye(len(self.names), dtype=np.uint8)[[columns[self.classes[image]] for image in images]]


def image_classes(images: dict[str, list[Path]], classes: dict[Path, str], names: list[str] | None) -> ImageClasses:
    """Fix the order of the classes: `names` if they cover all that occur, else those of the training images, sorted.

    Args:
        images: by split, or "all" if there is no split.
        classes: image -> its class name.
    Raises:
        InputError: if two names look alike, or a class has images in val or test but none in train.
    """
    found = set(classes.values())
    spellings: dict[str, str] = {}
    for name in sorted(found):
        first = spellings.setdefault(spelling(name), name)
        if first != name:
            image = next(image for image, known in classes.items() if known == name)
            raise InputError(f"the classes '{first}' and '{name}' differ only in case, blanks, hyphens, apostrophes, "
                             f"invisible signs, zeros of a number or punctuation at the ends, as in {image}; rename or "
                             "merge them")
    if names and found <= set(names):
        return ImageClasses(names, classes)
    copies = [name for name in sorted(found) if COPY.sub("", name) in found - {name}]
    if copies:
        raise InputError(f"{summarize_names(copies, 'class')} are named like copies of other classes; merge or rename "
                         "them")
    trained = {classes[image] for image in images.get("train", images.get("all", classes))}
    if found - trained:
        unseen = next(image for image, name in classes.items() if name not in trained)
        raise InputError(f"{unseen} has the class '{classes[unseen]}', which no training image has; "
                         "correct its class, or add training images of it")
    return ImageClasses(sorted(trained), classes)


def find_class_images(folders: dict[str, Path],
                      names: list[str] | None = None) -> tuple[dict[str, list[Path]], ImageClasses]:
    """The images below class folders, and their classes.

    Args:
        folders: by split, or "all" if there is no split, the folder that holds the class folders.
        names: the classes' order, for a trained classifier.
    Raises:
        InputError: if there is no class folder, one is empty, the folders may be something else than classes, an image
            lies next to them, and as `image_classes`.
    """
    images, classes = {}, {}
    for split, folder in folders.items():
        known = {class_folder.name for class_folder in subfolders(folder)}
        if not known:
            raise InputError(f"there are no class folders in {folder}: put the images of each class into a folder "
                             "with its name, or give a label table (--label_path)")
        _check_classes(folder, known)
        for name in known.difference(names or ()):
            check_class(unicodedata.normalize("NFC", name), f"the class folder {folder / name}")
        images[split] = find_images(folder)
        for image in images[split]:
            name = image.relative_to(folder).parts[0]
            if name not in known:
                raise InputError(f"image {image} lies next to the class folders; move it into the folder of its class")
            classes[image] = unicodedata.normalize("NFC", name)
        _warn_of_folders_inside(folder, images[split], known)
        empty = known - {image.relative_to(folder).parts[0] for image in images[split]}
        if empty:
            raise InputError(f"class folder {folder / min(empty)} holds no images ({', '.join(IMAGE_SUFFIXES)}); "
                             "add some, or delete it")
    found = image_classes(images, classes, names)
    if found.names != names:
        warn_of_combinations(next(iter(folders.values())), found.names, of_folders=True)
    return images, found


def _check_classes(folder: Path, names: set[str]) -> None:
    """Raise InputError for names that lists cannot hold, and for folders that hold folders of the same names, like 2023
    and 2024, or images and masks: these or those may be the classes. Warn of folders that hold folders alone."""
    blank = next((name for name in sorted(names) if name != name.strip()), None)
    if blank:
        raise InputError(f"the name of the class folder '{folder / blank}' starts or ends with a blank; rename it")
    below = {name: {path.name for path in subfolders(folder / name)} for name in sorted(names)
             if not _images_in(folder / name)}
    uses = Counter(name for inside in below.values() for name in inside)
    common = {name for name, count in uses.items() if count > 1}
    if common:
        outer = [name for name, inside in below.items() if inside & common]
        raise InputError(f"{summarize_names(outer, 'folder')} in {folder} hold folders of the same names, "
                         f"{summarize_names(sorted(common), 'folder')}: which are the classes? Name the folders of a "
                         "split train, val and test; else move the classes' folders into one folder, or give list "
                         "files with the class of each image")
    of_splits = [name for name in sorted(names) if _OF_SPLIT.fullmatch(name.lower())]
    if names == set(_named_like_splits(names)):
        of_splits = sorted(names)
    if len(of_splits) > 1:
        raise InputError(f"the folders {', '.join(of_splits)} in {folder} are named like a split, not like classes: "
                         "name them train, val and test, and put the images of each class into a folder in them")
    if {name.casefold() for name in names} <= _NOT_CLASSES:
        raise InputError(f"the folders {', '.join(sorted(names))} in {folder} are named like images, bands or "
                         "annotations of the same places, not like classes; put the images of each class into a folder "
                         "with its name, or name them in list files")
    only_folders = [f"{name}: {', '.join(sorted(inside)[:3])}" for name, inside in below.items() if inside]
    if only_folders:
        warn(f"{summarize_names(only_folders, 'class folder')} in {folder} hold no images but in folders: are these "
             "the classes?")


def _warn_of_folders_inside(folder: Path, images: list[Path], classes: set[str]) -> None:
    """Warn of folders that are named like what was put aside or like a version of a class, and of folders inside class
    folders that are named like another class or like a split."""
    known = {spelling(name): name for name in classes}
    places = sorted({image.parent for image in images})
    aside = {name for place in places for name in place.relative_to(folder).parts if letters(name) in _PUT_ASIDE} | {
        name for name in classes if (version := _VERSION.fullmatch(name)) and version[1] in classes}
    if aside:
        warn(f"{summarize_names(sorted(aside), 'folder')} in {folder} are named like images put aside or a version of "
             "a class, but train and test like all others; if they should not, move them elsewhere")
    inside = []
    for place in places:
        own, *below = place.relative_to(folder).parts
        if any(known.get(spelling(name), own) != own or name.lower() in SPLIT_FOLDERS for name in below):
            inside.append(f"{place}: {own}")
    if inside:
        warn(f"{summarize_names(inside, 'folder')} are named like another class or a split; their images are taken for "
             "the class of the outermost folder")


def warn_of_unused_split(root: Path) -> None:
    """Warn of folders that are named like a split, but are not taken for one."""
    names = _named_like_splits(folder.name for folder in subfolders(unpacked(root)))
    if names:
        warn(f"{summarize_names(names, 'folder')} in {root} are named like a split, but all images are split anew: "
             "name them train, val and test if they are one")


def _named_like_splits(names: Iterable[str]) -> list[str]:
    """Those that hold a word for a split, or for one of several folds; none if they hold only one such word."""
    found = {}
    for name in names:
        words = re.split(r"[^A-Za-z]+|(?<=[a-z])(?=[A-Z])", name)  # of train_v2, imagesTr
        words = {word.lower() for word in words} & {*SPLIT_FOLDERS, *_MORE_SPLITS}
        if words or re.fullmatch(r"fold\W*\d+", name.lower()) or _OF_SPLIT.fullmatch(name.lower()):
            found[name] = min(words, default=name)
    return list(found) if len(set(found.values())) > 1 else []


def split_folders(root: Path) -> dict[str, Path]:
    """The folders of a split, "train" with "val", "test" or both, if `root` holds these; else {"all": root}.

    Raises:
        InputError: for folders that look like a split but lie next to other folders or images, name a split twice, or
            lack "train".
    """
    root = unpacked(root)
    folders = subfolders(root)
    split_names = [folder.name for folder in folders if folder.name.lower() in SPLIT_FOLDERS]
    splits = {SPLIT_FOLDERS[name.lower()]: unpacked(root / name) for name in split_names}
    if len(split_names) < 2:  # a class may be called "train"
        return {"all": root}
    extra = [folder.name for folder in folders if folder.name not in split_names] + _images_in(root)
    if "train" not in splits or len(splits) < len(split_names) or extra:
        wrong = f"{extra[0]} lies next to them" if extra else "a split has one train folder, and val, test or both"
        raise InputError(f"the folders {', '.join(split_names)} in {root} look like a split, but {wrong}; "
                         "move or rename what does not belong there")
    return splits


def unpacked(root: Path) -> Path:
    """`root`, or, if it only wraps one folder that has subfolders, as archives unpack, that folder, and so on down."""
    folders = subfolders(root)
    is_wrapper = len(folders) == 1 and not _images_in(root) and subfolders(folders[0])
    return unpacked(folders[0]) if is_wrapper else root


def _images_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()
                  if path.suffix.lower() in IMAGE_SUFFIXES and is_visible(path.name))


def subfolders(folder: Path) -> list[Path]:
    """The visible folders in a folder, sorted."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and is_visible(path.name))
