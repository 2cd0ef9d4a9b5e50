"""Hold out images for validation or testing."""

import numpy as np


def stratified_holdout(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Choose images to hold out so that each label keeps its share: (N, C) of 0 and 1 -> (N,) bool, True = held out.

    round(fraction * N) images are held out. The images are dealt out in turn, those with the most labels first, each
    to the side that leaves the labels' shares closer to `fraction`: for every label, the excess of held-out images
    over the wanted number stays about one image, in time proportional to N * C.

    Every label with at least two images is on both sides if its images allow it, even if that takes more images than
    wanted; a label's only image stays in training.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(-labels[order].sum(1, dtype=int), kind="stable")]
    # The number of images is balanced like a label that every image has.
    items = np.hstack([labels[order], np.ones((len(labels), 1))])
    totals, target = items.sum(0), round(fraction * len(labels))
    quota = np.append(np.where(totals > 1, np.maximum(1, fraction * totals), 0)[:-1], target)
    share, weight = quota / totals.clip(1), 1 / totals.clip(1)
    held_out, excess, left = np.zeros(len(labels), dtype=bool), np.zeros(len(totals)), totals.copy()
    for row, item in enumerate(items):
        excess -= share * item
        # The weighted sum of squares is smaller with this image, and it is no label's last one.
        if (weight * item) @ (2 * excess + item) < 0 and (left > item)[item == 1].all():
            held_out[row], left = True, left - item
            excess += item

    def move(candidates: np.ndarray, hold_out: bool) -> bool:
        """Move the candidate that disturbs the shares least to the other side, unless it is a label's last image."""
        step = items if hold_out else -items
        count = held_out @ items[:, :-1]
        last = totals[:-1] - count <= 1 if hold_out else (count <= 1) & (totals[:-1] > 1)
        movable = np.flatnonzero(candidates & (held_out != hold_out) & ~(items[:, :-1] @ last).astype(bool))
        if not len(movable):
            return False
        best = movable[((2 * excess + step[movable]) * step[movable] @ weight).argmin()]
        held_out[best], excess[:] = hold_out, excess + step[best]
        return True

    for label in sorted(np.flatnonzero(totals[:-1] > 1), key=totals.__getitem__):
        with_label = items[:, label] == 1
        if not held_out[with_label].any():
            move(with_label, hold_out=True)
    while held_out.sum() != target and move(np.ones(len(labels), dtype=bool), hold_out=held_out.sum() < target):
        pass
    return held_out[np.argsort(order)]
