"""Flips and rotation of a whole batch, on the device where the network runs: the very pixels that Pillow would give.

Next to a GPU this takes nothing from the cores, which have images to decode. (On a CPU alone it is slower than Pillow
image by image, and still next to nothing beside the network.) To be equal to the last pixel, coordinates are computed
as Pillow does, in 16.16 fixed point. A source coordinate outside the image is black.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ONE = 2**16  # 1.0 in fixed point
# Whose coordinates a core's cache holds: 4 images of 512 x 512.
_PIXELS_AT_ONCE = 2**20


class RandomFlipsAndRotation(nn.Module):
    """Each image of a batch is flipped left to right and top to bottom (p 0.5 each), then turned by an angle uniform
    in [-90, 90] degrees: nearest neighbour, corners black.

    The draws come from a generator of its own, on the host: they are the same on every device, with any number of
    workers and whatever else the network draws.
    """

    def __init__(self, seed: int = 0):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, H, W, 3) -> the same, on the same device."""
        left_right, up_down, turn = torch.rand(3, len(images), dtype=torch.float64, generator=self.generator)
        return flip_and_rotate(images, left_right < 0.5, up_down < 0.5, 90 * (2 * turn - 1))


def all_views(images: Tensor) -> list[Tensor]:
    """The eight ways to lay down a picture taken from above: square images (B, C, H, W), turned by quarters, and the
    mirror images of these."""
    turned = [torch.rot90(images, quarters, (2, 3)) for quarters in range(4)]
    return turned + [view.flip(3) for view in turned]


def flip_and_rotate(images: Tensor, left_right: Tensor, up_down: Tensor, degrees: Tensor) -> Tensor:
    """Flip, then turn counter-clockwise about the centre.

    Args:
        images: uint8 (B, H, W, 3).
        left_right, up_down: (B,) bool, on the host.
        degrees: (B,) float64, on the host.
    """
    height, width = images.shape[1:3]
    steps = _source_steps(height, width, left_right, up_down, degrees)
    steps = steps.view(2, 3, len(images), 1, 1).to(images.device, non_blocking=True)
    at_once = max(1, _PIXELS_AT_ONCE // (height * width))
    first, rows, columns = (torch.arange(length, dtype=torch.int32, device=images.device)
                            for length in (at_once, height, width))
    turned = torch.empty_like(images)
    for part, walk, out in zip(images.split(at_once), steps.split(at_once, 2), turned.split(at_once)):
        # (B, H, W) each: the source's column and row, or one beyond the edge, where a frame of black pixels is put.
        x, y = (torch.add(start + by_row * rows[:, None], by_column * columns).bitwise_right_shift_(16).clamp_(-1, end)
                for (by_column, by_row, start), end in zip(walk, (width, height)))
        framed = F.pad(part, (0, 0, 1, 1, 1, 1))
        starts = (width + 3) + (height + 2) * (width + 2) * first[:len(part), None, None]
        pixels = y.mul_(width + 2).add_(x).add_(starts)
        torch.index_select(framed.view(-1, 3), 0, pixels.view(-1), out=out.view(-1, 3))
    return turned


def _source_steps(height: int, width: int, left_right: Tensor, up_down: Tensor, degrees: Tensor) -> Tensor:
    """How Pillow walks through the source, for each image: int32 (2, 3, B), for the column x and the row y in it what
    they change by in a step to the right, in a step down, and where they start."""
    cosine, sine = torch.cos(degrees * (math.pi / 180)), torch.sin(degrees * (math.pi / 180))
    centre_x, centre_y = width / 2, height / 2
    steps = []
    for right, down, centre, end, flips in (
            (cosine, -sine, centre_x - cosine * centre_x + sine * centre_y, width, left_right),
            (sine, cosine, centre_y - sine * centre_x - cosine * centre_y, height, up_down)):
        start = centre + (right + down) / 2  # the middle of the first pixel
        walk = torch.floor(torch.stack([right, down, start]) * _ONE + 0.5).to(torch.int32)
        # A flip reads from the other end. In fixed point, -1 - v has the same fraction of a pixel to go.
        mirrored = torch.stack([-walk[0], -walk[1], end * _ONE - 1 - walk[2]])
        steps.append(torch.where(flips, mirrored, walk))
    return torch.stack(steps)
