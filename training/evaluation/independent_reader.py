# SPDX-License-Identifier: GPL-3.0-or-later
"""Who reads the frames back: mediapipe's face mesh where it is installed, else the bundle's own readers.

A bundle that marks its own work can be fooled by itself; the report always says which reader spoke.
"""

import importlib.util
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.crop import SCALE, CropSquare
from lpmm_runtime.engine import Engine
from lpmm_runtime.face_finding import Box, refine
from lpmm_runtime.portrait import cut_square, whole_square
from lpmm_runtime.second_look import second_look
from training.evaluation.head_pose import (
    TURN_POINTS,
    euler_angles,
    face_axes,
    rotation_between,
    rotation_of_angles,
)

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]

# The face mesh's point, or the two whose middle counts, for each of the 68. The contour is the mesh's face oval; the
# 68-point jaw has fewer points, whose places on the cheek are a matter of taste. Lids, lips, nose wings and brow tops
# are the vertices that the mesh's own contours run through.
_CONTOUR = ((127,), (234,), (93,), (132, 58), (58, 172), (136,), (150,), (176,), (152,))
_CONTOUR_LEFT = ((400,), (379,), (365,), (397, 288), (361, 288), (323,), (454,), (356,))
_BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
_NOSE = (168, 197, 5, 4, 98, 97, 2, 326, 327)
_EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
# The centres of the irises, which the mesh's second look adds at its end.
_IRISES = (468, 473)
_LIPS_OUTER = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)
_LIPS_INNER = (78, 81, 13, 311, 308, 402, 14, 178)
MESH_OF_68: tuple[tuple[int, ...], ...] = (
    *_CONTOUR,
    *_CONTOUR_LEFT,
    *((index,) for index in (*_BROWS, *_NOSE, *_EYES, *_LIPS_OUTER, *_LIPS_INNER)),
)
# The mesh wants room around the face: this many times the face box's longer side.
_MESH_ROOM = 2.2


class ReaderError(ValueError):
    """The independent reader cannot be started or has ended."""


@dataclass(frozen=True, eq=False)
class FaceRead:
    """What a reader saw.

    Attributes:
        landmarks: [68, 2], picture pixels (pixel centres at +0.5).
        turn_points: [m, 3], points that no expression moves, or None.
        angles: (yaw, pitch, roll) in degrees, from the picture alone.
        irises: [2, 2], the irises' centres, the picture's left one first; None of a reader that does not see them.
    """

    landmarks: NDArray[np.float64]
    turn_points: NDArray[np.float64] | None
    angles: NDArray[np.float64]
    irises: NDArray[np.float64] | None = None


class Reader(Protocol):
    """Reads one face a picture."""

    name: str
    independent: bool

    def read(self, picture: Pixels, box: Box) -> FaceRead | None:
        """Return the face about `box` (brows and forehead to chin, pixels), or None where none is seen."""
        ...

    def turned(self, rest: FaceRead, moved: FaceRead) -> NDArray[np.float64]:
        """Return how far the head turned between two reads of one person: yaw, pitch, roll in degrees."""
        ...

    def person(self, picture: Pixels) -> NDArray[np.float32] | None:
        """Return the person's mask [h, w] in [0, 1], head and body, or None if this reader knows none."""
        ...

    def close(self) -> None:
        """End what the reader started."""
        ...


class BundleReader:
    """The bundle's own LP-regressor and second look: no independent measure, but always there."""

    name = "the bundle's own readers (not independent)"
    independent = False

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, picture: Pixels, box: Box) -> FaceRead | None:
        """See `Reader.read`."""
        reading = refine(self._engine.sessions, picture, box)
        angles = self._engine.bundle.rig.controls.head_angles(reading.params).astype(np.float64)
        landmarks = second_look(self._engine.sessions, picture, reading.square, reading.landmarks)
        irises = None if reading.irises is None else reading.irises.astype(np.float64)
        landmarks = reading.landmarks if landmarks is None else landmarks
        return FaceRead(landmarks.astype(np.float64), None, angles, irises)

    def turned(self, rest: FaceRead, moved: FaceRead) -> NDArray[np.float64]:
        """See `Reader.turned`."""
        return moved.angles - rest.angles

    def person(self, picture: Pixels) -> NDArray[np.float32] | None:
        """See `Reader.person`."""
        return None

    def close(self) -> None:
        """Nothing was started."""


class FaceMeshReader:
    """mediapipe's attention mesh and person mask, in a process of its own."""

    independent = True

    def __init__(self, python: str = sys.executable) -> None:
        """Start the process.

        Raises:
            ReaderError: if that Python has no mediapipe that works; says how it ended.
        """
        self.name = "mediapipe's face mesh (independent)"
        script = Path(__file__).with_name("face_mesh_process.py")
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        try:
            self._process = subprocess.Popen(
                [python, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log
            )
        except OSError as error:
            raise ReaderError(f"{python}: cannot be started: {error.strerror or error}") from error
        self._answer(4)

    def read(self, picture: Pixels, box: Box) -> FaceRead | None:
        """See `Reader.read`."""
        left, top, right, bottom = box
        side = _MESH_ROOM * max(right - left, bottom - top)
        square = whole_square(CropSquare(0.5 * (left + right), 0.5 * (top + bottom), side))
        self._ask(b"M", cut_square(picture, square, border=128))
        count = struct.unpack("<I", self._answer(4))[0]
        if not count:
            return None
        mesh = np.frombuffer(self._answer(12 * count), np.float32).reshape(count, 3).astype(np.float64)
        mesh[:, :2] += [square.left, square.top]
        landmarks = np.stack([mesh[list(indices), :2].mean(axis=0) for indices in MESH_OF_68])
        irises = mesh[list(_IRISES), :2] if count > max(_IRISES) else None
        return FaceRead(landmarks, mesh[list(TURN_POINTS)], euler_angles(face_axes(mesh)), irises)

    def turned(self, rest: FaceRead, moved: FaceRead) -> NDArray[np.float64]:
        """See `Reader.turned`; the rotation between the rigid points, seen from the rest's own orientation."""
        assert rest.turn_points is not None and moved.turn_points is not None
        start = rotation_of_angles(rest.angles)
        rotation = rotation_between(rest.turn_points, moved.turn_points)
        return euler_angles(rotation @ start) - euler_angles(start)

    def person(self, picture: Pixels) -> NDArray[np.float32] | None:
        """See `Reader.person`."""
        self._ask(b"P", picture)
        height, width = picture.shape[:2]
        mask = np.frombuffer(self._answer(height * width), np.uint8).reshape(height, width)
        return np.asarray(mask, np.float32) / np.float32(255)

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def __enter__(self) -> "FaceMeshReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, kind: bytes, picture: Pixels) -> None:
        height, width = picture.shape[:2]
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(struct.pack("<cII", kind, height, width) + picture.tobytes())
            self._process.stdin.flush()
        except OSError as error:
            raise self._ended() from error

    def _answer(self, length: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(length)
        if len(data) < length:
            raise self._ended()
        return data

    def _ended(self) -> ReaderError:
        status = self._process.wait()
        self._log.seek(0)
        lines = [line for line in self._log.read().decode("utf-8", "replace").splitlines() if line.strip()]
        said = lines[-1].strip() if lines else "nothing"
        return ReaderError(f"mediapipe's process ended with status {status}, saying: {said}")


def open_reader(engine: Engine, python: str | None) -> Reader:
    """Return the face mesh of `python`, or of this Python if it has mediapipe, else the bundle's own readers.

    Raises:
        ReaderError: if `python` is given and has no mediapipe that works.
    """
    if python is not None:
        return FaceMeshReader(python)
    if importlib.util.find_spec("mediapipe") is not None:
        return FaceMeshReader()
    return BundleReader(engine)


def aligned_box(side: int) -> Box:
    """Return the face box of an aligned crop of `side` pixels at rest."""
    near, far = 0.5 * side * (1 - 1 / SCALE), 0.5 * side * (1 + 1 / SCALE)
    return near, near, far, far
