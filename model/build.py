"""Build a network that returns (features, logits): from scratch, from a pretrained backbone or from a checkpoint."""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from utils.errors import InputError
from utils.options import find_name
from utils.run.checkpoint import read_weight_file

from .networks import NETWORKS
from .weights import load_backbone, load_classifier, tensors_of

_ALIASES = {"vgg16": "VGGNet-16", "vgg16_bn": "VGGNet-16", "swin_tiny": "Swin-T"}


def network_name(name: str) -> str:
    """The spelling of NETWORKS, for a name such as `resnet50`, `ResNet_50` or `VGG-16`.

    Raises:
        InputError: if the network is unknown.
    """
    return find_name(name, NETWORKS, "model", _ALIASES)


def build_model(name: str, num_labels: int, pretrained: str | Path | None = None) -> nn.Module:
    """Build the network `name` (of NETWORKS) with a new classifier: images (B, 3, H, W) -> (features, logits).

    features (B, D) is the input of the classifier, logits (B, num_labels) its output. If the classifier is one
    linear layer and the backbone is pretrained, it starts at zero, so that every score starts at exactly 0.5.

    Args:
        pretrained: None; "imagenet" for torchvision's ImageNet-1K weights (downloaded once); or a weight file.
            Prints which tensors were loaded.
    Raises:
        InputError: if the network is unknown, the weight file does not fit, or the download fails.
    """
    network = NETWORKS[network_name(name)]
    model = network.replace_classifier(network.build(weights=None), num_labels)
    if pretrained is None:
        return model
    if str(pretrained) == "imagenet":
        tensors, source = _imagenet_weights(network.imagenet), f"ImageNet weights {network.imagenet}"
    else:
        tensors, source = tensors_of(read_weight_file(pretrained), str(pretrained)), str(pretrained)
    print(load_backbone(model, tensors, network.classifier, source))
    linear_layers = [module for prefix, module in model.named_modules()
                     if f"{prefix}.".startswith(network.classifier) and isinstance(module, nn.Linear)]
    if len(linear_layers) == 1:
        nn.init.zeros_(linear_layers[0].weight)
        nn.init.zeros_(linear_layers[0].bias)
    return model


def load_trained(path: str | Path, name: str | None = None,
                 num_labels: int | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """Rebuild a trained classifier from its file, ready to predict (`model.eval()`).

    Args:
        path: a checkpoint of Train.py, which records its network and labels; or a bare state dict, which needs
            `name` and `num_labels`. If a prefix of its names is removed, it is printed.
    Returns:
        The model, and the metadata of the checkpoint, such as "label_names", "image_size", "mean", "std" and "epoch";
        an empty dict for a bare state dict.
    Raises:
        InputError: if the file is unreadable, incomplete or for another network.
    """
    content, source = read_weight_file(path), str(path)
    tensors = tensors_of(content, source)
    if "label_names" in content:
        missing = {"model", "image_size", "mean", "std", "epoch", "args"} - content.keys()
        if missing:
            raise InputError(f"{source} is an incomplete checkpoint: it lacks {', '.join(sorted(missing))}")
        # Older checkpoints lack the half-width of the buffer, which this option of their run sets.
        metadata = {"buffer_halfwidth": content["args"].get("range_label"), **content}
        recorded = content["model"], len(content["label_names"])
        if (name and network_name(name)) not in (None, recorded[0]) or num_labels not in (None, recorded[1]):
            raise InputError(f"{source} is a {recorded[0]} with {recorded[1]} labels: correct --model and --label_num, "
                             "or leave them out")
        name, num_labels = recorded
    elif name is None or num_labels is None:
        raise InputError(f"{source} is a bare state dict, which does not record its network: "
                         "give --model and --label_num")
    else:
        metadata = {}
    model = build_model(name, num_labels)
    removed = load_classifier(model, tensors, source)
    if removed and not metadata:
        print(f"{source}: loaded{removed}")
    return model.eval(), metadata


def _imagenet_weights(weights) -> dict[str, torch.Tensor]:
    try:
        return weights.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise InputError(f"the ImageNet weights could not be downloaded or read ({error}): download {weights.url} "
                         f"elsewhere and put it into {folder}, or give --pretrained_path FILE or "
                         "--pretrained none") from error
