"""bfloat16, compilation and the fused optimizer: what they change, and what they must not."""

import functools
import math
import os
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.module import register_module_forward_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, TensorDataset

from dataset import AugmentAndNormalize
from dataset.augment import flip_and_rotate
from loss import LOSSES, R4CLoss, build_loss
from model import build_model
from model.networks import LinearClassifier
from programs import evaluate, fails, same_training, train, train_ucm
from utils.acceleration import CompiledForFullBatches, autocast, make_deterministic, precision
from utils.engine import predict, train_one_epoch
from utils.options import resolve_num_workers

CPU = torch.device("cpu")


class Linear(nn.Module):
    """(features, logits) of flat images; remembers what it was given and in which numbers it answered."""

    def __init__(self):
        super().__init__()
        self.fc, self.seen = nn.Linear(12, 3), []

    def forward(self, images):
        features = images.flatten(1)
        logits = self.fc(features)
        self.seen.append((len(images), logits.dtype, self.training))
        return features, logits


@pytest.fixture
def loader():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (10, 2, 2, 3), dtype=torch.uint8, generator=generator)
    return DataLoader(TensorDataset(images, (images[:, 0, 0] > 127).float()), batch_size=4)


def preprocess(images):
    return images / 128 - 1


# A device of shapes without numbers: what mixes it with the CPU raises, and what copies from it to the host.

class Operations(TorchDispatchMode):
    """Counts the operations on the meta device."""

    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.number += any(isinstance(value, torch.Tensor) and value.is_meta for value in tree_leaves(result))
        return result


@pytest.fixture
def meta(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())  # which does not know it
    return torch.device("meta")


@pytest.mark.parametrize("name, loss", [*(("Small", loss) for loss in LOSSES), *((name, "r4c") for name in (
    "Resnet-50", "VGGNet-16", "Swin-T", "Resnet-18", "MobileNet-V2"))])
def test_a_step_of_training_neither_mixes_devices_nor_synchronises(monkeypatch, meta, name, loss):
    monkeypatch.setattr("utils.engine._SECONDS_BETWEEN_READINGS", math.inf)
    with meta:
        model = build_model(name, 5)
    augment, steps = AugmentAndNormalize().to(meta), []
    labels = torch.eye(5).repeat(4, 1)
    loader = DataLoader(TensorDataset(torch.zeros(20, 64, 64, 3, dtype=torch.uint8), labels, torch.rand(20, 3).double()), 8)
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor") as reading:
        train_one_epoch(model, loader, build_loss(loss), torch.optim.Adam(model.parameters()),
                        lambda *batch: steps.append(len(batch[0])) or augment(*batch), meta, "epoch")
    assert steps == [8, 8, 4] and "_check_finite" in {frame.name for frame in reading.traceback}


@pytest.mark.parametrize("amp, numbers", [(False, torch.float32), (True, torch.bfloat16)])
@pytest.mark.parametrize("name", ["Resnet-50", "VGGNet-16", "MobileNet-V2"])
def test_mixed_precision_on_cuda_in_shapes_alone(monkeypatch, name, amp, numbers):
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *args, **kwargs: True)
    cuda = torch.device("cuda")
    with FakeTensorMode(), cuda:
        model = build_model(name, 5)
        with autocast(cuda, amp):
            features, logits = model(torch.empty(2, 3, 64, 64))
        total, _ = R4CLoss()(features, logits, torch.empty(2, 5))
    assert (features.dtype, logits.dtype, total.dtype) == (numbers, torch.float32, torch.float32)
    assert total.device.type == "cuda"


def test_a_large_batch_takes_as_many_operations_as_a_small_one(meta):
    """A CPU works in pieces that fit its cache; on a GPU each operation costs its start."""
    def operations(batch, size):
        with Operations() as count:
            scores, labels = torch.zeros(batch, 64, device=meta, requires_grad=True), torch.zeros(batch, 64, device=meta)
            R4CLoss()(scores, scores, labels)[0].backward()
            flip_and_rotate(torch.zeros(batch, size, size, 3, dtype=torch.uint8, device=meta), *torch.zeros(2, batch).bool(),
                            torch.zeros(batch))
        return count.number

    assert operations(256, 512) == operations(16, 64) > 50


@pytest.mark.parametrize("amp, numbers", [(False, torch.float32), (True, torch.bfloat16)])
def test_the_network_alone_runs_in_bfloat16(loader, amp, numbers):
    model = Linear()
    given = []

    class Loss(R4CLoss):
        def forward(self, features, logits, labels):
            assert not torch.is_autocast_enabled("cpu")
            total, parts = super().forward(features, logits, labels)
            given.append((logits.dtype, total.dtype, *(split_name.dtype for split_name in parts.values())))
            return total, parts

    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    report = train_one_epoch(model, loader, Loss(), optimizer, preprocess, CPU, "epoch", amp)
    scores, _ = predict(model, loader, preprocess, CPU, "test", amp=amp)
    assert {dtype for _, dtype, _ in model.seen} == {numbers}
    assert set(given) == {(numbers, *[torch.float32] * 4)}
    assert scores.dtype == "float32" and report["loss"] > 0
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_fused_adam_is_adam():
    torch.manual_seed(0)
    weights, x = torch.randn(30, 20), torch.randn(50, 30)
    ends = []
    for fused in (True, False):
        parameter = nn.Parameter(weights.clone())
        optimizer = torch.optim.Adam([parameter], lr=1e-3, fused=fused)
        for _ in range(20):
            optimizer.zero_grad()
            (x @ parameter).tanh().square().sum().backward()
            optimizer.step()
        ends.append(parameter.detach())
    assert (ends[0] - weights).abs().max() > 0.01
    torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-6)


@pytest.fixture
def compiled_by_python(monkeypatch):
    """torch.compile without a C++ compiler: it traces all the same, and counts its graphs."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    yield lambda: torch._dynamo.utils.counters["stats"]["unique_graphs"]
    torch._dynamo.reset()


def test_partial_batches_are_not_compiled(compiled_by_python):
    class Net(nn.Sequential):
        def forward(self, images):
            features = super().forward(images)
            return features, features + 1

    torch.manual_seed(0)
    model = Net(nn.Linear(6, 6), nn.BatchNorm1d(6))
    net = CompiledForFullBatches(model, 4, CPU)
    before = compiled_by_python()
    for size in (4, 4, 3, 2, 4):
        images = torch.randn(size, 6)
        (features, logits), (expected, _) = net(images), model(images)
        assert torch.equal(features, expected) and torch.equal(logits, expected + 1)
    assert compiled_by_python() == before + 1
    net.eval()
    assert not model.training
    net.train()
    net(torch.randn(4, 6))[1].sum().backward()
    assert model[0].weight.grad is not None


def test_compiled_training_is_the_same(ucm, compiled_by_python):
    """With a compiler that changes no arithmetic: the same weights, under the same names."""
    plain = train_ucm(ucm)
    assert same_training(plain, train_ucm(ucm, "--compile"))
    assert compiled_by_python() == 2  # the trial whether it works, and the network


def test_compile_that_does_not_work_is_said_before_training(ucm, capsys, monkeypatch):
    def broken(function, **options):
        def call(*inputs):
            raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\n\nand much more")
        return call

    monkeypatch.setattr(torch, "compile", broken)
    error = fails(capsys, train, "--dataset", "UCM_Multilabel", "--data_root", ucm, "--work-dir", ucm.parent / "runs",
                  "--compile")
    assert "No working C++ compiler found): leave it out" in error.splitlines()[-1] and "and much more" not in error
    assert not (ucm.parent / "runs").exists()


def test_amp_from_the_command_line(ucm, capsys, monkeypatch):
    """In training, in validation and in the test: the network's numbers are bfloat16 with it, and float32 without. Its
    logits are float32 always."""
    monkeypatch.setattr("utils.acceleration._computes_bfloat16", lambda device: True)
    numbers = []

    def note(module, inputs, output):
        if isinstance(module, LinearClassifier):
            assert output[1].dtype == torch.float32
            numbers.append((module.training, output[0].dtype))

    with register_module_forward_hook(note):
        for extra, dtype in (((), torch.float32), (("--amp",), torch.bfloat16)):
            run = train_ucm(ucm, *extra)
            assert numbers == [*[(True, dtype)] * 2, (False, dtype)] * 2  # 16 and 6 images, and 2, in two epochs
            numbers.clear()
            for again, expected in (((), torch.float32), (("--amp",), torch.bfloat16)):
                evaluate("--weights_path", run / "best.pth", "--device", "cpu", *again)
                assert numbers == [(False, expected)]
                numbers.clear()
    assert "device cpu, bfloat16 autocast, losses in float32" in capsys.readouterr().out


@pytest.mark.parametrize("deterministic", [True, False])
def test_the_fastest_algorithms_or_the_same_ones(monkeypatch, deterministic):
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *args, **kwargs: None)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", deterministic)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    make_deterministic(deterministic)
    assert torch.backends.cudnn.benchmark is not deterministic
    assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == deterministic
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_the_optimizer_is_fused(ucm):
    plain = train_ucm(ucm, "--max_epoch", 1)
    optimizer = torch.load(plain / "last.pth", weights_only=True)["optimizer"]
    assert optimizer["param_groups"][0]["fused"]


@pytest.mark.parametrize("values, workers", [(1, 1), (3, 3), (40, 8)])
def test_workers_are_for_machines_with_a_gpu(monkeypatch, values, workers):
    monkeypatch.setattr("utils.options.cores", lambda: values)
    assert resolve_num_workers(None, torch.device("cuda")) == workers
    assert resolve_num_workers(None, CPU) == 0 and resolve_num_workers(5, CPU) == 5


def test_precision_is_said(monkeypatch):
    assert precision(CPU, False) == "float32"
    for machine, supported, is_fast in (("x86_64", False, False), ("x86_64", True, True), ("arm64", False, True)):
        monkeypatch.setattr("platform.machine", lambda name=machine: name)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda answer=supported: answer)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert ("this CPU can only emulate: faster without --amp" in precision(CPU, True)) != is_fast
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert "this GPU can only emulate: faster without --amp" in precision(torch.device("cuda"), True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert "TF32" in precision(torch.device("cuda"), False) and "bfloat16" in precision(torch.device("cuda"), True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    assert precision(torch.device("cuda"), False) == "float32"
