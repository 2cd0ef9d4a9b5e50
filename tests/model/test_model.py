"""Networks return their classifier's input; weight files are loaded, reported and rejected as documented."""

import pickle

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


def test_a_few_missing_tensors_are_reported_and_many_are_rejected(torchvision_resnet18, tmp_path, capsys):
    state = torchvision_resnet18.state_dict()
    del state["conv1.weight"]
    torch.save(state, tmp_path / "w.pth")
    build_model("Resnet-18", 5, tmp_path / "w.pth")
    assert "99 of its 100 weights; missing: 1 (conv1.weight)" in capsys.readouterr().out
    torch.save({**state, "conv1.weight": torch.zeros(64, 4, 7, 7)}, tmp_path / "w.pth")  # of another shape
    build_model("Resnet-18", 5, tmp_path / "w.pth")
    assert "99 of its 100 weights; missing: 1 (conv1.weight)" in capsys.readouterr().out
    torch.save({name: tensor for name, tensor in state.items() if not name.startswith("layer4")}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="does not fit this network: .* of the backbone's 100 tensors"):
        build_model("Resnet-18", 5, tmp_path / "w.pth")
    with pytest.raises(InputError, match="0 of the backbone's"):
        torch.save({"x": torch.zeros(1)}, tmp_path / "w.pth")
        build_model("Resnet-18", 5, tmp_path / "w.pth")


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
    for content, message in ((torch.zeros(3), "holds a Tensor"), ({"a": 1}, "holds no weights")):
        torch.save(content, path)
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
    with pytest.raises(InputError, match=r"does not fit .*shape: 2 \(fc.weight, fc.bias\)"):
        load_trained(tmp_path / "w.pth", "Resnet-18", 6)
    with pytest.raises(InputError, match="does not fit"):
        load_trained(tmp_path / "w.pth", "MobileNet-V2", 5)
    torch.save({"state_dict": model.state_dict(), "label_names": list("abcde")}, tmp_path / "w.pth")
    with pytest.raises(InputError, match="incomplete checkpoint: it lacks args, epoch"):
        load_trained(tmp_path / "w.pth")
