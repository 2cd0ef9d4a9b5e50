"""From folders, lists and label tables to labelled training, validation and test splits."""

from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from utils.errors import InputError, summarize_names, warn
from utils.metrics import RARE

from .class_folders import (
    SPLIT_FOLDERS,
    ImageClasses,
    find_class_images,
    image_classes,
    split_folders,
    unpacked,
    warn_of_unused_split,
)
from .image_list import (
    SIBLING,
    find_images,
    fingerprints,
    folder_name,
    is_visible,
    originals,
    read_image_list,
    relative_name,
    series,
    spelling,
    write_image_list,
)
from .label_table import SPREADSHEETS, LabelTable, check_class, read_label_table, warn_of_combinations
from .layouts import LAYOUTS, Layout, data_folder, dataset_name
from .published import SPLIT_SIZES
from .splits import stratified_holdout

# Share of the training images that validation selects the epoch on; the test images never do.
VALIDATION_FRACTION = 0.1


@dataclass(frozen=True)
class Split:
    """images: N paths. labels: (N, C) uint8 of 0 and 1."""

    images: list[Path]
    labels: np.ndarray


@dataclass(frozen=True)
class Source:
    """Where the images are and what knows their labels: the first step of `load_data`.

    images: split name -> paths; the only name is "all" if there is no split yet. train_ratio: the layout's share of
    training images. must_be_complete: whether each row of a label table needs its image.
    """

    root: Path
    images: dict[str, list[Path]]
    labels: LabelTable | ImageClasses
    train_ratio: float | None
    must_be_complete: bool

    def all_images(self) -> list[Path]:
        return [image for paths in self.images.values() for image in paths]


@dataclass(frozen=True)
class Data:
    """A labelled data set.

    label_names: C names, the columns of the labels. root: list files hold paths relative to it. splits: "train", "val"
    and "test"; with list files, only what they give. single_label: whether each image has exactly one label.
    generated_splits: the splits generated here, by seed. train_ratio: the share of training images, if the test
    images were split off here.
    """

    label_names: list[str]
    root: Path
    splits: dict[str, Split]
    single_label: bool
    generated_splits: list[str]
    train_ratio: float | None

    def all_images(self) -> Split:
        """The images of all splits."""
        splits = self.splits.values()
        return Split([image for split in splits for image in split.images],
                     np.concatenate([split.labels for split in splits]))

    def summary(self) -> str:
        """The counts of labels and of images in each split."""
        counts = ", ".join(f"{len(split.images)} {name}" for name, split in self.splits.items())
        return f"{summarize_names(self.label_names, 'class' if self.single_label else 'label')}, {counts} images"

    def describe_test(self) -> dict[str, Any]:
        """What a checkpoint records of the test images: "test_images", their names relative to the root with their
        fingerprints, and "test_labels" (N, C); nothing if there is no test set."""
        if "test" not in self.splits:
            return {}
        images, labels = self.splits["test"].images, self.splits["test"].labels
        names = [relative_name(self.root, image) for image in images]
        return {"test_images": dict(zip(names, fingerprints(images))), "test_labels": torch.from_numpy(labels)}

    def write_lists(self, folder: Path) -> None:
        """Write train.txt, val.txt, test.txt, which --train_dir, --val_dir and --test_dir read."""
        for name, split in self.splits.items():
            classes = [self.label_names[c] for c in split.labels.argmax(1)] if self.single_label else None
            write_image_list(folder / f"{name}.txt", split.images, self.root, classes)

    def check_options(self, label_num: int | None, train_ratio: float | None = None) -> None:
        """Raise InputError if `--label_num` is not the number of labels, or `--train_ratio` is given for images that
        have a split already."""
        if label_num not in (None, len(self.label_names)):
            raise InputError(f"--label_num {label_num}, but the data have {len(self.label_names)} labels; correct one "
                             "of them")
        if train_ratio and self.train_ratio is None:
            raise InputError("--train_ratio is for images without a split; these are split by their distributor, by "
                             "their folders or by --train_dir")

    def check_trainable(self) -> None:
        """Raise InputError if no training image has a label, or if a split generated here is empty or, with one label
        per image, lacks a class; warn of labels with few training images."""
        if self.single_label and len(self.label_names) < 2:
            raise InputError(f"all images in {self.root} are of the class '{self.label_names[0]}'; training needs at "
                             "least two classes")
        if not self.splits["train"].labels.any():
            raise InputError(f"no training image in {self.root} has any label; check the label table")
        names = self.generated_splits or ["train"]
        counts = np.stack([self.splits[name].labels.sum(0) for name in names])
        small = [f"{label}: {count.sum()}" for label, count in zip(self.label_names, counts.T) if not count.all()]
        if small and self.single_label:
            advice = ", raise --train_ratio" * (self.train_ratio is not None)
            raise InputError(f"too few images in {summarize_names(small, 'class')} of {self.root} for each of "
                             f"{', '.join(names)} to get one; add images{advice}, remove the class, or give list files")
        for name in names:
            if not self.splits[name].images:
                raise InputError(f"too few images in {self.root} for a {name} set; add images, or give list files")
        unlabelled = (~self.splits["train"].labels.any(1)).sum()
        if 2 * unlabelled > len(self.splits["train"].labels):
            warn(f"{unlabelled} of the {len(self.splits['train'].labels)} training images have no label")
        counts = self.splits["train"].labels.sum(0)
        rare = [f"{label}: {count}" for label, count in zip(self.label_names, counts) if count < RARE]
        if rare:
            kind = "class" if self.single_label else "label"
            warn(f"fewer than {RARE} training images, too few to learn from, in {summarize_names(rare, kind)}")


def load_data(dataset: str, data_root: str | Path, lists: dict[str, str] | None = None,
              label_path: str | Path | None = None, seed: int = 3050, train_ratio: float | None = None,
              label_names: list[str] | None = None) -> Data:
    """Find the images and labels of a data set, and split them.

    Args:
        dataset: one of LAYOUTS. The synthetic set is drawn on first use.
        data_root: the folder that holds data_root/<dataset>/ in its distributor's layout.
        lists: "train", "val", "test" -> list file, instead of the layout's split.
        label_path: a label table, instead of the layout's.
        seed: for the splits generated here.
        train_ratio: share of the images to train on, instead of the layout's, if there is no split.
        label_names: those of a trained classifier, for data in which not all of them may occur.
    Raises:
        InputError: if anything is missing or inconsistent.
    """
    source = find_source(dataset, data_root, lists, label_path, label_names)
    splits = label_images(source)
    return make_splits(source, splits, train_ratio, seed)


def find_source(dataset: str, data_root: str | Path, lists: dict[str, str] | None = None,
                label_path: str | Path | None = None, label_names: list[str] | None = None,
                absent: list[str] | None = None) -> Source:
    """Step 1: where are the images, and what knows their labels? List files, the layout's own split, or folders.

    Args as `load_data`, and:
        absent: collects the names in lists of images that do not exist, which otherwise are an error.
    """
    name = dataset_name(dataset)
    layout, root = LAYOUTS[name], data_folder(name, data_root, lists=bool(lists))
    if name == "Synthetic_Multilabel" and not root.exists():
        from .synthetic import write_synthetic

        with suppress(FileExistsError):  # another process was faster
            write_synthetic(root)
    table = Path(label_path) if label_path else None
    folders = {"all": root}
    if lists:
        read = {split: read_image_list(path, [root], absent) for split, path in lists.items()}
        images = {split: paths for split, (paths, _) in read.items()}
        _warn_of_overlaps(images)
        table = table or (layout.locate(root)[1] if layout.is_test else _custom_table(layout, root))
        if not table:
            classes = _merge([classes for _, classes in read.values()])
            for image, name in classes.items():
                if name not in (label_names or ()):
                    check_class(name, f"the class of {image} in a list")
            _warn_of_same_folders(classes)
            _warn_of_other_numbers({lists[split]: classes for split, (_, classes) in read.items()})
            labels = image_classes(images, classes, label_names)
            if labels.names != label_names:
                warn_of_combinations(root, labels.names)
    elif layout.is_test:
        image_folders, layout_table = layout.locate(root)
        table = table or layout_table
        found = [image for folder in image_folders for image in find_images(folder)]
        images = {"train": [image for image in found if not layout.is_test(image.relative_to(root))],
                  "test": [image for image in found if layout.is_test(image.relative_to(root))]}
    elif not root.is_dir():
        download = f"; download: {layout.download}" * bool(layout.download)
        raise InputError(f"there is no folder {root}{download}; --data_root names another place, --train_dir ... your "
                         "own lists, --dataset Custom your own images")
    else:
        folders, table = split_folders(root), table or _custom_table(layout, root)
        if table:
            images = {split: find_images(folder, table) for split, folder in folders.items()}
            if "all" in folders:
                warn_of_unused_split(root)
        else:
            images, labels = find_class_images(folders, label_names)
    _warn_of_duplicates(list(dict.fromkeys(sum(images.values(), []))), list(folders.values()))
    if table:
        labels = read_label_table(table, label_names)
        for split, path in lists.items() if lists and not label_path else ():
            _check_classes(path, read[split][1], labels)
        apart = [str(image) for paths in images.values() for image in paths if lists and not label_path
                 and Path(relative_name(root, image)).is_absolute() and "/" not in (labels.key(image) or "")]
        if apart:
            warn(f"{table} gives {summarize_names(apart, 'image')} outside {root} labels by the file's name alone; if "
                 "these are other images, name their folder with --data_root")
    published, found = sum(SPLIT_SIZES.get(name, ())), sum(map(len, images.values()))
    if found < published and not lists:
        warn(f"{root} holds {found} of the {published} images of {name}: was it unpacked in part? Results on a part "
             "cannot be compared with those on the whole")
    return Source(root, images, labels, layout.train_ratio, must_be_complete=not lists)


def _warn_of_duplicates(images: list[Path], folders: list[Path]) -> None:
    """Warn of images that are one file, by links or by several paths in a list, and of those named like a copy, a mask,
    a band or an augmentation of another one: in its folder, in a folder above, or there in another split's folder."""
    first: dict[tuple[int, int], Path] = {}
    by_path, by_place, siblings, same_endings = {}, {}, {}, series(images)
    places = {parent: next((parent.relative_to(folder) for folder in folders if parent.is_relative_to(folder)), parent)
              for parent in {image.parent for image in images}}
    for image in images:
        by_path.setdefault((image.parent, image.stem), image)
        by_place.setdefault((places[image.parent], image.stem), image)
    again, copies = [], []
    for image in images:
        file = image.stat()
        if first.setdefault((file.st_dev, file.st_ino), image) != image:
            again.append(f"{image} = {first[file.st_dev, file.st_ino]}")
        place, stems = places[image.parent], list(originals(image.stem))
        found = [by_path[image.parent, image.stem], *(by_place.get((place, stem)) for stem in stems),
                 *(by_place.get((above, stem)) for above in place.parents for stem in (image.stem, *stems)),
                 same_endings.get(image)]
        if SIBLING.search(image.stem):
            found.append(siblings.setdefault((place, SIBLING.sub("", image.stem)), image))
        original = next((path for path in found if path not in (None, image)), None)
        if original:
            copies.append(f"{image} of {original}")
    if again:
        warn(f"{summarize_names(again, 'image')} are files that have several names; each name is used as an image, and "
             "one may train while another tests")
    if copies:
        warn(f"{summarize_names(copies, 'image')} are named like copies, masks, bands or augmentations of another, and "
             "one may train while another tests")


def _warn_of_overlaps(images: dict[str, list[Path]]) -> None:
    for (split_a, images_a), (split_b, images_b) in combinations(images.items(), 2):
        common = {image.resolve() for image in images_a} & {image.resolve() for image in images_b}
        if common:
            warn(f"{len(common)} images are both in the {split_a} and in the {split_b} list; results on them mean "
                 "little")


def _merge(classes_of_lists: list[dict[Path, str]]) -> dict[Path, str]:
    merged: dict[Path, str] = {}
    for image, name in (item for classes in classes_of_lists for item in classes.items()):
        if merged.setdefault(image, name) != name:
            raise InputError(f"the lists give {image} two classes, '{merged[image]}' and '{name}'; correct one")
    return merged


def _check_classes(path: str, classes: dict[Path, str], table: LabelTable) -> None:
    """Raise InputError for a class in the list `path` (not of the folder's name, as without any) that contradicts the
    label table, which was found and not given."""
    names = [*map(spelling, table.names)]
    for image, name in classes.items():
        key, written = table.key(image), spelling(name)
        present = [names[column] for column in table.rows[key].nonzero()[0]] if key else [written]
        if name != folder_name(image) and written not in present and (table.single_label or written in names):
            raise InputError(f"{path} gives {image} the class '{name}', and {table.path} does not: correct one; if the "
                             "table is right, name it by --label_path; if the list is, move the table elsewhere")


def _warn_of_other_numbers(lists: dict[str, dict[Path, str]]) -> None:
    """Warn of folders of one name that have one class in each list, but not the same."""
    of_folders: dict[str, dict[str, set[str]]] = {}  # name of a folder -> list -> classes
    for path, classes in lists.items():
        for image, name in classes.items():
            of_folders.setdefault(image.parent.name, {}).setdefault(path, set()).add(name)
    for folder, found in of_folders.items():
        if len(set.union(*found.values())) > 1 and all(len(names) == 1 for names in found.values()):
            in_lists = ", but of ".join(f"class '{min(names)}' in {path}" for path, names in found.items())
            warn(f"the images in folders named {folder} are of {in_lists}: do these lists number the classes alike?")


def _warn_of_same_folders(classes: dict[Path, str]) -> None:
    """Warn of classes that are named after several folders, which may hold something else than classes."""
    parents: dict[str, set[Path]] = {}
    for image, name in classes.items():
        if image.parent.name == name:
            parents.setdefault(name, set()).add(image.parent.parent)
    several = {name: sorted(folders) for name, folders in parents.items()
               if len({folder.name for folder in folders} - {*SPLIT_FOLDERS}) > 1}
    if several:
        name, folders = next(iter(several.items()))
        warn(f"{summarize_names(several, 'class')} are named after several folders, as {folders[0] / name} and "
             f"{folders[1] / name}: if the innermost folders are not the classes, write the class behind each path")


def _custom_table(layout: Layout, root: Path) -> Path | None:
    """The label table of the user's own images, if there is one: in the root, or in a folder that an archive left.

    Raises:
        InputError: for two tables, or a spreadsheet and no table.
    """
    innermost = unpacked(root) if root.is_dir() else root
    folders = [folder for folder in (innermost, *innermost.parents) if folder.is_relative_to(root)]
    files = [path for folder in folders if layout.tables and folder.is_dir() for path in sorted(folder.iterdir())
             if path.suffix.lower() in (".csv", ".tsv", ".txt", ".json", ".jsonl", ".xml", ".parquet", ".mat",
                                        *SPREADSHEETS) and is_visible(path.name) and path.is_file()]
    tables = [path for path in files if path.name.lower() in layout.tables]
    sheets = [path for path in files if path.suffix.lower() in SPREADSHEETS]
    if len(tables) > 1:
        raise InputError(f"{tables[0]} and {tables[1]} are both label tables; remove one, or give one by --label_path")
    if sheets and not tables:
        raise InputError(f"{sheets[0]} is a spreadsheet; save it as CSV UTF-8 named {layout.tables[0]}, or move it "
                         "elsewhere if it is no label table")
    unused = [path.name for path in files if path.suffix.lower() != ".txt" and path not in tables]
    if unused:
        warn(f"ignored {summarize_names(unused, 'table')} in {root}: a label table is named {layout.tables[0]}, or "
             "given by --label_path")
    return tables[0] if tables else None


def label_images(source: Source) -> dict[str, Split]:
    """Step 2: what are the labels? Split name, or "all" -> the images with their labels."""
    for name, paths in source.images.items():
        if not paths:
            raise InputError(f"there are no {'' if name == 'all' else name + ' '}images below {source.root}; unpack "
                             "the images again")
    if source.must_be_complete and isinstance(source.labels, LabelTable):
        source.labels.check_all_present(source.all_images(), source.root)
    labels = source.labels.labels_of(source.all_images())
    if isinstance(source.labels, LabelTable):
        _warn_of_folders(source.all_images(), labels, source.labels, str(source.labels.path))
    elif not source.must_be_complete:
        _warn_of_folders(source.all_images(), labels, source.labels, "a list")
    ends = np.cumsum([len(paths) for paths in source.images.values()])
    return {name: Split(paths, rows) for (name, paths), rows in zip(source.images.items(), np.split(labels, ends[:-1]))}


def _warn_of_folders(images: list[Path], labels: np.ndarray, named: LabelTable | ImageClasses, where: str) -> None:
    """Warn of images in a folder named like a class or label that `where` does not give them (N, C); with several
    labels per image, if most images of the folder lack it."""
    columns = {spelling(name): column for column, name in enumerate(named.names)}
    in_folders: dict[Path, list[int]] = {}
    for row, image in enumerate(images):
        in_folders.setdefault(image.parent, []).append(row)
    apart = []
    for folder, rows in in_folders.items():
        column = columns.get(spelling(folder.name))
        lacking = [str(images[row]) for row in rows if not labels[row, column]] if column is not None else []
        apart += lacking if named.single_label or 2 * len(lacking) > len(rows) else []
    if apart:
        kind = "class" if named.single_label else "label"
        warn(f"{where} does not give {summarize_names(apart, 'image')} the {kind} after which the folder is named; "
             f"what {where} says is used")


def make_splits(source: Source, splits: dict[str, Split], train_ratio: float | None, seed: int) -> Data:
    """Step 3: how are the images split? Hold out test images where there is no split, then validation images."""
    if "all" in splits:
        train_ratio = train_ratio or source.train_ratio
        splits = _hold_out(splits["all"], ("train", "test"), 1 - train_ratio, seed)
    else:
        train_ratio = None
    if "train" in splits and "val" not in splits:
        splits = {**splits, **_hold_out(splits["train"], ("train", "val"), VALIDATION_FRACTION, seed)}
    splits = {name: splits[name] for name in ("train", "val", "test") if name in splits}
    given = source.images
    generated = [name for name in splits if name not in given or (name == "train" and "val" not in given)]
    return Data(source.labels.names, source.root, splits, source.labels.single_label, generated, train_ratio)


def _hold_out(split: Split, names: tuple[str, str], fraction: float, seed: int) -> dict[str, Split]:
    """Divide a split in two; the second gets `fraction` of each label's images."""
    held_out = stratified_holdout(split.labels, fraction, seed)
    return {name: Split([image for image, is_in in zip(split.images, mask) if is_in], split.labels[mask])
            for name, mask in zip(names, (~held_out, held_out))}
