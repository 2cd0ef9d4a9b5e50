"""From an image file to the network's input, as in the reference implementation's training and evaluation.

Images stay uint8 (H, W, 3), their layout in memory, until the device normalises a batch of them.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2

from utils.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Regardless of the file's name. Pillow reads more formats, but some of them, like EPS, by starting other programs.
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000")


def load_image(path: Path) -> Image.Image:
    """Decode an image as 8-bit RGB, also from gray, palette, RGBA (alpha is dropped) and 16-bit files.

    Raises:
        InputError: for a missing, truncated or unreadable file, for more than 178 million pixels, which may be a
            decompression bomb, for floating-point pixels, and for 16-bit files that use 12 bits or fewer, whose scale
            is unknown.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            has_16_bits = ";16" in str(image.tile)
            image.load()
            if image.mode.startswith("I"):
                return _from_16_bits(np.asarray(image), path)
            if image.mode == "F":
                raise InputError(f"{path} has floating-point pixels of unknown range; save it with 8 bits per channel")
            # Through RGBA, because Pillow warns of palettes with transparency.
            rgb = (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")
            if has_16_bits and 0 < max(high for _, high in rgb.getextrema()) < 16:  # Pillow keeps the upper byte
                raise InputError(f"{path} uses 12 of its 16 bits per channel or fewer, and would become black; save "
                                 "it with 8 bits per channel")
            return rgb
    except FileNotFoundError as error:
        raise InputError(f"image {path} does not exist") from error
    except (InputError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - on garbage, Pillow's decoders raise almost anything
        reason = "unknown image format" if isinstance(error, UnidentifiedImageError) else error
        raise InputError(f"image {path} cannot be decoded ({reason}); replace or remove it") from error


def _from_16_bits(gray: np.ndarray, path: Path) -> Image.Image:
    """16-bit gray to 8 bits by its upper byte; Pillow's own conversion clips everything above 255 to white."""
    if gray.max() > 65535 or 0 < gray.max() < 4096:
        raise InputError(f"{path} has values up to {gray.max()}, where 16 bits reach 65535, and would become black "
                         "or white; save it with 8 bits per channel")
    return Image.fromarray((gray.astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")


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
