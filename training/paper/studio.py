# SPDX-License-Identifier: GPL-3.0-or-later
"""What every item draws with: a bundle's engine, its characters, faces that drive, held-out faces, and a reader."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime import landmarks68
from lpmm_runtime.crop import face_box
from lpmm_runtime.engine import Base, Character, Engine
from lpmm_runtime.errors import LpmmError
from lpmm_runtime.frame import RigModel, evaluate_channels
from lpmm_runtime.presets import Preset
from training.evaluation.independent_reader import FaceRead, Reader, aligned_box
from training.evaluation.landmark_scores import LabelledFaces
from training.evaluation.subjects import READ_SIDE
from training.shards import read_all
from training.synth.samples import CONTROL_NAMES
from training.videos.frame_shards import INDEX, open_frames

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Faces that no model was trained on: shard arrays, and as the landmark scores take them."""

    arrays: dict[str, NDArray[Any]]
    faces: LabelledFaces

    @property
    def motion_known(self) -> bool:
        """Whether head angles and control values are known: of frames of videos they are not."""
        return "controls" in self.arrays

    def control(self, name: str) -> Array:
        """Return the true values [n] of a control, as far as the faces were counted in."""
        return np.asarray(self.arrays["controls"][: len(self.faces.images), CONTROL_NAMES.index(name)], np.float32)

    @property
    def angles(self) -> Array:
        """The true head angles [n, 3] in degrees."""
        return self.faces.angles


@dataclass(frozen=True, eq=False)
class Studio:
    """The engine and everything that stands before it.

    Attributes:
        characters: portraits; drivers: faces that drive them.
        held_out: labelled faces, None without data.
    """

    engine: Engine
    reader: Reader
    characters: list[Character]
    drivers: list[Character]
    held_out: HeldOut | None

    @property
    def rig(self) -> RigModel:
        return self.engine.bundle.rig

    def params(self, values: Mapping[str, float], base: Array | None = None) -> Array:
        """Return p = base + S(controls) + presets; base None is p_zero. Channels that the bundle lacks count as 0."""
        start = np.zeros(self.rig.k, np.float32) if base is None else base
        presets: Mapping[str, Preset] = self.engine.bundle.presets
        known = {*self.rig.control_names, *presets, *(f"p{row + 1:02d}" for row in range(self.rig.k))}
        return evaluate_channels(self.rig, start, {n: v for n, v in values.items() if n in known}, presets)

    def draw(self, character: Character, params: Array, base: Base = "NEUTRAL") -> Pixels:
        """Return the crop's frame uint8 [s, s, 3] of params."""
        frame = self.engine.render(character, params, base=base, view="crop", size=READ_SIDE)
        return np.ascontiguousarray(frame[..., :3])

    def draw_latent(self, character: Character, latent: Array, size: int = READ_SIDE) -> Pixels:
        """Return the crop's frame of a pose latent [w]."""
        frame = self.engine.render(
            character, character.params, view="crop", size=size, pose_latent=latent, influence=1.0
        )
        return np.ascontiguousarray(frame[..., :3])

    def drive(
        self, character: Character, driver: Character, edits: Mapping[str, float], influence: float = 1.0
    ) -> Pixels:
        """Return the crop's frame driven by another face's latent, with edits added on it (Fig. 6)."""
        frame = self.engine.render(
            character,
            self.params(edits, character.params),
            view="crop",
            size=READ_SIDE,
            pose_latent=driver.pose_latent,
            influence=influence,
            take_params=driver.params,
            driven_params=self.params(edits, driver.params),
        )
        return np.ascontiguousarray(frame[..., :3])

    def read(self, frame: Pixels) -> FaceRead | None:
        """Return what the reader sees in a crop's frame."""
        return self.reader.read(frame, aligned_box(frame.shape[0]))

    def measures(self, frame: Pixels) -> dict[str, Any] | None:
        """Return yaw, pitch, roll in degrees, and how open eyes and mouth are; None where no face is read."""
        return measures_of(self.read(frame))


def measures_of(read: FaceRead | None) -> dict[str, Any] | None:
    """Return what `Studio.measures` says of a read face."""
    if read is None:
        return None
    left, right = (float(value) for value in landmarks68.eye_openness(read.landmarks))
    angles = dict(zip(("yaw", "pitch", "roll"), (float(angle) for angle in read.angles), strict=True))
    mouth = float(landmarks68.mouth_openness(read.landmarks))
    return {**angles, "eye_left": left, "eye_right": right, "mouth": mouth}


def characters_of(engine: Engine, pictures: list[tuple[str, Pixels]]) -> tuple[list[Character], list[str]]:
    """Return the characters of pictures, and a line for each that shows no face."""
    characters, lost = [], []
    for name, picture in pictures:
        try:
            characters.append(engine.create_character(picture, name=name))
        except LpmmError as error:
            lost.append(str(error))
    return characters, lost


def character_of_face(engine: Engine, held_out: HeldOut, row: int, name: str) -> Character:
    """Return the character of a held-out face, its box given."""
    faces = held_out.faces
    return engine.create_character(faces.images[row], face_box(faces.landmarks[row]), name)


def held_out_of(folder: Path, most: int) -> HeldOut:
    """Return the test faces of a run's data, or frames of videos, spread over their set; some `most` are counted in.

    Raises:
        FileNotFoundError, ValueError: if the folder holds neither.
    """
    if not (folder / INDEX).is_file():
        arrays = read_all(folder, "faces", "test", most=1)
        return HeldOut(arrays, LabelledFaces.of_shard(arrays, most))
    frames = open_frames(folder)
    rows = np.unique(np.linspace(0, len(frames["landmarks"]) - 1, most).astype(np.int64))
    images, landmarks = frames["images"][rows], frames["landmarks"][rows]
    angles = np.full((len(rows), 3), np.nan, np.float32)
    faces = LabelledFaces(images, (landmarks * images.shape[1]).astype(np.float32), angles)
    return HeldOut({"images": images, "landmarks": landmarks}, faces)


def expressive_rows(held_out: HeldOut, count: int) -> list[int]:
    """Return rows of held-out faces that are turned and make a face, the strongest first; any where none is known."""
    if not held_out.motion_known:
        return [int(row) for row in np.linspace(0, len(held_out.faces.images) - 1, count)]
    arrays = held_out.arrays["controls"][: len(held_out.faces.images)]
    yaw = np.abs(held_out.angles[:, 0])
    strength = arrays.sum(axis=1) * ((yaw > 8) & (yaw < 30)) + 1e-3 * arrays.sum(axis=1)
    return [int(row) for row in np.argsort(-strength)[:count]]
