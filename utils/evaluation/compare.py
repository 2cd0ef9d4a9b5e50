"""Compare runs: their curves in one figure, and a table of their test results for Markdown, LaTeX and spreadsheets.

    python -m utils.evaluation.compare runs/UCM_Multilabel_* --save_path comparison

Runs that differ only by their seed share a row with mean and standard deviation (of the sample, n - 1). Test results
are those that Test.py wrote into <run>/test_best.
"""

import json
import math
import shlex
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.engine import learning_rate
from utils.errors import InputError, exit_cleanly, summarize_names, warn
from utils.figures.curves import draw_comparison, read_log
from utils.figures.style import FORMATS, save_figure
from utils.metrics import METRICS, MULTILABEL_METRICS, SINGLE_LABEL_METRICS
from utils.options import NEUTRAL_OPTIONS, Parser, differing_options, option_value, options_of, run_titles
from utils.run.atomic import write_csv, write_text
from utils.run.run_folder import best_epoch, make_folder, name_of_run, read_args


@dataclass(frozen=True)
class Run:
    """record: the content of args.json. log: log.csv, of so many epochs. report: metrics.json of its test, None if it
    was not tested."""

    folder: Path
    record: dict[str, Any]
    log: Path
    epochs: int
    report: dict[str, Any] | None

    @property
    def tested_images(self) -> str | None:
        """A digest of the names of its test images; None if it was not tested, or by an older version."""
        return (self.report or {}).get("digests", {}).get("images")


def read_run(folder: Path) -> Run:
    """Read a run's folder as Train.py and Test.py write it; metrics.json may also lie in the folder itself.

    Raises:
        InputError: if it is not such a folder, or no epoch is finished.
    """
    log, record = folder / "log.csv", read_args(folder)
    try:
        epochs = len(log.read_text(encoding="utf-8").splitlines()) - 1  # without the header
        folders = [best_weights(folder, record).with_name("test_best"), folder]
        files = [file for file in (folder / "metrics.json" for folder in folders) if file.is_file()]
        report = json.loads(files[0].read_text(encoding="utf-8")) if files else None
        if report is not None and not {"images", "per_label"} <= report.keys() | metrics_of(report).keys():
            raise KeyError("images, per_label")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder} is not a run folder: expected args.json and log.csv of Train.py, and metrics.json "
                         f"of Test.py if it was tested ({type(error).__name__}: {error})") from error
    if epochs < 1:
        raise InputError(f"{folder} has no finished epoch yet; leave it out, or wait")
    run = Run(folder, record, log, epochs, report)
    if report:
        check_belongs(report, files[0], run)
    return run


def check_belongs(report: dict[str, Any], file: Path, run: Run) -> None:
    """Raise InputError for results of another run, or of another epoch than the run's best one so far; older results
    record neither."""
    test_again = f"test its checkpoint: {test_command(run)}"
    name, epoch = name_of_run(run.folder), report.get("epoch")
    if report.get("run") not in (None, name):
        raise InputError(f"{file} holds the results of the run {report['run']}, not of {run.folder}; {test_again}")
    columns = read_log(run.log)
    best = int(best_epoch([dict(zip(columns, row)) for row in zip(*columns.values())])[0])
    if epoch not in (None, best) and Path(str(report.get("weights"))).name == "best.pth":
        raise InputError(f"{file} holds the results of epoch {epoch}, but the best epoch of {run.folder} is now "
                         f"{best}; {test_again}")


def best_weights(folder: Path, record: dict[str, Any]) -> Path:
    """The run's best.pth."""
    return Path(record["args"].get("save_path") or folder) / "best.pth"


def test_command(run: Run) -> str:
    """The command that tests the run's best.pth."""
    return f"python Test.py --weights_path {shlex.quote(str(best_weights(run.folder, run.record)))}"


def group_by_seed(runs: list[Run]) -> dict[str, list[Run]]:
    """Title -> the runs that differ only by the seed."""
    options = dict(zip((run.folder for run in runs), options_of(run.record for run in runs)))
    groups: list[list[Run]] = []
    for run in runs:
        group = next((group for group in groups if not differing_options(
            options[group[0].folder], options[run.folder], {*NEUTRAL_OPTIONS, "seed"})), None)
        groups.append([run]) if group is None else group.append(run)
    titles = run_titles([group[0].record for group in groups], ignore=["seed"])
    return {title if titles.count(title) == 1 else f"{title}, {group[0].folder}": group
            for title, group in zip(titles, groups)}


def warn_of_unlike_runs(groups: dict[str, list[Run]]) -> None:
    """Warn of runs whose mean, or whose place in one table, may mean little: equal seeds, other numbers of processes,
    other places of the data, other versions of the code, other training or test data, epochs to go, learning rates of
    another length."""
    runs = [run for group in groups.values() for run in group]
    for title, group in groups.items():
        if len({run.record["args"].get("seed") for run in group}) < len(group):
            warn(f"{title}: several of its {len(group)} runs have the same seed, but count as if they were independent")
        parts = [part for run in group for part in (run.record, *run.record.get("resumed", ()))]
        processes = sorted({part["processes"] for part in parts if "processes" in part})
        options = group[0].record["args"]
        if len(processes) > 1 and (options.get("rank_within_gpu") or not options.get("sync_bn")):
            warn(f"{title}: its runs are of {' and '.join(map(str, processes))} processes, each of which normalises, "
                 "or with --rank_within_gpu ranks, its own images: are these one method?")
        roots = {option_value(run.record["args"], "data_root") for run in group}
        if len(roots) > 1:
            warn(f"{title}: its runs found their data in {' and '.join(sorted(map(str, roots)))}: are these the same?")
        commits = {run.record.get("git_commit") for run in group} - {None}
        if len(commits) > 1:
            warn(f"{title}: its runs are of several versions of the code, {' and '.join(sorted(commits))}")
    of_groups = [tested for group in groups.values() if (tested := {run.tested_images for run in group} - {None})]
    of_seeds = {(run.record["args"].get("seed"), run.tested_images) for run in runs if run.tested_images}
    if (any(images != of_groups[0] for images in of_groups)
            or len(of_seeds) > len({seed for seed, _ in of_seeds})):
        warn("these runs were not all tested on the same images: compare runs of the same seeds, on the same data")
    for run in runs:
        max_epoch = run.record["args"].get("max_epoch")
        if max_epoch and run.epochs < max_epoch:
            warn(f"{run.folder} has finished {run.epochs} of {max_epoch} epochs: resume it, or leave it out")
        if max_epoch and run.record.get("resumed") and not has_learning_rates_of(max_epoch, run):
            warn(f"{run.folder} was resumed with another --max_epoch, and its learning rates are not those of a run of "
                 f"{max_epoch} epochs: train it anew, or leave it out")
    training = {run.folder: run.report["training_data"].items() for run in runs
                if run.report and run.report.get("training_data")}
    most_common = max(training, key=lambda folder: sum(bool(training[folder] & data) for data in training.values()),
                      default=None)
    differing = [str(folder) for folder, data in training.items() if not data & training[most_common]]
    if differing:
        warn(f"{', '.join(differing)}: trained on other images or labels than {most_common}; compare runs of the same "
             "data")


def has_learning_rates_of(max_epoch: int, run: Run) -> bool:
    """Whether the run's log has the learning rates of a run of this length that was never resumed."""
    log, lr = read_log(run.log), run.record["args"]["lr"]
    return all(math.isclose(logged, learning_rate(int(epoch), max_epoch, lr), rel_tol=1e-4)
               for epoch, logged in zip(log["epoch"], log["lr"]))


def columns_of(report: dict[str, Any]) -> dict[str, str]:
    """The names and titles of the metrics in a table of such reports."""
    metrics = (*SINGLE_LABEL_METRICS, METRICS["mAP"]) if "single_label" in report else MULTILABEL_METRICS
    return {metric.name: metric.column for metric in sorted(metrics, key=lambda metric: metric.column_order)
            if metric.column}


def metrics_of(report: dict[str, Any]) -> dict[str, float | None]:
    """The metrics of a table by name, not in percent; None if undefined, or newer than the report."""
    return {name: {**report["metrics"], **report.get("single_label", {})}.get(name) for name in columns_of(report)}


def check_comparable(runs: list[Run]) -> None:
    """Raise InputError, naming them, for two tested runs whose results do not belong into one table."""
    first = runs[0]
    for run in runs[1:]:
        reports = first.report, run.report
        labels = [list(report["per_label"]) for report in reports]
        if len({"single_label" in report for report in reports}) > 1:
            raise InputError(f"{first.folder} and {run.folder} cannot be compared: runs with one label per image and "
                             "runs with several have different metrics; compare them separately")
        if sorted(labels[0]) != sorted(labels[1]):
            only = [summarize_names(sorted({*labels[a]} - {*labels[1 - a]}), "label") for a in (0, 1)]
            raise InputError(f"{first.folder} and {run.folder} cannot be compared: only the first has {only[0]}, only "
                             f"the second {only[1]}; compare runs of the same data")
        if reports[0]["images"] != reports[1]["images"]:
            raise InputError(f"{first.folder} and {run.folder} cannot be compared: they were tested on "
                             f"{reports[0]['images']} and {reports[1]['images']} images; compare runs of the same data")
        how = tested_how(first), tested_how(run)
        if how[0] != how[1]:
            raise InputError(f"{first.folder} and {run.folder} cannot be compared: the first was tested {how[0]}, the "
                             f"second {how[1]}; test one of them again")
        data = [report.get("other_data", {}) for report in reports]
        if data[0] != data[1]:
            warn(f"{first.folder} was tested {_named(data[0])}, {run.folder} {_named(data[1])}: are these the same "
                 "data?")
        digests = [report.get("digests", {}) for report in reports]
        differing = {name for name in digests[0].keys() & digests[1].keys() if digests[0][name] != digests[1][name]}
        if "files" in differing and "images" not in differing:
            warn(f"{first.folder} and {run.folder} were tested on images of the same names with different content: are "
                 "these the same data?")
        elif differing == {"labels"}:
            warn(f"{first.folder} and {run.folder} were tested on the same images with different labels: test the "
                 "older one again")


def _named(data: dict[str, str]) -> str:
    """The options of Test.py that name other data."""
    return " ".join(f"--{name} {value}" for name, value in data.items()) or "as usual"


def tested_how(run: Run) -> str:
    """How a run was tested otherwise than it was trained and than other runs are; "as usual" if it was not."""
    size = run.report.get("image_size")
    unusual = [f"with --{option}" for option in ("all_views", "amp") if run.report.get(option)]
    if size not in (None, run.record["args"].get("image_size", size)):
        unusual.append(f"with --image_size {size}")
    return " ".join(unusual) or "as usual"


def table(groups: dict[str, list[Run]]) -> list[dict[str, Any]]:
    """A row per group: "run", "runs" (how many were tested), and the mean and standard deviation of each metric, None
    if undefined."""
    rows = []
    for title, runs in groups.items():
        tested = [metrics_of(run.report) for run in runs if run.report]
        row: dict[str, Any] = {"run": title, "runs": len(tested)}
        for name in tested[0] if tested else ():
            row[name] = mean_and_deviation([metrics[name] for metrics in tested if metrics[name] is not None])
        rows.append(row)
    return rows


def mean_and_deviation(values: list[float]) -> tuple[float | None, float | None]:
    """Mean and standard deviation (n - 1), None with too few values."""
    return statistics.fmean(values) if values else None, statistics.stdev(values) if len(values) > 1 else None


def write_tables(folder: Path, rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    """Write test.md and test.tex, fractions in percent, and test.csv, as fractions. Returns the Markdown."""
    head = ["run", "runs", *columns.values()]
    scales = {name: 100 if METRICS[name].percent else 1 for name in columns}
    body = [[row["run"], str(row["runs"]), *(percent_cell(row.get(name, (None, None)), scale)
                                             for name, scale in scales.items())] for row in rows]
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


def percent_cell(values: tuple[float | None, float | None], scale: float = 100) -> str:
    """Mean and standard deviation, of fractions in percent."""
    mean, deviation = values
    if mean is None:
        return "-"
    return f"{scale * mean:.2f}" + ("" if deviation is None else f" ± {scale * deviation:.2f}")


def _latex(cell: str) -> str:
    for plain, escaped in (("\\", r"\textbackslash "), *((sign, rf"\{sign}") for sign in "&%$#_{}"),
                           ("~", r"\textasciitilde "), ("^", r"\textasciicircum "), ("±", r"$\pm$")):
        cell = cell.replace(plain, escaped)
    return cell


def main(argv: list[str] | None = None) -> dict[str, list[Run]]:
    """Compare runs; returns them grouped by title."""
    parser = Parser(prog="python -m utils.evaluation.compare", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs")
    parser.add_argument("--save_path", type=Path, default="comparison", metavar="DIR",
                        help="folder of curves.png ... and test.md, test.csv, test.tex")
    parser.add_argument("--formats", nargs="+", type=str.lower, choices=FORMATS, default=["png", "pdf"],
                        help="formats of the figure")
    args = parser.parse_args(argv)
    runs = [read_run(folder) for folder in {folder.resolve(): folder for folder in args.runs}.values()]
    groups = group_by_seed(runs)
    warn_of_unlike_runs(groups)
    folder = make_folder(args.save_path)
    save_figure(draw_comparison({title: [run.log for run in group] for title, group in groups.items()}),
                folder / "curves", args.formats)

    untested = [run for run in runs if not run.report]
    if untested:
        names = summarize_names([str(run.folder) for run in untested], "run")
        warn(f"{names} not tested: {test_command(untested[0])}")
    reports = [run.report for run in runs if run.report]
    if reports:
        check_comparable([run for run in runs if run.report])
        if reports[0].get("other_data"):
            print(f"tested with {_named(reports[0]['other_data'])}\n")
        print(write_tables(folder, table(groups), columns_of(reports[0])))
    print(f"written: {folder}")
    return groups


if __name__ == "__main__":
    exit_cleanly(main)
