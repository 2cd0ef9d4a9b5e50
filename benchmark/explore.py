"""Why does R4C trail cross-entropy at short budgets, and which change helps? Short trainings, one change at a time.

    python benchmark/explore.py                      all unfinished rows and seeds, then the tables and the figure
    python benchmark/explore.py r4c --seeds 3050     one row

The last blocks of MobileNet-V2 are trained on the frozen activations of the earlier blocks, for each image of UCM's
AiTLAS lists in its eight rotations and flips: 2 to 3 seconds per epoch on one core. A run is a file
results/explore/<row>_seed<seed>.json: the metrics of the epoch that validation selected, and those of all epochs, with
gradient statistics. explore.md and explore.png are made from these files. Those of other rows, which explained less,
were made by earlier versions (up to commit ba1b96e).
"""

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmark.reproduce import SEEDS, markdown  # noqa: E402
from dataset import Normalize, all_views, eval_transform, load_data, load_image  # noqa: E402
from loss import TERMS, R4CLoss, approx_ndcg_loss, build_loss  # noqa: E402
from model import build_model  # noqa: E402
from utils.engine import learning_rate  # noqa: E402
from utils.errors import InputError, exit_cleanly  # noqa: E402
from utils.evaluation.compare import mean_and_deviation, percent_cell  # noqa: E402
from utils.figures.style import WIDTH, line_style, new_figure, save_figure  # noqa: E402
from utils.metrics import multilabel_metrics  # noqa: E402
from utils.options import Parser  # noqa: E402
from utils.run.atomic import write_text  # noqa: E402
from utils.run.run_folder import environment, make_folder  # noqa: E402

RESULTS = ROOT / "benchmark" / "results" / "explore"
IMAGE_SIZE, EPOCHS, BATCH = 96, 20, 16
BLOCK = 14  # of 0 to 18: the first trainable one


def logit_ndcg(scores: Tensor, relevance: Tensor) -> Tensor:
    """ApproxNDCG with a wide step: alpha = 1 on logits."""
    return approx_ndcg_loss(scores, relevance, 1.0)


def bounded_ranks(scores: Tensor, relevance: Tensor) -> Tensor:
    """nDCG's discount of upper bounds of the ranks: see `ndcg_bound_loss`."""
    above = scores.unsqueeze(1) - scores.unsqueeze(2)
    more = relevance.unsqueeze(1) - relevance.unsqueeze(2)
    ranks = 1 + ((more > 0) | (more == 0) & (above > 0)).sum(2)  # without less relevant items above
    gains, v = torch.exp2(relevance) - 1, (F.softplus(above) * (more < 0)).sum(2) / math.log(2)
    discounts = 1 / torch.log2(ranks + 1) - 1 / torch.log2(ranks + v + 1)
    positions = torch.arange(2, scores.shape[1] + 2)
    return (gains * discounts).sum(1) / (gains.sort(1, descending=True).values / torch.log2(positions)).sum(1)


class ScoreLists(nn.Module):
    """L2R-label and L2R-sample with another list loss, on logits."""

    def __init__(self, list_loss: Callable[[Tensor, Tensor], Tensor]):
        super().__init__()
        self.list_loss = list_loss

    def forward(self, features: Tensor, logits: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        def lists(scores: Tensor, present: Tensor, number: int) -> Tensor:
            neutral = torch.logit(torch.linspace(0.4, 0.6, number)).expand(len(scores), number)
            relevance = torch.cat([2 * present, torch.ones_like(neutral)], 1)
            return self.list_loss(torch.cat([scores, neutral], 1), relevance)

        terms = {"label": (lists(logits, labels, 4) / labels.sum(1).clamp(min=1)).sum(),
                 "sample": lists(logits.T, labels.T, 16).sum()}
        return sum(terms.values()), terms


@dataclass(frozen=True)
class Row:
    """lr: for variants of R4C and of its bound, the rate that the first study's search selected for these; 5e-4 for the
    others."""

    description: str
    loss: nn.Module
    lr: float = 5e-4


ROWS = {
    "bce": Row("binary cross-entropy", build_loss("bce")),
    "r4c": Row("R4C as published", R4CLoss(), 2e-4),
    "no_feature": Row("without L2R-feature", R4CLoss(parts=("label", "sample")), 2e-4),
    "logits": Row("... ranking logits, alpha = 1", ScoreLists(logit_ndcg)),
    "bounded_ranks": Row("... and bounded ranks with nDCG's discount", ScoreLists(bounded_ranks)),
    "bound": Row("... and no discount: `--bound --parts label sample`", R4CLoss(parts=("label", "sample"), bound=True)),
}


class LastBlocks(nn.Module):
    """The trainable end of the network: activations -> (features, logits)."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.blocks, self.classifier = model.features[BLOCK:], model.classifier

    def forward(self, activations: Tensor) -> tuple[Tensor, Tensor]:
        return self.classifier(self.blocks(activations).mean((2, 3)))


def compute_activations(model: nn.Module, data_root: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Split -> activations (views, N, channels, height, width) before the block, and labels (N, C)."""
    lists = {name: f"{data_root}/UCM_Multilabel/splits/aitlas_{name}.txt" for name in ("train", "val", "test")}
    data = load_data("UCM_Multilabel", data_root, lists)
    transform, normalize, activations = eval_transform(IMAGE_SIZE), Normalize(), {}
    with torch.no_grad():
        for name, split in data.splits.items():
            batches = []
            for start in tqdm(range(0, len(split.images), 64), desc=f"activations, {name}", leave=False):
                files = split.images[start:start + 64]
                images = normalize(torch.stack([transform(load_image(file)) for file in files]))
                batches.append(torch.stack([model.features[:BLOCK](view) for view in all_views(images)]))
            activations[name] = torch.cat(batches, 1), torch.from_numpy(split.labels).float()
    return activations


def gradient_statistics(features: Tensor, logits: Tensor, labels: Tensor) -> dict[str, float]:
    """For a batch: the gradient norm of each loss term of R4C as published, at the features; the number of pairs of
    images that a label ranks in the wrong order, and of those for which the published sigmoid (alpha = 100) has more
    than a hundredth of its maximal slope; and the share of scores in the buffer interval."""
    norms = {}
    for name in TERMS:
        total, _ = R4CLoss(parts=(name,))(features, logits, labels)
        gradient, = torch.autograd.grad(total, features, retain_graph=True, allow_unused=True)
        norms[f"norm {name}"] = gradient.norm().item()
    scores = torch.sigmoid(logits.detach()).T
    above = scores.unsqueeze(1) - scores.unsqueeze(2)  # (C, i, j): s_j - s_i
    wrong = (labels.T.unsqueeze(2) > labels.T.unsqueeze(1)) & (above > 0)
    steps = torch.sigmoid(100 * above)
    usable = wrong & (4 * steps * (1 - steps) > 0.01)
    return norms | {"wrong pairs": wrong.sum().item(), "usable pairs": usable.sum().item(),
                    "in buffer": ((scores - 0.5).abs() <= 0.1).float().mean().item()}


def evaluate(network: nn.Module, data: dict[str, tuple[Tensor, Tensor]]) -> dict[str, dict[str, float]]:
    """Metrics on the validation and the test images as they are, without rotation or flip."""
    network.eval()
    metrics = {}
    for name in ("val", "test"):
        activations, labels = data[name]
        with torch.inference_mode():
            scores = torch.cat([torch.sigmoid(network(batch)[1]) for batch in activations[0].split(128)])
        values = multilabel_metrics(scores.numpy(), labels.numpy())
        metrics[name] = {"mAP": values["mAP"], "micro F1": values["OF1"]}
    return metrics


def train(row: str, seed: int, data: dict[str, tuple[Tensor, Tensor]], pretrained_path: str) -> dict:
    """Train with Adam, the recipe's schedule and random views. Returns the content of the result file."""
    torch.manual_seed(seed)
    network = LastBlocks(build_model("MobileNet-V2", 17, pretrained_path)).to(memory_format=torch.channels_last)
    this = ROWS[row]
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    activations, labels = data["train"]
    epochs, start = [], time.perf_counter()
    for epoch in tqdm(range(1, EPOCHS + 1), desc=f"{row}, seed {seed}", unit="epoch", leave=False):
        optimizer.param_groups[0]["lr"] = learning_rate(epoch, EPOCHS, this.lr)
        network.train()
        statistics: list[dict[str, float]] = []
        for step, batch in enumerate(torch.randperm(len(labels)).split(BATCH)):
            features, logits = network(activations[torch.randint(8, (len(batch),)), batch])
            if step % 8 == 0:
                statistics.append(gradient_statistics(features, logits, labels[batch]))
            total, _ = this.loss(features, logits, labels[batch])
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        epochs.append({"epoch": epoch, **evaluate(network, data),
                       **{name: sum(step[name] for step in statistics) / len(statistics) for name in statistics[0]}})
    best = max(reversed(epochs), key=lambda epoch: epoch["val"]["micro F1"])
    return {"row": row, "what": this.description, "lr": this.lr, "seed": seed, "best": best,
            "seconds": time.perf_counter() - start, "image_size": IMAGE_SIZE, "block": BLOCK,
            **environment(torch.device("cpu")), "epochs": epochs}


def results() -> dict[str, list[dict]]:
    """The content of the result files, by row. Raises InputError for a damaged one."""
    contents: dict[str, list[dict]] = {}
    for row in ROWS:
        for file in sorted(RESULTS.glob(f"{row}_seed*.json")):
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
                contents.setdefault(content["row"], []).append(content)
            except (ValueError, KeyError) as error:
                raise InputError(f"{file} is damaged ({error}): remove it and run its command again") from error
    return contents


def table() -> str:
    """The content of explore.md: means and standard deviations over seeds."""
    columns = [(split, name) for split in ("val", "test") for name in ("mAP", "micro F1")]
    return markdown(["row", "what", "lr", "seeds", *map(" ".join, columns)], [
        [row, ROWS[row].description, f"{runs[0]['lr']:g}", str(len(runs)),
         *(percent_cell(mean_and_deviation([run["best"][split][name] for run in runs])) for split, name in columns)]
        for row, runs in results().items()])


def draw():
    """First seed: pairs in the wrong order, all and those with a gradient under the published sigmoid; gradient norms
    of the published loss terms during training; the share of scores in the buffer interval."""
    figure = new_figure(WIDTH, 2.8)
    wrong, norms, buffer = figure.subplots(1, 3)
    epochs = {row: runs[0]["epochs"] for row, runs in results().items()}
    for index, row in enumerate(row for row in ("r4c", "bce", "bound") if row in epochs):
        numbers, style = [epoch["epoch"] for epoch in epochs[row]], line_style(index, marker=False)
        wrong.plot(numbers, [epoch["wrong pairs"] for epoch in epochs[row]], label=row, **style)
        buffer.plot(numbers, [100 * epoch["in buffer"] for epoch in epochs[row]], label=row, **style)
        if row == "r4c":
            wrong.plot(numbers, [epoch["usable pairs"] for epoch in epochs[row]], label="r4c, with a gradient",
                       **line_style(3, marker=False))
            for term, name in enumerate(TERMS):
                norms.plot(numbers, [epoch[f"norm {name}"] for epoch in epochs[row]], label=name,
                           **line_style(term, marker=False))
    for axes, title in ((wrong, "wrong pairs in a batch"), (norms, "r4c: gradient at the features"),
                        (buffer, "scores in the buffer (%)")):
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("epoch")
        axes.set_ylim(bottom=0)
        if axes.lines:
            axes.legend(fontsize=7)
    return figure


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)} (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS[:2]))
    parser.add_argument("--data_root", default="data")
    parser.add_argument("--pretrained_path", default="weights/mobilenet_v2_imagenet.pth")
    options = parser.parse_args(argv)
    if unknown := set(options.rows) - set(ROWS):
        parser.error(f"unknown rows: {', '.join(unknown)}")
    unfinished = [(row, seed, file) for seed in options.seeds for row in options.rows or ROWS
            if not (file := RESULTS / f"{row}_seed{seed}.json").exists()]
    if unfinished:
        data = compute_activations(build_model("MobileNet-V2", 17, options.pretrained_path).eval(), options.data_root)
    for row, seed, file in tqdm(unfinished, desc="runs", unit="run"):
        result = train(row, seed, data, options.pretrained_path)
        write_text(make_folder(RESULTS) / file.name, json.dumps(result, indent=1) + "\n")
    write_text(RESULTS / "explore.md", table())
    save_figure(draw(), RESULTS / "explore")
    print(table())


if __name__ == "__main__":
    exit_cleanly(main)
