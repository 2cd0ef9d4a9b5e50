"""Held-out images: every label on both sides."""

import numpy as np
import pytest

from conftest import random_labels
from dataset.splits import stratified_holdout


@pytest.mark.parametrize("seed", range(5))
def test_holdout_has_every_label_on_both_sides(seed):
    rng = np.random.default_rng(seed)
    labels = (rng.random((400, 17)) < np.geomspace(0.004, 0.9, 17)).astype(np.uint8)
    labels[:2, 0] = 1  # at least two of the rarest
    held_out = stratified_holdout(labels, 0.1, seed)
    counts, totals = labels[held_out].sum(0), labels.sum(0)
    several = totals > 1
    assert (counts[several] >= 1).all() and (counts < totals)[several].all() and not counts[totals == 1].any()
    assert abs(held_out.sum() - 40) <= 4
    common = totals > 40
    np.testing.assert_allclose(counts[common] / totals[common], 0.1, atol=0.03)


def test_no_label_is_held_out_too_often():
    """Labels that occur together, as in 21 kinds of scenes: of each label, a fifth to within one percent point, and in
    all exactly a fifth."""
    rng = np.random.default_rng(0)
    scenes = rng.random((21, 17)) < 0.2
    labels = (scenes.repeat(80, axis=0) ^ (rng.random((1680, 17)) < 0.03)).astype(np.uint8)
    for seed in range(30):
        held_out = stratified_holdout(labels, 0.2, seed)
        assert held_out.sum() == 336
        np.testing.assert_allclose(labels[held_out].sum(0) / labels.sum(0), 0.2, atol=0.01)


def test_of_each_class_the_same_share():
    labels = np.eye(30, dtype=np.uint8)[np.repeat(np.arange(30), 50)]
    assert (labels[stratified_holdout(labels, 0.8, 1)].sum(0) == 40).all()


def test_a_labels_last_image_stays_in_training():
    """Though half of few images are held out, and other labels need more of them."""
    for seed in range(200):
        labels = (np.random.default_rng(seed).random((8, 5)) < 0.3).astype(np.uint8)
        assert labels[~stratified_holdout(labels, 0.5, seed)].any(0).tolist() == labels.any(0).tolist()


def test_holdout_depends_on_the_seed_alone():
    labels = random_labels(100)
    a, b, c = (stratified_holdout(labels, 0.1, seed) for seed in (1, 1, 2))
    assert (a == b).all() and (a != c).any()
