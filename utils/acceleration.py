"""What the machine offers: cores, mixed precision and compilation. The losses are not affected."""

import os
import platform

import torch
from torch import Tensor, nn

from utils.errors import InputError


def cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def autocast(device: torch.device, amp: bool) -> torch.autocast:
    """The context of a forward pass: bfloat16 where it is safe, else float32. Losses leave it by themselves."""
    return torch.autocast(device.type, torch.bfloat16, enabled=amp)


def make_deterministic(deterministic: bool) -> None:
    """Choose algorithms that give the same bits every time, where there are any, or the fastest ones for the images'
    size, which cuDNN finds out by trial; call it before CUDA is used."""
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic, warn_only=True)


def precision(device: torch.device, amp: bool) -> str:
    """The numeric precision, for the log."""
    if amp and not _computes_bfloat16(device):
        processor = "CPU" if device.type == "cpu" else "GPU"
        return f"bfloat16 autocast, which this {processor} can only emulate: faster without --amp"
    if amp:
        return "bfloat16 autocast, losses in float32"
    if device.type == "cuda" and torch.backends.cudnn.allow_tf32:
        return "float32, convolutions in TF32 where the GPU has it, losses in float32"
    return "float32"


def _computes_bfloat16(device: torch.device) -> bool:
    """Whether the hardware does; of CPUs, x86 alone tells."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return platform.machine() not in ("x86_64", "AMD64") or (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class CompiledForFullBatches(nn.Module):
    """A compiled network that accepts batches of any size: only those of `batch_size` images run compiled.

    The last, partial batch of an epoch would be compiled again, for longer than it runs.

    Raises:
        InputError: if torch.compile does not work on this machine.
    """

    def __init__(self, model: nn.Module, batch_size: int, device: torch.device):
        super().__init__()
        self.model, self.batch_size = model, batch_size
        self.compiled = torch.compile(model, dynamic=False)
        try:
            torch.compile(torch.exp)(torch.zeros(2, device=device))
        except Exception as error:  # noqa: BLE001 - no compiler, no Python headers, an old GPU: each raises its own
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"--compile does not work on this machine ({reason}): leave it out, or install what is "
                             "missing: a C++ compiler for the CPU, Triton for CUDA") from error

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return (self.compiled if len(images) == self.batch_size else self.model)(images)
