# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of everything: the sizes of the default run, of a GPU's, and of a toy's that ends in minutes."""

from dataclasses import dataclass
from typing import Literal

Size = Literal["toy", "default", "gpu"]


@dataclass(frozen=True)
class Recipe:
    """Amounts of data and of training.

    Attributes:
        faces, groups: shards of training pictures and of frame groups (`shards.SAMPLES_PER_SHARD`), or of
            `per_shard` samples; as many again are never needed for tests: one shard each.
        landmark_people, control_people, slider_people, geometry_people: people whose landmarks the LPMM, the controls,
            the LP-adaptor's end and the geometry head learn from; calibration_people: those whose turned heads degrees
            are measured on.
        face_size: side of face pictures; regressor_size: of the LP-regressor's crops; coarse_size: of the small
            ones that it learns from first; encoder_size: of the pose encoder's.
        reader_width: MobileNetV2's width multiplier.
        channels: of the generator's features; latent_size: w; k: params.
        *_steps, *_batch: of each model's training.
    """

    faces: int = 30
    groups: int = 29
    per_shard: int | None = None
    landmark_people: int = 3000
    control_people: int = 200
    slider_people: int = 6000
    calibration_people: int = 16
    face_size: int = 240
    regressor_size: int = 224
    encoder_size: int = 128
    coarse_size: int = 96
    reader_width: float = 0.5
    channels: int = 32
    latent_size: int = 64
    k: int = 40
    coarse_steps: int = 8000
    coarse_batch: int = 32
    lp_regressor_steps: int = 4000
    lp_regressor_batch: int = 64
    refiner_steps: int = 1400
    pose_encoder_steps: int = 1000
    geometry_people: int = 4000
    geometry_steps: int = 9000
    generator_steps: int = 1200
    generator_batch: int = 16
    warm_up_steps: int = 12000
    lp_adaptor_steps: int = 200
    lp_adaptor_batch: int = 4
    slider_steps: int = 8000
    face_finder_steps: int = 2200


RECIPES: dict[Size, Recipe] = {
    "default": Recipe(),
    "gpu": Recipe(
        faces=240,
        groups=400,
        reader_width=1.0,
        coarse_steps=15000,
        coarse_batch=128,
        lp_regressor_steps=20000,
        lp_regressor_batch=128,
        refiner_steps=6000,
        pose_encoder_steps=8000,
        generator_steps=20000,
        generator_batch=32,
        lp_adaptor_steps=2000,
        lp_adaptor_batch=16,
        face_finder_steps=12000,
    ),
    "toy": Recipe(
        faces=2,
        groups=2,
        per_shard=24,
        face_size=160,
        landmark_people=60,
        control_people=6,
        slider_people=20,
        calibration_people=1,
        regressor_size=64,
        encoder_size=64,
        coarse_size=32,
        reader_width=0.25,
        channels=8,
        latent_size=24,
        coarse_steps=60,
        coarse_batch=16,
        lp_regressor_steps=60,
        lp_regressor_batch=16,
        refiner_steps=20,
        pose_encoder_steps=20,
        geometry_people=20,
        geometry_steps=150,
        generator_steps=12,
        generator_batch=4,
        warm_up_steps=200,
        lp_adaptor_steps=6,
        slider_steps=40,
        face_finder_steps=20,
    ),
}
