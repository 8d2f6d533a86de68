# SPDX-License-Identifier: GPL-3.0-or-later
"""Performers, whose controls are commanded and whose frames are read back: portraits and photographs under a bundle."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.controls import Control
from lpmm_runtime.engine import Character, Engine
from lpmm_runtime.portrait import as_bytes, portrait_crop, resize
from lpmm_runtime.presets import Preset
from training.evaluation.independent_reader import FaceRead, Reader, aligned_box

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]

# Frames are read at this side: a small photograph is enlarged, which every frame of it is alike.
READ_SIDE = 512


class Performer(ABC):
    """A face that does what controls say, and the reader that watches it.

    Attributes:
        name: the picture's.
        labelled: whether it is one of the labelled photographs rather than a portrait.
        reader: who reads its frames back.
    """

    name: str
    labelled: bool
    reader: Reader

    @property
    @abstractmethod
    def controls(self) -> tuple[Control, ...]:
        """The controls that it knows, the head's among them."""

    @abstractmethod
    def crop(self, controls: Mapping[str, float]) -> Pixels:
        """Return the crop's frame uint8 [READ_SIDE, READ_SIDE, 3]; the crop is the one of the face at rest."""

    def read(self, crop: Pixels) -> FaceRead | None:
        """Return what the reader sees in a crop's frame."""
        return self.reader.read(crop, aligned_box(READ_SIDE))

    @cached_property
    def rest(self) -> Pixels:
        """The crop's frame with every control at 0."""
        return self.crop({})

    @cached_property
    def rest_read(self) -> FaceRead | None:
        """What the reader sees at rest."""
        return self.read(self.rest)


@dataclass(eq=False)
class Subject(Performer):
    """One character of a bundle."""

    name: str
    labelled: bool
    engine: Engine
    character: Character
    reader: Reader

    @property
    def controls(self) -> tuple[Control, ...]:
        """See `Performer.controls`."""
        return self.engine.bundle.rig.control_list

    def params(self, controls: Mapping[str, float], preset: Preset | None = None) -> Array:
        """Return p = p_base + S(controls) + preset."""
        rig = self.engine.bundle.rig
        values = dict(controls)
        extra = np.zeros(rig.k, np.float32)
        if preset is not None:
            for name, value in preset.controls.items():
                values[name] = values.get(name, 0.0) + value
            for name, value in preset.params.items():
                extra[int(name[1:]) - 1] += value
        return self.character.params + rig.controls.offset(values, self.character.params) + extra

    def crop(self, controls: Mapping[str, float], preset: Preset | None = None) -> Pixels:
        """See `Performer.crop`; a preset adds to the controls."""
        frame = self.engine.render(self.character, self.params(controls, preset), view="crop", size=READ_SIDE)
        return np.ascontiguousarray(frame[..., :3])

    def full(self, controls: Mapping[str, float]) -> Pixels:
        """Return the whole picture's frame uint8 [h, w, 4]."""
        return self.engine.render(self.character, self.params(controls), view="full")

    @cached_property
    def photo_crop(self) -> Pixels:
        """The photo's own pixels in the crop, uint8 [READ_SIDE, READ_SIDE, 3]."""
        crop = portrait_crop(self.character.photo, self.character.square, min(round(self.character.square.side), 2048))
        return as_bytes(np.clip(resize(crop, READ_SIDE, READ_SIDE), 0.0, 1.0))
