# SPDX-License-Identifier: GPL-3.0-or-later
"""A second look at the eyes and the mouth of a portrait, once: small patches, read at their own scale.

The LP-regressor sees the whole face and says its pose in 40 numbers; lids and lips that are to slide along their own
lines must be known to a fraction of an eye's height. What it reads says where to look, these nets say what is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpmm_runtime import landmarks68
from training import loop, sheets
from training.backbones.face_geometry import in_float32
from training.draws import Draw
from training.landmark_reader import expected_places, heat_loss
from training.lp_regressor import FaceData

# Sides of the patches in pixels: about those of a crop of 192. And in distances between the eyes' centres.
_EYE_PATCH, _MOUTH_PATCH = 40, 56
_EYE_SIDE, _MOUTH_SIDE = 0.85, 1.35
# The subject's left eye is read mirrored: its points in the order of the right eye's.
_LEFT_AS_RIGHT = (45, 44, 43, 42, 47, 46)
_MOUTH = tuple(range(48, 68))

# How much the second look counts, by landmark. It and F err independently: their average is better than either.
_SHARES = (0.0,) * 36 + (0.7,) * 12 + (0.5,) * 20


@dataclass(frozen=True)
class PatchFrame:
    """Square patches of pictures: centres [n, 2] and sides [n, 1] in crop sides, axes [n, 2] (unit, along the eyes).

    A flipped patch runs against the axis, so that a left eye looks like a right one.
    """

    centre: Tensor
    axis: Tensor
    side: Tensor
    flipped: bool

    def _basis(self) -> tuple[Tensor, Tensor]:
        down = torch.stack([-self.axis[:, 1], self.axis[:, 0]], dim=-1)
        along = -self.axis if self.flipped else self.axis
        return along * self.side, down * self.side

    def to_patch(self, points: Tensor) -> Tensor:
        """Map points [n, m, 2] of the crop into the patch, whose middle is 0 and whose edges are ±0.5."""
        along, down = self._basis()
        away = points - self.centre[:, None]
        squared = (self.side**2)[:, None]
        return torch.cat([(away * v[:, None]).sum(-1, keepdim=True) / squared for v in (along, down)], dim=-1)

    def to_crop(self, points: Tensor) -> Tensor:
        """Map points [n, m, 2] of the patch into the crop."""
        along, down = self._basis()
        return self.centre[:, None] + points[..., :1] * along[:, None] + points[..., 1:] * down[:, None]

    def cut(self, image: Tensor, size: int) -> Tensor:
        """Return the patches [n, 3, size, size] of crops [n, 3, s, s]."""
        step = (torch.arange(size, device=image.device, dtype=torch.float32) + 0.5) / size - 0.5
        y, x = torch.meshgrid(step, step, indexing="ij")
        grid = torch.stack([x, y], dim=-1).reshape(1, -1, 2).expand(image.shape[0], -1, -1)
        place = self.to_crop(grid).reshape(-1, size, size, 2)
        return F.grid_sample(image, 2.0 * place - 1.0, mode="bilinear", padding_mode="border", align_corners=False)


class PatchReader(nn.Module):
    """A patch [n, 3, s, s] → logits of heatmaps [n, points, s/2, s/2], s a multiple of 8."""

    def __init__(self, points: int) -> None:
        super().__init__()

        def conv(inner: int, outer: int, stride: int = 1) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(inplace=True)
            )

        self.fine = nn.Sequential(conv(3, 24), conv(24, 40, 2), conv(40, 40))
        self.middle = nn.Sequential(conv(40, 64, 2), conv(64, 64))
        self.coarse = nn.Sequential(conv(64, 96, 2), conv(96, 96))
        self.from_coarse, self.from_middle = nn.Conv2d(96, 64, 1), nn.Conv2d(64, 40, 1)
        self.mix_middle, self.mix_fine = conv(64, 64), conv(40, 40)
        # The softmax takes no notice of a bias.
        self.heat = nn.Conv2d(40, points, 1, bias=False)
        nn.init.normal_(self.heat.weight, std=0.01)

    def forward(self, patch: Tensor) -> Tensor:
        # Each patch against its own average light.
        mean = patch.mean(dim=(1, 2, 3), keepdim=True)
        spread = (patch - mean).square().mean(dim=(1, 2, 3), keepdim=True).sqrt() + 0.05
        fine = self.fine((patch - mean) / spread)
        middle = self.middle(fine)
        coarse = self.from_coarse(self.coarse(middle))
        middle = self.mix_middle(middle + F.interpolate(coarse, scale_factor=2.0, mode="nearest"))
        fine = self.mix_fine(fine + F.interpolate(self.from_middle(middle), scale_factor=2.0, mode="nearest"))
        return self.heat(fine).float()

    def points(self, patch: Tensor) -> Tensor:
        """Return points [n, m, 2] in the patch, whose middle is 0 and whose edges are ±0.5."""
        return expected_places(self(patch)) - 0.5


class LandmarkRefiner(nn.Module):
    """Crops [n, 3, 256, 256] and their landmarks [n, 68, 2] by F → landmarks with eyes and mouth read again."""

    def __init__(self) -> None:
        super().__init__()
        self.eye = PatchReader(6)
        self.mouth = PatchReader(len(_MOUTH))

    @in_float32
    def forward(self, image: Tensor, landmarks: Tensor) -> Tensor:
        again = landmarks
        for _ in range(2):
            right, left, mouth = frames(again)
            read_right = right.to_crop(self.eye.points(right.cut(image, _EYE_PATCH)))
            read_left = left.to_crop(self.eye.points(left.cut(image, _EYE_PATCH)))[:, [3, 2, 1, 0, 5, 4]]
            read_mouth = mouth.to_crop(self.mouth.points(mouth.cut(image, _MOUTH_PATCH)))
            again = torch.cat([landmarks[:, :36], read_right, read_left, read_mouth], dim=1)
        return landmarks + landmarks.new_tensor(_SHARES)[:, None] * (again - landmarks)


def frames(landmarks: Tensor) -> tuple[PatchFrame, PatchFrame, PatchFrame]:
    """Return where to look for the subject's right eye, the left one and the mouth, by landmarks [n, 68, 2]."""
    right, left = landmarks[:, 36:42].mean(dim=1), landmarks[:, 42:48].mean(dim=1)
    across = left - right
    distance = across.norm(dim=-1, keepdim=True).clamp(min=1e-3)
    axis = across / distance
    mouth = landmarks[:, 48:68].mean(dim=1)
    # Turned away, the eyes come closer; the nose keeps its length.
    distance = torch.maximum(distance, 0.9 * (landmarks[:, 27] - landmarks[:, 33]).norm(dim=-1, keepdim=True))
    return (
        PatchFrame(right, axis, _EYE_SIDE * distance, flipped=False),
        PatchFrame(left, axis, _EYE_SIDE * distance, flipped=True),
        PatchFrame(mouth, axis, _MOUTH_SIDE * distance, flipped=False),
    )


def _as_read(landmarks: Tensor, rngs: list[np.random.Generator]) -> Tensor:
    """Return landmarks as the LP-regressor might err: eyes and mouth shifted together and apart, all scaled."""

    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(np.stack([rng.standard_normal(shape, np.float32) for rng in rngs]))

    distance = (landmarks[:, 36:42].mean(dim=1) - landmarks[:, 42:48].mean(dim=1)).norm(dim=-1)[:, None, None]
    amount = distance * torch.tensor([rng.random() for rng in rngs], dtype=torch.float32)[:, None, None] * 1.6
    shared = 0.06 * normal(1, 2)
    middle = landmarks.mean(dim=1, keepdim=True)
    out = middle + (landmarks - middle) * (1.0 + 0.05 * normal(1, 1)) + amount * shared
    parts = [out[:, :36]]
    for region in (slice(36, 42), slice(42, 48), slice(48, 68)):
        parts.append(out[:, region] + amount * 0.05 * normal(1, 2))
    return torch.cat(parts, dim=1)


def _miss(reader: PatchReader, patches: Tensor, wanted: Tensor) -> Tensor:
    """Return the ℓ1 of the points in percent of the patch's side, and how far heat lies off."""
    heat = reader(patches)
    return 100.0 * (expected_places(heat) - 0.5 - wanted).abs().mean() + heat_loss(heat, wanted + 0.5).mean()


def train(refiner: LandmarkRefiner, data: FaceData, held_out: FaceData, schedule: loop.Schedule, folder: Path) -> None:
    """Train both readers, going on from `folder/landmark_refiner.pt`."""
    refiner.to(schedule.device)

    def make_batch(draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
        batch = data.batch(draw.rows(len(data)), draw.own, train=True)
        return batch.images, batch.landmarks, _as_read(batch.landmarks, draw.own)

    def loss(made: tuple[Tensor, Tensor, Tensor], _step: int) -> Tensor:
        images, truth, start = (part.to(schedule.device) for part in made)
        right, left, mouth = frames(start)
        eyes = torch.cat([right.cut(images, _EYE_PATCH), left.cut(images, _EYE_PATCH)])
        wanted = torch.cat([right.to_patch(truth[:, 36:42]), left.to_patch(truth[:, list(_LEFT_AS_RIGHT)])])
        lips = mouth.cut(images, _MOUTH_PATCH)
        return _miss(refiner.eye, eyes, wanted) + _miss(refiner.mouth, lips, mouth.to_patch(truth[:, 48:68]))

    @torch.no_grad()
    def pictures() -> loop.Pictures:
        refiner.eval()
        rng = np.random.default_rng(0)
        shown = held_out.batch(np.arange(min(sheets.SHOWN, len(held_out))), rng, train=False)
        start = _as_read(shown.landmarks, [rng] * len(shown.images))
        read = refiner(shown.images.to(schedule.device), start.to(schedule.device)).cpu()
        return {"crops": sheets.crops(shown.images.numpy(), shown.landmarks.numpy(), read.numpy())}

    scores = partial(evaluate, refiner, held_out)
    loop.train("landmark_refiner", refiner, schedule, folder, make_batch, loss, scores, pictures)


@torch.no_grad()
def evaluate(refiner: LandmarkRefiner, data: FaceData, most: int = 400) -> dict[str, float]:
    """Return the eyes' and the mouth's NME in percent before and after, on held-out people read with errors."""
    refiner.eval()
    rng = np.random.default_rng(0)
    device = next(refiner.parameters()).device
    before, after, distances = [], [], []
    for start in range(0, min(most, len(data)), 50):
        rows = np.arange(start, min(start + 50, len(data)))
        batch = data.batch(rows, rng, train=False)
        read = _as_read(batch.landmarks, [rng] * len(rows))
        again = refiner(batch.images.to(device), read.to(device)).cpu()
        before.append((read - batch.landmarks).norm(dim=-1))
        after.append((again - batch.landmarks).norm(dim=-1))
        a, b = landmarks68.OUTER_EYE_CORNERS
        distances.append((batch.landmarks[:, a] - batch.landmarks[:, b]).norm(dim=-1))
    scale = 100.0 / torch.cat(distances)[:, None]
    scores = {}
    for name, values in (("before", before), ("after", after)):
        error = torch.cat(values) * scale
        scores[f"eyes_{name}"] = float(error[:, 36:48].mean())
        scores[f"mouth_{name}"] = float(error[:, 48:68].mean())
    return scores
