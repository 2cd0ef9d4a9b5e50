"""From an image file to the network's input, as in the reference implementation's training and evaluation.

Images stay uint8 (H, W, 3), their layout in memory, until the device normalises a batch of them.
"""

import math
import re
import shlex
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from multiprocessing import parent_process
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COLORMAP,
    COMPRESSION,
    EXTRASAMPLES,
    PHOTOMETRIC_INTERPRETATION,
    SAMPLEFORMAT,
    SAMPLESPERPIXEL,
    STRIPOFFSETS,
    TILEOFFSETS,
    YCBCRSUBSAMPLING,
    ImageFileDirectory_v2,
)
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2

from utils.errors import InputError, UnreadableImage, advice, warn_once

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Regardless of the file's name. Pillow reads more formats, but some of them by starting other programs, like EPS, or
# without telling the number of bits, like JPEG 2000. MPO is a JPEG file with more images behind the first.
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP")

_JPEG_END = b"\xff\xd9"
_JPEG_MARK = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # none of these lies within the data of a scan

_MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}  # 8 bits per channel, or 1
_PHOTOMETRICS = {0: "gray", 1: "gray", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr"}
_TIFF_BANDS = {("gray", 1), ("palette", 1), ("RGB", 3), ("RGB", 4), ("CMYK", 4), ("YCbCr", 3)}
_SAMPLE_FORMATS = {1: "uint", 2: "int", 3: "float", 4: "uint", 5: "complex int", 6: "complex float"}
_NEW_SUBFILE_TYPE, _MASK = 254, 4  # a TIFF page's tag, and its bit for a mask of another page

warnings.filterwarnings("ignore", module=r"PIL\.")  # of EXIF data and of sizes, without the file's name


def load_image(path: Path) -> Image.Image:
    """Decode an image of 8 bits per channel as RGB: gray, palette, RGB, RGBA, CMYK or YCbCr, rotated as its EXIF
    orientation says. An alpha or other fourth band is dropped, with one warning per program. Of a TIFF with several
    pages, the first of the largest size.

    Raises:
        UnreadableImage: for a missing, truncated or unreadable file; for other bands and types, whose range is
            unknown; for pages of one size with different content; and for more than 178 million pixels, which may be a
            decompression bomb.
    """
    with _opened(path) as image:
        image.load()
        image = ImageOps.exif_transpose(image)
        # Through RGBA, because Pillow warns of palettes with transparency.
        return (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")


def read_size(path: Path) -> tuple[int, int]:
    """The width and height of what `load_image` returns; most formats tell it without being decoded.

    Raises:
        UnreadableImage: as `load_image`.
    """
    with _opened(path) as image:
        if image.format == "TIFF":  # older versions of Pillow apply its orientation when they load it
            image.load()
        size = image.size
        is_sideways = image.format != "TIFF" and image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
        return size[::-1] if is_sideways else size


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The file at its right page, checked to be what `load_image` decodes."""
    is_tiff = False
    try:
        with open(path, "rb") as file:
            is_tiff = file.read(4) in TiffImagePlugin.PREFIXES
            file.seek(0)
            try:
                image = Image.open(file, formats=FORMATS)
            except UnidentifiedImageError:
                if is_tiff:
                    _check_bands(_tiff_tags(file), path)
                raise
            if image.format == "TIFF":
                _seek_largest_page(image, path)
                _check_bands(image.tag_v2, path)
                areas = sum((right - left) * (lower - upper) for _, (left, upper, right, lower), *_ in image.tile)
                if areas % math.prod(image.size) or not areas:
                    raise ValueError("some strips or tiles are missing")
            elif image.format != "BMP" and ";16" in str(image.tile) or image.mode not in _MODES:
                kind = "uint16" if "16" in str(image.tile) else f"mode {image.mode}"
                raise UnreadableImage(_describe_bands(path, len(image.getbands()), kind))
            elif image.format != "MPO" and getattr(image, "is_animated", False):
                raise UnreadableImage(f"{path} is an animation of {image.n_frames} frames; save the one to use")
            elif image.format in ("JPEG", "MPO"):  # an interrupted copy may end in zeros, which the decoder fills in
                file.seek(0)
                if not _has_end(file.read()):
                    raise ValueError("the end of its data is missing")
            elif image.format == "PNG":
                if image.mode == "P" and image.palette is None:
                    raise ValueError("it has no palette")
                image.verify()  # the checksums of the pixels, which Pillow decodes without
                file.seek(0)
                image = Image.open(file, formats=FORMATS)
            bands = image.tag_v2.get(SAMPLESPERPIXEL, 1) if image.format == "TIFF" else len(image.getbands())
            if bands in (2, 4) and image.mode != "CMYK" and parent_process() is None:  # else each worker would say it
                warn_once("dropped band", f"{path} has a band of alpha or near infrared; such bands are dropped")
            yield image
    except FileNotFoundError as error:
        raise UnreadableImage(f"image {path} does not exist") from error
    except (InputError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - on garbage, Pillow's decoders raise almost anything
        if getattr(error, "errno", None) is not None:  # the system's; Pillow's have none
            raise UnreadableImage(f"image {path} cannot be read ({error.strerror}){advice(error)}") from error
        unknown = f"unknown {'kind of TIFF' if is_tiff else 'image format'}"
        reason = unknown if isinstance(error, UnidentifiedImageError) else error
        raise UnreadableImage(f"image {path} cannot be decoded ({reason}); {'convert, ' * is_tiff}replace or remove "
                              "it") from error


def _has_end(jpeg: bytes) -> bool:
    """Whether the image ends with its mark, whatever is appended to it, such as a phone's video."""
    position = 0 if jpeg.endswith(_JPEG_END) else 2
    while position:
        mark = _JPEG_MARK.search(jpeg, position)
        if mark is None:
            return False
        length = int.from_bytes(jpeg[mark.end():mark.end() + 2])
        position = 0 if mark[0] == _JPEG_END else mark.end() + length
    return True


def _tiff_tags(file: BinaryIO) -> ImageFileDirectory_v2:
    """The tags of the first page of a TIFF that Pillow does not open."""
    file.seek(0)
    head = file.read(8)
    if head[:4] == b"MM\0+":
        raise UnreadableImage(f"image {file.name} cannot be decoded (BigTIFF in big-endian byte order); convert it: "
                              f"gdal_translate {shlex.quote(file.name)} NEW.tif")
    tags = ImageFileDirectory_v2(head + (file.read(8) if 43 in head[2:4] else b""))
    file.seek(tags.next)
    tags.load(file)
    return tags


def _check_bands(tags: ImageFileDirectory_v2, path: Path) -> None:
    """Raise UnreadableImage for a TIFF's page of other bands or types than `load_image` decodes."""
    bands, bits = tags.get(SAMPLESPERPIXEL, 1), max(tags.get(BITSPERSAMPLE, (1,)))
    kinds = {_SAMPLE_FORMATS.get(kind, "unknown type") for kind in tags.get(SAMPLEFORMAT, (1,))}
    photometric = _PHOTOMETRICS.get(tags.get(PHOTOMETRIC_INTERPRETATION, 0), "other colours")
    has_alpha = bands == 2 and tags.get(EXTRASAMPLES) in ((1,), (2,))
    is_old_jpeg = tags.get(COMPRESSION) == 6  # only the JPEG data inside tell the bands
    if bits > 8 or kinds != {"uint"} or not ((photometric, bands - has_alpha) in _TIFF_BANDS or is_old_jpeg):
        raise UnreadableImage(_describe_bands(path, bands, f"{'/'.join(sorted(kinds))}{bits}", photometric))
    if photometric == "RGB" and bands == 4 and tags.get(EXTRASAMPLES) == (1,):  # by which Pillow divides the colours
        raise UnreadableImage(f"{path} has a fourth band that is marked as premultiplied alpha; leave it out: "
                              f"gdal_translate -b 1 -b 2 -b 3 {shlex.quote(str(path))} NEW.tif")
    if photometric == "palette" and 0 < max(tags.get(COLORMAP, (0,))) < 256:  # Pillow would divide it by 256
        raise UnreadableImage(f"{path} has a palette of 8 bits, but a TIFF's has 16; convert it: "
                              f"gdal_translate -expand rgb {shlex.quote(str(path))} NEW.tif")
    if photometric == "YCbCr" and tags.get(COMPRESSION, 1) == 1 and tags.get(YCBCRSUBSAMPLING, (2, 2)) != (1, 1):
        raise UnreadableImage(f"{path} has fewer pixels of colour than of brightness, uncompressed; convert it: "
                              f"gdal_translate -co PHOTOMETRIC=RGB {shlex.quote(str(path))} NEW.tif")
    if 0 in (*tags.get(STRIPOFFSETS, ()), *tags.get(TILEOFFSETS, ())) and not is_old_jpeg:
        raise UnreadableImage(f"{path} is a sparse TIFF, which leaves out empty parts; write it whole: "
                              f"gdal_translate {shlex.quote(str(path))} NEW.tif")


def _describe_bands(path: Path, bands: int, kind: str, photometric: str = "") -> str:
    colours = f"{' -b RED -b GREEN -b BLUE' * (bands not in (1, 3, 4))}{' -co PHOTOMETRIC=RGB' * (bands > 1)}"
    scale = " -ot Byte -scale LOW HIGH 0 255" * (kind != "uint8")
    found = f"{bands} band{'s' * (bands > 1)} of {kind}{f' ({photometric})' * bool(photometric)}"
    return (f"{path} has {found}, but images need 8 bits per channel, in gray, palette, RGB, RGBA, CMYK or YCbCr; "
            "convert all images in the same way: "
            f"gdal_translate{scale}{colours} {shlex.quote(str(path))} NEW.tif")


def _seek_largest_page(image: Image.Image, path: Path) -> None:
    """Seek the first page of the largest size, which has the others as its thumbnails or overviews.

    Raises:
        UnreadableImage: if another page of that size has different content.
    """
    def is_mask() -> bool:
        return bool(image.tag_v2.get(_NEW_SUBFILE_TYPE, 0) & _MASK)

    sizes = {}
    for page in count():
        try:
            image.seek(page)
        except EOFError:
            break
        except SyntaxError:  # also for masks, as GDAL writes them
            if not is_mask():
                raise
        if not is_mask():
            sizes[page] = image.size
    largest = max(sizes.values(), key=math.prod)
    pages = [page for page, size in sizes.items() if math.prod(size) == math.prod(largest)]
    contents = set()
    for page in pages if len(pages) > 1 else ():
        image.seek(page)
        contents.add(image.convert("RGB").tobytes())
    if len(contents) > 1:
        raise UnreadableImage(f"{path} has {len(pages)} pages of {largest[0]} x {largest[1]} pixels with different "
                              "content; save each as a file")
    image.seek(pages[0])


def resize(image_size: int) -> v2.Resize:
    """PIL image -> PIL image of image_size x image_size: bilinear, antialiased."""
    return v2.Resize((image_size, image_size), InterpolationMode.BILINEAR, antialias=True)


def train_transform(image_size: int, single_label: bool = False) -> v2.Compose:
    """PIL image -> uint8 (image_size, image_size, 3), the input of `AugmentAndNormalize`.

    With one label per image, a random crop (8 to 100 % of the area) is resized: the scene stays the same, while one of
    several labels could be cut off.
    """
    crop = v2.RandomResizedCrop((image_size, image_size), interpolation=InterpolationMode.BILINEAR, antialias=True)
    return v2.Compose([crop if single_label else resize(image_size), _to_bytes])


def eval_transform(image_size: int) -> v2.Compose:
    """PIL image -> uint8 (image_size, image_size, 3)."""
    return v2.Compose([resize(image_size), _to_bytes])


def _to_bytes(image: Image.Image | np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(image))


class Normalize(nn.Module):
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W), standardised per channel; mean and std are those of values in [0, 1].

    This is done per batch on the device, so that workers transfer bytes. The memory layout stays that of an image,
    channels last, which convolutions prefer.
    """

    def __init__(self, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD):
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(mean))
        self.register_buffer("std", 255 * torch.tensor(std))

    def forward(self, images: Tensor) -> Tensor:
        # By rows of pixels: on a CPU, broadcasting over three values would take five times as long.
        width = images.shape[2]
        rows = images.flatten(2).to(torch.float32).sub_(self.mean.repeat(width)).div_(self.std.repeat(width))
        return rows.view(images.shape).permute(0, 3, 1, 2)
