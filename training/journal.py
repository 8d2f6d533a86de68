# SPDX-License-Identifier: GPL-3.0-or-later
"""What a training says of itself: a line of JSON now and then, and scalars and pictures for TensorBoard on demand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# Event files lie in RUN/tensorboard/MODEL.
EVENTS = "tensorboard"


class Journal:
    """The log `NAME.jsonl` of a folder, and events for TensorBoard beside it.

    Args:
        name: of the model.
        start: the step gone on from; TensorBoard hides what an interrupted run told of later ones.
        tensorboard: whether to write events.

    Raises:
        ValueError: if events are wanted and the package is missing.
    """

    def __init__(self, folder: Path, name: str, start: int, tensorboard: bool) -> None:
        self._log = folder / f"{name}.jsonl"
        self._events = _writer(folder / EVENTS / name, start) if tensorboard else None

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Log figures of a step."""
        line = {"step": step} | {key: round(figure, 5) for key, figure in figures.items()}
        with self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        if self._events:
            for key, figure in figures.items():
                self._events.add_scalar(key, figure, step)

    @property
    def shows(self) -> bool:
        """Whether pictures have a place to go."""
        return self._events is not None

    def show(self, step: int, pictures: dict[str, NDArray[np.uint8]]) -> None:
        """Add pictures uint8 [h, w, 3]."""
        if self._events:
            for key, picture in pictures.items():
                self._events.add_image(key, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Write out what is held back."""
        if self._events:
            self._events.close()


def check_tensorboard() -> None:
    """Raise ValueError if TensorBoard's package is missing."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise ValueError("--tensorboard needs the package tensorboard: pip install tensorboard") from error


def _writer(folder: Path, start: int) -> SummaryWriter:
    check_tensorboard()
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=start + 1 if start else None)
