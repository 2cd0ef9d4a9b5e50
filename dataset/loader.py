"""Batches of images: decoding, transforming and the order in which they are trained on."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from utils.run.graceful_shutdown import leave_signals_to_main_process

from .data import Split
from .transforms import load_image


class ImageDataset(Dataset):
    """Item i: the transformed image, uint8 (H, W, 3), and its labels, float32 (C,).

    Item (i, seed), as `ShuffledImages` asks for: what the transform draws with torch comes from this seed, in whatever
    process, and leaves torch's own generator as it was.

    Args:
        transform: what `load` gives -> uint8 tensor.
        load: path -> PIL image, or the pixels of an image that is resized already.
    """

    def __init__(self, split: Split, transform: Callable, load: Callable[[Path], Image | np.ndarray] = load_image):
        self.images, self.transform, self.load = split.images, transform, load
        self.labels = torch.from_numpy(split.labels).float()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, item: int | tuple[int, int]) -> tuple[Tensor, Tensor]:
        index, seed = item if isinstance(item, tuple) else (item, None)
        image = self.load(self.images[index])
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.default_generator.manual_seed(seed)
            return self.transform(image), self.labels[index]


class ShuffledImages(RandomSampler):
    """All images in random order, each with a seed: (index, seed), the same with any number of workers.

    start: how many images of the next pass to pass over, as trained on already. order: the indices of this pass.
    """

    def __init__(self, dataset: Dataset, seed: int):
        super().__init__(dataset, generator=torch.Generator().manual_seed(seed))
        self.start, self.order = 0, []
        self._generators = [self.generator, torch.Generator().manual_seed(seed)]  # of the order, of the seeds

    def __iter__(self) -> Iterator[tuple[int, int]]:
        self.order = list(super().__iter__())
        seeds = torch.randint(2**63 - 1, (len(self.order),), generator=self._generators[1]).tolist()
        yield from list(zip(self.order, seeds))[self.start:]

    def get_state(self) -> list[Tensor]:
        """What decides the next pass."""
        return [generator.get_state() for generator in self._generators]

    def set_state(self, state: list[Tensor]) -> None:
        """Go back to `get_state`."""
        for generator, own in zip(self._generators, state, strict=True):
            generator.set_state(own)


def build_loader(dataset: Dataset, batch_size: int, num_workers: int, device: torch.device, shuffle: bool = False,
                 seed: int = 0) -> DataLoader:
    """Batches of (uint8 images (B, H, W, 3), float32 labels (B, C)); the last, partial batch is used too.

    The order of shuffled images, and what is drawn for them, depend on the seed alone.
    """
    # The loader draws a seed for its workers, which nothing uses: not from torch's own generator.
    return DataLoader(dataset, batch_size, sampler=ShuffledImages(dataset, seed) if shuffle else None,
                      num_workers=num_workers, pin_memory=device.type == "cuda", persistent_workers=num_workers > 0,
                      generator=torch.Generator(), worker_init_fn=leave_signals_to_main_process)
