"""Measure a training step of the network alone, on one random batch with R4C and Adam: images per second with and
without --amp, --compile and channels-last memory, the share of the device's matrix rate, and on CUDA the peak memory,
including weights and optimizer.

    python benchmark/throughput.py --model Resnet-50 --image_size 224 --batch_size 16

Medians of steps taken in turns. The matrix rate is that of a product of two square matrices, in bfloat16 for --amp,
else in float32 (on CUDA in TF32, as convolutions are, though linear layers are not). The operations of a step are
thrice those of its forward pass, which torch.utils.flop_counter counts.
"""

import itertools
from collections.abc import Callable

import torch
from measure import medians, write_result
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from loss import R4CLoss
from model import build_model, network_name
from utils.acceleration import CompiledForFullBatches, autocast
from utils.errors import InputError, exit_cleanly
from utils.options import Parser, select_device

LABELS = 17


def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Operations per second in a product of two square matrices."""
    size = 8192 if device.type == "cuda" else 2048
    matrix = torch.randn(size, size, device=device).to(dtype)
    torch.backends.cuda.matmul.allow_tf32 = True
    seconds = medians({"product": lambda: matrix @ matrix}, 15, device)["product"]
    torch.backends.cuda.matmul.allow_tf32 = False
    return 2 * size**3 / seconds


def training_step(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, amp: bool) -> Callable[[], None]:
    optimizer, loss = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True), R4CLoss()

    def step() -> None:
        with autocast(images.device, amp):
            features, logits = model(images)
        total, _ = loss(features, logits, labels)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    return step


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--model", type=network_name, default="Resnet-50")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--not_compiled", action="store_true", help="leave out --compile, which takes minutes")
    options = parser.parse_args()
    device, size = select_device(options.device), options.batch_size
    labels = (torch.rand(size, LABELS, device=device) < 0.2).float()
    images = torch.randn(size, 3, options.image_size, options.image_size, device=device)

    steps, peaks = {}, {}
    may_compile = (False,) if options.not_compiled else (False, True)
    for amp, compiled, channels_last in itertools.product((False, True), may_compile, (False, True)):
        memory = torch.channels_last if channels_last else torch.contiguous_format
        before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
        model = build_model(options.model, LABELS).to(device, memory_format=memory)
        try:
            network = CompiledForFullBatches(model, size, device) if compiled else model
        except InputError as error:
            print(error)
            continue
        chosen = {"amp": amp, "compile": compiled, "channels_last": channels_last}
        name = " ".join(option for option, on in chosen.items() if on) or "none of them"
        steps[name] = training_step(network, images.to(memory_format=memory), labels, amp)
        steps[name]()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            steps[name]()
            peaks[name] = (torch.cuda.max_memory_allocated(device) - before) / 2**20
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(images)
    flops = 3 * counter.get_total_flops()  # the gradients of activations and of weights cost as much again each
    seconds = medians(steps, options.repeats, device)
    rates = {amp: matrix_rate(torch.bfloat16 if amp else torch.float32, device) for amp in (False, True)}
    write_result(f"throughput_{options.model}_{options.image_size}px_{size}", device, {
        "repeats": options.repeats, "flops_per_image": flops / size,
        "matrix_flops_per_second": {"float32": rates[False], "bfloat16": rates[True]},
        **{name: {"images_per_second": size / value,
                  "share_of_matrix_rate": flops / value / rates["amp" in name.split()],
                  **({"peak_mib": peaks[name]} if name in peaks else {})}
           for name, value in seconds.items()}})


if __name__ == "__main__":
    exit_cleanly(main)
