"""Flips and rotation of a whole batch on the device that runs the network, with the very pixels that Pillow computes.

Beside a GPU this leaves the CPU's cores to decoding. (On a CPU alone it is slower than Pillow image by image, and still
negligible next to the network.) To match Pillow to the last pixel, coordinates are computed as Pillow does, in 16.16
fixed point. A source coordinate outside the image is black.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .transforms import Normalize

_ONE = 2**16  # 1.0 in fixed point
# The coordinates of so many pixels fit into a core's cache: 4 images of 512 x 512. A GPU takes 256 of these, in 1 GB.
_PIXELS_AT_ONCE, _PIXELS_AT_ONCE_ON_GPU = 2**20, 2**26


class AugmentAndNormalize(Normalize):
    """Random flips and rotation, then `Normalize`: uint8 (B, H, W, 3) and draws (B, 3) -> float32 (B, 3, H, W)."""

    def forward(self, images: Tensor, draws: Tensor) -> Tensor:
        return super().forward(random_flips_and_rotation(images, draws))


def random_flips_and_rotation(images: Tensor, draws: Tensor) -> Tensor:
    """Flip each image left to right and top to bottom (p 0.5 each), then rotate it by an angle uniform in [-90, 90]
    degrees: nearest neighbour, corners black.

    Args:
        images: uint8 (B, H, W, 3).
        draws: float64 (B, 3), uniform in [0, 1), on the host: the same on every device.
    """
    left_right, up_down, angle = draws.T
    return flip_and_rotate(images, left_right < 0.5, up_down < 0.5, 90 * (2 * angle - 1))


def all_views(images: Tensor) -> list[Tensor]:
    """The eight orientations of square images (B, C, H, W) taken from above: four rotations and their mirror images."""
    rotated = [torch.rot90(images, quarters, (2, 3)) for quarters in range(4)]
    return rotated + [view.flip(3) for view in rotated]


def flip_and_rotate(images: Tensor, left_right: Tensor, up_down: Tensor, degrees: Tensor) -> Tensor:
    """Flip, then rotate counter-clockwise about the centre.

    Args:
        images: uint8 (B, H, W, 3).
        left_right, up_down: (B,) bool, on the host.
        degrees: (B,) float64, on the host.
    """
    height, width = images.shape[1:3]
    steps = _source_steps(height, width, left_right, up_down, degrees)
    steps = steps.view(2, 3, len(images), 1, 1).to(images.device, non_blocking=True)
    pixels_at_once = _PIXELS_AT_ONCE if images.device.type == "cpu" else _PIXELS_AT_ONCE_ON_GPU
    at_once = min(len(images), max(1, pixels_at_once // (height * width)))
    first, rows, columns = (torch.arange(length, dtype=torch.int32, device=images.device)
                            for length in (at_once, height, width))
    rotated = torch.empty_like(images)
    for chunk, walk, out in zip(images.split(at_once), steps.split(at_once, 2), rotated.split(at_once)):
        # (B, H, W) each: the source's column and row, or one beyond the edge, where a frame of black pixels is added.
        x, y = (torch.add(start + by_row * rows[:, None], by_column * columns).bitwise_right_shift_(16).clamp_(-1, end)
                for (by_column, by_row, start), end in zip(walk, (width, height)))
        framed = F.pad(chunk, (0, 0, 1, 1, 1, 1))
        starts = (width + 3) + (height + 2) * (width + 2) * first[:len(chunk), None, None]
        pixels = y.mul_(width + 2).add_(x).add_(starts)
        torch.index_select(framed.view(-1, 3), 0, pixels.view(-1), out=out.view(-1, 3))
    return rotated


def _source_steps(height: int, width: int, left_right: Tensor, up_down: Tensor, degrees: Tensor) -> Tensor:
    """How Pillow walks through the source of each image: int32 (2, 3, B). For the source's column x and row y: their
    change per step to the right, their change per step down, and where they start."""
    cosine, sine = torch.cos(degrees * (math.pi / 180)), torch.sin(degrees * (math.pi / 180))
    centre_x, centre_y = width / 2, height / 2
    steps = []
    for right, down, centre, end, flips in (
            (cosine, -sine, centre_x - cosine * centre_x + sine * centre_y, width, left_right),
            (sine, cosine, centre_y - sine * centre_x - cosine * centre_y, height, up_down)):
        start = centre + (right + down) / 2  # the middle of the first pixel
        walk = torch.floor(torch.stack([right, down, start]) * _ONE + 0.5).to(torch.int32)
        # A flip reads from the other end. In fixed point, -1 - v has the same fraction of a pixel left.
        mirrored = torch.stack([-walk[0], -walk[1], end * _ONE - 1 - walk[2]])
        steps.append(torch.where(flips, mirrored, walk))
    return torch.stack(steps)
