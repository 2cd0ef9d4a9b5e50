"""Holding out images, to validate or to test on."""

import numpy as np


def stratified_holdout(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Choose images to hold out so that each label keeps its share: (N, C) of 0 and 1 -> (N,) bool, True = held out.

    About `fraction` of the images. Labels are served from the rarest to the most frequent (the order of
    Sechidis, Tsoumakas & Vlahavas, "On the stratification of multi-label data", 2011), each with images that
    carry the fewest labels already served. Every label with at least two images is on both sides where its
    images allow it; a label's last image stays in training.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    labels = labels[order].astype(bool)
    totals = labels.sum(0)
    wanted = np.where(totals > 1, np.maximum(1, np.rint(fraction * totals)), 0)
    target = round(fraction * len(labels))
    held_out = np.zeros(len(labels), dtype=bool)
    held = np.zeros_like(totals)

    def hold_out_one(candidates: np.ndarray) -> bool:
        candidates = candidates[~held_out[candidates]]
        last_one = labels[candidates] & (held >= totals - 1)
        candidates = candidates[~last_one.any(1)]
        if not len(candidates):
            return False
        chosen = candidates[(labels[candidates] @ (held >= wanted).astype(int)).argmin()]
        held_out[chosen] = True
        held[:] += labels[chosen]
        return True

    for label in np.argsort(totals, kind="stable"):
        with_label = np.flatnonzero(labels[:, label])
        # A label that has nothing held out yet may exceed the target: both sides before the exact size.
        while held[label] < wanted[label] and (held[label] == 0 or held_out.sum() < target):
            if not hold_out_one(with_label):
                break
    while held_out.sum() < target and hold_out_one(np.arange(len(labels))):
        pass
    return held_out[np.argsort(order)]
