"""One epoch of training, and prediction: the two loops of any classifier."""

import time
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from .acceleration import autocast
from .errors import InputError

# The progress bar reads the losses off the device this seldom: each reading makes the host wait.
_SECONDS_BETWEEN_READINGS = 0.5

_ACTIVATIONS = {"sigmoid": torch.sigmoid, "softmax": lambda logits: torch.softmax(logits, dim=1)}


def train_one_epoch(model: nn.Module, loader: Iterable, loss: nn.Module, optimizer: torch.optim.Optimizer,
                    prepare: Callable[[Tensor], Tensor], device: torch.device, title: str,
                    amp: bool = False) -> dict[str, float]:
    """Train over all batches once. The device is only asked for a value once in a while, for the progress bar.

    Args:
        model: images (B, 3, H, W) -> (features, logits).
        loader: batches of (uint8 images (B, H, W, 3), labels (B, C)).
        loss: (features, logits, labels) -> (total, parts).
        prepare: a batch's bytes on the device -> what the model takes.
        title: shown before the progress bar.
        amp: run the model in bfloat16 where that is safe.
    Returns:
        "loss" and the loss's parts, means over the steps, and "images_per_second".
    """
    model.train()
    sums: dict[str, Tensor] = {}
    images_seen, start, last_reading = 0, time.perf_counter(), 0.0
    with tqdm(total=len(loader.dataset), desc=title, unit="image", leave=False) as bar:
        for step, (images, labels) in enumerate(loader, start=1):
            images = prepare(images.to(device, non_blocking=True))
            labels = labels.to(device, non_blocking=True)
            with autocast(device, amp):
                features, logits = model(images)
            total, parts = loss(features, logits, labels)
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            optimizer.step()

            for name, value in {"loss": total.detach(), **parts}.items():
                sums[name] = sums[name] + value if name in sums else value
            images_seen += len(images)
            bar.update(len(images))
            if time.perf_counter() - last_reading > _SECONDS_BETWEEN_READINGS:
                bar.set_postfix({name: f"{value.item() / step:.3f}" for name, value in sums.items()}, refresh=False)
                last_reading = time.perf_counter()
        means = {name: value.item() / step for name, value in sums.items()}
    return means | {"images_per_second": images_seen / (time.perf_counter() - start)}


@torch.inference_mode()
def predict(model: nn.Module, loader: Iterable, prepare: Callable[[Tensor], Tensor], device: torch.device,
            title: str, activation: str = "sigmoid", amp: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of all images, in the loader's order: (N, C) float32 each.

    Args as `train_one_epoch`, and:
        activation: what makes scores of logits, "sigmoid" or, after softmax cross-entropy, "softmax".
    Raises:
        InputError: where a score is NaN, as after a training that diverged.
    """
    model.eval()
    scores, labels = [], []
    with tqdm(total=len(loader.dataset), desc=title, unit="image", leave=False) as bar:
        for images, batch_labels in loader:
            images = prepare(images.to(device, non_blocking=True))
            with autocast(device, amp):
                _, logits = model(images)
            scores.append(_ACTIVATIONS[activation](logits.float()))
            labels.append(batch_labels)
            bar.update(len(images))
    all_scores = torch.cat(scores).cpu().numpy()
    if np.isnan(all_scores).any():
        raise InputError("the network's scores are NaN: the training diverged; start again with a smaller --lr")
    return all_scores, torch.cat(labels).numpy()


def learning_rate(epoch: int, max_epoch: int, lr: float) -> float:
    """The recipe's schedule: x 0.1 from epoch 0.5 * max_epoch on (counted from 1, that one included), and x 0.5
    more from 0.75 * max_epoch on."""
    return lr * (0.1 if epoch >= 0.5 * max_epoch else 1) * (0.5 if epoch >= 0.75 * max_epoch else 1)
