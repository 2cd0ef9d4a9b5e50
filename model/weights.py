"""Load weights: an ImageNet backbone to start from, or a whole trained classifier."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn, strided

from utils.errors import InputError

# A file with less than this share of the backbone's tensors is for another network.
REQUIRED_SHARE = 0.9


def tensors_of(content: dict[Any, Any], source: str) -> dict[str, Tensor]:
    """Return all tensors of a weight file by name: {"model": {"fc.bias": tensor}} becomes {"model.fc.bias": tensor}.

    Args:
        source: the file's name, for messages.
    Raises:
        InputError: if there are no tensors.
    """
    tensors = _flatten(content)
    if not tensors:
        raise InputError(f"{source} holds no weights: expected a state dict, or a dict with 'state_dict' or 'model'")
    return tensors


def load_backbone(model: nn.Module, tensors: dict[str, Tensor], classifier: str, source: str) -> str:
    """Copy the backbone in a file's tensors into `model`, whose classifier stays new.

    The prefix of the file's names, if any, is removed. Float16 weights are converted. Counters of batch normalisation
    (`num_batches_tracked`), absent from old files, are optional.

    Args:
        classifier: prefix of the classifier's parameter names.
        source: the file's name, for messages.
    Returns:
        One sentence: how many tensors were loaded, which were not, and the prefix.
    Raises:
        InputError: if the file lacks the backbone's first tensor or more than 10 % of all, if its backbone has more
            tensors, or if one has another shape, NaN or infinity.
    """
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(classifier)}
    weights = _without_counters(state)
    network, others, removed = _find_network(tensors, weights)
    missing = [name for name in weights if name not in network]
    found = len(weights) - len(missing)
    if found < REQUIRED_SHARE * len(weights) or weights[0] in missing:  # nothing makes up for a random first layer
        raise InputError(f"{source} does not fit this network: {found} of the backbone's {len(weights)} tensors "
                         f"match by name, but at least 90 % and {weights[0]} must{removed}; check --model")
    # A deeper network has more blocks within the same modules; a projection head is a module of its own.
    modules = {name.split(".")[0] for name in state}
    surplus = [name for name in network
               if name not in state and not name.startswith(classifier) and name.split(".")[0] in modules]
    if surplus:
        raise InputError(f"{source} is for another network{_listing(', with tensors that this one lacks', surplus)}; "
                         "check --model")
    loaded = _fitting(network, state, source)
    model.load_state_dict(loaded, strict=False)
    unused = [name for name in network if name not in loaded] + others
    return (f"{source}: loaded {len(loaded)} tensors into the backbone ({found} of its {len(weights)} weights"
            f"{_listing('; missing, so untrained', missing)}){_listing('; unused in the file', unused)}{removed}; "
            "the classifier is new")


def load_classifier(model: nn.Module, tensors: dict[str, Tensor], source: str) -> str:
    """Copy a whole trained network, classifier included; every tensor must be present and fit.

    Returns:
        The prefix of the file's names that was removed, as the end of a sentence; "" if there is none.
    Raises:
        InputError: naming the tensors that are missing, unknown, of another shape, or hold NaN or infinity.
    """
    state = model.state_dict()
    network, _, removed = _find_network(tensors, _without_counters(state))
    missing = [name for name in _without_counters(state) if name not in network]
    unknown = [name for name in network if name not in state]
    if missing or unknown:
        raise InputError(f"{source} does not fit this network{_listing('; missing', missing)}"
                         f"{_listing('; unknown', unknown)}{removed}; check --model and --label_num")
    model.load_state_dict(_fitting(network, state, source), strict=False)
    return removed


def _flatten(content: dict[Any, Any], levels: int = 8) -> dict[str, Tensor]:
    """`levels` ends the search in a dict that holds itself, which a file can."""
    tensors = {}
    for key, value in content.items():
        if isinstance(value, Tensor):
            tensors[str(key)] = value
        elif isinstance(value, dict) and levels:
            tensors |= {f"{key}.{name}": tensor for name, tensor in _flatten(value, levels - 1).items()}
    return tensors


def _find_network(tensors: dict[str, Tensor], names: list[str]) -> tuple[dict[str, Tensor], list[str], str]:
    """Find a network in a file by the `names` of its tensors, whatever wraps it.

    What wraps a network puts a prefix before them: `module.` (DataParallel), `_orig_mod.` (torch.compile), `backbone.`,
    `state_dict.module.encoder_q.` (MoCo). The prefix that leaves most of `names` is taken; of several such, the first.

    Returns:
        The tensors below the prefix, without it; the names of all others; and the end of a sentence about the prefix.
    """
    counts: Counter[str] = Counter()
    known = set(names)
    for name in tensors:
        parts = name.split(".")
        counts.update("".join(f"{part}." for part in parts[:length]) for length in range(len(parts))
                      if ".".join(parts[length:]) in known)
    prefix = max(counts, key=counts.get, default="")
    rivals = [f"'{rival}'" for rival in counts if counts[rival] == counts[prefix] and rival != prefix]
    removed = f"; prefix '{prefix}' removed" + f" ({', '.join(rivals)} would fit as well)" * bool(rivals)
    network = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return network, [name for name in tensors if not name.startswith(prefix)], removed * bool(prefix)


def _fitting(tensors: dict[str, Tensor], state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Return the tensors that `state` has too.

    Raises:
        InputError: for another shape, integers in place of floating-point numbers, or in any tensor NaN or infinity, or
            no dense numbers.
    """
    fitting = {name: tensors[name] for name in state if name in tensors and tensors[name].shape == state[name].shape}
    weights = _without_counters(name for name in state if name in tensors)
    reshaped = [f"{name} is {_sizes(tensors[name])} in the file but {_sizes(state[name])} in this network"
                for name in weights if name not in fitting]
    if reshaped:
        more = f" (and {len(reshaped) - 1} more)" if len(reshaped) > 1 else ""
        raise InputError(f"{source} does not fit this network: {reshaped[0]}{more}; check --model and --label_num, and "
                         "that it was trained on RGB images")
    for name, tensor in tensors.items():
        if tensor.layout != strided or tensor.is_meta:
            kind = "no numbers (device meta)" if tensor.is_meta else f"a {tensor.layout} tensor"
            raise InputError(f"{source}: {name} holds {kind}; save the file again with dense tensors")
    for name in weights:
        if state[name].is_floating_point() and not tensors[name].is_floating_point():
            raise InputError(f"{source}: {name} holds {tensors[name].dtype}, not floating-point numbers; convert it")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.float().isfinite().all():
            raise InputError(f"{source}: {name} holds NaN or infinity: its training diverged, or the file is damaged; "
                             "use another file")
    if weights and not any(tensors[name].any() for name in weights):
        raise InputError(f"{source}: all weights are zero; export them again")
    return fitting


def _without_counters(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.endswith("num_batches_tracked")]


def _sizes(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


def _listing(title: str, names: list[str]) -> str:
    if not names:
        return ""
    return f"{title}: {len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
