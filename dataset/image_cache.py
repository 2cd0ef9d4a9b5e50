"""Decoded images in one file that every process maps into its memory: decoded once, not in every epoch.

The file is one line of JSON (each image's fingerprint, height and width) followed by the pixels, uint8 (height, width,
3), image after image. All workers of all runs share the same pages of memory. An image is known by its content: a copy
of the data in another place, or another split with the same images, finds the same file.
"""

import hashlib
import json
import math
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import PIL
import torchvision
from PIL import Image
from tqdm import tqdm

from utils.acceleration import cores
from utils.errors import InputError, warn
from utils.run.atomic import atomic_write, lock

from .image_list import fingerprints
from .transforms import load_image, read_size, resize

# Increase it whenever the file's format changes, or the pixels that `load_image` decodes.
_FORMAT = 4


class ImageCache:
    """A finished cache file: gives the read-only pixels of a path, or a PIL image of them, as `load_image` does.

    Args:
        digests: path -> the image's fingerprint.
    Raises:
        ValueError, LookupError or TypeError: for a damaged file.
    """

    def __init__(self, file: Path, digests: dict[Path, str]):
        self.file, self.digests = file, digests
        with open(file, "rb") as stream:
            header = stream.readline()
        self._pixels = np.memmap(file, np.uint8, "r", offset=len(header))
        self._places, start = {}, 0
        for digest, height, width in json.loads(header):
            self._places[digest] = start, (height, width, 3)
            start += 3 * height * width
        if len(self._pixels) != start or not self._places.keys() >= set(digests.values()):
            raise ValueError("the file is incomplete")

    def pixels(self, path: Path) -> np.ndarray:
        start, shape = self._places[self.digests[path]]
        return self._pixels[start:start + math.prod(shape)].reshape(shape)

    def load(self, path: Path) -> Image.Image:
        return Image.fromarray(self.pixels(path))

    def __reduce__(self):
        """Another process opens the file itself: a pickled memory map would be a copy of all pixels."""
        return ImageCache, (self.file, self.digests)


def cached_images(images: Sequence[Path], image_size: int | None, folder: Path,
                  digests: Sequence[str] | None = None) -> Callable[[Path], Image.Image | np.ndarray]:
    """Return a reader for these images from a cache in `folder`, which is written first if it is missing or damaged.

    The reader returns PIL images, or for resized images their pixels: transforms leave arrays unchanged. If there is no
    room for the cache on the disk or in memory, warn and return `load_image`.

    Args:
        image_size: images are resized to image_size x image_size once; None caches the original size, for random
            crops.
        digests: the images' fingerprints, if they are known.
    Raises:
        InputError: for an image that is missing or cannot be decoded.
    """
    by_path = dict(zip(images, digests or fingerprints(images)))
    by_digest = dict(sorted((digest, image) for image, digest in by_path.items()))
    # Other versions may decode or resize differently.
    key = [str(_FORMAT), PIL.__version__, torchvision.__version__, *by_digest]
    name = hashlib.sha256("\n".join(key).encode()).hexdigest()[:12]
    file = folder / f"{f'{image_size}px' if image_size else 'original'}_{name}.cache"
    try:
        with _exclusive(folder):
            cache = _open(file, by_path)
            if cache is None:
                _write(file, image_size, by_digest)
                cache = ImageCache(file, by_path)
    except OSError as error:
        warn(f"the image cache {file} is not used, and images are decoded in every epoch: {error.strerror or error}; "
             "choose another folder with --cache DIR")
        return load_image
    print(f"image cache: {len(images)} images, {_in_bytes(file.stat().st_size)}, {file}")
    return cache.pixels if image_size else cache.load


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Let one process at a time look for a cache in the folder and write it: the next one finds it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, FileNotFoundError) as error:
        raise InputError(f"the folder {folder} for the image cache cannot be made ({error.strerror}); choose another "
                         "with --cache DIR") from error
    with ExitStack() as files:
        try:
            file = files.enter_context(open(folder / "lock", "wb"))
            if not lock(file):
                print(f"waiting for another run that is writing an image cache next to {file.name}")
                while not lock(file):
                    time.sleep(0.5)
        except OSError:  # a read-only folder, which may hold the cache
            pass
        yield


def _open(file: Path, digests: dict[Path, str]) -> ImageCache | None:
    """The cache, if it exists and is complete."""
    if not file.exists():
        return None
    try:
        return ImageCache(file, digests)
    except (OSError, ValueError, LookupError, TypeError):
        warn(f"the image cache {file} is damaged and will be rewritten")
        return None


def _write(file: Path, image_size: int | None, images: dict[str, Path]) -> None:
    """Write the cache of `images` by their fingerprints.

    Raises:
        OSError: if there is no room, or the folder cannot be written to.
        InputError: for an image that cannot be decoded.
    """
    shapes = [(image_size, image_size) if image_size else read_size(image)[::-1] for image in images.values()]
    header = json.dumps([[digest, *shape] for digest, shape in zip(images, shapes)]).encode() + b"\n"
    size = len(header) + sum(3 * height * width for height, width in shapes)
    _check_room(size, file.parent)
    print(f"image cache: decoding {len(images)} images once, {_in_bytes(size)} in {file}")
    with atomic_write(file) as stream:
        stream.write(header)
        for image, shape, pixels in zip(images.values(), shapes, _decode(list(images.values()), image_size)):
            if pixels.shape != (*shape, 3):
                raise InputError(f"image {image} changed while the cache was written; start again")
            stream.write(pixels)


def _decode(images: list[Path], image_size: int | None) -> Iterator[np.ndarray]:
    """The pixels of all images in their order, decoded on all cores: Pillow releases the interpreter's lock."""
    def pixels(path: Path) -> np.ndarray:
        image = load_image(path)
        return np.ascontiguousarray(resize(image_size)(image) if image_size else image)

    waiting = deque()  # a few, because decoded images are large
    with ThreadPoolExecutor(cores()) as pool:
        for path in tqdm(images, desc="image cache", unit="image", leave=False):
            waiting.append(pool.submit(pixels, path))
            if len(waiting) > 2 * cores():
                yield waiting.popleft().result()
        yield from (future.result() for future in waiting)


def _check_room(size: int, folder: Path) -> None:
    """Raise OSError if `size` bytes do not fit on the disk, or would not stay in memory."""
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OSError(f"it needs {_in_bytes(size)}, and {_in_bytes(free)} are free there")
    memory = _available_memory()
    if size > memory:
        raise OSError(f"it needs {_in_bytes(size)}, and {_in_bytes(memory)} of memory are available, so every "
                      "epoch would read it from the disk again")


def _available_memory() -> float:
    """Bytes that the system can provide without swapping; infinity if it does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return math.inf


def _in_bytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.2f} MB"
