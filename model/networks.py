"""torchvision's networks, with a last layer that also returns its input: model(x) -> (features, logits).

Only the classifier is new, so every parameter keeps torchvision's name and torchvision's weights fit.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision import models


class _WithFeatures:
    """Make a layer return its input, R4C's features (B, D), along with its output, the logits (B, C).

    Logits are computed in full precision, regardless of autocast: of two that bfloat16 rounds to one, neither ranks
    above the other.
    """

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(features.device.type, enabled=False):
            return features, super().forward(features.to(next(self.parameters()).dtype))


class LinearClassifier(_WithFeatures, nn.Linear):
    pass


class SequentialClassifier(_WithFeatures, nn.Sequential):
    pass


def _resnet(network: nn.Module, num_labels: int) -> nn.Module:
    network.fc = LinearClassifier(network.fc.in_features, num_labels)
    return network


def _swin(network: nn.Module, num_labels: int) -> nn.Module:
    network.head = LinearClassifier(network.head.in_features, num_labels)
    return network


def _mobilenet(network: nn.Module, num_labels: int) -> nn.Module:
    dropout, linear = network.classifier
    network.classifier = SequentialClassifier(dropout, nn.Linear(linear.in_features, num_labels))
    return network


def _vgg(network: nn.Module, num_labels: int) -> nn.Module:
    """The features are taken after the dropout of the second fully connected block; the classifier is R4C's MLP."""
    widths = [4096, 2048, 1024, 512, 256, 128]
    layers = []
    for fan_in, fan_out in zip(widths, widths[1:]):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    network.classifier[6] = SequentialClassifier(*layers, nn.Linear(widths[-1], num_labels))
    return network


@dataclass(frozen=True)
class Network:
    """One choice of `--model`: torchvision's builder, its ImageNet-1K weights, the new classifier, the prefix of its
    parameter names, and the layer for Grad-CAM: the last one with a spatial output (B, channels, height, width)."""

    build: Callable[..., nn.Module]
    imagenet: models.WeightsEnum
    replace_classifier: Callable[[nn.Module, int], nn.Module]
    classifier: str
    gradcam: str


NETWORKS = {
    "Resnet-50": Network(models.resnet50, models.ResNet50_Weights.IMAGENET1K_V1, _resnet, "fc.", "layer4"),
    # After the last convolution's ReLU, before the pooling that follows.
    "VGGNet-16": Network(models.vgg16_bn, models.VGG16_BN_Weights.IMAGENET1K_V1, _vgg, "classifier.6.", "features.42"),
    # After the final norm, permuted from (B, H, W, C) to (B, C, H, W): maps before the norm favour the background.
    "Swin-T": Network(models.swin_t, models.Swin_T_Weights.IMAGENET1K_V1, _swin, "head.", "permute"),
    "Resnet-18": Network(models.resnet18, models.ResNet18_Weights.IMAGENET1K_V1, _resnet, "fc.", "layer4"),
    "MobileNet-V2": Network(models.mobilenet_v2, models.MobileNet_V2_Weights.IMAGENET1K_V1, _mobilenet,
                            "classifier.", "features"),
}
