"""report.html: one page with the tables, the figures and the worst-ranked images; it needs no other file."""

import base64
import io
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image

from utils.evaluation.report import TITLES, figure_text, per_label_columns, percent
from utils.results import Results
from utils.run.atomic import write_text

_THUMBNAIL = 256  # px, shown at half of it on common screens


def write_html_report(file: Path, heading: str, reports: dict[str, dict[str, Any]],
                      figures: Sequence[tuple[str, str, bytes]], worst: Results,
                      load_image: Callable[[Path], Image.Image]) -> None:
    """Write the page.

    Args:
        reports: checkpoint's title -> what `evaluate` returned, of the same labels, with "weights" and "epoch".
        figures: their titles, captions and PNGs.
        worst: of the images to show, in this order.
        load_image: opens an image file.
    """
    first = next(iter(reports.values()))
    names = worst.names
    label, labels = ("class", "classes") if "single_label" in first else ("label", "labels")
    parts = [f"<h1>{escape(heading)}</h1>",
             f'<p class="quiet">{first["images"]} test images, {len(names)} {labels}</p>',
             *(f'<p class="quiet">{escape(title)}: {escape(report["weights"])}, images of {report["image_size"]} px</p>'
               for title, report in reports.items()),
             "<h2>Figures of merit, in percent</h2>", _overall(reports), *_remarks(first),
             f"<h2>Each {label}, in percent{' (P, R, F1: arg max)' * ('single_label' in first)}</h2>",
             '<p class="quiet">A click on a title sorts; a second one reverses.</p>', _per_label(reports, names)]
    for title, caption, png in figures:
        title = escape(title)
        parts.append(f'<figure><h2>{title}</h2><div class="wide">{_image(png, "png", title)}</div>'
                     f"<figcaption>{escape(caption)}</figcaption></figure>")
    parts += [f"<h2>The {len(worst.images)} worst-ranked images</h2>",
              '<p class="quiet">First those with the largest share of wrongly ordered pairs of a present and an absent '
              'label. <span class="fp">+ predicted, but absent</span>; <span class="fn">− missed</span>.</p>',
              '<div class="cards">']
    parts += [*(_card(worst, image, load_image(path)) for image, path in enumerate(worst.images)), "</div>"]
    template = Template((Path(__file__).parent / "report_template.html").read_text(encoding="utf-8"))
    write_text(file, template.substitute(title=escape(heading), body="\n".join(parts)))


def _overall(reports: dict[str, dict[str, Any]]) -> str:
    columns = [{**report.get("single_label", {}), **report["metrics"]} for report in reports.values()]
    rows = [["epoch", *(str(report["epoch"] or "-") for report in reports.values())]]
    for name in columns[0]:
        title = TITLES[name] + " (arg max)" * name.startswith("argmax_")
        rows.append([title, *(figure_text(name, column[name]) for column in columns)])
    for figure in ("F1", "F2"):
        script = [report["reference_script"][figure] for report in reports.values()]
        rows.append([f"reference script {figure}", *map(percent, script)])
    head = "".join(f"<th>{escape(title)}</th>" for title in ("", *reports))
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _remarks(report: dict[str, Any]) -> list[str]:
    remarks = {"Without positives among the test images, and left out of mAP": report["labels_without_positives"],
               f"Fewer than {report['without_rare_labels']['min_support']} positives, so that a single image moves "
               "their figures": report["without_rare_labels"]["left_out"]}
    return [f'<p class="quiet">{title}: {escape(", ".join(names))}.</p>' for title, names in remarks.items() if names]


def _per_label(reports: dict[str, dict[str, Any]], names: list[str]) -> str:
    columns = per_label_columns(next(iter(reports.values())))
    head = ["label", "positives", *(f"{title} {column}" for title in reports for column in columns.values())]
    rows = []
    for name in names:
        first, *_ = own = [report["per_label"][name] for report in reports.values()]
        cells = [(first["support"], str(first["support"]))]
        cells += [(row[figure], percent(row[figure])) for row in own for figure in columns]
        rows.append(f"<tr><td>{escape(name)}</td>" + "".join(
            f'<td data-value="{"" if value is None else value}">{text}</td>' for value, text in cells) + "</tr>")
    titles = "".join(f'<th scope="col"><button>{escape(title)}</button></th>' for title in head)
    return f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _card(worst: Results, image: int, picture: Image.Image) -> str:
    path, picture, jpeg = worst.images[image], picture.copy(), io.BytesIO()
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    picture.save(jpeg, "JPEG", quality=80)
    lines = [f"<p><b>{escape(path.name)}</b></p>", f"<p>{escape(', '.join(worst.names_of(image))) or '(no label)'}</p>"]
    for title, scores in worst.scores.items():
        present, decided = worst.labels[image] == 1, worst.decided[title][image]
        wrong = [f'<span class="{kind}">{sign} {escape(worst.names[label])} {scores[image, label]:.2f}</span>'
                 for kind, sign, which in (("fp", "+", ~present & decided), ("fn", "−", present & ~decided))
                 for label in np.argsort(-scores[image]) if which[label]]
        lines.append(f"<p>{escape(title)}: {', '.join(wrong) or 'no mistake'}</p>")
    return f'<div class="card">{_image(jpeg.getvalue(), "jpeg", escape(str(path)))}<div>{"".join(lines)}</div></div>'


def _image(content: bytes, kind: str, text: str) -> str:
    return f'<img src="data:image/{kind};base64,{base64.b64encode(content).decode()}" alt="{text}">'
