# SPDX-License-Identifier: GPL-3.0-or-later
"""Curves: one number a frame for each channel, as JSON; animation data without Blender."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from lpmm_runtime.errors import CurvesError
from lpmm_runtime.json_files import finite_number, read_json

FORMAT = "lpmm-curves"
FORMAT_VERSION = 1
KEYS = {"format", "format_version", "fps", "channels"}


@dataclass(frozen=True)
class Curves:
    """Channel values by name over the frames.

    Attributes:
        fps: frames a second.
        channels: controls (degrees for the head), params (`p01`…, standard deviations) and presets (weights),
            each with `frame_count` values.
        frame_count: the number of frames, at least 1.
    """

    fps: Fraction
    channels: Mapping[str, tuple[float, ...]]
    frame_count: int

    def at(self, frame: int) -> dict[str, float]:
        """Return the channel values of the 0-based `frame`."""
        return {name: values[frame] for name, values in self.channels.items()}


def load_curves(path: Path) -> Curves:
    """Read a curves file.

    Raises:
        CurvesError: if there is no such file, or it is not curves; the message names the file and the fault.
    """
    return parse_curves(read_json(path, "curves", CurvesError), str(path))


def parse_curves(data: Any, where: str) -> Curves:
    """Return the curves that JSON `data` holds; `where` names its origin in errors.

    Raises:
        CurvesError: if `data` is not curves.
    """
    if not isinstance(data, dict) or not isinstance(data.get("channels"), dict):
        raise CurvesError(f'{where}: not curves: no "channels" object')
    if data.get("format", FORMAT) != FORMAT or data.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
        raise CurvesError(f'{where}: not curves: "format" is not "{FORMAT}" version {FORMAT_VERSION}')
    unknown = sorted(set(data) - KEYS)
    if unknown:
        raise CurvesError(f"{where}: curves have an unknown key {unknown[0]!r}")
    fps = finite_number(data.get("fps"))
    if fps is None or not 1 <= fps <= 1000:
        raise CurvesError(f'{where}: curves: "fps" is {data.get("fps")!r}, not a number from 1 to 1000')
    channels: dict[str, tuple[float, ...]] = {}
    for name, values in data["channels"].items():
        if not isinstance(values, list) or not values:
            raise CurvesError(f"{where}: curves: channel {name!r} is not a list of numbers")
        numbers = []
        for frame, value in enumerate(values):
            number = finite_number(value)
            if number is None:
                raise CurvesError(f"{where}: curves: channel {name!r} is not a finite number at position {frame}")
            numbers.append(number)
        channels[name] = tuple(numbers)
    if not channels:
        raise CurvesError(f'{where}: curves: "channels" is empty')
    lengths = {name: len(values) for name, values in channels.items()}
    first, count = next(iter(lengths.items()))
    for name, length in lengths.items():
        if length != count:
            raise CurvesError(f"{where}: curves: {name!r} has {length} frames, {first!r} has {count}")
    return Curves(exact_rate(fps), channels, count)


def exact_rate(fps: float) -> Fraction:
    """Return 24000/1001 for 23.976 and its like, else the plain fraction."""
    ntsc = Fraction(round(fps * 1.001) * 1000, 1001)
    return ntsc if fps != round(fps) and abs(ntsc - fps) < 0.005 else Fraction(fps).limit_denominator(1001)
