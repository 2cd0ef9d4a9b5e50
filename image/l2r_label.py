"""Draw the idea of L2R-label (image/l2r_label.png): python image/l2r_label.py

The labels of one image lie on the score axis, with four virtual neutral labels between them. Each arrow is computed: it
leads from a label's score to its score after 200 steps of Adam on `label_ranking_loss` alone.
"""

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1]))
from loss import label_ranking_loss  # noqa: E402

STARTS = {"trees": (0.62, 1), "pavement": (0.55, 1), "cars": (0.44, 1), "grass": (0.57, 0), "court": (0.47, 0),
          "sea": (0.36, 0)}
NUMBER, HALFWIDTH, STEPS, LR = 4, 0.1, 200, 0.02
BLUE, ORANGE, GRAY = "#0072b2", "#d55e00", "0.4"


def descend(start: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Scores (C,) after STEPS of Adam on their logits."""
    logits = torch.logit(start).unsqueeze(0).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=LR)
    for _ in range(STEPS):
        optimizer.zero_grad()
        label_ranking_loss(torch.sigmoid(logits), labels.unsqueeze(0), NUMBER, HALFWIDTH).backward()
        optimizer.step()
    return torch.sigmoid(logits.detach()[0])


def main() -> None:
    start = torch.tensor([score for score, _ in STARTS.values()])
    labels = torch.tensor([label for _, label in STARTS.values()])
    end = descend(start, labels)

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(0.5 - HALFWIDTH, 0.5 + HALFWIDTH, color="0.92")
    axes.axvline(0.5, ymax=0.83, color=GRAY, linestyle=":", linewidth=1)
    axes.text(0.5, -1.15, "buffer interval", ha="center", color=GRAY)
    axes.plot(torch.linspace(0.5 - HALFWIDTH, 0.5 + HALFWIDTH, NUMBER), [-0.6] * NUMBER, "D", color=GRAY, markersize=9,
              label="virtual neutral label: relevance 1, fixed")
    for present, color, marker, meaning in ((1, BLUE, "^", "present label: relevance 2, belongs above"),
                                            (0, ORANGE, "v", "absent label: relevance 0, belongs below")):
        rows = [row for row, label in enumerate(labels) if label == present]
        axes.plot(start[rows], rows, marker, color=color, markersize=10, label=meaning)
        for row in rows:
            axes.annotate("", (end[row], row), (start[row], row),
                          arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 2, "shrinkA": 6, "shrinkB": 0})
    axes.set(xlim=(0, 1), ylim=(len(STARTS) - 0.5, -1.5), xlabel="score p of the labels of one image")
    axes.set_yticks(range(len(STARTS)), STARTS)
    axes.tick_params(axis="y", length=0)
    axes.spines[["left", "right", "top"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=130)


if __name__ == "__main__":
    main()
