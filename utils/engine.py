"""One epoch of training, and prediction: the two loops of any classifier."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from tqdm import tqdm

from utils.acceleration import autocast
from utils.errors import InputError
from utils.run.graceful_shutdown import stop_if_requested, stop_requested

# The progress bar reads the losses off the device this seldom: each reading makes the host wait.
_SECONDS_BETWEEN_READINGS = 0.5

_ACTIVATIONS = {"sigmoid": torch.sigmoid, "softmax": lambda logits: torch.softmax(logits, dim=-1)}


@dataclass
class Progress:
    """How far an epoch got: the steps that are done, their images and seconds, and the sums of the loss and its parts
    over them. An epoch that was interrupted goes on from here, with the batches that are left."""

    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    sums: dict[str, Tensor] = field(default_factory=dict)


class Diverged(InputError):
    """The training led to no numbers; going on with it would do so again."""


class NonFinite(Diverged):
    """A loss or a gradient is NaN or infinite. step: in the epoch, from 1. values: the loss, its parts, and the
    gradient's norm."""

    def __init__(self, step: int, values: dict[str, float]):
        super().__init__(f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
        self.step, self.values = step, values


def train_one_epoch(model: nn.Module, loader: Iterable, loss: nn.Module, optimizer: torch.optim.Optimizer,
                    prepare: Callable[[Tensor], Tensor], device: torch.device, title: str,
                    amp: bool = False, progress: Progress | None = None) -> dict[str, float]:
    """Train over all batches once. The device is only asked for a value once in a while, for the progress bar.

    Args:
        model: images (B, 3, H, W) -> (features, logits).
        loader: batches of (uint8 images (B, H, W, 3), labels (B, C)).
        loss: (features, logits, labels) -> (total, parts).
        prepare: a batch's bytes on the device -> what the model takes.
        title: shown before the progress bar.
        amp: run the model in bfloat16 where that is safe.
        progress: of this epoch so far, of which `loader` gives the rest; it is kept up to date.
    Returns:
        "loss" and the loss's parts, means over the steps, and "images_per_second".
    Raises:
        NonFinite: soon after the step (on CUDA some steps may follow), so that no epoch with such a step is finished.
        Interrupted: after the step in which a signal came.
    """
    model.train()
    progress = progress or Progress()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    start, last_reading, unread = time.perf_counter() - progress.seconds, 0.0, []
    with tqdm(total=len(loader.dataset), initial=progress.images, desc=title, unit="image", leave=False) as bar:
        for images, labels in loader:
            images = prepare(images.to(device, non_blocking=True))
            labels = labels.to(device, non_blocking=True)
            with autocast(device, amp):
                features, logits = model(images)
            total, parts = loss(features, logits, labels)
            optimizer.zero_grad(set_to_none=True)
            total.backward()

            losses, sums = {"loss": total.detach(), **parts}, progress.sums
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            unread.append({**losses, "gradient norm": get_total_norm(gradients)})
            seconds = time.perf_counter() - start
            reads, stops = seconds - last_reading > _SECONDS_BETWEEN_READINGS, stop_requested()
            if reads or stops or device.type == "cpu":  # where reading is free
                _check_finite(unread, progress.steps + 1)
                unread.clear()
            optimizer.step()

            for name, value in losses.items():
                sums[name] = sums[name] + value if name in sums else value
            progress.steps, progress.images = progress.steps + 1, progress.images + len(images)
            progress.seconds = seconds
            bar.update(len(images))
            if reads:
                bar.set_postfix({name: f"{value.item() / progress.steps:.3f}" for name, value in sums.items()},
                                refresh=False)
                last_reading = seconds
            if stops:
                stop_if_requested()
        _check_finite(unread, progress.steps)
        progress.seconds = time.perf_counter() - start
        means = {name: value.item() / progress.steps for name, value in progress.sums.items()}
    return means | {"images_per_second": progress.images / progress.seconds}


def _check_finite(values: list[dict[str, Tensor]], last: int) -> None:
    """Raise NonFinite for the first of these steps that has a value that is not finite; `last` is the last one's."""
    if not values:
        return
    table = torch.stack([torch.stack(list(row.values())) for row in values]).cpu()
    wrong = (~table.isfinite().all(1)).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise NonFinite(last - len(values) + 1 + row, dict(zip(values[row], table[row].tolist())))


@torch.inference_mode()
def predict(model: nn.Module, loader: Iterable, prepare: Callable[[Tensor], Tensor], device: torch.device,
            title: str, activation: str = "sigmoid", amp: bool = False,
            views: Callable[[Tensor], list[Tensor]] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of all images, in the loader's order: (N, C) float32 each.

    Args as `train_one_epoch`, and:
        activation: what makes scores of logits, "sigmoid" or, after softmax cross-entropy, "softmax".
        views: of a prepared batch, the batches over which scores are averaged; None for itself alone.
    Raises:
        Diverged: where a score is NaN.
        Interrupted: after the batch in which a signal came.
    """
    model.eval()
    scores, labels = [], []
    with tqdm(total=len(loader.dataset), desc=title, unit="image", leave=False) as bar:
        for images, batch_labels in loader:
            images = prepare(images.to(device, non_blocking=True))
            with autocast(device, amp):
                logits = torch.stack([model(view)[1] for view in (views(images) if views else [images])])
            scores.append(_ACTIVATIONS[activation](logits.float()).mean(0))
            labels.append(batch_labels)
            bar.update(len(images))
            stop_if_requested()
    all_scores = torch.cat(scores).cpu().numpy()
    if np.isnan(all_scores).any():
        raise Diverged("the network's scores are NaN: the training diverged; start again with a smaller --lr")
    return all_scores, torch.cat(labels).numpy()


def learning_rate(epoch: int, max_epoch: int, lr: float) -> float:
    """The recipe's schedule: x 0.1 from epoch 0.5 * max_epoch on (counted from 1, that one included), and x 0.5
    more from 0.75 * max_epoch on."""
    return lr * (0.1 if epoch >= 0.5 * max_epoch else 1) * (0.5 if epoch >= 0.75 * max_epoch else 1)
