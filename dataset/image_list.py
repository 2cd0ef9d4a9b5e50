"""List files: one image per line, "path class"; the class may be absent, and paths may hold spaces."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from utils.errors import InputError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")

# The path ends with the last image suffix that a blank or the end of the line follows.
_LINE = re.compile(rf"(.*(?:{'|'.join(map(re.escape, IMAGE_SUFFIXES))}))(?:\s+(.*))?", re.IGNORECASE)


def find_images(folder: Path) -> list[Path]:
    """All images below a folder, sorted by path; hidden files and folders are passed over."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
                  and not any(part.startswith(".") for part in path.relative_to(folder).parts))


def read_image_list(path: str | Path, roots: Sequence[Path]) -> list[Path]:
    """The images that a list file names, in its order.

    A relative path is looked up below each of `roots`, then beside the list file, then from the working
    directory.

    Raises:
        InputError: for a missing or empty list, a line without an image path, an image that is not there.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"list file {path} does not exist")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"list file {path} cannot be read as UTF-8 text: {error}") from error
    images = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if not match:
            raise InputError(f"{path}, line {number}: '{line.strip()}' names no image ({', '.join(IMAGE_SUFFIXES)})")
        places = [root / match[1] for root in (*roots, path.parent, Path())]
        image = next((place for place in places if place.is_file()), None)
        if image is None:
            raise InputError(f"{path}, line {number}: there is no image {match[1]} below "
                             f"{' or '.join(dict.fromkeys(str(place) for place in (*roots, path.parent)))}")
        images.append(image)
    if not images:
        raise InputError(f"list file {path} is empty")
    return images


def write_image_list(path: Path, images: Sequence[Path], root: Path) -> None:
    """Write a list that `read_image_list` reads: "path class", paths below `root` relative to it.

    The class is the name of the image's folder.
    """
    root = Path(os.path.abspath(root))
    lines = []
    for image in images:
        image = Path(os.path.abspath(image))  # not resolved: a linked folder stays below the root
        name = image.relative_to(root) if image.is_relative_to(root) else image
        lines.append(f"{name.as_posix()} {image.parent.name}\n")
    path.write_text("".join(lines), encoding="utf-8")
