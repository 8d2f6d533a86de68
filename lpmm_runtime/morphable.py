# SPDX-License-Identifier: GPL-3.0-or-later
"""The landmark-parameter morphable model: L = L̄ + Σ p_i e_i (paper, Sec. 3.1, Eq. 1)."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

# Of a landmark, in crop sides: less than F's own error, so that what is known is kept.
_KNOWN_TO = 5e-4


@dataclass(frozen=True)
class LandmarkModel:
    """A PCA over landmarks in the unit square of the aligned crop: iBUG's 68, irises after them where there are any.

    Attributes:
        mean: [2n] float32, the average landmarks, x and y interleaved.
        eigenvectors: [k, 2n] float32, orthonormal rows, by falling variance.
        sigma: [k] float32, the standard deviation of each component over the data, in crop units.
    """

    mean: Array
    eigenvectors: Array
    sigma: Array

    def __post_init__(self) -> None:
        k, size = self.eigenvectors.shape
        if self.mean.shape != (size,) or self.sigma.shape != (k,):
            raise ValueError(
                f"landmark model: mean {self.mean.shape}, eigenvectors {self.eigenvectors.shape} "
                f"and sigma {self.sigma.shape} do not fit each other"
            )

    @property
    def k(self) -> int:
        """The number of params."""
        return len(self.sigma)

    @property
    def points(self) -> int:
        """The number of landmarks n, irises among them."""
        return len(self.mean) // 2

    @property
    def digest(self) -> str:
        """The sha256 of its numbers, as hexadecimal text: params mean the same under models that share it."""
        digest = hashlib.sha256()
        for numbers in (self.mean, self.eigenvectors, self.sigma):
            digest.update(np.ascontiguousarray(numbers, "<f4").tobytes())
        return digest.hexdigest()

    def landmarks(self, params: NDArray[np.floating]) -> Array:
        """Return landmarks [..., n, 2] in the unit square, for params [..., k] in standard deviations (Eq. 1)."""
        flat = self.mean + (np.asarray(params, np.float32) * self.sigma) @ self.eigenvectors
        return flat.reshape(*flat.shape[:-1], -1, 2).astype(np.float32)

    def params(self, landmarks: NDArray[np.floating]) -> Array:
        """Return the params [..., k], in standard deviations, nearest to landmarks [..., n, 2] of the unit square."""
        flat = np.asarray(landmarks, np.float32).reshape(*landmarks.shape[:-2], -1)
        return (((flat - self.mean) @ self.eigenvectors.T) / self.sigma).astype(np.float32)

    def likeliest_params(self, landmarks: NDArray[np.floating]) -> Array:
        """Return the params [..., k] of landmarks [..., m, 2] of which only the first m points are known.

        Where all are, these are `params`; else see `projection`.
        """
        count = landmarks.shape[-2]
        flat = np.asarray(landmarks, np.float32).reshape(*landmarks.shape[:-2], -1)
        return (flat - self.mean[: 2 * count]) @ self.projection(count)

    def projection(self, count: int) -> Array:
        """Return the matrix [2 count, k] from deviations of the first landmarks to params, in standard deviations.

        Of all landmarks it is Eq. 1 solved. Of fewer it is the least squares of these, each known to `_KNOWN_TO`, and
        of params that spread as the data do: what the known landmarks do not say stays average.
        """
        if count == self.points:
            return (self.eigenvectors / self.sigma[:, None]).T
        columns = (self.sigma[:, None] * self.eigenvectors[:, : 2 * count]).astype(np.float64)
        gram = columns @ columns.T + _KNOWN_TO**2 * np.eye(self.k)
        return np.linalg.solve(gram, columns).T.astype(np.float32)

    def truncated(self, k: int) -> "LandmarkModel":
        """Return the model of the first k components."""
        return LandmarkModel(self.mean, self.eigenvectors[:k], self.sigma[:k])
