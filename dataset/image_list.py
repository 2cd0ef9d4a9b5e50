"""List files: one image per line, "path class"; the class may be absent, and paths may hold spaces."""

import hashlib
import os
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from utils.errors import InputError, summarize_names, warn
from utils.run.atomic import write_text

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")

# Not allowed in names: line breaks and other control characters, which lists, tables and terminals would interpret, and
# bytes that are not UTF-8.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

# The path ends with the last image suffix before a blank or the end of the line.
_LINE = re.compile(rf"(.*(?:{'|'.join(map(re.escape, IMAGE_SUFFIXES))}))(?:\s+(.*))?", re.IGNORECASE)

# What systems append to the name of a copy: "beach (1)", "beach - Copy", "beach Kopie 2", "beach~2".
_COPIED = "copy|kopie|kopia|copie|copia"
COPY = re.compile(rf"(?: ?\(\d+\)| - (?:{_COPIED})(?: \(\d+\))?| (?:{_COPIED})(?: \d+)?|~\d+)$", re.IGNORECASE)

# Words for what is made of an image, before or behind its name; and any word behind a number.
_AUGMENTED = r"aug|[hv]?flip|mirror|\d+deg"
_VERSION = re.compile(rf"(?<![a-z])(?:{_AUGMENTED}|rot(?![tu])|crop|resiz|original|{_COPIED}|edited|thumb|small|"
                      r"preview|mask|seg|label|gt|superpixel|blur|gr[ae]y|sharp|noise|noisy|bright|dark|contrast|"
                      r"\d+x)", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]")

# What each of several images of the same place has, without one that has nothing: bands, polarisations, cameras,
# augmentations.
SIBLING = re.compile(rf"\.rf\..*$|^aug_\d+_\d+$|[ ._-](?:{_AUGMENTED}|rot(?=\d|at|[ ._-]|$)).*$|"
                     r"[ ._-](?:B(?:and[ _-]?)?\d[\dA]?(?:[ _-]\d+m)?|rgb|nir|swir|depth|thermal|VV|VH|HH|HV|"
                     r"(?<=\d[ ._-])(?:red|green|blue|ir|gre|reg|[TVWZ]))$", re.IGNORECASE)


def find_images(folder: Path, table: Path | None = None) -> list[Path]:
    """All images below a folder, sorted by path; hidden files and folders are skipped.

    Other files, except the label table, are skipped with a warning: they may be images in an unsupported format. So are
    links that lead nowhere.
    """
    files, dangling = [], []
    for path in sorted(_visible_files(folder)):
        if path.is_file():
            files.append(path)
        elif path.is_symlink():
            dangling.append(path)
    if dangling:
        names = [str(path.relative_to(folder)) for path in dangling]
        warn(f"skipped {summarize_names(names, 'link')} below {folder}: the files that they lead to do not exist")
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    for image in images:
        check_name(str(image))
    skipped = [str(path.relative_to(folder)) for path in files
              if path.suffix.lower() not in IMAGE_SUFFIXES and path != table]
    if skipped:
        warn(f"skipped {summarize_names(skipped, 'file')} below {folder}: not named as an image "
             f"({', '.join(IMAGE_SUFFIXES)})")
    return images


def _visible_files(folder: Path) -> Iterator[Path]:
    """Whatever lies below a folder and is no folder, linked folders included."""

    def unreadable(error: OSError):
        raise InputError(f"folder {error.filename} cannot be read ({error.strerror}); change its permissions")

    for place, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        here = os.path.realpath(place) + os.sep
        folders[:] = [name for name in folders if is_visible(name)
                      and not here.startswith(os.path.realpath(os.path.join(place, name)) + os.sep)]  # no loops
        yield from (Path(place, name) for name in files if is_visible(name))


def spelling(name: str) -> str:
    """What names that look alike have in common: the same letters, but for case, width, blanks, hyphens, underscores,
    apostrophes, invisible signs, punctuation at the ends, zeros of a number, and UTF-8 read as Windows-1252."""
    with suppress(UnicodeError):
        name = name.encode("cp1252").decode()
    letters = unicodedata.normalize("NFKC", name).casefold()
    letters = "".join(letter for letter in letters
                      if unicodedata.category(letter) != "Cf" and letter not in "'’‘`´ʼ")
    if len(bare := letters.strip(".,:?!*/_ ").rstrip("- ")) > 1:  # but A* is a grade
        letters = bare
    letters = re.sub(r"(?<=[\s_])-(?=\d)", "−", letters)  # a negative number
    words = re.sub(r"(?<=\w)[-‐–—_\s]+(?=\w)", " ", letters)
    words = re.sub(r"(?<!\d) | (?!\d)", "", words)
    return re.sub(r"^(\d+)\.0+$", r"\1", re.sub(r"(?<![\d.,])0+(?=\d)", "", words))


def originals(stem: str) -> Iterator[str]:
    """The names of which this one may be a copy, a mask, a thumbnail or an augmentation: without words at an end."""
    if re.fullmatch(r"IMG_E\d{4}", stem):  # what an iPhone names an edited image
        yield stem.replace("_E", "_")
    signs = list(re.finditer(r"[ _.@()+~-]+", stem))
    starts = [0, *(sign.end() for sign in signs if _VERSION.search(stem[:sign.start()]))]
    ends = [len(stem), *(sign.start() for sign in signs
                         if _VERSION.search(stem[sign.end():]) or COPY.fullmatch(stem[sign.start():])
                         or re.fullmatch(r" \d", stem[sign.start():])
                         or stem[:sign.start()][-1:].isdigit() and _WORD.search(stem[sign.end():]))]
    yield from (stem[start:end] for start in starts for end in ends if 0 < end - start < len(stem))


def series(images: Sequence[Path]) -> dict[Path, Path]:
    """Image -> the first image of the same place, where nearly all names in the folders consist of a place and one of
    the same two to twenty endings with a letter: a_pre, a_post, b_pre, b_post, ..."""
    places: dict[str, dict[str, Path]] = {}
    for image in images:
        path = str(image.with_suffix(""))
        for sign in re.finditer(r"[ ._-]+(?=[^/\\]*$)", path):
            places.setdefault(path[:sign.start()], {})[path[sign.start():]] = image
    uses = Counter(frozenset(endings) for endings in places.values() if 2 <= len(endings) <= 20)
    common = {endings for endings, count in uses.items() if count > 4 and count * len(endings) > 0.9 * len(images)
              and all(map(_WORD.search, endings))}
    return {image: next(iter(endings.values())) for endings in places.values() if frozenset(endings) in common
            for image in endings.values()}


def check_name(name: str, what: str = "the file name") -> None:
    """Raise InputError for a name with control characters, or with bytes that are not UTF-8."""
    if _CONTROL.search(name):
        raise InputError(f"{what} {name!a} has a line break or another control character, or is not UTF-8; rename it")


def is_visible(name: str) -> bool:
    """Whether a file or folder is neither hidden nor added by a system: macOS to archives, a NAS (thumbnails and
    deleted images), Windows to disks, Office to a table that is open. An image that iCloud holds is a hidden file."""
    return name.endswith(".icloud") or not name.startswith((
        ".", "__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "~$", "lost+found", "System Volume Information",
        "__pycache__"))


def images_at(paths: Sequence[str | Path]) -> list[Path]:
    """The images among `paths` and all images below the folders among them, each once.

    Raises:
        InputError: if a path does not exist, or there is no image at all.
    """
    images: dict[str, Path] = {}
    for path in paths:
        check_name(str(path))
        if not path or not Path(path).exists():
            raise InputError(f"there is no image or folder '{path}'")
        for image in find_images(Path(path)) if Path(path).is_dir() else [Path(path)]:
            images.setdefault(os.path.abspath(image), image)
    if not images:
        raise InputError(f"there are no images ({', '.join(IMAGE_SUFFIXES)}) below {', '.join(map(str, paths))}")
    return list(images.values())


def read_image_list(path: str | Path, roots: Sequence[Path],
                    absent: list[str] | None = None) -> tuple[list[Path], dict[Path, str]]:
    """The images in a list file, in its order, and their classes: the class in the line, else the name of the folder.

    A relative path is searched for below each of `roots`, then next to the list file, then in the working directory. It
    may not leave these by ".."; an absolute path may lead anywhere.

    Args:
        absent: collects the names of images that do not exist, which otherwise are an error.
    Raises:
        InputError: for a missing or empty list, a line without an image path, an image that does not exist, and two
            lines that give an image different classes.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"list file {path} {'is a folder' if path.is_dir() else 'does not exist'}")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"list file {path} cannot be read as UTF-8 text: {error}") from error
    classes: dict[Path, str] = {}
    repeated, ambiguous, without_class = [], [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.rstrip())
        if not match:
            raise InputError(f"{path}, line {number}: '{line.strip()}' names no image ({', '.join(IMAGE_SUFFIXES)})")
        for name in filter(None, match.groups()):
            check_name(name, f"{path}, line {number}: the name")
        if ".." in re.split(r"[/\\]", match[1]) and not Path(match[1]).is_absolute():
            raise InputError(f"{path}, line {number}: '{match[1]}' leaves the folder in which it is searched for; use "
                             "an absolute path")
        # Editors add blanks, Windows writes backslashes; systems write an accent in one letter or as another one.
        forms = dict.fromkeys(form for name in (match[1], match[1].lstrip(), match[1].lstrip().replace("\\", "/"))
                              for form in (name, *(unicodedata.normalize(kind, name) for kind in ("NFC", "NFD"))))
        candidates = [root / form for root in (*roots, path.parent, Path()) for form in forms]
        found = [candidate for candidate in candidates if candidate.is_file()]
        image = found[0] if found else None
        if len(found) > 1 and len({candidate.resolve() for candidate in found}) > 1:
            ambiguous.append(match[1])
        if image is None and absent is not None:
            absent.append(match[1])
            continue
        if image is None:
            raise InputError(f"{path}, line {number}: there is no image {match[1]} below "
                             f"{' or '.join(dict.fromkeys(map(str, (*roots, path.parent))))}; --data_root names "
                             "another place")
        if image in classes:
            repeated.append(match[1])
        without_class += [] if match[2] else [match[1]]
        name = unicodedata.normalize("NFC", match[2]) if match[2] else folder_name(image)
        if classes.setdefault(image, name) != name:
            raise InputError(f"{path}, line {number}: {match[1]} is of class '{name}' here and of class "
                             f"'{classes[image]}' in a line above")
    if not classes:
        raise InputError(f"list file {path} is empty" if not absent
                         else f"none of the images in list file {path} exists: {summarize_names(absent, 'image')}")
    longer = [name for image, name in classes.items() if name.startswith(f"{image.parent.name} ")]
    if len(longer) == len(classes):
        warn(f"{path}: all that follows an image's path is its class, here the name of its folder and more, as in "
             f"'{longer[0]}'; if the rest is no part of the class, remove it")
    if 0 < len(without_class) < len(classes):
        warn(f"{path}: {summarize_names(without_class, 'line')} name no class, unlike the others; with one label per "
             "image, the names of their folders are the classes")
    if repeated:
        warn(f"{path} repeats {summarize_names(repeated, 'image')}; each is used once")
    if ambiguous:
        warn(f"{path}: {summarize_names(ambiguous, 'image')} exist in several places; those below "
             f"{(*roots, path.parent)[0]} are used")
    return list(classes), classes


def folder_name(image: Path) -> str:
    """The name of an image's folder, its class in a list that names none."""
    return unicodedata.normalize("NFC", Path(os.path.abspath(image)).parent.name)


def write_image_list(path: Path, images: Sequence[Path], root: Path, classes: Sequence[str] | None = None) -> None:
    """Write a list for `read_image_list`: "path class", with paths below `root` relative to it.

    Args:
        classes: the class of each image; by default the name of its folder.
    """
    classes = classes or [folder_name(image) for image in images]
    lines = [f"{relative_name(root, image)} {name}\n" for image, name in zip(images, classes)]
    write_text(path, "".join(lines))


def fingerprints(images: Sequence[Path], like: Sequence[str] = ()) -> list[str]:
    """Identify image files regardless of their names and places: a digest of each file's whole content.

    Args:
        like: fingerprints to compare with; those of older checkpoints hold the size and the last 16 KB only.
    Raises:
        InputError: for a file that cannot be read.
    """
    of_tail = bool(like) and "-" in like[0]

    def digest(image: Path) -> str:
        try:
            with open(image, "rb") as file:
                if not of_tail:
                    return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 16384))
                return f"{size}-{zlib.crc32(file.read()):08x}"
        except OSError as error:
            raise InputError(f"image {image} cannot be read ({error.strerror})") from error

    with ThreadPoolExecutor() as pool:
        return list(tqdm(pool.map(digest, images), "identifying", len(images), unit="image", leave=False, delay=2))


def relative_name(root: Path, image: Path) -> str:
    """The path of an image relative to `root`, or its absolute path if it lies elsewhere."""
    root, image = Path(os.path.abspath(root)), Path(os.path.abspath(image))  # a linked folder stays below the root
    return (image.relative_to(root) if image.is_relative_to(root) else image).as_posix()
