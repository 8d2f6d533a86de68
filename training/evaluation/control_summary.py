# SPDX-License-Identifier: GPL-3.0-or-later
"""Control scores of many subjects in a few figures: the middle, the worst, and how many hold."""

from collections.abc import Sequence
from typing import Any

import numpy as np

HEAD_TOLERANCE = 3.0


def spread(values: Sequence[float | None]) -> dict[str, float] | None:
    """Return the median, the worst (largest) and the count of figures where smaller is better, None without any."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"median": float(np.median(known)), "worst": float(np.max(known)), "count": len(known)}


def summarise(subjects: list[dict[str, Any]], reader_scores: dict[str, Any] | None) -> dict[str, Any]:
    """Return the figures over subjects (`control_scores.score_subject`).

    Args:
        reader_scores: `landmark_scores.score_reader`; where its angles have slopes, head angles are also given
            divided by them: what a reader that reads 20° as 17° would say if it did not. Likewise a shut eye that
            it reads as a third open counts as shut in `blink_for_reader`.
    """
    read = [subject for subject in subjects if subject["read"]]
    summary = performance(subjects, reader_scores)
    rests = [subject["rest"] for subject in subjects]
    for key in ("psnr", "psnr_nudged"):
        values = [rest[key] for rest in rests if rest[key] is not None]
        summary[f"rest_{key}"] = (
            {"lowest": float(np.min(values)), "median": float(np.median(values))} if values else None
        )
    summary["reader_noise"] = spread([subject["reader_noise"] for subject in read])
    rows = [row for subject in read for row in subject["background"]]
    summary["background"] = {key: spread([row[key] for row in rows]) for key in ("by_matte", "by_person")}
    summary["steadiness"] = steadiness_summary([subject["steadiness"] for subject in read])
    return summary


def performance(performers: list[dict[str, Any]], reader_scores: dict[str, Any] | None) -> dict[str, Any]:
    """Return the figures over performers of what their controls do (`control_scores.score_performer`).

    Args:
        reader_scores: see `summarise`.
    """
    read = [performer for performer in performers if performer["read"]]
    slopes = {name: entry["slope"] for name, entry in (reader_scores or {}).get("angles", {}).items()}
    summary: dict[str, Any] = {"subjects": len(performers), "read": len(read)}
    summary["head"] = head_summary([row for performer in read for row in performer["head"]], slopes)
    eyes = [performer["eyes"] for performer in read]
    winks = [wink for entry in eyes for wink in entry["wink"].values()]
    summary["blink"] = spread([share for entry in eyes for share in entry["blink"].values()])
    closed = ((reader_scores or {}).get("closed_eye") or {}).get("share")
    summary["blink_for_reader"] = None
    if closed is not None and summary["blink"] and closed < 0.9:
        known = [share for entry in eyes for share in entry["blink"].values()]
        summary["blink_for_reader"] = spread([max(0.0, (share - closed) / (1 - closed)) for share in known])
    summary["eye_white"] = spread([share for entry in eyes for share in entry["eye_white"].values()])
    summary["wink_closed"] = spread([wink["closed"] for wink in winks])
    summary["wink_other_off"] = spread([abs(1.0 - wink["other"]) for wink in winks])
    opened = [performer["mouth"].get("opened") for performer in read]
    known = [value for value in opened if value is not None]
    summary["jaw_opened"] = (
        {"median": float(np.median(known)), "least": float(np.min(known)), "count": len(known)} if known else None
    )
    summary["controls"] = expression_summary([performer["controls"] for performer in read])
    entries = list(summary["controls"].values())
    summary["leakage"] = spread([entry["leakage"] for entry in entries])
    summary["pixel_leakage"] = spread([entry["pixel_leakage"] for entry in entries])
    summary["controls_that_hardly_move"] = sorted(
        name for name, entry in summary["controls"].items() if entry["leakage"] is None
    )
    return summary


def head_summary(rows: list[dict[str, Any]], slopes: dict[str, float]) -> dict[str, Any]:
    """Return, by control: achieved by command (median over subjects), gain, error spread, share within 3°."""
    summary: dict[str, Any] = {}
    for name in dict.fromkeys(row["control"] for row in rows):
        mine = [row for row in rows if row["control"] == name]
        known = [row for row in mine if row["achieved"] is not None]
        if not known:
            summary[name] = None
            continue
        commanded = np.array([row["commanded"] for row in known])
        achieved = np.array([row["achieved"] for row in known])
        entry: dict[str, Any] = {
            "unread": len(mine) - len(known),
            "achieved": {
                f"{command:+g}": float(np.median(achieved[commanded == command])) for command in np.unique(commanded)
            },
            **_angle_errors(commanded, achieved),
            "crosstalk": spread([row["crosstalk"] for row in known]),
        }
        slope = slopes.get(name)
        if slope is not None and slope > 0.3:
            entry["for_reader_slope"] = {"slope": slope, **_angle_errors(commanded, achieved / slope)}
        summary[name] = entry
    return summary


def _angle_errors(commanded: np.ndarray, achieved: np.ndarray) -> dict[str, Any]:
    error = np.abs(achieved - commanded)
    return {
        "gain": float((achieved @ commanded) / (commanded @ commanded)),
        "error": spread(error.tolist()),
        "within_3": float(np.mean(error <= HEAD_TOLERANCE)),
    }


def expression_summary(subjects: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return by control the medians over subjects of its motion, leakage and direction, and its usual worst part."""
    summary: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(name for subject in subjects for name in subject):
        rows = [subject[name] for subject in subjects if name in subject]
        entry: dict[str, Any] = {}
        for key in ("motion", "along", "leakage", "worst_leakage", "reader_leakage", "pixel_leakage", "other_iris"):
            values = [row[key] for row in rows if row.get(key) is not None]
            # Leakage as a share of nothing is no figure: most subjects must have moved.
            enough = len(values) * 2 > len(rows)
            entry[key] = float(np.median(values)) if values and enough else None
        parts = [row["worst_part"] for row in rows if row["worst_part"]]
        entry["worst_part"] = max(set(parts), key=parts.count) if parts else None
        summary[name] = entry
    return summary


def steadiness_summary(subjects: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return by ramp the median of every figure over subjects, and the worst frame of any."""
    summary: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(name for subject in subjects for name in subject):
        rows = [subject[name] for subject in subjects if name in subject]
        entry: dict[str, Any] = {}
        for key in ("landmarks", "landmark_step", "pixels"):
            values = [row[key] for row in rows if row.get(key) is not None]
            entry[key] = float(np.median(values)) if values else None
        for key in ("landmarks_worst", "pixels_worst"):
            values = [row[key] for row in rows if row.get(key) is not None]
            entry[key] = float(np.max(values)) if values else None
        summary[name] = entry
    return summary
