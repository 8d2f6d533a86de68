# SPDX-License-Identifier: GPL-3.0-or-later
"""The evaluation's page: its targets, its tables by section, and its contact sheets."""

import html
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lpmm_runtime import landmarks68
from training.evaluation.generator_scores import REGIONS
from training.evaluation.page import Cell, picture, shown, table, write_page
from training.evaluation.targets import Target

_LANDMARK_COLUMNS = ("all", *landmarks68.REGIONS, "median")


def write_html(path: Path, report: dict[str, Any], lines: Sequence[Target], sheets: Sequence[tuple[str, Path]]) -> Path:
    """Write the report as one file; the sheets are embedded."""
    bundle = report["bundle"]
    parts = [
        f"<h1>{html.escape(bundle['name'])} {html.escape(bundle['version'])}</h1>",
        f"<p class=small>{html.escape(report['how'])} Frames were read back by {html.escape(report['reader']['name'])}."
        "</p>",
        "<h2>Targets</h2>",
        _target_table(lines),
    ]
    for title, section in (
        ("Landmarks, held-out synthetic people", _landmark_section),
        ("Labelled photographs", _photo_section),
        ("Generator, held-out synthetic people", _generator_section),
        ("Controls, commanded and read back", _control_section),
        ("The reader itself, on heads whose truth is known", _reader_section),
        ("Speed and size", _speed_section),
    ):
        body = section(report)
        parts.append(f"<h2>{title}</h2>{body or '<p>Not measured.</p>'}")
    parts.append("<h2>Contact sheets</h2>")
    for caption, file in sheets:
        parts.append(f"<h3>{html.escape(caption)}</h3>{picture(file)}")
    return write_page(path, "Evaluation", parts)


def text_table(lines: Sequence[Target]) -> str:
    """Return the targets as plain text, a line each."""
    rows = []
    for line in lines:
        mark = {True: "met", False: "MISSED", None: "not measured"}[line.met]
        sign = "≤" if line.way == "at most" else "≥"
        unit = f" {line.unit}" if line.unit else ""
        rows.append(f"{mark:>12}  {line.name}: {shown(line.measured)}{unit} (wanted {sign} {line.wanted:g})")
    return "\n".join(rows)


def as_json(lines: Sequence[Target]) -> list[dict[str, Any]]:
    """Return the targets for the JSON report."""
    return [asdict(line) | {"met": line.met} for line in lines]


def _target_table(lines: Sequence[Target]) -> str:
    rows = []
    for line in lines:
        verdict = {True: "<td class=yes>met</td>", False: "<td class=no>missed</td>", None: "<td>not measured</td>"}
        sign = "≤" if line.way == "at most" else "≥"
        rows.append(
            f"<tr><td>{html.escape(line.name)}</td><td>{shown(line.measured)} {line.unit}</td>"
            f"<td>{sign} {line.wanted:g}</td>{verdict[line.met]}<td class=note>{html.escape(line.note)}</td></tr>"
        )
    return f"<table><tr><th>figure</th><th>measured</th><th>wanted</th><th></th><th></th></tr>{''.join(rows)}</table>"


def _nme_rows(named: dict[str, dict[str, float]]) -> list[list[Cell]]:
    return [[name, *(scores.get(column) for column in _LANDMARK_COLUMNS)] for name, scores in named.items()]


def _landmark_section(report: dict[str, Any]) -> str:
    scores = report.get("landmarks")
    if not scores:
        return ""
    named = {f"truth, first {k} components": row for k, row in scores["truncation"].items()}
    named |= {f"F, first {k} params (aligned crop, one pass)": row for k, row in scores["regressor_by_k"].items()}
    named |= {f"as shipped, box given: {name}": row for name, row in scores["as_shipped"].items()}
    size = f"{scores['faces']} faces of {scores['picture_side']} px"
    text = f"<p class=small>NME in percent over {size} (outer eye corners).</p>"
    return text + table(("", *_LANDMARK_COLUMNS), _nme_rows(named))


def _photo_section(report: dict[str, Any]) -> str:
    scores = report.get("photographs")
    if not scores:
        return ""
    named: dict[str, dict[str, float]] = {}
    titles = {
        "given_box": "F, box given",
        "second_look": "second look, box given",
        "own_search": "own search and second look",
        "reader": "the independent reader",
    }
    for key, title in titles.items():
        entry = scores.get(key)
        if entry:
            named[f"{title} ({entry['photos']}): raw"] = entry["raw"]
            for how, row in entry.get("calibrated", {}).items():
                named[f"{title}: calibrated, {how}"] = row
    found = scores["own_search_found"]
    text = (
        f"<p class=small>NME in percent. The runtime's own search found a face in {found['a face']} of {found['of']} "
        f"photographs, in {found['another face']} another than the labelled one. Calibration: a fixed map in the frame "
        "of the predicted eyes, fitted on half of the faces and scored on the other half, ten random splits; "
        "“offset in sample” alone is fitted on the faces it scores.</p>"
    )
    return text + table(("", *_LANDMARK_COLUMNS), _nme_rows(named))


def _generator_section(report: dict[str, Any]) -> str:
    scores = report.get("generator")
    if not scores:
        return ""
    names = [name for name, entry in scores.items() if isinstance(entry, dict) and "psnr" in entry]
    text = (
        f"<p class=small>{scores['pairs']} pairs of frames at {scores['side']} px. true_landmarks drives the generator "
        "to the true landmarks, as the rivals are; networks_alone is the same before the runtime draws mouths, eyes "
        "and lids; pose_latent and params are the shipped paths, which read both frames themselves given the face’s "
        "box (params cannot say that a head moved sideways); nowhere is the rest frame. landmark_warp: radial basis on "
        "the true landmarks, border nailed down; layered_warp: moving least squares, lifted off a made-up background "
        "by the true matte; exact_flow: the true motion. Flow error in pixels where the source shows the head.</p>"
    )
    header = ["", *(f"PSNR {region}" for region in REGIONS), *(f"SSIM {region}" for region in REGIONS)]
    header += ["flow head", "flow face", "flow eyes+mouth"]
    rows: list[list[Cell]] = []
    for name in names:
        entry = scores[name]
        flow = entry.get("flow_px") or {}
        rows.append(
            [
                name,
                *(entry["psnr"].get(region) for region in REGIONS),
                *(entry["ssim"].get(region) for region in REGIONS),
                *(flow.get(region) for region in ("whole", "face", "eyes_and_mouth")),
            ]
        )
    return text + table(header, rows)


def _control_section(report: dict[str, Any]) -> str:
    scores = report.get("controls")
    if not scores:
        return ""
    heads: list[list[Cell]] = []
    for name, entry in scores["head"].items():
        if entry:
            achieved = ", ".join(f"{command}° → {value:+.1f}°" for command, value in entry["achieved"].items())
            corrected = entry.get("for_reader_slope") or {}
            heads.append(
                [
                    name,
                    achieved,
                    entry["gain"],
                    corrected.get("gain"),
                    entry["error"]["median"],
                    entry["error"]["worst"],
                    f"{100 * entry['within_3']:.0f} %",
                    entry["crosstalk"]["median"],
                ]
            )
    header = ("", "median achieved", "gain", "gain / reader’s slope", "error °", "worst", "within 3°", "crosstalk °")
    parts = [
        f"<p class=small>{scores['read']} of {scores['subjects']} subjects read at rest.</p>",
        table(header, heads),
    ]
    keys = (
        "blink",
        "blink_for_reader",
        "eye_white",
        "wink_closed",
        "wink_other_off",
        "leakage",
        "pixel_leakage",
        "reader_noise",
    )
    rows: list[list[Cell]] = [[key, *(scores[key] or {}).values()] for key in keys]
    rows += [[f"background {key}", *(entry or {}).values()] for key, entry in scores["background"].items()]
    parts.append(table(("", "median", "worst", "count"), rows))
    jaw = scores["jaw_opened"]
    if jaw:
        parts.append(
            f"<p>jawOpen 1 opens the mouth by {jaw['median']:.3f} (least {jaw['least']:.3f}) "
            "of the outer eye corners’ distance.</p>"
        )
    columns = ["motion", "along", "leakage", "worst_part", "worst_leakage", "reader_leakage", "pixel_leakage"]
    gaze = any(row.get("other_iris") is not None for row in scores["controls"].values())
    columns += ["other_iris"] if gaze else []
    parts.append(
        "<p class=small>By control at its maximum, medians over subjects: motion of its own parts and motion the way "
        "it should go, in percent of the outer eye corners’ distance; leakage as a share of that motion, without what "
        "the reader moves by itself when it sees the control's own parts alone (reader_leakage). A gaze control "
        "moves its iris; other_iris is what the other one moved as a share of that.</p>"
    )
    parts.append(
        table(("", *columns), [[name, *(row.get(key) for key in columns)] for name, row in scores["controls"].items()])
    )
    parts += _truth(report.get("true_heads"), columns)
    steady = ("landmarks", "landmark_step", "landmarks_worst", "pixels", "pixels_worst")
    parts.append("<p class=small>Slow ramps: second differences of landmarks (percent) and of pixels (of 255).</p>")
    parts.append(
        table(("", *steady), [[name, *(row.get(key) for key in steady)] for name, row in scores["steadiness"].items()])
    )
    return "".join(parts)


def _truth(scores: dict[str, Any] | None, columns: list[str]) -> list[str]:
    """Return what the reader makes of synthetic people who truly do what controls say, in the same figures."""
    if not scores:
        return []
    heads = [
        [name, ", ".join(f"{command}° → {value:+.1f}°" for command, value in entry["achieved"].items())]
        for name, entry in scores["head"].items()
        if entry
    ]
    keys = ("blink", "eye_white", "wink_closed", "wink_other_off", "leakage", "pixel_leakage")
    return [
        f"<p class=small>The same of {scores['read']} synthetic people who truly do it: what no bundle can better, as "
        "this reader sees it.</p>",
        table(("", "median achieved"), heads),
        table(("", "median", "worst", "count"), [[key, *(scores[key] or {}).values()] for key in keys]),
        table(("", *columns), [[name, *(row.get(key) for key in columns)] for name, row in scores["controls"].items()]),
    ]


def _reader_section(report: dict[str, Any]) -> str:
    scores = report["reader"].get("scores")
    if not scores or "nme" not in scores:
        return ""
    rows: list[list[Cell]] = [[name, entry["slope"], entry["sd"]] for name, entry in scores["angles"].items()]
    lids = scores["closed_eye"]
    text = f"<p class=small>{scores['read']} of {scores['faces']} faces read. "
    if lids:
        text += f"An eye that is shut reads as {100 * lids['share']:.0f} % of an open one. "
    text += f"Brows rise {scores['brow_slope']:.2f} times as far as they do. "
    text += f"A mouth’s gap reads {scores['mouth_gap_slope']:.2f} times as wide as it is.</p>"
    return (
        text + table(("", "slope", "sd °"), rows) + table(("", *_LANDMARK_COLUMNS), _nme_rows({"NME": scores["nme"]}))
    )


def _speed_section(report: dict[str, Any]) -> str:
    scores = report.get("speed")
    if not scores:
        return ""
    rows: list[list[Cell]] = [[name, entry["median"], entry["smallest"]] for name, entry in scores["frame_ms"].items()]
    regressor = scores["lp_regressor_ms"]
    rows.append(["LP-regressor", regressor["median"], regressor["smallest"]])
    load = ", ".join(shown(value) for value in scores["load"])
    text = (
        f"<p class=small>CPU, {scores['threads']} threads, {scores['machine']['cores']} cores, load average {load}.</p>"
    )
    sizes: list[list[Cell]] = [[name, size] for name, size in scores["graph_mb"].items()]
    return text + table(("", "median ms", "smallest"), rows) + table(("graph", "MB"), sizes)
