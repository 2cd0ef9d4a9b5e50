"""Networks return their classifier's input; weight files are loaded, reported and rejected as documented."""

import pickle
import shlex
import struct
import sys
from argparse import Namespace

import numpy as np
import pytest
import torch
from torchvision import models

from model import NETWORKS, build_model, load_trained, network_name
from utils.errors import InputError

FEATURES = {"Resnet-50": 2048, "VGGNet-16": 4096, "Swin-T": 768, "Resnet-18": 512, "MobileNet-V2": 1280}


@pytest.fixture(scope="module")
def torchvision_resnet18():
    torch.manual_seed(0)
    return models.resnet18(num_classes=1000)


@pytest.fixture(scope="module")
def vgg():
    """Shared, because its initialisation takes a second."""
    return build_model("VGG-16", 5)


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_the_input_of_the_classifier(name, vgg):
    model = (vgg if name == "VGGNet-16" else build_model(name, 5)).eval()
    classifier_inputs = []
    classifier = model.get_submodule(NETWORKS[name].classifier.rstrip("."))
    classifier.register_forward_hook(lambda module, inputs, output: classifier_inputs.append(inputs[0]))
    with torch.no_grad():
        features, logits = model(torch.randn(2, 3, 64, 64))
    assert features.shape == (2, FEATURES[name]) and logits.shape == (2, 5)
    assert features is classifier_inputs[0]


def test_vgg_has_the_published_head(vgg):
    assert [(m.in_features, m.out_features) for m in vgg.classifier[6] if isinstance(m, torch.nn.Linear)] == [
        (4096, 2048), (2048, 1024), (1024, 512), (512, 256), (256, 128), (128, 5)]
    assert [type(m).__name__ for m in vgg.classifier[6]] == ["Linear", "ReLU"] * 5 + ["Linear"]
    features, _ = vgg.train()(torch.randn(2, 3, 64, 64))
    assert (features >= 0).all() and (features == 0).float().mean() > 0.6  # after ReLU and dropout


def test_parameters_keep_the_names_of_torchvision():
    for name, original in (("Resnet-50", models.resnet50()), ("MobileNet-V2", models.mobilenet_v2())):
        assert set(build_model(name, 5).state_dict()) == set(original.state_dict())


def test_same_function_as_torchvision(torchvision_resnet18, tmp_path):
    torch.save(torchvision_resnet18.state_dict(), tmp_path / "w.pth")
    model = build_model("Resnet-18", 5, tmp_path / "w.pth").eval()
    backbone = torch.nn.Sequential(*list(torchvision_resnet18.eval().children())[:-1])
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features, logits = model(images)
        torch.testing.assert_close(features, backbone(images).flatten(1))
    assert (logits == 0).all()  # the new classifier starts at zero, and every score at 0.5


@pytest.mark.parametrize("wrap", [
    lambda state: state,
    lambda state: {"model": state, "epoch": 3},
    lambda state: {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
    lambda state: {name: tensor.half() for name, tensor in state.items()},
    lambda state: {name: tensor for name, tensor in state.items() if "num_batches_tracked" not in name},
])
def test_weight_file_formats(torchvision_resnet18, tmp_path, wrap, capsys):
    state = torchvision_resnet18.state_dict()
    torch.save(wrap(state), tmp_path / "w.pth")
    model = build_model("Resnet-18", 5, tmp_path / "w.pth")
    torch.testing.assert_close(model.conv1.weight, state["conv1.weight"], rtol=1e-3, atol=1e-4)
    assert model.conv1.weight.dtype == torch.float32
    report = capsys.readouterr().out
    assert "100 of its 100 weights" in report and "unused in the file: 2 (fc.weight, fc.bias)" in report


def write(path, content):
    torch.save(content, path)
    return path


def test_a_few_missing_tensors_are_reported_and_many_are_rejected(torchvision_resnet18, tmp_path, capsys):
    state, path = torchvision_resnet18.state_dict(), tmp_path / "w.pth"
    build_model("Resnet-18", 5, write(path, {name: state[name] for name in state if name != "bn1.bias"}))
    assert "99 of its 100 weights; missing, so untrained: 1 (bn1.bias)" in capsys.readouterr().out
    for missing in ("layer4", "conv1.weight"):  # a random first layer spoils what comes after it
        write(path, {name: tensor for name, tensor in state.items() if not name.startswith(missing)})
        with pytest.raises(InputError, match="does not fit this network: .* of the backbone's 100 tensors"):
            build_model("Resnet-18", 5, path)
    with pytest.raises(InputError, match="0 of the backbone's"):
        build_model("Resnet-18", 5, write(path, {"x": torch.zeros(1)}))


@pytest.mark.parametrize("file, name, message", [
    ("resnet101", "Resnet-50", r"another network, with tensors that this one lacks: 306 \(layer3.6.conv1.weight, "),
    ("resnet34", "Resnet-18", r"another network, .* \(layer1.2.conv1.weight, "),
    ("vgg19_bn", "VGGNet-16", "does not fit this network"),
    ("swin_s", "Swin-T", r"another network, .* \(features.5.6.norm1.weight, "),
    ("wide_resnet50_2", "Resnet-50", r"layer1.0.conv1.weight is 128x64x1x1 in the file but 64x64x1x1 .* \(and "),
])
def test_a_relative_of_the_network_is_refused(tmp_path, file, name, message):
    """Also where all of the backbone's names are in the file."""
    with torch.device("meta"):  # names and shapes; no time for numbers
        shapes = getattr(models, file)().state_dict()
    path = write(tmp_path / "w.pth", {key: torch.zeros(()).expand(tensor.shape) for key, tensor in shapes.items()})
    with pytest.raises(InputError, match=message):
        build_model(name, 5, path)


def test_a_projection_head_is_unused(torchvision_resnet18, tmp_path, capsys):
    heads = {"fc.0.weight": torch.zeros(3), "head.weight": torch.zeros(3), "queue": torch.zeros(3)}
    build_model("Resnet-18", 5, write(tmp_path / "w.pth", torchvision_resnet18.state_dict() | heads))
    assert "unused in the file: 5 (fc.weight, " in capsys.readouterr().out


@pytest.mark.parametrize("stem, message", [
    (torch.zeros(64, 13, 7, 7), "conv1.weight is 64x13x7x7 in the file but 64x3x7x7 in this network; .* RGB images"),
    (torch.zeros(64, 3, 7, 7, dtype=torch.int8), "conv1.weight holds torch.int8"),
    (torch.full((64, 3, 7, 7), torch.nan), "conv1.weight holds NaN or infinity"),
    (torch.full((64, 3, 7, 7), 1e300, dtype=torch.float64), "conv1.weight holds NaN or infinity"),
    (torch.full((64, 3, 7, 7), -torch.inf, dtype=torch.float16), "conv1.weight holds NaN or infinity"),
    (torch.zeros(64, 3, 7, 7).to_sparse(), "conv1.weight holds a torch.sparse_coo tensor"),
    (torch.zeros(64, 3, 7, 7, device="meta"), "conv1.weight holds no numbers"),
])
def test_a_first_layer_that_cannot_be_used(tmp_path, stem, message):
    path = write(tmp_path / "w.pth", {"model": build_model("Resnet-18", 5).state_dict() | {"conv1.weight": stem}})
    for load in (build_model, lambda name, num_labels, file: load_trained(file, name, num_labels)):
        with pytest.raises(InputError, match=message):
            load("Resnet-18", 5, path)


def test_weights_that_are_all_zero(tmp_path):
    state = build_model("Resnet-18", 5).state_dict()
    path = write(tmp_path / "w.pth", {name: torch.zeros_like(tensor) for name, tensor in state.items()})
    with pytest.raises(InputError, match="w.pth: all weights are zero"):
        load_trained(path, "Resnet-18", 5)


def test_a_changed_byte_is_found(tmp_path):
    path = write(tmp_path / "w.pth", {"conv1.weight": torch.rand(64, 3, 7, 7)})
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="w.pth is damaged: the checksum of w/data/0 in it is wrong"):
        build_model("Resnet-18", 5, path)


def prefixed(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module._orig_mod.", "model.", "backbone.", "net.encoder.", "layer1."])
def test_a_prefix_is_removed(torchvision_resnet18, tmp_path, capsys, prefix):
    state = torchvision_resnet18.state_dict()
    path = write(tmp_path / "w.pth", prefixed(prefix, state) | {"head.weight": torch.zeros(3)})
    expected, unused = state["layer4.1.conv2.weight"], "unused in the file: 3 (fc.weight, fc.bias, head.weight)"
    assert torch.equal(build_model("Resnet-18", 5, path).layer4[1].conv2.weight, expected)
    assert f"100 of its 100 weights); {unused}; prefix '{prefix}' removed; the cl" in capsys.readouterr().out
    model, _ = load_trained(path, "Resnet-18", 1000)
    assert torch.equal(model.fc.weight, state["fc.weight"])
    assert capsys.readouterr().out == f"{path}: loaded; prefix '{prefix}' removed\n"


def test_a_prefix_that_several_networks_of_a_file_could_have(torchvision_resnet18, tmp_path, capsys):
    """MoCo's query encoder is what it trains; the key encoder is a moving average."""
    state = torchvision_resnet18.state_dict()
    key = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    moco = prefixed("module.encoder_q.", state) | prefixed("module.encoder_k.", key) | {"module.queue": torch.eye(3)}
    path = write(tmp_path / "w.pth", {"epoch": 200, "state_dict": moco, "optimizer": {"state": {0: torch.eye(3)}}})
    assert torch.equal(build_model("Resnet-18", 5, path).conv1.weight, state["conv1.weight"])
    assert ("; prefix 'state_dict.module.encoder_q.' removed ('state_dict.module.encoder_k.' would fit as well)"
            in capsys.readouterr().out)


class RunsCode:
    def __reduce__(self):
        return print, ("code ran",)


def test_unusable_weight_files(tmp_path, capsys):
    path = tmp_path / "w.pth"
    with pytest.raises(InputError, match="does not exist"):
        build_model("Resnet-18", 5, path)
    whole = tmp_path / "whole.pth"
    torch.save(models.resnet18().state_dict(), whole)
    for content in (b"", b"text", whole.read_bytes()[:5000], pickle.dumps(RunsCode(), 2)):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a readable PyTorch weight file"):
            build_model("Resnet-18", 5, path)
    assert "code ran" not in capsys.readouterr().out
    circular = {}
    circular["a"] = circular
    for content, message in ((torch.zeros(3), "holds a Tensor"), ({"a": 1}, "holds no weights"),
                             (circular, "holds no weights")):
        torch.save(content, path)
        with pytest.raises(InputError, match=message):
            build_model("Resnet-18", 5, path)


class Unknown:
    pass


@pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore:Detected pickle protocol")
@pytest.mark.parametrize("save, kind", [
    (lambda model, path: torch.save({"state_dict": model.state_dict(), "args": Namespace(lr=1)}, path),
     "a pickled argparse.Namespace"),
    (lambda model, path: torch.save({"model": model.state_dict(), "acc": np.float64(0.5)}, path), "numpy.*scalar"),
    (lambda model, path: torch.save({"net": model, "of": Unknown()}, path, _use_new_zipfile_serialization=False),
     "a pickled torchvision.models.resnet.ResNet"),
    (lambda model, path: torch.save(model, path, pickle_protocol=4), "a pickled object"),
    (lambda model, path: path.write_bytes(pickle.dumps({name: tensor.numpy() for name, tensor
                                                        in model.state_dict().items()}, 2)), "a pickled numpy"),
    (lambda model, path: torch.jit.script(model).save(path), "a TorchScript archive"),
])
def test_other_types_of_files_come_with_a_command_that_converts_them(torchvision_resnet18, tmp_path, save, kind, capsys):
    path = tmp_path / "a b.pth"
    save(torchvision_resnet18, path)
    with pytest.raises(InputError, match=f"not a readable .* {kind}.* if you trust") as error:
        build_model("Resnet-18", 5, path)
    python, option, code, *files = shlex.split(str(error.value).split(" with: ")[1])
    assert (python, option) == ("python", "-c") and files == [str(path), str(tmp_path / "a b_tensors.pth")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["-c", *files])
        exec(code, {})  # as python -c does
    model = build_model("Resnet-18", 5, files[1])
    assert torch.equal(model.conv1.weight, torchvision_resnet18.conv1.weight)


@pytest.mark.parametrize("content, message", [
    (struct.pack("<Q", 30) + b'{"conv1.weight":{"dtype":"F32"', "a safetensors file: .* with: python -c .*load_file"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS.*git lfs pull"),
])
def test_files_that_pytorch_does_not_write(tmp_path, content, message):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        build_model("Resnet-18", 5, path)


def test_imagenet_weights_come_from_torch_hubs_folder(torchvision_resnet18, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def no_network(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(InputError, match="resnet18-.*put it into .*checkpoints.*--pretrained_path"):
        build_model("Resnet-18", 5, "imagenet")
    file = tmp_path / "checkpoints" / NETWORKS["Resnet-18"].imagenet.url.rsplit("/", 1)[1]
    torch.save(torchvision_resnet18.state_dict(), file)
    model = build_model("Resnet-18", 5, "imagenet")
    torch.testing.assert_close(model.conv1.weight, torchvision_resnet18.conv1.weight)


def test_a_classifier_from_scratch_does_not_start_at_zero():
    assert build_model("Resnet-18", 5).fc.weight.abs().max() > 0


def test_names():
    assert network_name("resnet-50") == "Resnet-50" and network_name("VGG-16") == "VGGNet-16"
    with pytest.raises(InputError, match="unknown model 'AlexNet': choose from Resnet-50"):
        build_model("AlexNet", 5)


def test_load_trained_bare_state_dict(tmp_path):
    model = build_model("Resnet-18", 5)
    torch.save({f"module.{name}": tensor for name, tensor in model.state_dict().items()}, tmp_path / "w.pth")
    loaded, metadata = load_trained(tmp_path / "w.pth", "Resnet-18", 5)
    assert metadata == {} and not loaded.training and torch.equal(loaded.fc.weight, model.fc.weight)
    with pytest.raises(InputError, match="give --model and --label_num"):
        load_trained(tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"fc.weight is 5x512 in the file but 6x512 in this network \(and 1 more\)"):
        load_trained(tmp_path / "w.pth", "Resnet-18", 6)
    with pytest.raises(InputError, match="does not fit"):
        load_trained(tmp_path / "w.pth", "MobileNet-V2", 5)
    torch.save({"state_dict": model.state_dict(), "label_names": list("abcde")}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="incomplete checkpoint: it lacks args, epoch"):
        load_trained(tmp_path / "w.pth")
