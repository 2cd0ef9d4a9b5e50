"""Why does R4C trail cross-entropy at short budgets, and which change helps? Short trainings, one change at a time.

    python benchmark/explore.py                      all unfinished rows and seeds, then the tables and the figure
    python benchmark/explore.py r4c --seeds 3050     one row

The last blocks of MobileNet-V2 are trained on the frozen activations of the earlier blocks, for each image of UCM's
AiTLAS lists in its eight rotations and flips: 2 to 3 seconds per epoch on one core. A run is a file
results/explore/<row>_seed<seed>.json: the metrics of the epoch that validation selected (plain, with averaged weights,
and with scores averaged over the eight views), and those of 20 epochs, all or every 20th, with gradient statistics.
explore.md and explore.png are made from these files.
"""

import copy
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
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmark.reproduce import SEEDS, markdown  # noqa: E402
from dataset import Normalize, all_views, eval_transform, load_data, load_image  # noqa: E402
from loss import (  # noqa: E402
    TERMS,
    R4CLoss,
    approx_ndcg_loss,
    build_loss,
    feature_ranking_loss,
    label_ranking_loss,
    sample_ranking_loss,
)
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
IMAGE_SIZE, EPOCHS = 96, 20
BLOCK = 14  # of 0 to 18: the first trainable one


def logit_ndcg(scores: Tensor, relevance: Tensor) -> Tensor:
    """ApproxNDCG with a wide step: alpha = 1 on logits."""
    return approx_ndcg_loss(scores, relevance, 1.0)


def violations(scores: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gains, ranks without less relevant items above, and the bound v on the number of these: see `ndcg_bound_loss`."""
    above = scores.unsqueeze(1) - scores.unsqueeze(2)
    more = relevance.unsqueeze(1) - relevance.unsqueeze(2)
    ranks = 1 + ((more > 0) | (more == 0) & (above > 0)).sum(2)
    return torch.exp2(relevance) - 1, ranks, (F.softplus(above) * (more < 0)).sum(2) / math.log(2)


def bounded_ranks(scores: Tensor, relevance: Tensor) -> Tensor:
    """nDCG's discount of upper bounds of the ranks."""
    gains, ranks, v = violations(scores, relevance)
    discounts = 1 / torch.log2(ranks + 1) - 1 / torch.log2(ranks + v + 1)
    positions = torch.arange(2, scores.shape[1] + 2)
    return (gains * discounts).sum(1) / (gains.sort(1, descending=True).values / torch.log2(positions)).sum(1)


def bounded_logarithm(scores: Tensor, relevance: Tensor) -> Tensor:
    """The mean logarithm of these bounds relative to that of the ideal ranks."""
    gains, ranks, v = violations(scores, relevance)
    return (gains * torch.log2(1 + v / (ranks + 1))).sum(1) / gains.sum(1)


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


class UnitFeatures(R4CLoss):
    """R4C with features of unit length: their distances, at most 2, no longer saturate the sigmoid with alpha = 10."""

    def forward(self, features: Tensor, logits: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return super().forward(F.normalize(features), logits, labels)


class Balanced(nn.Module):
    """R4C whose three loss terms have gradients of equal norm at the features, that of their mean."""

    def forward(self, features: Tensor, logits: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        terms = {name: R4CLoss(parts=(name,))(features, logits, labels)[0] for name in TERMS}
        norms = {name: torch.autograd.grad(loss, features, retain_graph=True)[0].norm() for name, loss in terms.items()}
        mean = sum(norms.values()) / len(norms)
        return sum(loss * mean / norms[name].clamp(min=1e-6) for name, loss in terms.items()), terms


class Annealed(nn.Module):
    """R4C with a different alpha for the score losses."""

    def __init__(self, alpha: float):
        super().__init__()
        self.alpha = alpha

    def forward(self, features: Tensor, logits: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        scores = torch.sigmoid(logits)
        terms = {"feature": feature_ranking_loss(features, labels),
                 "label": label_ranking_loss(scores, labels, alpha=self.alpha),
                 "sample": sample_ranking_loss(scores, labels, alpha=self.alpha)}
        return sum(terms.values()), terms


class Memory(nn.Module):
    """R4C whose L2R-sample ranks a batch together with the epoch's previous 48 images, by their logits then."""

    def __init__(self, batch_terms: tuple[str, ...] = ("feature", "label"), bound: bool = False):
        super().__init__()
        self.batch, self.lists = R4CLoss(parts=batch_terms, bound=bound), R4CLoss(parts=("sample",), bound=bound)
        self.recent: list[tuple[Tensor, Tensor]] = []

    def forward(self, features: Tensor, logits: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        total, terms = self.batch(features, logits, labels)
        lists, sample = self.lists(features, *(torch.cat(both) for both in zip((logits, labels), *self.recent)))
        self.recent = [(logits.detach(), labels), *self.recent[:2]]
        return total + lists, terms | sample


@dataclass(frozen=True)
class Row:
    """loss: share of finished epochs -> the loss of an epoch. lr: for variants of R4C and of its bound, the rate that
    reproduce.py's search selected for these; 5e-4 for the others; with larger batches, scaled by the square root.
    times: factor on the number of epochs."""

    description: str
    loss: Callable[[float], nn.Module]
    lr: float = 5e-4
    cosine: bool = False
    batch: int = 16
    times: int = 1

    @property
    def epochs(self) -> int:
        return EPOCHS * self.times

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, from 1: the recipe's schedule, or a half cosine."""
        if self.cosine:
            return self.lr * (1 + math.cos(math.pi * (epoch - 1) / self.epochs)) / 2
        return learning_rate(epoch, self.epochs, self.lr)


_R4C_BOUND = R4CLoss(parts=("label", "sample"), bound=True)
ROWS = {
    "bce": Row("binary cross-entropy", lambda _: build_loss("bce")),
    "r4c": Row("R4C as published", lambda _: R4CLoss(), 2e-4),
    "no_feature": Row("without L2R-feature", lambda _: R4CLoss(parts=("label", "sample")), 2e-4),
    "logits": Row("... ranking logits, alpha = 1", lambda _: ScoreLists(logit_ndcg)),
    "bounded_ranks": Row("... and bounded ranks with nDCG's discount", lambda _: ScoreLists(bounded_ranks)),
    "bounded_log": Row("... or the logarithm of these ranks as discount", lambda _: ScoreLists(bounded_logarithm)),
    "bound": Row("... or the ranks themselves: `--bound --parts label sample`", lambda _: _R4C_BOUND),
    "bound_sample": Row("`--bound --parts sample`", lambda _: R4CLoss(parts=("sample",), bound=True)),
    "bound_label": Row("`--bound --parts label`", lambda _: R4CLoss(parts=("label",), bound=True)),
    "bound_feature": Row("`--bound`, with L2R-feature", lambda _: R4CLoss(bound=True)),
    "unit_features": Row("R4C, features of unit length", lambda _: UnitFeatures(), 2e-4),
    "balanced": Row("R4C, gradients of its loss terms balanced", lambda _: Balanced(), 2e-4),
    "annealed": Row("R4C, alpha annealed from 10 to 100 in the first half",
                    lambda done: Annealed(10 ** min(2, 1 + 2 * done)), 2e-4),
    "more_neutral": Row("R4C, 4 times as many neutral items", lambda _: R4CLoss(64, 16), 2e-4),
    "warm_up": Row("R4C, BCE warm-up in the first fifth",
                   lambda done: build_loss("bce") if done < 0.2 else R4CLoss(), 2e-4),
    "r4c_memory": Row("R4C, L2R-sample also over the previous 48 images", lambda _: Memory(), 2e-4),
    "bound_memory": Row("`bound`, the same", lambda _: Memory(("label",), bound=True)),
    "bce_batch_64": Row("BCE, batches of 64", lambda _: build_loss("bce"), 1e-3, batch=64),
    "r4c_batch_64": Row("R4C, batches of 64", lambda _: R4CLoss(), 4e-4, batch=64),
    "bound_batch_64": Row("`bound`, batches of 64", lambda _: _R4C_BOUND, 1e-3, batch=64),
    "bce_400_epochs": Row("BCE, the published 400 epochs", lambda _: build_loss("bce"), times=20),
    "r4c_400_epochs": Row("R4C, 400 epochs", lambda _: R4CLoss(), 2e-4, times=20),
    "bound_400_epochs": Row("`bound`, 400 epochs", lambda _: _R4C_BOUND, times=20),
    "bce_cosine": Row("BCE, cosine schedule", lambda _: build_loss("bce"), cosine=True),
    "r4c_cosine": Row("R4C, cosine schedule", lambda _: R4CLoss(), 2e-4, cosine=True),
    "bound_cosine": Row("`bound`, cosine schedule", lambda _: _R4C_BOUND, cosine=True),
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


def evaluate(network: nn.Module, data: dict[str, tuple[Tensor, Tensor]], views: int = 1) -> dict[str, dict[str, float]]:
    """Metrics on the validation and the test images; scores are means over `views` views."""
    network.eval()
    metrics = {}
    for name in ("val", "test"):
        activations, labels = data[name]
        with torch.inference_mode():
            scores = torch.stack([torch.cat([torch.sigmoid(network(batch)[1]) for batch in view.split(128)])
                                  for view in activations[:views]]).mean(0)
        values = multilabel_metrics(scores.numpy(), labels.numpy())
        metrics[name] = {"mAP": values["mAP"], "micro F1": values["OF1"]}
    return metrics


def train(row: str, seed: int, data: dict[str, tuple[Tensor, Tensor]], pretrained_path: str) -> dict:
    """Train with Adam, the recipe's schedule and random views. Returns the content of the result file."""
    torch.manual_seed(seed)
    network = LastBlocks(build_model("MobileNet-V2", 17, pretrained_path)).to(memory_format=torch.channels_last)
    this = ROWS[row]
    # With batches of 16, a step has weight 0.01: an average over about one epoch.
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(1 - this.batch / 1600), use_buffers=True)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    activations, labels = data["train"]
    epochs, best, best_network, start = [], None, None, time.perf_counter()
    for epoch in tqdm(range(1, this.epochs + 1), desc=f"{row}, seed {seed}", unit="epoch", leave=False):
        loss = this.loss((epoch - 1) / this.epochs)
        optimizer.param_groups[0]["lr"] = this.rate(epoch)
        network.train()
        statistics: list[dict[str, float]] = []
        for step, batch in enumerate(torch.randperm(len(labels)).split(this.batch)):
            features, logits = network(activations[torch.randint(8, (len(batch),)), batch])
            if step % 8 == 0:
                statistics.append(gradient_statistics(features, logits, labels[batch]))
            total, _ = loss(features, logits, labels[batch])
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            averaged.update_parameters(network)
        epochs.append({"epoch": epoch, **evaluate(network, data), "averaged": evaluate(averaged, data),
                       **{name: sum(step[name] for step in statistics) / len(statistics) for name in statistics[0]}})
        if best is None or epochs[-1]["val"]["micro F1"] >= best["val"]["micro F1"]:
            best, best_network = epochs[-1], copy.deepcopy(network)
    return {"row": row, "what": this.description, "lr": this.lr, "seed": seed, "best": best,
            "averaged": max((epoch["averaged"] for epoch in reversed(epochs)), key=lambda row: row["val"]["micro F1"]),
            "views": evaluate(best_network, data, views=8), "seconds": time.perf_counter() - start,
            "image_size": IMAGE_SIZE, "block": BLOCK, **environment(torch.device("cpu")),
            "epochs": epochs[this.times - 1::this.times]}


def results() -> dict[str, list[dict]]:
    """The content of the result files, by row. Raises InputError for a damaged one."""
    contents: dict[str, list[dict]] = {row: [] for row in ROWS}
    for file in sorted(RESULTS.glob("*_seed*.json")):
        try:
            contents[(content := json.loads(file.read_text(encoding="utf-8")))["row"]].append(content)
        except (ValueError, KeyError) as error:
            raise InputError(f"{file} is damaged ({error}): remove it and run its command again") from error
    return {row: runs for row, runs in contents.items() if runs}


def table() -> str:
    """The content of explore.md: means and standard deviations over seeds."""
    columns = [(split, name) for split in ("val", "test") for name in ("mAP", "micro F1")]
    titles = [" ".join(column) for column in columns]

    def cells(runs: list[dict], how: str) -> list[str]:
        return [percent_cell(mean_and_deviation([run[how][split][name] for run in runs])) for split, name in columns]

    plain = markdown(["row", "what", "lr", "seeds", *titles], [
        [row, ROWS[row].description, f"{runs[0]['lr']:g}", str(len(runs)), *cells(runs, "best")]
        for row, runs in results().items()])
    averaged = markdown(["row", *(f"{how}: {title}" for how in ("averaged", "views") for title in titles)], [
        [row, *cells(runs, "averaged"), *cells(runs, "views")] for row, runs in results().items()])
    return f"{plain}\nThe same runs with averaged weights, and with scores averaged over the eight views:\n\n{averaged}"


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
