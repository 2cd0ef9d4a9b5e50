"""Grad-CAM: its weights are the derivatives they claim to be; the pointing game counts what it says."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark import pointing_game
from dataset import Normalize
from model import NETWORKS, build_model
from model.networks import LinearClassifier
from small_network import SmallNetwork
from utils.evaluation.gradcam import grad_cam

# Found apart from NETWORKS: the module after which positions are lost, and whether its channels come last.
LAST = {"Resnet-50": ("layer4.2", False), "VGGNet-16": ("features.42", False), "Swin-T": ("norm", True),
        "Resnet-18": ("layer4.1", False), "MobileNet-V2": ("features.18", False)}


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_agree_with_finite_differences(name):
    """At a position p, the map before its ReLU is the derivative of the logit as A_k(p) is added to A_k everywhere."""
    torch.manual_seed(0)
    model, (last, channels_last) = build_model(name, 3).double(), LAST[name]
    size, positions = ((64, 32), (4, 2)) if name == "VGGNet-16" else ((96, 64), (3, 2))
    images, label, step = torch.randn(1, 3, *size, dtype=torch.float64), 1, 1e-6
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # statistics of one batch, or the activations of an untrained network fade away
    with torch.no_grad():
        model.train()(torch.randn(8, 3, *size, dtype=torch.float64))
    model.eval()
    activations = []

    def shift(module, inputs, output):
        """A batch of the one image: for each position, its activations are added to all of them, and taken away."""
        values = output.detach().movedim(-1, 1) if channels_last else output.detach()
        activations.append(values.clone())
        at_each = values[0].flatten(1).T  # (positions, channels)
        directions = step * torch.cat([at_each, -at_each])
        return output + (directions[:, None, None] if channels_last else directions[:, :, None, None])

    with torch.no_grad():
        hook = model.get_submodule(last).register_forward_hook(shift)
        logits = model(images)[1][:, label]
        hook.remove()
    height, width = activations[0].shape[2:]
    ends = logits.view(2, 1, 1, height, width)
    expected = (ends[0] - ends[1]) / (2 * step * height * width)
    heat = grad_cam(model, model.get_submodule(NETWORKS[name].gradcam), images, [label])
    assert expected.amax() - expected.amin() > 1e-4 and (height, width) == positions
    torch.testing.assert_close(heat, F.interpolate(expected.relu(), size, mode="bilinear"), rtol=1e-4, atol=1e-9)


def test_several_labels_and_images_at_once_and_nothing_left_behind():
    torch.manual_seed(0)
    model = build_model("Resnet-18", 3).eval().requires_grad_(False)
    images, layer = torch.randn(2, 3, 64, 64), model.layer4
    heat = grad_cam(model, layer, images, [2, 0])
    assert heat.shape == (2, 2, 64, 64) and not heat.requires_grad and (heat >= 0).all() and heat.any()
    for image in range(2):
        for place, label in enumerate([2, 0]):
            single = grad_cam(model, layer, images[image:image + 1], [label])[0, 0]
            torch.testing.assert_close(heat[image, place], single, rtol=1e-4, atol=1e-6)
    assert not layer._forward_hooks and all(parameter.grad is None for parameter in model.parameters())


def test_a_label_without_evidence_has_a_map_of_zeros():
    model = build_model("Resnet-18", 2).eval()
    nn.init.constant_(model.fc.weight, -1.0)  # activations behind a ReLU are positive: all speaks against the label
    assert not grad_cam(model, model.layer4, torch.randn(1, 3, 64, 64), [0]).any()


class Finder(nn.Module):
    """Takes what is red for the first object; nothing tells it of the others."""

    def __init__(self, sight: int):
        super().__init__()
        self.body = nn.Conv2d(3, 1, 1, bias=False)
        self.body.weight.data = sight * torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1)

    def forward(self, images):
        features = self.body(images).relu().mean((2, 3))
        return features, features @ torch.tensor([[1.0, 0, 0, 0]])


@pytest.mark.parametrize("sight, hits, zeros", [(1, 0.5, 0), (0, 0, 8)])
def test_pointing_game_counts_maxima_in_boxes(monkeypatch, sight, hits, zeros):
    """Red boxes, which in every other image lie where no object is: half of the maxima hit, or no map has any."""
    images, boxes = np.full((8, 32, 32, 3), 90, np.uint8), np.zeros((8, 32, 32), bool)
    for image, (row, column) in enumerate([(0, 0), (3, 8), (20, 11), (24, 24)] * 2):
        boxes[image, row:row + 4, column:column + 6] = True
        red = boxes[image] if image % 2 else np.roll(boxes[image], 8, axis=0)
        images[image, red] = (200, 90, 90)
    labels = torch.eye(4)[torch.zeros(8, dtype=int)]
    monkeypatch.setattr(pointing_game, "one_object_scenes", lambda *_, **__: (torch.from_numpy(images), labels, boxes))
    model = Finder(sight)
    result = pointing_game.play(model, model.body, 32)
    assert result["hits"] == hits and result["chance"] == pytest.approx(24 / 32**2)
    assert result["mass_in_box"] == pytest.approx(hits, abs=1e-6) and result["all_zero_maps"] == zeros


def test_pointing_game_trains_on_rotated_scenes_and_plays_on_different_ones(monkeypatch):
    images, labels, boxes = pointing_game.one_object_scenes(4, 64, seed=0)
    assert labels.equal(torch.eye(4)) and 0.01 < boxes.mean() < 0.15
    for image, box in zip(images.numpy().astype(int), boxes):  # the ground is smoother than what lies on it
        assert image[box].std(0).max() > image[~box].std(0).max()
    assert not (pointing_game.one_object_scenes(4, 64, seed=1)[0] == images).all()
    monkeypatch.setattr(pointing_game, "SCENES", 20)
    model, batches = SmallNetwork(), []
    model.fc = LinearClassifier(16, 4)
    before = model.fc.weight.clone()
    model.register_forward_hook(lambda module, inputs, output: batches.append(inputs[0]))
    pointing_game.learn(model, 64, "bce", epochs=3, lr=1e-3)
    assert [len(batch) for batch in batches] == [16, 4] * 3 and not model.training
    assert (model.fc.weight != before).any()
    scenes = Normalize()(pointing_game.one_object_scenes(20, 64, seed=0)[0])
    views = [[torch.rot90(scene, turns, (1, 2)).numpy().tobytes() for turns in range(4)] for scene in scenes]
    trained_on = [image.numpy().tobytes() for image in torch.cat(batches)]
    assert all(sum(image in values for image in trained_on[:20]) == 1 for values in views)
    assert not set(trained_on) <= {values[0] for values in views}
