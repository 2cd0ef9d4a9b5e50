"""Hold out images for validation or testing."""

import numpy as np


def stratified_holdout(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Choose images to hold out so that each label keeps its share: (N, C) of 0 and 1 -> (N,) bool, True = held out.

    About `fraction` of the images are held out. Labels are filled from the rarest to the most frequent (the order of
    Sechidis, Tsoumakas & Vlahavas, "On the stratification of multi-label data", 2011), each with the images that
    carry the fewest labels already filled. Every label with at least two images is on both sides if its images allow
    it; a label's last image stays in training.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    labels = labels[order].astype(bool)
    totals = labels.sum(0)
    quota = np.where(totals > 1, np.maximum(1, np.rint(fraction * totals)), 0)
    target = round(fraction * len(labels))
    held_out = np.zeros(len(labels), dtype=bool)
    count = np.zeros_like(totals)

    def hold_out_one(candidates: np.ndarray) -> bool:
        candidates = candidates[~held_out[candidates]]
        is_last = labels[candidates] & (count >= totals - 1)
        candidates = candidates[~is_last.any(1)]
        if not len(candidates):
            return False
        chosen = candidates[(labels[candidates] @ (count >= quota).astype(int)).argmin()]
        held_out[chosen] = True
        count[:] += labels[chosen]
        return True

    for label in np.argsort(totals, kind="stable"):
        with_label = np.flatnonzero(labels[:, label])
        # A label without a held-out image may exceed the target: both sides matter more than the exact size.
        while count[label] < quota[label] and (count[label] == 0 or held_out.sum() < target):
            if not hold_out_one(with_label):
                break
    while held_out.sum() < target and hold_out_one(np.arange(len(labels))):
        pass
    return held_out[np.argsort(order)]
