"""Grad-CAM: its weights are the derivatives they claim to be, and trained maps lie on the objects."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.pointing_game import OBJECTS, learn, play
from model import NETWORKS, build_model
from utils.gradcam import grad_cam

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
    outputs, direction = [], None

    def shift(module, inputs, output):
        outputs.append(output.detach().movedim(-1, 1) if channels_last else output.detach().clone())
        if direction is not None:
            return output + (direction if channels_last else direction[:, None, None])

    with torch.no_grad():
        hook = model.get_submodule(last).register_forward_hook(shift)
        model(images)
        activations, = outputs
        height, width = activations.shape[2:]
        expected = torch.zeros(1, 1, height, width, dtype=torch.float64)
        for row in range(height):
            for column in range(width):
                ends = []
                for sign in (1, -1):
                    direction = sign * step * activations[0, :, row, column]
                    ends.append(model(images)[1][0, label])
                expected[0, 0, row, column] = (ends[0] - ends[1]) / (2 * step * height * width)
        hook.remove()
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
            one = grad_cam(model, layer, images[image:image + 1], [label])[0, 0]
            torch.testing.assert_close(heat[image, place], one, rtol=1e-4, atol=1e-6)
    assert not layer._forward_hooks and all(parameter.grad is None for parameter in model.parameters())


def test_a_label_without_evidence_has_a_map_of_zeros():
    model = build_model("Resnet-18", 2).eval()
    nn.init.constant_(model.fc.weight, -1.0)  # activations behind a ReLU are positive: all speaks against the label
    assert not grad_cam(model, model.layer4, torch.randn(1, 3, 64, 64), [0]).any()


class Small(nn.Module):
    """Four convolutions, 8 x 8 positions of a picture of 64 px, which learn from scratch in seconds."""

    def __init__(self):
        super().__init__()
        widths, layers = [3, 16, 32, 64, 64], []
        for index, (fan_in, fan_out) in enumerate(zip(widths, widths[1:])):
            layers += [nn.Conv2d(fan_in, fan_out, 3, 2 if index < 3 else 1, 1), nn.BatchNorm2d(fan_out), nn.ReLU()]
        self.body, self.fc = nn.Sequential(*layers), nn.Linear(widths[-1], len(OBJECTS))

    def forward(self, images):
        features = self.body(images).mean((2, 3))
        return features, self.fc(features)


def test_pointing_game():
    torch.manual_seed(0)
    model = Small()
    untrained = play(model.eval(), model.body, 64)
    learn(model, 64, "bce", epochs=8, lr=3e-3)
    trained = play(model, model.body, 64)
    assert trained["scenes"] >= 50 and trained["chance"] < 0.15
    assert trained["hits"] > 5 * trained["chance"] and trained["mass_in_box"] > 3 * trained["chance"], trained
    assert untrained["hits"] < trained["hits"] / 2  # it is the training that finds the objects
