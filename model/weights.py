"""Load weights: an ImageNet backbone to start from, or a whole trained classifier."""

from typing import Any

from torch import Tensor, nn

from utils.errors import InputError

# A file with less than this share of the backbone's tensors is for another network.
REQUIRED_SHARE = 0.9


def state_dict_of(content: dict[str, Any], source: str) -> dict[str, Tensor]:
    """Return a weight file's tensors by name, from a state dict or a dict with one as `state_dict` or `model`.
    The prefix `module.`, which DataParallel adds, is removed.

    Args:
        source: the file's name, for messages.
    Raises:
        InputError: if there are no tensors.
    """
    for key in ("state_dict", "model"):
        if isinstance(content.get(key), dict):
            content = content[key]
    tensors = {name.removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"{source} holds no weights: expected a state dict, or a dict with 'state_dict' or 'model'")
    return tensors


def load_backbone(model: nn.Module, tensors: dict[str, Tensor], classifier: str, source: str) -> str:
    """Copy into `model` all tensors that fit by name and shape, except those of the classifier, which stays new.

    Float16 weights are converted. Counters of batch normalisation (`num_batches_tracked`), absent from old
    files, are optional.

    Args:
        classifier: prefix of the classifier's parameter names.
        source: the file's name, for messages.
    Returns:
        One sentence: how many tensors were loaded and which were not.
    Raises:
        InputError: if less than 90 % of the backbone's tensors are in the file.
    """
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items() if not name.startswith(classifier)}
    loaded = {name: tensor for name, tensor in tensors.items() if shapes.get(name) == tensor.shape}
    weights = [name for name in shapes if not name.endswith("num_batches_tracked")]
    fitting = sum(name in loaded for name in weights)
    if fitting < REQUIRED_SHARE * len(weights):
        raise InputError(f"{source} does not fit this network: {fitting} of the backbone's {len(weights)} tensors "
                         "match by name and shape, but at least 90 % must; check --model")
    model.load_state_dict(loaded, strict=False)
    missing = [name for name in weights if name not in loaded]
    unused = [name for name in tensors if name not in loaded]
    return (f"{source}: loaded {len(loaded)} tensors into the backbone ({fitting} of its {len(weights)} weights"
            f"{_listing('; missing', missing)}){_listing('; unused in the file', unused)}; the classifier is new")


def load_classifier(model: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Copy a whole trained network, classifier included; every tensor must be present and fit.

    Raises:
        InputError: naming the tensors that are missing, unknown or of another shape.
    """
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    wrong = [name for name in shapes if name not in tensors or tensors[name].shape != shapes[name]]
    wrong = [name for name in wrong if not name.endswith("num_batches_tracked")]
    unknown = [name for name in tensors if name not in shapes]
    if wrong or unknown:
        raise InputError(f"{source} does not fit this network{_listing('; missing or of another shape', wrong)}"
                         f"{_listing('; unknown', unknown)}; check --model and --label_num")
    model.load_state_dict(tensors, strict=False)


def _listing(title: str, names: list[str]) -> str:
    if not names:
        return ""
    return f"{title}: {len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
