"""Batches: complete, and a function of the seed, the epoch and the image alone."""

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import let_go
from dataset import (
    ImageDataset,
    ShuffledImages,
    Split,
    build_loader,
    eval_transform,
    images_of_step,
    load_data,
    random_flips_and_rotation,
    train_transform,
)
from utils.errors import InputError

CPU = torch.device("cpu")


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_uses_the_last_partial_batch_and_names_a_broken_image(ucm, workers):
    split = load_data("UCM_Multilabel", ucm).splits["test"]
    loader = build_loader(ImageDataset(split, eval_transform(64)), 4, workers, CPU)
    batches = list(loader)
    assert [images.shape for images, _ in batches] == [(4, 64, 64, 3), (2, 64, 64, 3)]
    assert batches[0][0].dtype == torch.uint8
    np.testing.assert_array_equal(torch.cat([labels for _, labels in batches]), split.labels)
    split.images[-1].write_bytes(b"broken")
    with pytest.raises(InputError) as error:
        list(loader)
    assert str(error.value).startswith(f"image {split.images[-1]} cannot be decoded") and "\n" not in str(error.value)
    del loader
    let_go(error.value)


@pytest.mark.parametrize("single_label", [False, True])
def test_pixels_are_a_function_of_seed_epoch_and_image(ucm, single_label):
    """Order, flips, angle and random crop: the same with any number of workers, and whatever torch drew before."""
    split = load_data("UCM_Multilabel", ucm).splits["train"]

    def train(seed, epochs, workers=0):
        torch.manual_seed(workers)
        loader = build_loader(ImageDataset(split, train_transform(64, single_label)), 8, workers, CPU, True, seed)
        pixels = []
        for epoch in epochs:
            loader.batch_sampler.sampler.epoch = epoch
            pixels.append(torch.cat([random_flips_and_rotation(images, draws) for images, _, draws in loader]))
        return pixels

    first, second = train(1, [1, 2])
    assert all(map(torch.equal, (first, second), train(1, [1, 2], workers=2)))
    assert torch.equal(train(1, [2])[0], second)  # without the epoch before
    assert not torch.equal(first, second) and not torch.equal(train(2, [1])[0], first)


def test_each_epoch_has_its_order_and_each_image_its_seed():
    images = ShuffledImages(range(20), 3)
    first, repeated = list(images), list(images)
    images.epoch = 2
    second = list(images)
    assert first == repeated and len(images) == 20
    assert all(sorted(index for index, _ in epoch) == list(range(20)) for epoch in (first, second))
    assert [index for index, _ in first] != [index for index, _ in second]
    assert len({seed for _, seed in first + second}) == 40


def test_drawing_leaves_the_generator_of_the_network_alone(ucm):
    dataset = ImageDataset(load_data("UCM_Multilabel", ucm).splits["train"], train_transform(64, single_label=True))
    torch.manual_seed(5)
    state = torch.get_rng_state()
    image, labels, draws = dataset[0, 7]
    assert torch.equal(torch.get_rng_state(), state)
    assert image.shape == (64, 64, 3) and labels.shape == (4,) and draws.shape == (3,) and draws.dtype == torch.float64
    assert torch.equal(dataset[0, 7][0], image) and not torch.equal(dataset[0, 8][0], image)


def test_the_images_of_a_step_are_named(ucm):
    split = load_data("UCM_Multilabel", ucm).splits["train"]
    loader = build_loader(ImageDataset(split, lambda image: 0), 8, 0, CPU, True, 4)
    files = [split.images[index] for index, _ in loader.batch_sampler.sampler]
    assert [images_of_step(loader, step) for step in (1, 2, 3)] == [files[:8], files[8:16], files[16:]]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dropped_band_is_said_once(tmp_path, workers, capfd, monkeypatch):
    monkeypatch.setattr("utils.errors._topics", set())
    images = [tmp_path / f"{number}.png" for number in range(8)]
    for number, image in enumerate(images):
        Image.new("RGBA", (64, 64), (number, 0, 0, 9)).save(image)
    list(build_loader(ImageDataset(Split(images, np.eye(8, dtype=np.uint8)), eval_transform(64)), 2, workers,
                      torch.device("cpu")))
    assert capfd.readouterr().err.count("near infrared") == 1
