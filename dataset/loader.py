"""Batches of images: the order in which they are trained on, decoding and transforming."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, SequentialSampler

from utils.distributed import rank, slice_of, world_size
from utils.errors import InputError, warn
from utils.run.graceful_shutdown import leave_signals_to_main_process

from .data import Split
from .transforms import UnreadableImage, load_image, read_size


class ImageDataset(Dataset):
    """The images of a split with their labels.

    Item i: the transformed image, uint8 (H, W, 3), and its labels, float32 (C,).
    Item (i, seed), which `ShuffledImages` asks for: the same, and three random numbers in [0, 1), float64 (3,), for
    `AugmentAndNormalize`. These and the transform's own random crop follow from the seed alone, in any process.

    Args:
        transform: what `load` returns -> uint8 tensor.
        load: path -> PIL image, or the pixels of an image that is resized already.
        skip_unreadable: warn of an image that cannot be decoded, replace it by a black one, and its labels by NaN.
    """

    def __init__(self, split: Split, transform: Callable, load: Callable[[Path], Image.Image | np.ndarray] = load_image,
                 skip_unreadable: bool = False):
        self.images, self.transform, self.load = split.images, transform, load
        self.skip_unreadable = skip_unreadable
        self.labels = torch.from_numpy(split.labels).float()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, item: int | tuple[int, int]) -> tuple[Tensor, ...]:
        if not isinstance(item, tuple):
            try:
                return self.transform(self.load(self.images[item])), self.labels[item]
            except UnreadableImage as error:
                if not self.skip_unreadable:
                    raise
                warn(str(error))
                return self.transform(Image.new("RGB", (1, 1))), torch.full_like(self.labels[item], torch.nan)
        index, seed = item
        image = self.load(self.images[index])
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self.transform(image), self.labels[index], torch.rand(3, dtype=torch.float64)


class ShuffledImages(Sampler):
    """All images in random order, each with a seed: (index, seed).

    The order is a function of (seed, epoch), an image's seed one of (seed, epoch, index): nothing random needs saving
    to resume a run, and any number of workers sees the same pixels. Set `epoch` before each pass.
    """

    def __init__(self, dataset: Dataset, seed: int):
        self.length, self.seed, self.epoch = len(dataset), seed, 1

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        seeds, order = rng.integers(2**63, size=self.length), rng.permutation(self.length)
        return zip(order.tolist(), seeds[order].tolist())


class SlicesOfBatches(BatchSampler):
    """Of each batch the slice of this process, one of several that train together; the whole batch for one alone. In
    place of an empty slice, of the last batch, comes the first image."""

    def __iter__(self) -> Iterator[list]:
        return (batch[slice_of(len(batch))] or batch[:1] for batch in super().__iter__())


class EveryNthBatch(BatchSampler):
    """The batches of this process, one of N that evaluate together: each image is scored once, in the batch in which
    one process would score it."""

    def __iter__(self) -> Iterator[list]:
        return islice(super().__iter__(), rank(), None, world_size())

    def __len__(self) -> int:
        return len(range(rank(), super().__len__(), world_size()))


def images_of_step(loader: DataLoader, step: int) -> list[Path]:
    """The files of a batch of shuffled images, of all processes; steps count from 1."""
    batch = next(islice(BatchSampler.__iter__(loader.batch_sampler), step - 1, None))
    return [loader.dataset.images[index] for index, _ in batch]


def build_loader(dataset: Dataset, batch_size: int, num_workers: int, device: torch.device, shuffle: bool = False,
                 seed: int = 0) -> DataLoader:
    """Batches of images, uint8 (B, H, W, 3), and labels, float32 (B, C); shuffled ones also have the random numbers of
    their images, float64 (B, 3). The last, partial batch is included. Of several processes, each gets its share."""
    if num_workers and len(dataset):
        with suppress(InputError):  # the worker that decodes it reports it
            read_size(dataset.images[0])  # in this process, which says once that a band is dropped
    # The loader would draw a seed for its workers, which nothing uses, from torch's own generator: give it another.
    batches = (SlicesOfBatches(ShuffledImages(dataset, seed), batch_size, drop_last=False) if shuffle
               else EveryNthBatch(SequentialSampler(dataset), batch_size, drop_last=False))
    return DataLoader(dataset, batch_sampler=batches,
                      num_workers=num_workers, pin_memory=device.type == "cuda", persistent_workers=num_workers > 0,
                      generator=torch.Generator(), worker_init_fn=leave_signals_to_main_process)
