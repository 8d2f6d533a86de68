# SPDX-License-Identifier: GPL-3.0-or-later
"""Who finds faces and reads their 68 points in videos: the bundle's own models, or mediapipe's face mesh."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.bundle import DEFAULT_BUNDLE, load_bundle
from lpmm_runtime.face_finding import Box, Finding, refine
from lpmm_runtime.face_tracking import find_near
from lpmm_runtime.onnx_sessions import Device, OnnxSessions

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]
ReaderKind = Literal["bundle", "mediapipe"]


class FaceFinder(Protocol):
    """Finds the faces of a picture."""

    name: str

    def find(self, picture: Pixels, near: Box | None) -> list[Finding]:
        """Return the faces of [H, W, 3] uint8 RGB, the wanted one first; `near` is where it was a moment ago."""
        ...


class PointReader(Protocol):
    """Reads the 68 points of one face."""

    name: str

    def read(self, picture: Pixels, box: Box) -> Points | None:
        """Return landmarks [68, 2] in picture pixels of the face about `box`, or None where none is seen."""
        ...

    def close(self) -> None:
        """End what the reader started."""
        ...


class BundleFinder:
    """The bundle's face finder."""

    def __init__(self, sessions: OnnxSessions) -> None:
        self.name = f"face finder of {sessions.bundle.name} {sessions.bundle.version}"
        self._sessions = sessions

    def find(self, picture: Pixels, near: Box | None) -> list[Finding]:
        """See `FaceFinder.find`."""
        return find_near(self._sessions, picture, near)


class BundlePoints:
    """The bundle's LP-regressor."""

    def __init__(self, sessions: OnnxSessions) -> None:
        self.name = f"LP-regressor of {sessions.bundle.name} {sessions.bundle.version}"
        self._sessions = sessions

    def read(self, picture: Pixels, box: Box) -> Points | None:
        """See `PointReader.read`."""
        return refine(self._sessions, picture, box).landmarks.astype(np.float64)

    def close(self) -> None:
        """Nothing was started."""


class MeshPoints:
    """mediapipe's face mesh, its 478 points brought to the 68, in a process of its own."""

    name = "mediapipe's face mesh"

    def __init__(self, python: str = sys.executable) -> None:
        """Start the process.

        Raises:
            ValueError: if that Python has no mediapipe that works.
        """
        from training.evaluation.independent_reader import FaceMeshReader

        self._reader = FaceMeshReader(python)

    def read(self, picture: Pixels, box: Box) -> Points | None:
        """See `PointReader.read`."""
        read = self._reader.read(picture, box)
        return None if read is None else np.asarray(read.landmarks, np.float64)

    def close(self) -> None:
        """End the process."""
        self._reader.close()


@dataclass(frozen=True)
class ReaderChoice:
    """Which finder and reader a process opens for itself.

    Attributes:
        kind: who reads the points; the bundle's finder finds in either case.
        bundle: the bundle's folder.
        device: where its models run.
        python: a Python that has mediapipe; None is this one.
    """

    kind: ReaderKind = "bundle"
    bundle: Path = DEFAULT_BUNDLE
    device: Device = "cpu"
    python: str | None = None

    def open(self, threads: int = 1) -> tuple[FaceFinder, PointReader]:
        """Open both.

        Raises:
            BundleError, DeviceError: as `OnnxSessions`.
            ValueError: if the reader cannot be started.
        """
        sessions = OnnxSessions(load_bundle(self.bundle), self.device, threads)
        finder = BundleFinder(sessions)
        if self.kind == "mediapipe":
            return finder, MeshPoints(self.python or sys.executable)
        return finder, BundlePoints(sessions)


READER_KINDS = get_args(ReaderKind)
