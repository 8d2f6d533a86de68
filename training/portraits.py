# SPDX-License-Identifier: GPL-3.0-or-later
"""Portraits of synthetic people, rendered large: what the demo and the tests use as photos.

python -m training portraits --kit KIT --out portraits --seeds 3 8 21
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synth.facekit import FaceKit
from training.synth.head import LandmarkSampler, crop_camera, frontal_camera, pose_head, project_landmarks
from training.synth.motion import Motion
from training.synth.people import Person, sample_person
from training.synth.renderer import Renderer, Stage
from training.synth.stage import even_lighting

# The picture is this much wider than the aligned crop, so that there is something around it.
_MARGIN = 1.35


def backdrop(rng: np.random.Generator, size: int = 512) -> NDArray[np.uint8]:
    """Return an out-of-focus room, uint8 [size, size, 3]: a wall, and upright and level edges that show any drag."""
    wall = rng.uniform(120, 200) * np.array([1.0, rng.uniform(0.9, 1.0), rng.uniform(0.8, 1.0)])
    image = np.tile(wall, (size, size, 1)) * np.linspace(1.06, 0.88, size)[:, None, None]
    for _ in range(int(rng.integers(3, 6))):
        left, width = int(rng.uniform(0, size)), int(rng.uniform(0.03, 0.2) * size)
        image[:, left : left + width] *= rng.uniform(0.65, 1.15) * np.exp(rng.normal(0, 0.05, 3))
    level = int(rng.uniform(0.55, 0.8) * size)
    image[level : level + max(2, size // 60)] *= 0.75
    return cv2.GaussianBlur(image.clip(0, 255).astype(np.uint8), (0, 0), size / 170)


def portrait(kit: FaceKit, person: Person, rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """Return a relaxed portrait uint8 [size, size, 3] of a person in soft light."""
    motion = Motion(
        yaw=float(rng.uniform(-8, 8)),
        pitch=float(rng.uniform(-2, 4)),
        controls={"eyeBlinkLeft": 0.05, "eyeBlinkRight": 0.05, "mouthSmileLeft": 0.15, "mouthSmileRight": 0.15},
    )
    points = LandmarkSampler(kit).points(person, motion)
    camera = frontal_camera(points[0].mean(axis=0), 16.0)
    landmarks, _ = project_landmarks(points, camera)
    camera = crop_camera(camera, landmarks, _MARGIN)
    head = pose_head(kit, kit.body, kit.rig, person, motion)
    renderer = Renderer(kit, size, supersampling=2)
    picture, _ = renderer.render(person, head, Stage(camera, even_lighting(), backdrop(rng)))
    return picture[..., :3]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Register the `portraits` step."""
    parser = subparsers.add_parser("portraits", help="render portraits of synthetic people")
    parser.add_argument("--kit", type=Path, required=True, help="the face kit's folder")
    parser.add_argument("--out", type=Path, required=True, help="where the pictures go")
    parser.add_argument("--seeds", type=int, nargs="+", required=True, help="a person each")
    parser.add_argument("--size", type=int, default=768, help="side in pixels")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Render the portraits, named by their seeds."""
    kit = FaceKit(args.kit)
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        rng = np.random.default_rng([seed, 23])
        person = sample_person(kit, rng, "train")
        picture = portrait(kit, person, rng, args.size)
        cv2.imwrite(str(args.out / f"{seed:03d}.png"), picture[..., ::-1])
    return 0
