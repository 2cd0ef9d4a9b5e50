"""Grad-CAM: where in an image a network finds its evidence for a label.

Selvaraju et al., "Grad-CAM: Visual explanations from deep networks via gradient-based localization" (2017).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def grad_cam(model: nn.Module, layer: nn.Module, images: Tensor, labels: Sequence[int]) -> Tensor:
    """Heat maps (B, len(labels), H, W) >= 0 for images (B, 3, H, W), in units of the logits.

    alpha_k = mean over positions of d logit / d A_k (eq. 1), map = ReLU(sum_k alpha_k A_k) (eq. 2), where A are the
    activations (B, K, h, w) that `layer` outputs; resized to the images (bilinear).

    Args:
        model: images -> (features, logits), in evaluation mode.
        layer: a module of the model, called once.
    """
    outputs = []

    def cut_graph(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        # The layers before need no gradient: that saves their memory and time.
        outputs.append(output.detach().requires_grad_())
        return outputs[-1]

    hook = layer.register_forward_hook(cut_graph)
    try:
        with torch.enable_grad():
            _, logits = model(images)
            activations, = outputs
            gradients = [torch.autograd.grad(logits[:, label].sum(), activations, retain_graph=True)[0]
                         for label in labels]
    finally:
        hook.remove()
    maps = [(gradient.mean((2, 3), keepdim=True) * activations).sum(1) for gradient in gradients]
    return F.interpolate(torch.stack(maps, 1).detach().relu(), images.shape[2:], mode="bilinear", align_corners=False)
