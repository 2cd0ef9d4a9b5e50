"""Flips and rotation: Pillow's pixels, and draws that are uniform."""

import numpy as np
import pytest
import torch
from PIL import Image

from dataset import AugmentAndNormalize, Normalize, random_flips_and_rotation
from dataset.augment import flip_and_rotate


@pytest.mark.parametrize("height, width", [(64, 64), (65, 65), (224, 224), (33, 70), (1, 1), (2, 5)])
def test_flips_and_rotation_are_pillows_to_the_last_pixel(height, width):
    rng = np.random.default_rng(height)
    angles = np.array([0, 90, -90, 45, -45, 30, -30, 60, 1e-9, 89.999999, *rng.uniform(-90, 90, 30)])
    images = rng.integers(0, 256, (len(angles), height, width, 3), dtype=np.uint8)
    flips = rng.random((2, len(angles))) < 0.5
    assert flips.any(1).all() and not flips.all(1).any()
    rotated = flip_and_rotate(torch.from_numpy(images), *torch.from_numpy(flips), torch.from_numpy(angles))
    for image, angle, left_right, up_down, result in zip(images, angles, *flips, rotated):
        pillow = Image.fromarray(image)
        pillow = pillow.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if left_right else pillow
        pillow = pillow.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if up_down else pillow
        np.testing.assert_array_equal(result, np.asarray(pillow.rotate(angle, Image.Resampling.NEAREST)))


def test_flips_and_angles_of_uniform_draws(monkeypatch):
    """p 0.5 each, independent, and angles uniform in [-90, 90]."""
    arguments = {}
    monkeypatch.setattr("dataset.augment.flip_and_rotate", lambda images, *flips: arguments.update(flips=flips))
    random_flips_and_rotation(torch.zeros(4000, 1, 1, 3), torch.rand(4000, 3, dtype=torch.float64))
    left_right, up_down, degrees = arguments["flips"]
    assert all(abs(flips.double().mean() - 0.5) < 0.03 for flips in (left_right, up_down, left_right == up_down))
    histogram = torch.histc(degrees, 6, -90, 90)
    assert histogram.sum() == 4000 and ((histogram - 4000 / 6).abs() < 100).all()
    assert abs(degrees[left_right].mean()) < 5 and abs(degrees[up_down].mean()) < 5


def test_augmented_images_are_whole_and_rotated():
    images = torch.full((40, 64, 64, 3), 200, dtype=torch.uint8)
    draws = torch.rand(40, 3, dtype=torch.float64)
    augmented = random_flips_and_rotation(images, draws)
    assert augmented.shape == images.shape and augmented.dtype == torch.uint8
    assert (augmented[:, 0, 0].sum(1) == 0).sum() > 20 and (augmented[:, 32, 32] == 200).all()  # black corners
    assert len({image.sum().item() for image in augmented}) > 20  # each by its own angle
    assert torch.equal(AugmentAndNormalize()(images, draws), Normalize()(augmented))
