"""Claim: the maximum of a Grad-CAM map lies in the label's object far more often than by chance.

    python benchmark/pointing_game.py --model MobileNet-V2 --pretrained_path weights/mobilenet_v2_imagenet.pth
    python benchmark/pointing_game.py --model Resnet-18 --epochs 15 --lr 1e-3

The pointing game of Zhang et al., "Top-down neural attention by excitation backprop" (2016). Each scene is plain ground
with one object, drawn by dataset/synthetic, whose label map gives the object's box. A network learns with one of the
losses from SCENES scenes which object is in them; its maps are evaluated on TEST other scenes. Written to
benchmark/results/pointing_game/<model>_<loss>.json: the share of images in which the maximum lies in the box, the share
of the map inside the box, and the share of the image that the box covers, which is the chance level.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from dataset import Normalize  # noqa: E402
from dataset.synthetic.canvas import COURTS, ID, Canvas  # noqa: E402
from dataset.synthetic.things import airplane, boat, court, tank  # noqa: E402
from loss import LOSSES, build_loss  # noqa: E402
from model import NETWORKS, build_model, network_name  # noqa: E402
from utils.engine import train_one_epoch  # noqa: E402
from utils.evaluation.gradcam import grad_cam  # noqa: E402
from utils.options import Parser  # noqa: E402

OBJECTS = {
    "airplane": lambda canvas, at, angle: airplane(canvas, at, angle, 90),
    "ship": lambda canvas, at, angle: boat(canvas, at, angle, 90),
    "tanks": lambda canvas, at, angle: tank(canvas, at, 38),
    "court": lambda canvas, at, angle: court(canvas, at, COURTS[1], COURTS[2]),
}
SCENES, TEST, BATCH = 800, 60, 16


def one_object_scenes(number: int, size: int, seed: int) -> tuple[Tensor, Tensor, np.ndarray]:
    """uint8 images (number, size, size, 3), labels (number, 4) and the objects' boxes (number, size, size), bool."""
    images, labels, boxes = [], torch.zeros(number, len(OBJECTS)), np.zeros((number, size, size), bool)
    for index in range(number):
        rng, label = np.random.default_rng([seed, index]), index % len(OBJECTS)
        name, canvas = list(OBJECTS)[label], Canvas(rng, size)
        canvas.fill("grass", "bare-soil", "pavement")
        OBJECTS[name](canvas, rng.uniform(-70, 70, 2), rng.uniform(0, 2 * np.pi))
        visible = np.asarray(canvas.labels)[::2, ::2] == ID[name]
        rows, columns = visible.any(1).nonzero()[0], visible.any(0).nonzero()[0]
        boxes[index, rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1] = True
        images.append(torch.from_numpy(np.array(canvas.finish()[0])))
        labels[index, label] = 1
    return torch.stack(images), labels, boxes


def learn(model: nn.Module, size: int, loss: str, epochs: int, lr: float) -> None:
    """Train on SCENES scenes, each randomly rotated in every epoch."""
    images, labels, _ = one_object_scenes(SCENES, size, seed=0)
    optimizer, criterion, normalize = torch.optim.Adam(model.parameters(), lr=lr), build_loss(loss), Normalize()

    def rotate(batch: Tensor) -> Tensor:
        return normalize(torch.rot90(batch, int(torch.randint(4, ())), (1, 2)))

    for epoch in range(1, epochs + 1):
        loader = DataLoader(TensorDataset(images, labels), batch_sampler=torch.randperm(SCENES).split(BATCH),
                            generator=torch.Generator())
        train_one_epoch(model, loader, criterion, optimizer, rotate, torch.device("cpu"), f"epoch {epoch}/{epochs}")
    model.eval()


def play(model: nn.Module, layer: nn.Module, size: int) -> dict[str, float]:
    """Play the game on TEST scenes, with the maps of the present label."""
    images, labels, boxes = one_object_scenes(TEST, size, seed=1)
    hits, masses, zeros = [], [], 0
    for image, label, box in zip(Normalize()(images), labels.argmax(1), boxes):
        heat = grad_cam(model, layer, image[None], [int(label)])[0, 0].numpy()
        zeros += heat.max() == 0
        hits.append(box.ravel()[heat.argmax()] and heat.max() > 0)
        masses.append(heat[box].sum() / max(heat.sum(), np.finfo(np.float32).tiny))
    return {"scenes": TEST, "hits": float(np.mean(hits)), "mass_in_box": float(np.mean(masses)),
            "chance": float(boxes.mean()), "all_zero_maps": int(zeros)}


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--model", default="MobileNet-V2", type=network_name)
    parser.add_argument("--pretrained_path")
    parser.add_argument("--loss", choices=list(LOSSES), default="bce")
    parser.add_argument("--image_size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--lr", type=float, default=3e-4)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = build_model(options.model, len(OBJECTS), options.pretrained_path)
    learn(model, options.image_size, options.loss, options.epochs, options.lr)
    result = play(model, model.get_submodule(NETWORKS[options.model].gradcam), options.image_size)
    results = ROOT / "benchmark" / "results" / "pointing_game"
    results.mkdir(parents=True, exist_ok=True)
    report = {"command": " ".join(["python", *sys.argv]), "options": vars(options), "torch": torch.__version__,
              "seed": 0, "device": "cpu", **result}
    (results / f"{options.model}_{options.loss}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
