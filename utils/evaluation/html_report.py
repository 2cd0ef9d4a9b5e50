"""report.html: one self-contained page with the tables, the figures and the worst-ranked images."""

import base64
import io
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image

from utils.evaluation.report import per_label_columns, percent
from utils.metrics import METRICS
from utils.results import Results
from utils.run.atomic import write_text

_THUMBNAIL = 256  # px, shown at half this size


def write_html_report(file: Path, heading: str, reports: dict[str, dict[str, Any]],
                      figures: Iterable[tuple[str, str, bytes]], worst: Results,
                      load_image: Callable[[Path], Image.Image]) -> None:
    """Write the page.

    Args:
        reports: checkpoint's title -> the result of `evaluate` on the same labels, with "weights" and "epoch".
        figures: titles, captions and PNGs.
        worst: the results on the images to show, in this order.
        load_image: opens an image file.
    """
    first = next(iter(reports.values()))
    names = worst.label_names
    label, labels = ("class", "classes") if "single_label" in first else ("label", "labels")
    body = [f"<h1>{escape(heading)}</h1>",
             f'<p class="quiet">{first["images"]} test images, {len(names)} {labels}</p>',
             *(f'<p class="quiet">{escape(title)}: {escape(report["weights"])}, images of {report["image_size"]} px</p>'
               for title, report in reports.items()),
             "<h2>Metrics, in percent</h2>", _overall(reports), *_remarks(first),
             f"<h2>Each {label}, in percent{' (P, R, F1: arg max)' * ('single_label' in first)}</h2>",
             '<p class="quiet">Click on a title to sort, again to reverse.</p>', _per_label(reports, names)]
    for title, caption, png in figures:
        title = escape(title)
        body.append(f'<figure><h2>{title}</h2><div class="wide">{_image(png, "png", title)}</div>'
                     f"<figcaption>{escape(caption)}</figcaption></figure>")
    body += [f"<h2>The {len(worst.images)} worst-ranked images</h2>",
              '<p class="quiet">Sorted by the share of wrongly ordered pairs of a present and an absent label. '
              '<span class="fp">+ predicted, but absent</span>; <span class="fn">− missed</span>.</p>',
              '<div class="cards">']
    body += [*(_card(worst, index, load_image(path)) for index, path in enumerate(worst.images)), "</div>"]
    template = Template((Path(__file__).parent / "report_template.html").read_text(encoding="utf-8"))
    write_text(file, template.substitute(title=escape(heading), body="\n".join(body)))


def _overall(reports: dict[str, dict[str, Any]]) -> str:
    """All metrics, a column per checkpoint; the best of several is bold."""
    columns = [{**report.get("single_label", {}), **report["metrics"]} for report in reports.values()]
    rows = ["<td>epoch</td>" + "".join(f"<td>{report['epoch'] or '-'}</td>" for report in reports.values())]
    for name in columns[0]:
        metric, values = METRICS[name], [column[name] for column in columns]
        defined = [value for value in values if value is not None]
        best = (max if metric.higher_is_better else min)(defined) if len(defined) > 1 else None
        title = metric.title + " (arg max)" * name.startswith("argmax_")
        rows.append(f"<td>{escape(title)}</td>" + "".join(
            f"<td{' class=best' * (value is not None and value == best)}>{metric.format(value)}</td>"
            for value in values))
    for beta in ("F1", "F2"):
        script = "".join(f"<td>{percent(report['reference_script'][beta])}</td>" for report in reports.values())
        rows.append(f"<td>reference script {beta}</td>{script}")
    tuned = [report.get("at_validation_threshold", {}) for report in reports.values()]
    if any(tuned):
        for title, name in (("micro F1", "OF1"), ("macro F1", "macro_F1")):
            cells = (f"{percent(at[name])} at {at['threshold']:.2f}" if at else "-" for at in tuned)
            rows.append(f"<td>{title} at the validation images' threshold</td>"
                        + "".join(f"<td>{cell}</td>" for cell in cells))
    head = "".join(f"<th>{escape(title)}</th>" for title in ("", *reports))
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _remarks(report: dict[str, Any]) -> list[str]:
    remarks = {"Without positives in the test images, and left out of mAP": report["labels_without_positives"],
               f"With fewer than {report['without_rare_labels']['min_support']} positives, so that a single image "
               "shifts their metrics": report["without_rare_labels"]["left_out"]}
    return [f'<p class="quiet">{title}: {escape(", ".join(names))}.</p>' for title, names in remarks.items() if names]


def _per_label(reports: dict[str, dict[str, Any]], names: list[str]) -> str:
    columns = per_label_columns(next(iter(reports.values())))
    head = ["label", "positives", *(f"{title} {column}" for title in reports for column in columns.values())]
    rows = []
    for name in names:
        metrics = [report["per_label"][name] for report in reports.values()]
        support = metrics[0]["support"]
        cells = [(support, str(support))]
        cells += [(row[metric], percent(row[metric])) for row in metrics for metric in columns]
        rows.append(f"<tr><td>{escape(name)}</td>" + "".join(
            f'<td data-value="{"" if value is None else value}">{text}</td>' for value, text in cells) + "</tr>")
    titles = "".join(f'<th scope="col"><button>{escape(title)}</button></th>' for title in head)
    return f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _card(worst: Results, index: int, image: Image.Image) -> str:
    path, image, jpeg = worst.images[index], image.copy(), io.BytesIO()
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    image.save(jpeg, "JPEG", quality=80)
    lines = [f"<p><b>{escape(path.name)}</b></p>",
             f"<p>{escape(', '.join(worst.label_names_of(index))) or '(no label)'}</p>"]
    for title, scores in worst.scores.items():
        present, predicted = worst.labels[index] == 1, worst.predicted[title][index]
        wrong = [f'<span class="{kind}">{sign} {escape(worst.label_names[label])} {scores[index, label]:.2f}</span>'
                 for kind, sign, is_wrong in (("fp", "+", ~present & predicted), ("fn", "−", present & ~predicted))
                 for label in np.argsort(-scores[index]) if is_wrong[label]]
        lines.append(f"<p>{escape(title)}: {', '.join(wrong) or 'no mistake'}</p>")
    return f'<div class="card">{_image(jpeg.getvalue(), "jpeg", escape(str(path)))}<div>{"".join(lines)}</div></div>'


def _image(content: bytes, kind: str, text: str) -> str:
    return f'<img src="data:image/{kind};base64,{base64.b64encode(content).decode()}" alt="{text}">'
