# SPDX-License-Identifier: GPL-3.0-or-later
"""What a default bundle should reach, beside what it does."""

from dataclasses import dataclass
from typing import Any, Literal

from training.evaluation.control_summary import HEAD_TOLERANCE
from training.evaluation.generator_scores import REGIONS, gains


@dataclass(frozen=True)
class Target:
    """One line: `measured` is None where it could not be; `note` says what exactly was measured."""

    name: str
    wanted: float
    way: Literal["at most", "at least"]
    measured: float | None
    unit: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured <= self.wanted if self.way == "at most" else self.measured >= self.wanted


def targets(report: dict[str, Any]) -> list[Target]:
    """Return every target with what the report measured (`step.run` says what a report holds)."""
    return [
        *_landmark_targets(report.get("landmarks"), report.get("photographs"), report.get("speed")),
        *_control_targets(report.get("controls"), report["reader"]["name"]),
        *_speed_targets(report.get("speed")),
        *_generator_targets(report.get("generator")),
    ]


def _at(tree: Any, *keys: str) -> Any:
    for key in keys:
        if not isinstance(tree, dict) or tree.get(key) is None:
            return None
        tree = tree[key]
    return tree


def _landmark_targets(synthetic: Any, photos: Any, speed: Any) -> list[Target]:
    size = _at(speed, "graph_mb", "lp_regressor")
    shipped = _at(synthetic, "as_shipped", "reading", "all")
    return [
        Target("LP-regressor NME, held-out synthetic", 2.1, "at most", shipped, "%", "box given, re-cropped"),
        Target(
            "LP-regressor NME of the eyes, held-out synthetic",
            2.1,
            "at most",
            _at(synthetic, "as_shipped", "reading", "eyes"),
            "%",
        ),
        Target("NME on labelled photographs, raw", 4.7, "at most", _at(photos, "given_box", "raw", "all"), "%", "F"),
        Target(
            "NME on labelled photographs after the second look, raw",
            4.7,
            "at most",
            _at(photos, "second_look", "raw", "all"),
            "%",
        ),
        Target(
            "NME on labelled photographs, calibrated",
            3.5,
            "at most",
            _at(photos, "given_box", "calibrated", "linear", "all"),
            "%",
            "linear map, two-fold cross-validated",
        ),
        Target(
            "NME on labelled photographs after the second look, calibrated",
            3.5,
            "at most",
            _at(photos, "second_look", "calibrated", "linear", "all"),
            "%",
            "linear map, two-fold cross-validated",
        ),
        Target("LP-regressor weights", 10.0, "at most", size, "MB"),
        Target("LP-regressor time", 8.0, "at most", _at(speed, "lp_regressor_ms", "median"), "ms"),
    ]


def _control_targets(controls: Any, reader: str) -> list[Target]:
    lines = []
    for name in ("headYaw", "headPitch", "headRoll"):
        entry = _at(controls, "head", name)
        note = f"worst of all subjects and commands; median {_text(_at(entry, 'error', 'median'))}°; {reader}"
        lines.append(Target(f"{name} error", HEAD_TOLERANCE, "at most", _at(entry, "error", "worst"), "°", note))
        corrected = _at(entry, "for_reader_slope")
        if corrected:
            middle = _text(_at(corrected, "error", "median"))
            note = f"the same divided by the reader's slope {corrected['slope']:.2f}; median {middle}°"
            lines.append(
                Target(
                    f"{name} error, reader corrected", HEAD_TOLERANCE, "at most", corrected["error"]["worst"], "°", note
                )
            )
    median = {name: _at(controls, name, "median") for name in ("blink", "wink_other_off", "leakage")}
    lines += [
        Target(
            "open height that a full blink leaves",
            0.25,
            "at most",
            _at(controls, "blink", "worst"),
            "",
            f"worst; median {_text(median['blink'])}",
        ),
        Target(
            "open height that a full blink leaves, reader corrected",
            0.25,
            "at most",
            _at(controls, "blink_for_reader", "worst"),
            "",
            f"worst; median {_text(_at(controls, 'blink_for_reader', 'median'))}",
        ),
        Target(
            "eye-white that a full blink leaves",
            0.02,
            "at most",
            _at(controls, "eye_white", "worst"),
            "",
            "worst, by colour",
        ),
        Target(
            "change of the other eye at a wink",
            0.10,
            "at most",
            _at(controls, "wink_other_off", "worst"),
            "",
            f"worst; median {_text(median['wink_other_off'])}",
        ),
        Target(
            "mouth opened by jawOpen 1",
            0.30,
            "at least",
            _at(controls, "jaw_opened", "least"),
            "IOD",
            f"least; median {_text(_at(controls, 'jaw_opened', 'median'))}",
        ),
        Target(
            "leakage into other parts",
            0.10,
            "at most",
            _at(controls, "leakage", "worst"),
            "",
            f"worst control, median over subjects; median control {_text(median['leakage'])}",
        ),
        Target("rest fidelity", 40.0, "at least", _at(controls, "rest_psnr", "lowest"), "dB"),
        Target("rest fidelity, params nudged", 40.0, "at least", _at(controls, "rest_psnr_nudged", "lowest"), "dB"),
    ]
    for key, note in (
        ("by_person", "outside the reader's person mask"),
        ("by_matte", "outside the bundle's own matte"),
    ):
        worst = _at(controls, "background", key, "worst")
        middle = _text(_at(controls, "background", key, "median"))
        lines.append(Target("background change", 1.0, "at most", worst, "/255", f"{note}; worst; median {middle}"))
    return lines


def _speed_targets(speed: Any) -> list[Target]:
    return [
        Target(f"frame at {side}²", limit, "at most", _at(speed, "frame_ms", f"crop {side}", "median"), "ms")
        for side, limit in ((256, 30.0), (512, 60.0))
    ]


def _generator_targets(generator: Any) -> list[Target]:
    lines = []
    for drive in ("true_landmarks", "networks_alone", "pose_latent"):
        if _at(generator, drive, "psnr") is None:
            continue
        plain, exact = gains(generator, drive, "landmark_warp"), gains(generator, drive, "exact_flow")
        lines += [
            Target(f"PSNR over the landmark warp ({drive})", 5.0, "at least", plain["psnr"].get("whole"), "dB"),
            Target(f"face PSNR over the landmark warp ({drive})", 3.5, "at least", plain["psnr"].get("face"), "dB"),
            Target(
                f"eyes-and-mouth PSNR over the exact-flow warp ({drive})",
                0.0,
                "at least",
                exact["psnr"].get("eyes_and_mouth"),
                "dB",
            ),
        ]
        least = [plain["ssim"][name] for name in REGIONS if name in plain["ssim"]]
        note = "least of all regions"
        lines.append(
            Target(f"SSIM over the landmark warp ({drive})", 0.0, "at least", min(least, default=None), "", note)
        )
    return lines


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
