# SPDX-License-Identifier: GPL-3.0-or-later
"""The bake manifest: which PNG of a folder shows which request, so that a bake can be resumed and judged.

What it claims is true at any moment: a frame's entry is taken out before its file is replaced, and comes back
when the new file is whole. The format is described in docs/render-and-bake.md.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lpmm_runtime.errors import LpmmError
from lpmm_runtime.json_files import read_json

from .frame_request import FrameRequest
from .png_files import Bits
from .whole_files import write_whole

FORMAT = "lpmm-bake"
FORMAT_VERSION = 1
FILE_NAME = "lpmm-bake.json"


class BakeError(LpmmError):
    """A bake cannot begin, or cannot go on."""

    code = "bad_bake"


@dataclass(frozen=True)
class BakeSource:
    """What every frame of a bake depends on beside its sliders.

    Attributes:
        bundle: the name of the bundle's folder.
        bundle_sha256: of its bundle.json, which holds the hashes of all its files.
        photo: the photo's file name.
        photo_sha256: of the photo's file.
        bits: a channel, 8 or 16.
        alpha: whether the files have a fourth channel.
    """

    bundle: str
    bundle_sha256: str
    photo: str
    photo_sha256: str
    bits: Bits
    alpha: bool

    def differences(self, other: "BakeSource") -> tuple[str, ...]:
        """Return for people in what two sources differ."""
        pairs = (
            ("model bundle", self.bundle_sha256, other.bundle_sha256),
            ("photo", self.photo_sha256, other.photo_sha256),
            ("bit depth", self.bits, other.bits),
            ("alpha", self.alpha, other.alpha),
        )
        return tuple(name for name, mine, yours in pairs if mine != yours)


@dataclass(frozen=True)
class BakedFrame:
    """A file of the bake: its name, the hash of the request that it shows, and its size in bytes."""

    file: str
    request: str
    bytes: int

    def is_in(self, folder: Path) -> bool:
        """Whether the file is there, with the size that it was written with."""
        try:
            return (folder / self.file).stat().st_size == self.bytes
        except OSError:
            return False


@dataclass(frozen=True)
class BakeManifest:
    """What a folder of baked frames holds.

    Attributes:
        rig: the rig's name.
        source: what all the frames depend on.
        start, end, step: the frames that were asked for; those between two steps hold the picture before them.
        fps: frames a second of the scene.
        frames: what is there, by frame.
    """

    rig: str
    source: BakeSource
    start: int
    end: int
    step: int
    fps: float
    frames: Mapping[int, BakedFrame] = field(default_factory=dict)

    def with_frames(self, frames: Mapping[int, BakedFrame]) -> "BakeManifest":
        """Return the manifest with other frames."""
        return replace(self, frames=dict(sorted(frames.items())))


def file_name(frame: int) -> str:
    """Return the name of a frame's file, which Blender's image sequences understand."""
    return f"{frame:04d}.png"


def request_hash(request: FrameRequest) -> str:
    """Return what tells a request from every other one of the same photo and bundle.

    A slider at rest, or a preset without weight, counts as absent: adding one changes no picture.
    """
    presets = [
        [weight, sorted(preset.controls.items()), sorted(preset.params.items())]
        for preset, weight in request.presets
        if weight
    ]
    values = {
        "base": request.base,
        "view": request.view,
        "size": request.size,
        "box": request.box,
        "controls": {name: value for name, value in request.controls.items() if value},
        "raw": {name: value for name, value in request.raw.items() if value},
        "presets": presets,
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def write_manifest(folder: Path, manifest: BakeManifest) -> None:
    """Write the folder's manifest.

    Raises:
        OSError.
    """
    values = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(manifest)}
    write_whole(folder / FILE_NAME, json.dumps(values, indent=1).encode())


def read_manifest(folder: Path) -> BakeManifest | None:
    """Return the folder's manifest, or None where there is none.

    Raises:
        BakeError: if it is damaged, or of a newer add-on.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    values = read_json(path, "a bake manifest", BakeError)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise BakeError(f'{path}: not a bake manifest: "format" is not "{FORMAT}"')
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise BakeError(f"{path}: bake manifest format {version!r}, this add-on reads {FORMAT_VERSION}")
    try:
        return _manifest_of(values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BakeError(f"{path}: damaged ({error!r}); delete it to bake anew") from error


def _manifest_of(values: Mapping[str, Any]) -> BakeManifest:
    return BakeManifest(
        rig=str(values["rig"]),
        source=BakeSource(**values["source"]),
        start=int(values["start"]),
        end=int(values["end"]),
        step=int(values["step"]),
        fps=float(values["fps"]),
        frames={int(frame): BakedFrame(**entry) for frame, entry in values["frames"].items()},
    )
