"""From an image file to what the network reads, as the reference implementation trains and evaluates."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2

from utils.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def load_image(path: Path) -> Image.Image:
    """Decode an image as 8-bit RGB: gray, palette, RGBA (alpha dropped) and 16-bit files too.

    Raises:
        InputError: for a missing, truncated or unreadable file, for floating-point pixels, and for 16-bit files
            that hold 12 bits or fewer, whose scale is unknown.
    """
    try:
        with Image.open(path) as image:
            has_16_bits = ";16" in str(image.tile)
            image.load()
            if image.mode.startswith("I"):
                return _from_16_bits(np.asarray(image), path)
            if image.mode == "F":
                raise InputError(f"{path} has floating-point pixels of unknown range; save it with 8 bits per channel")
            # By way of RGBA, for Pillow warns of palettes with transparency.
            rgb = (image.convert("RGBA") if "transparency" in image.info else image).convert("RGB")
            if has_16_bits and 0 < max(high for _, high in rgb.getextrema()) < 16:  # Pillow keeps the upper byte
                raise InputError(f"{path} uses 12 of its 16 bits per channel or fewer, and would come out black; save "
                                 "it with 8 bits per channel")
            return rgb
    except FileNotFoundError as error:
        raise InputError(f"image {path} does not exist") from error
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        reason = "no known image format" if isinstance(error, UnidentifiedImageError) else error
        raise InputError(f"image {path} cannot be decoded ({reason}); replace it or take it away") from error


def _from_16_bits(gray: np.ndarray, path: Path) -> Image.Image:
    """16-bit gray to 8 bits by its upper byte; Pillow's own conversion clips everything above 255 to white."""
    if gray.max() > 65535 or 0 < gray.max() < 4096:
        raise InputError(f"{path} has values up to {gray.max()}, where 16 bits reach 65535, and would come out black "
                         "or white; save it with 8 bits per channel")
    return Image.fromarray((gray.astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")


def train_transform(image_size: int, single_label: bool = False) -> v2.Compose:
    """Resize, flip, rotate: PIL image -> uint8 (3, image_size, image_size). The corners of a rotation are black.

    For a single label, a random part of the image (8 to 100 % of its area) is resized: the scene still is what it
    is, while one of several labels could be cut off.
    """
    resize = v2.RandomResizedCrop if single_label else v2.Resize
    return v2.Compose([
        resize((image_size, image_size), interpolation=InterpolationMode.BILINEAR, antialias=True),
        v2.RandomHorizontalFlip(),
        v2.RandomVerticalFlip(),
        v2.RandomRotation(90, InterpolationMode.NEAREST),
        v2.PILToTensor(),
    ])


def eval_transform(image_size: int) -> v2.Compose:
    """Resize: PIL image -> uint8 (3, image_size, image_size)."""
    return v2.Compose([
        v2.Resize((image_size, image_size), InterpolationMode.BILINEAR, antialias=True),
        v2.PILToTensor(),
    ])


class Normalize(nn.Module):
    """uint8 (B, 3, H, W) -> float32 with the given channel means and deviations (of values in [0, 1]).

    On the device and per batch, so that workers hand over bytes; channels last, which convolutions prefer.
    """

    def __init__(self, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD):
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        images = images.to(torch.float32, memory_format=torch.channels_last)
        return (images - self.mean) / self.std
