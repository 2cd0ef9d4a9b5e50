"""Compare runs: their curves in one figure, and a table of their test figures for Markdown, LaTeX and spreadsheets.

    python -m utils.evaluation.compare runs/UCM_Multilabel_* --save_path comparison

Runs that differ only by their seed share a row: mean and standard deviation (of the sample, n - 1). Test figures are
those that Test.py wrote into <run>/test_best.
"""

import argparse
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import InputError, exit_cleanly, summarize_names, warn
from utils.figures.curves import draw_comparison
from utils.figures.style import FORMATS, save_figure
from utils.options import HelpFormatter, differ_only_by, run_titles
from utils.run.atomic import write_csv, write_text
from utils.run.run_folder import make_folder, read_args

COLUMNS = {"mAP": "mAP", "OF1": "micro F1", "macro_F1": "macro F1", "CF1": "CF1", "example_F1": "example F1",
           "example_F2": "example F2"}
SINGLE_LABEL_COLUMNS = {"accuracy": "accuracy", "average_accuracy": "average accuracy", "kappa": "kappa",
                        "argmax_F1": "macro F1", "top5": "top-5", "mAP": "mAP"}


@dataclass(frozen=True)
class Run:
    """options: as in args.json. log: its log.csv. report: metrics.json of its test, or None where there is none."""

    folder: Path
    options: dict[str, Any]
    log: Path
    report: dict[str, Any] | None


def read_run(folder: Path) -> Run:
    """A run's folder, as Train.py and Test.py write it; metrics.json may also lie in the folder itself.

    Raises:
        InputError: where it is no such folder, or no epoch is finished.
    """
    log = folder / "log.csv"
    try:
        options = read_args(folder)["args"]
        rows = len(log.read_text(encoding="utf-8").splitlines())
        places = [Path(options.get("save_path") or folder) / "test_best", folder]  # save_path: where its best.pth is
        files = [place / "metrics.json" for place in places if (place / "metrics.json").is_file()]
        report = json.loads(files[0].read_text(encoding="utf-8")) if files else None
        if report is not None and not {"images", "per_label"} <= report.keys() | metrics_of(report).keys():
            raise KeyError("images, per_label")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} is no folder of a run: args.json and log.csv of Train.py are wanted, and "
                         f"metrics.json of Test.py if there is one ({type(error).__name__}: {error})") from error
    if rows < 2:  # the first is the header
        raise InputError(f"{folder} has no finished epoch yet; leave it out, or wait")
    return Run(folder, options, log, report)


def group_by_seed(runs: list[Run]) -> dict[str, list[Run]]:
    """Title -> the runs that differ by nothing but the seed."""
    groups: list[list[Run]] = []
    for run in runs:
        group = next((group for group in groups if differ_only_by("seed", group[0].options, run.options)), None)
        groups.append([run]) if group is None else group.append(run)
    titles = run_titles([group[0].options for group in groups], ignore=["seed"])
    return {title if titles.count(title) == 1 else f"{title}, {group[0].folder}": group
            for title, group in zip(titles, groups)}


def columns_of(report: dict[str, Any]) -> dict[str, str]:
    """The names and titles of the figures that a table of such reports shows."""
    return SINGLE_LABEL_COLUMNS if "single_label" in report else COLUMNS


def metrics_of(report: dict[str, Any]) -> dict[str, float | None]:
    """The figures of a table by name, as fractions."""
    return {name: {**report["metrics"], **report.get("single_label", {})}[name] for name in columns_of(report)}


def table(groups: dict[str, list[Run]]) -> list[dict[str, Any]]:
    """A row per group: "run", "runs" (how many were tested), and of each figure its mean and standard deviation, None
    where it is not defined."""
    rows = []
    for title, runs in groups.items():
        tested = [metrics_of(run.report) for run in runs if run.report]
        row: dict[str, Any] = {"run": title, "runs": len(tested)}
        for name in tested[0] if tested else ():
            row[name] = mean_and_deviation([figures[name] for figures in tested if figures[name] is not None])
        rows.append(row)
    return rows


def mean_and_deviation(values: list[float]) -> tuple[float | None, float | None]:
    """Mean and standard deviation (n - 1), None where there are too few values."""
    return statistics.fmean(values) if values else None, statistics.stdev(values) if len(values) > 1 else None


def write_tables(folder: Path, rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    """Write test.md and test.tex, in percent, and test.csv, in fractions. Returns the Markdown."""
    head = ["run", "runs", *columns.values()]
    body = [[row["run"], str(row["runs"]), *(percent_cell(row.get(name, (None, None))) for name in columns)]
            for row in rows]
    markdown = "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |\n"
                       for cells in (head, ["---", *["---:"] * (len(head) - 1)], *body))
    latex = [" & ".join(map(_latex, cells)) + r" \\" for cells in (head, *body)]
    latex = [rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule", latex[0], r"\midrule", *latex[1:],
             r"\bottomrule", r"\end{tabular}", ""]
    write_text(folder / "test.md", markdown)
    write_text(folder / "test.tex", "\n".join(latex))
    write_csv(folder / "test.csv", [
        ["run", "runs", *(f"{name}{what}" for name in columns for what in ("", "_sd"))],
        *([row["run"], row["runs"], *(value for name in columns for value in row.get(name, (None, None)))]
          for row in rows)])
    return markdown


def percent_cell(figure: tuple[float | None, float | None]) -> str:
    """Mean and standard deviation of fractions, in percent."""
    mean, deviation = figure
    if mean is None:
        return "-"
    return f"{100 * mean:.2f}" + ("" if deviation is None else f" ± {100 * deviation:.2f}")


def _latex(cell: str) -> str:
    for plain, escaped in (("\\", r"\textbackslash "), *((sign, rf"\{sign}") for sign in "&%$#_{}"),
                           ("~", r"\textasciitilde "), ("^", r"\textasciicircum "), ("±", r"$\pm$")):
        cell = cell.replace(plain, escaped)
    return cell


def main(argv: list[str] | None = None) -> dict[str, list[Run]]:
    """Compare; returns the groups of runs by title."""
    parser = argparse.ArgumentParser(prog="python -m utils.evaluation.compare", description=__doc__, allow_abbrev=False,
                                     formatter_class=HelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs")
    parser.add_argument("--save_path", type=Path, default="comparison", metavar="DIR",
                        help="folder of curves.png ... and test.md, test.csv, test.tex")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=["png", "pdf"], help="of the figure")
    args = parser.parse_args(argv)
    runs = [read_run(folder) for folder in {folder.resolve(): folder for folder in args.runs}.values()]
    groups = group_by_seed(runs)
    for title, group in groups.items():
        if len({run.options.get("seed") for run in group}) < len(group):
            warn(f"{title}: some of its {len(group)} runs have the same seed, and count as if they had not")
    folder = make_folder(args.save_path)
    save_figure(draw_comparison({title: [run.log for run in group] for title, group in groups.items()}),
                folder / "curves", args.formats)

    untested = [run for run in runs if not run.report]
    if untested:
        weights = Path(untested[0].options.get("save_path") or untested[0].folder) / "best.pth"
        names = summarize_names([str(run.folder) for run in untested], "run")
        warn(f"{names} not tested: python Test.py --weights_path {weights}")
    reports = [run.report for run in runs if run.report]
    if reports:
        if len({(report["images"], *report["per_label"]) for report in reports}) > 1:
            warn("the runs were tested on different images or labels; their figures cannot be compared")
        if len({"single_label" in report for report in reports}) > 1:
            raise InputError("runs with one label per image and runs with several have different figures; compare them "
                             "in two calls")
        print(write_tables(folder, table(groups), columns_of(reports[0])))
    print(f"written: {folder}")
    return groups


if __name__ == "__main__":
    exit_cleanly(main)
