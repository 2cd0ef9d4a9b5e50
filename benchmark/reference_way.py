"""A straightforward implementation of training, with which `loader_speed.py` and `epoch_speed.py` compare.

In every epoch, each image is decoded, resized, flipped, rotated and converted to a normalised float tensor in the
training process by torchvision's transforms; the losses are those of `row_by_row.py`; every step reads the loss.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from row_by_row import RowByRowLoss
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from dataset import IMAGENET_MEAN, IMAGENET_STD


class PerImage(Dataset):
    """Item i: the image, float32 (3, S, S), and its labels (C,)."""

    def __init__(self, images: list[Path], labels: np.ndarray, image_size: int):
        self.images, self.labels = images, torch.from_numpy(labels).float()
        self.transform = v2.Compose([
            v2.Resize((image_size, image_size), antialias=True), v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(),
            v2.RandomRotation(90), v2.ToImage(), v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        with Image.open(self.images[index]) as image:
            return self.transform(image.convert("RGB")), self.labels[index]


def train_one_epoch_plainly(model: nn.Module, dataset: PerImage, optimizer: torch.optim.Optimizer,
                            device: torch.device) -> float:
    """The mean loss of an epoch in batches of 16, loaded in the training process."""
    model.train()
    loss, losses = RowByRowLoss(), []
    for images, labels in DataLoader(dataset, 16, shuffle=True):
        images, labels = images.to(device), labels.to(device)
        total, _ = loss(*model(images), labels)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(total.item())
    return sum(losses) / len(losses)
