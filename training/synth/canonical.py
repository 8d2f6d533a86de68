# SPDX-License-Identifier: GPL-3.0-or-later
"""The canonical frame: a motion as the mean person shows it, which is what identity-free pose latents say."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from training.synth.head import LandmarkSampler, crop_camera, frontal_camera, project_landmarks
from training.synth.motion import Motion
from training.synth.people import mean_person

Array = NDArray[np.float32]

# Seen through a long lens, in a fixed frame.
_CANONICAL_FOV = 12.0


class CanonicalFrame:
    """Pose and expression as the mean person shows them: landmarks and irises before one fixed camera."""

    def __init__(self, sampler: LandmarkSampler) -> None:
        self._sampler = sampler
        self._person = mean_person()
        rest = sampler.points(self._person, Motion())
        centre = rest.middle
        camera = frontal_camera(centre, _CANONICAL_FOV)
        landmarks, _ = project_landmarks(rest, camera)
        self._camera = crop_camera(camera, landmarks)

    def points(self, motion: Motion) -> Array:
        """Return [70, 2] in the unit square of the mean person's own rest crop."""
        still = replace(motion, body_yaw=0.0, body_roll=0.0)
        landmarks, irises = project_landmarks(self._sampler.points(self._person, still), self._camera)
        return np.concatenate([landmarks, irises])
