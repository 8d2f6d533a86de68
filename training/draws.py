# SPDX-License-Identifier: GPL-3.0-or-later
"""Which samples of a step's batch are made at once, and where their randomness comes from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

_SHARED, _OWN = 3, 29


@dataclass(frozen=True)
class Draw:
    """A part of a step's batch. The batch is the same however many parts and processes it is made in.

    Attributes:
        seed: of the training; step: of it.
        batch: samples of the whole step.
        first, count: this part of them.
    """

    seed: int
    step: int
    batch: int
    first: int
    count: int

    @property
    def part(self) -> slice:
        """This part of an array that has an entry a sample of the whole batch."""
        return slice(self.first, self.first + self.count)

    @cached_property
    def shared(self) -> np.random.Generator:
        """Gives the same numbers in every part: what is drawn for the whole batch, of which a part is then taken."""
        return np.random.default_rng([self.seed, _SHARED, self.step])

    @cached_property
    def own(self) -> list[np.random.Generator]:
        """A generator a sample of this part, for what is too dear to be drawn for the whole batch."""
        # Short seeds are padded with zeros, so the second number must differ from that of `shared`.
        return [
            np.random.default_rng([self.seed, _OWN, self.step, sample])
            for sample in range(self.first, self.first + self.count)
        ]

    def rows(self, size: int) -> NDArray[np.int64]:
        """Return numbers below `size`, one a sample of this part, drawn for the whole batch."""
        return self.shared.integers(0, size, self.batch)[self.part]
