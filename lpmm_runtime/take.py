# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes: a captured performance, frame by frame, as JSON (docs/take-format.md)."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.bundle import Bundle
from lpmm_runtime.curves import exact_rate
from lpmm_runtime.errors import OutputError, TakeError
from lpmm_runtime.json_files import finite_number, read_json

Array = NDArray[np.float32]

FORMAT = "lpmm-take"
FORMAT_VERSION = 1
# What the numbers of a take mean rests on these of the bundle; `_ARRAYS`, the LPMM's file, holds the controls too, and
# takes of before were tied to it.
PARAMS_MODEL, LATENTS_MODEL, _ARRAYS = "LPMM", "pose_encoder.onnx", "lpmm.npz"
_KEYS = {"format", "format_version", "source", "fps", "bundle", "models", "frames"}
_FRAME_KEYS = {"seen", "params", "pose_latent", "head", "square"}
_HEAD = ("yaw", "pitch", "roll")


@dataclass(frozen=True, eq=False)
class Take:
    """A captured performance of n frames.

    Attributes:
        source: the video's file name.
        fps: frames a second, constant.
        bundle: name and version of the bundle that read it, for people.
        models: sha256 of what params and latents rest on, by name: see `models_of`.
        seen: [n] bool; where the face was not seen, the rest is filled in from the frames beside.
        params: [n, k] float32, p_take, standard deviations.
        pose_latents: [n, w] float32, v_take = E(frame).
        head_angles: [n, 3] float32, yaw, pitch, roll in degrees that the params show.
        squares: [n, 3] float32, the steadied crop: centre x, y and side, pixels of the upright video.
    """

    source: str
    fps: Fraction
    bundle: str
    models: Mapping[str, str]
    seen: NDArray[np.bool_]
    params: Array
    pose_latents: Array
    head_angles: Array
    squares: Array

    @property
    def frame_count(self) -> int:
        """The number of frames, at least 1."""
        return len(self.seen)

    def unseen_runs(self) -> list[tuple[int, int]]:
        """Return (first, last) of each run of frames in which the face was not seen, 0-based."""
        return list(_runs(~self.seen))

    def nearest_frame(self, params: NDArray[np.floating], sigma: NDArray[np.floating]) -> int:
        """Return the seen frame whose landmarks are nearest to those of params [k]; sigma [k] is the LPMM's."""
        distance = np.linalg.norm((self.params - params) * sigma, axis=1)
        return int(np.argmin(np.where(self.seen, distance, np.inf)))


def models_of(bundle: Bundle) -> dict[str, str]:
    """Return the sha256 of what a take's params and latents rest on: the LPMM's numbers, and E's file by its name."""
    return {PARAMS_MODEL: bundle.rig.model.digest, LATENTS_MODEL: _sha256(bundle, LATENTS_MODEL)}


def _sha256(bundle: Bundle, name: str) -> str:
    return str(bundle.manifest["files"][name]["sha256"])


def check_take(take: Take, bundle: Bundle, where: str, latents: bool = True) -> None:
    """Check that a take was captured with a bundle's models.

    Args:
        where: the take's name, for errors.
        latents: whether its latents are wanted too, or its params alone.

    Raises:
        TakeError: if it was captured with others.
    """
    wanted = models_of(bundle)
    if PARAMS_MODEL not in take.models and take.models.get(_ARRAYS) == _sha256(bundle, _ARRAYS):
        wanted.pop(PARAMS_MODEL)
    for name in (PARAMS_MODEL, LATENTS_MODEL) if latents else (PARAMS_MODEL,):
        if name in wanted and take.models.get(name) != wanted[name]:
            raise TakeError(f"{where}: captured with another {name} (of {take.bundle}); capture it again")


def save_take(take: Take, path: Path) -> None:
    """Write a take, a frame a line, whole or not at all.

    Raises:
        OutputError: if it cannot be written.
    """
    head = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "source": take.source,
        "fps": round(float(take.fps), 6),
        "bundle": take.bundle,
        "models": dict(take.models),
    }
    lines = [
        json.dumps(
            {
                "seen": bool(take.seen[row]),
                "head": dict(zip(_HEAD, _numbers(take.head_angles[row], 3), strict=True)),
                "square": _numbers(take.squares[row], 3),
                "params": _numbers(take.params[row], 6),
                "pose_latent": _numbers(take.pose_latents[row], 6),
            }
        )
        for row in range(take.frame_count)
    ]
    text = json.dumps(head, indent=1)[:-2] + ',\n "frames": [\n' + ",\n".join(lines) + "\n]}\n"
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def load_take(path: Path) -> Take:
    """Read a take.

    Raises:
        TakeError: if there is no such file, or it is no take; one line that names the file and the fault.
    """
    data = read_json(path, "a take", TakeError)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise TakeError(f'{path}: not a take: "format" is not "{FORMAT}"')
    if data.get("format_version") != FORMAT_VERSION:
        raise TakeError(f"{path}: a take of version {data.get('format_version')!r}, not {FORMAT_VERSION}")
    unknown = sorted(set(data) ^ _KEYS)
    if unknown:
        raise TakeError(f"{path}: a take with a missing or unknown key {unknown[0]!r}")
    fps = finite_number(data["fps"])
    if fps is None or not 1 <= fps <= 1000:
        raise TakeError(f'{path}: "fps" is {data["fps"]!r}, not a number from 1 to 1000')
    models, frames = data["models"], data["frames"]
    if not isinstance(models, dict) or not all(isinstance(value, str) for value in models.values()):
        raise TakeError(f'{path}: "models" does not list sha256 sums')
    if not isinstance(frames, list) or not frames:
        raise TakeError(f'{path}: "frames" is empty or no list')
    for row, frame in enumerate(frames):
        if not isinstance(frame, dict) or set(frame) != _FRAME_KEYS or not isinstance(frame["seen"], bool):
            raise TakeError(f"{path}: frame {row} is none: wanted {', '.join(sorted(_FRAME_KEYS))}")
        if not isinstance(frame["head"], dict) or set(frame["head"]) != set(_HEAD):
            raise TakeError(f'{path}: "head" of frame {row} is not yaw, pitch and roll')
    heads = [[frame["head"][name] for name in _HEAD] for frame in frames]
    return Take(
        source=str(data["source"]),
        fps=exact_rate(fps),
        bundle=str(data["bundle"]),
        models=models,
        seen=np.array([frame["seen"] for frame in frames], bool),
        params=_table([frame["params"] for frame in frames], "params", path),
        pose_latents=_table([frame["pose_latent"] for frame in frames], "pose_latent", path),
        head_angles=_table(heads, "head", path, 3),
        squares=_table([frame["square"] for frame in frames], "square", path, 3),
    )


def _table(rows: list[Any], name: str, path: Path, width: int | None = None) -> Array:
    for row, values in enumerate(rows):
        fits = isinstance(values, list) and values and len(values) == (width or len(rows[0]))
        if not fits or any(finite_number(value) is None or abs(value) > 1e30 for value in values):
            raise TakeError(f'{path}: "{name}" of frame {row} is no list of {width or "as many"} finite numbers')
    return np.array(rows, np.float32)


def _numbers(values: Array, digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]


def _runs(flags: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    for first, end in edges.reshape(-1, 2):
        yield int(first), int(end) - 1
