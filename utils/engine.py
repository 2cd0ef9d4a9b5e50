"""One epoch of training, and prediction: the two loops of any classifier."""

import time
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from tqdm import tqdm

from utils.acceleration import autocast
from utils.distributed import (
    gather_batch,
    gather_by_index,
    is_main,
    meet,
    not_empty,
    share_statistics,
    sizes_of_step,
    world_size,
)
from utils.errors import Diverged, NonFinite
from utils.run.graceful_shutdown import stop_if_requested

# Reading the losses off the device makes the host wait: the progress bar does so no more often than this.
_SECONDS_BETWEEN_READINGS = 0.5
# All processes check the same steps for values that are not finite, so that they stop together.
_STEPS_BETWEEN_CHECKS = 50

_ACTIVATIONS = {"sigmoid": torch.sigmoid, "softmax": lambda logits: torch.softmax(logits, dim=-1)}


def train_one_epoch(model: nn.Module, loader: Iterable, loss: nn.Module, optimizer: torch.optim.Optimizer,
                    preprocess: Callable[..., Tensor], device: torch.device, title: str, amp: bool = False,
                    rank_within_gpu: bool = False) -> dict[str, float]:
    """Train on all batches once. Host and device are synchronised at most twice a second, for the progress bar, and
    every 50 steps. Of several processes, each runs the network on its slice of a batch, and the loss is that of the
    whole batch.

    Args:
        model: images (B, 3, H, W) -> (features, logits).
        loader: a DataLoader of (uint8 images (B, H, W, 3), labels (B, C), and what else `preprocess` takes); of the
            slices of this process, if there are several.
        loss: (features, logits, labels) -> (total, loss terms).
        preprocess: (uint8 images on the device, and what else a batch holds) -> the model's input.
        title: shown before the progress bar.
        amp: run the model in bfloat16 where that is safe.
        rank_within_gpu: compute the loss of each process's slice instead, which ranks fewer images.
    Returns:
        "loss" and the loss terms, means over the steps, and "images_per_second".
    Raises:
        NonFinite: right after the step on a CPU; on CUDA up to 50 steps later, but before the epoch is finished.
        Interrupted: after the step in which a signal arrived.
    """
    model.train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    sums, unread = {}, []
    start, last_reading = time.perf_counter(), 0.0
    with tqdm(total=len(loader.dataset), desc=title, unit="image", leave=False) as bar:
        for step, batch in enumerate(loader, start=1):
            meet()  # all processes have a batch, and none has been asked to stop
            number = in_slice = len(batch[0])
            if world_size() > 1:
                number, in_slice = sizes_of_step(loader, step)
            images, labels, *draws = (values[:in_slice] for values in batch)
            images = preprocess(images.to(device, non_blocking=True), *draws)
            labels = labels.to(device, non_blocking=True)
            with autocast(device, amp):
                features, logits = model(images)
            ranked = not_empty if rank_within_gpu else partial(gather_batch, number)
            total, terms = loss(*ranked(features, logits, labels))
            optimizer.zero_grad(set_to_none=True)
            total.backward()

            losses = {"loss": total.detach(), **terms}
            gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
            unread.append({**losses, "gradient norm": get_total_norm(gradients)})
            if device.type == "cpu" or step % _STEPS_BETWEEN_CHECKS == 0:  # on a CPU, reading is free
                _check_finite(unread, step)
                unread.clear()
            optimizer.step()

            sums = {name: sums[name] + value if sums else value for name, value in losses.items()}
            bar.update(number)
            seconds = time.perf_counter() - start
            if seconds - last_reading > _SECONDS_BETWEEN_READINGS and is_main():
                bar.set_postfix({name: f"{value.item() / step:.3f}" for name, value in sums.items()}, refresh=False)
                last_reading = seconds
            stop_if_requested(f"{step} of {len(loader)} steps")
        _check_finite(unread, step)
        share_statistics(model)
        means = {name: value.item() / step for name, value in sums.items()}
    return means | {"images_per_second": len(loader.dataset) / (time.perf_counter() - start)}


def _check_finite(steps: list[dict[str, Tensor]], last: int) -> None:
    """Raise NonFinite for the first of these steps with a NaN or infinite value; `last` is the last step's number."""
    if not steps:
        return
    values = torch.stack([torch.stack(list(step.values())) for step in steps]).cpu()
    wrong = (~values.isfinite().all(1)).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise NonFinite(last - len(steps) + 1 + row, dict(zip(steps[row], values[row].tolist())))


@torch.inference_mode()
def predict(model: nn.Module, loader: Iterable, preprocess: Callable[[Tensor], Tensor], device: torch.device,
            title: str, activation: str = "sigmoid", amp: bool = False,
            views: Callable[[Tensor], list[Tensor]] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores and labels of all images in the loader's order: (N, C) float32 each. Of several processes, each
    scores its batches, and all return the same.

    Args as `train_one_epoch`, and:
        activation: turns logits into scores, "sigmoid" or, after softmax cross-entropy, "softmax".
        views: preprocessed batch -> the batches whose scores are averaged; None scores the batch itself.
    Raises:
        Diverged: if a score is NaN.
        Interrupted: after the batch in which a signal arrived.
    """
    model.eval()
    scores, labels = [], []
    with tqdm(total=len(loader.dataset), desc=title, unit="image", leave=False) as bar:
        for images, batch_labels in loader:
            images = preprocess(images.to(device, non_blocking=True))
            with autocast(device, amp):
                logits = torch.stack([model(view)[1] for view in (views(images) if views else [images])])
            scores.append(_ACTIVATIONS[activation](logits.float()).mean(0))
            labels.append(batch_labels)
            bar.update(min(len(images) * world_size(), bar.total - bar.n))
            stop_if_requested("all steps")
    columns = [torch.cat(rows).cpu() for rows in (scores, labels) if rows]
    if world_size() > 1:
        columns = gather_by_index([index for batch in loader.batch_sampler for index in batch], *columns)
    all_scores, all_labels = (column.numpy() for column in columns)
    if np.isnan(all_scores).any():
        raise Diverged("training diverged (the network's scores are NaN): start again with a smaller --lr")
    return all_scores, all_labels


def learning_rate(epoch: int, max_epoch: int, lr: float) -> float:
    """The learning-rate schedule: x 0.1 from epoch 0.5 * max_epoch on (counted from 1, that epoch included), and x 0.5
    more from 0.75 * max_epoch on."""
    return lr * (0.1 if epoch >= 0.5 * max_epoch else 1) * (0.5 if epoch >= 0.75 * max_epoch else 1)
