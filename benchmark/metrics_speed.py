"""Claim: all metrics of a test of NWPU-RESISC45's size, 28,350 images and 45 labels, take less than a second.

    python benchmark/metrics_speed.py
"""

import numpy as np
import torch
from measure import medians, write_result

from utils.evaluation.report import evaluate
from utils.metrics import multilabel_metrics, single_label_metrics

IMAGES, LABELS, REPEATS = 28_350, 45, 5


def main() -> None:
    rng, cpu = np.random.default_rng(0), torch.device("cpu")
    scores = rng.random((IMAGES, LABELS), dtype=np.float32)
    one_hot = np.eye(LABELS, dtype=np.uint8)[rng.integers(LABELS, size=IMAGES)]
    multilabel = (rng.random((IMAGES, LABELS)) < 0.1).astype(np.uint8)
    names = [f"label {column}" for column in range(LABELS)]
    seconds = medians({
        "validation, several labels": lambda: multilabel_metrics(scores, multilabel),
        "validation, one label": lambda: (single_label_metrics(scores, one_hot), multilabel_metrics(scores, one_hot)),
        "test, several labels": lambda: evaluate(scores, multilabel, names),
        "test, one label": lambda: evaluate(scores, one_hot, names, single_label=True),
    }, REPEATS, cpu)
    write_result("metrics", cpu, {"images": IMAGES, "labels": LABELS, "repeats": REPEATS, "seconds": seconds})


if __name__ == "__main__":
    main()
