"""Weight files: ImageNet backbones to start from, whole classifiers to test."""

from typing import Any

from torch import Tensor, nn

from utils.errors import InputError

# A file of which less than this share of the backbone fits is a file for another network.
REQUIRED_SHARE = 0.9


def state_dict_of(content: dict[str, Any], source: str) -> dict[str, Tensor]:
    """The tensors by name of a weight file's content: a state dict, or a dict that holds one as `state_dict` or
    `model`. Prefixes `module.`, which DataParallel adds, are taken off.

    Args:
        source: the file's name, for messages.
    Raises:
        InputError: where there are no tensors.
    """
    for key in ("state_dict", "model"):
        if isinstance(content.get(key), dict):
            content = content[key]
    tensors = {name.removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"{source} holds no weights: a state dict, or a dict with 'state_dict' or 'model', is wanted")
    return tensors


def load_backbone(model: nn.Module, tensors: dict[str, Tensor], classifier: str, source: str) -> str:
    """Copy into `model` all tensors that fit by name and shape, save the classifier's, which stays new.

    Float16 files are widened. Counters of batch normalisation (`num_batches_tracked`), absent from old
    files, do not count.

    Args:
        classifier: prefix of the classifier's parameter names.
        source: the file's name, for messages.
    Returns:
        One sentence: how many tensors were taken and which were left out.
    Raises:
        InputError: where less than 90 % of the backbone's tensors are in the file.
    """
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items() if not name.startswith(classifier)}
    taken = {name: tensor for name, tensor in tensors.items() if wanted.get(name) == tensor.shape}
    weights = [name for name in wanted if not name.endswith("num_batches_tracked")]
    fitting = sum(name in taken for name in weights)
    if fitting < REQUIRED_SHARE * len(weights):
        raise InputError(f"{source} does not fit this network: {fitting} of the backbone's {len(weights)} tensors "
                         "match by name and shape, and 90 % are wanted; check --model")
    model.load_state_dict(taken, strict=False)
    missing = [name for name in weights if name not in taken]
    left_out = [name for name in tensors if name not in taken]
    return (f"{source}: took {len(taken)} tensors for the backbone ({fitting} of its {len(weights)} weights"
            f"{_naming('; missing', missing)}){_naming('; left out of the file', left_out)}; the classifier is new")


def load_classifier(model: nn.Module, tensors: dict[str, Tensor], source: str) -> None:
    """Copy a whole trained network, classifier included; every tensor must be there and fit.

    Raises:
        InputError: naming what is missing, unknown or of another shape.
    """
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    wrong = [name for name in wanted if name not in tensors or tensors[name].shape != wanted[name]]
    wrong = [name for name in wrong if not name.endswith("num_batches_tracked")]
    unknown = [name for name in tensors if name not in wanted]
    if wrong or unknown:
        raise InputError(f"{source} does not fit this network{_naming('; missing or of another shape', wrong)}"
                         f"{_naming('; unknown', unknown)}; check --model and --label_num")
    model.load_state_dict(tensors, strict=False)


def _naming(what: str, names: list[str]) -> str:
    if not names:
        return ""
    return f"{what}: {len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
