"""Carving a validation set out of the training images."""

import numpy as np


def stratified_holdout(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Choose images to hold out so that each label keeps its share: (N, C) of 0 and 1 -> (N,) bool, True = held out.

    About `fraction` of the images. Labels are served from the rarest to the most frequent (the order of
    Sechidis, Tsoumakas & Vlahavas, "On the stratification of multi-label data", 2011). Every label with at
    least two images is on both sides where its images allow it; a label's last image stays in training.
    """
    labels = labels.astype(bool)
    totals = labels.sum(0)
    wanted = np.where(totals > 1, np.maximum(1, np.rint(fraction * totals)), 0)
    target = round(fraction * len(labels))
    order = np.random.default_rng(seed).permutation(len(labels))
    held_out = np.zeros(len(labels), dtype=bool)
    held = np.zeros_like(totals)

    def hold_out(image: int) -> None:
        leaves_one_for_training = (held < totals - 1) | ~labels[image]
        if not held_out[image] and leaves_one_for_training.all():
            held_out[image] = True
            held[:] += labels[image]

    for label in np.argsort(totals, kind="stable"):
        for image in order[labels[order, label]]:
            # A label that has nothing held out yet may exceed the target: both sides before the exact size.
            if held[label] >= wanted[label] or (held[label] > 0 and held_out.sum() >= target):
                break
            hold_out(image)
    for image in order:
        if held_out.sum() >= target:
            break
        hold_out(image)
    return held_out
