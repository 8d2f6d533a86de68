# SPDX-License-Identifier: GPL-3.0-or-later
"""The face finder: photo, letterboxed to a square → boxes and scores, one pair a cell of its finest map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lpmm_runtime.face_finding import FACE_SCORE, Finding, iou, suppress
from training import loop, processes, sheets
from training.draws import Draw
from training.face_scenes import FaceScenes, Scene
from training.mobilenet import InvertedResidual

Array = NDArray[np.float32]

STRIDE = 8
# A finding is right from this overlap on.
FOUND_IOU = 0.5
_TYPICAL_FACE = 0.25
# The Gaussian about a face's centre, of the box's sides; boxes are learnt where it is above _NEAR.
_SPREAD, _NARROWEST, _NEAR = 0.11, 0.45, 0.35
_BOX_WEIGHT = 2.0
# Missing a face weighs more than finding one too many, or scores stay far below the runtime's threshold.
_FACE_WEIGHT = 3.0
# The focal loss of power 2 leaves logits about this many times too small to be read as probabilities (Charoenphakdee et
# al., 2021, Sec. 4); on held-out scenes a fit gives 3.1.
_SHARPER = 2.7


@dataclass(frozen=True)
class SceneBatch:
    """Scenes as tensors.

    Attributes:
        images: float32 [n, 3, s, s] in [0, 1].
        heat: [n, a], 1 at the cells of faces, falling off about them.
        counts: [n, a], 0 where a cell tells nothing, 1 elsewhere.
        boxes: [n, a, 4], the face box each cell should tell; near: [n, a], how much it should, 0 far from faces.
    """

    images: Tensor
    heat: Tensor
    counts: Tensor
    boxes: Tensor
    near: Tensor


def _conv(inner: int, outer: int, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inner, outer, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outer), nn.ReLU6(inplace=True))


class FaceFinder(nn.Module):
    """Three maps, of strides 8, 16 and 32, joined from the coarsest down; every cell of the finest tells one face.

    Args:
        size: side of the square, a multiple of 32.
        width: channels, in sixteenths of 24, 40, 64, 96.
    """

    centres: Tensor

    def __init__(self, size: int = 192, width: int = 16) -> None:
        super().__init__()
        if size % 32:
            raise ValueError(f"size is {size}; it must be a multiple of 32")
        self.size = size
        stem, fine, eighth, sixteenth, coarse = (channels * width // 16 for channels in (16, 24, 40, 64, 96))
        joined = 48 * width // 16
        self.eighth = nn.Sequential(
            _conv(3, stem, 3, 2),
            InvertedResidual(stem, fine, 2, 1),
            InvertedResidual(fine, fine, 1, 2),
            InvertedResidual(fine, eighth, 2, 3),
            InvertedResidual(eighth, eighth, 1, 3),
            InvertedResidual(eighth, eighth, 1, 3),
        )
        self.sixteenth = nn.Sequential(
            InvertedResidual(eighth, sixteenth, 2, 3),
            *(InvertedResidual(sixteenth, sixteenth, 1, 3) for _ in range(3)),
        )
        self.coarse = nn.Sequential(
            InvertedResidual(sixteenth, coarse, 2, 3),
            *(InvertedResidual(coarse, coarse, 1, 2) for _ in range(2)),
        )
        self.from_eighth, self.from_sixteenth, self.from_coarse = (
            nn.Conv2d(channels, joined, 1) for channels in (eighth, sixteenth, coarse)
        )
        self.mix = InvertedResidual(joined, joined, 1, 2)
        last = nn.Conv2d(joined, 5, 1)
        nn.init.normal_(last.weight, std=0.01)
        # Faces are rare.
        last.bias = nn.Parameter(torch.tensor([-4.0, 0.0, 0.0, 0.0, 0.0]))
        self.tell = nn.Sequential(InvertedResidual(joined, joined, 1, 2), last)
        self.register_buffer("centres", torch.from_numpy(cell_centres(size)), persistent=False)

    def read(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes [n, a, 4] and logits [n, a] of the heat-map, of images [n, 3, s, s] in [0, 1]."""
        eighth = self.eighth(image * 2.0 - 1.0)
        sixteenth = self.sixteenth(eighth)
        coarse = self.coarse(sixteenth)
        joined = self.from_sixteenth(sixteenth) + _twice(self.from_coarse(coarse))
        joined = self.from_eighth(eighth) + _twice(self.mix(joined))
        told = self.tell(joined).float().flatten(2).transpose(1, 2)
        centre = self.centres + told[..., 1:3] * (STRIDE / self.size)
        half = 0.5 * _TYPICAL_FACE * torch.exp(told[..., 3:5].clamp(-4.0, 2.5))
        # Reshaped to numbers, so that the exported graph says how many cells there are.
        return torch.cat([centre - half, centre + half], dim=-1), told[..., 0].reshape(-1, len(self.centres))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes [n, a, 4], left, top, right, bottom in sides of the square, and scores [n, a] in [0, 1].

        The box of a face cut by the frame is whole, so it may reach outside the square.
        """
        boxes, logits = self.read(image)
        return boxes, torch.sigmoid(_SHARPER * logits)


def _twice(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2.0, mode="nearest")


def cell_centres(size: int) -> Array:
    """Return the centres [a, 2] of the finest map's cells, row by row, in the unit square."""
    axis = (np.arange(size // STRIDE, dtype=np.float32) + 0.5) * (STRIDE / size)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def targets(scene: Scene, size: int) -> tuple[Array, Array, Array, Array]:
    """Return a scene's heat [a], counts [a], boxes [a, 4] and near [a], as in `SceneBatch`."""
    centres = cell_centres(size)
    cell = STRIDE / size
    heat, counts, near = (np.zeros(len(centres), np.float32) for _ in range(3))
    counts += 1
    boxes = np.tile(np.array([0.4, 0.4, 0.6, 0.6], np.float32), (len(centres), 1))
    for box, sure in zip(scene.boxes, scene.sure, strict=True):
        middle, sides = 0.5 * (box[:2] + box[2:]), box[2:] - box[:2]
        if not sure:
            counts[(np.abs(centres - middle) < 0.4 * sides + 0.5 * cell).all(axis=1)] = 0
            continue
        nearest = int(np.abs(centres - middle).sum(axis=1).argmin())
        away = (centres - centres[nearest]) / np.maximum(_SPREAD * sides, _NARROWEST * cell)
        bump = np.exp(-0.5 * (away**2).sum(axis=1))
        here = (bump > _NEAR) & (bump > near)
        boxes[here], near[here] = box, bump[here]
        heat = np.maximum(heat, bump)
    counts[heat > _NEAR] = 1
    return heat, counts, boxes, near


def make_batch(scenes: FaceScenes, rngs: list[np.random.Generator]) -> SceneBatch:
    """Return a new scene a generator and what the finder should say of them."""
    made = [scenes.scene(rng) for rng in rngs]
    images = torch.from_numpy(np.stack([scene.image for scene in made])).permute(0, 3, 1, 2).float() / 255.0
    columns = zip(*(targets(scene, scenes.size) for scene in made), strict=True)
    heat, counts, boxes, near = (torch.from_numpy(np.stack(column)) for column in columns)
    return SceneBatch(images, heat, counts, boxes, near)


def loss(boxes: Tensor, logits: Tensor, batch: SceneBatch) -> tuple[Tensor, dict[str, float]]:
    """Return the focal loss of the heat-map (CornerNet, Eq. 1) and the boxes' GIoU and edges, each a face's average."""
    # Averages of a face, of those that all processes see.
    faces = processes.average((batch.heat == 1.0).sum().float()).clamp(min=1.0)
    told = processes.average(batch.near.sum()).clamp(min=1.0)
    score = torch.sigmoid(logits)
    positive = _FACE_WEIGHT * (1 - score).square() * functional.logsigmoid(logits)
    negative = (1 - batch.heat) ** 4 * score.square() * functional.logsigmoid(-logits)
    scoring = -(torch.where(batch.heat == 1.0, positive, negative) * batch.counts).sum() / faces
    sides = (batch.boxes[..., 2:] - batch.boxes[..., :2]).repeat(1, 1, 2)
    off = (boxes - batch.boxes) / sides
    edges = functional.smooth_l1_loss(off, torch.zeros_like(off), beta=0.1, reduction="none")
    misfit = 1 - _generalised_iou(boxes, batch.boxes) + edges.sum(dim=-1)
    boxing = (misfit * batch.near).sum() / told
    return scoring + _BOX_WEIGHT * boxing, {"score": float(scoring.detach()), "box": float(boxing.detach())}


def _generalised_iou(first: Tensor, second: Tensor) -> Tensor:
    def area(low: Tensor, high: Tensor) -> Tensor:
        return (high - low).clamp(min=0).prod(dim=-1)

    a, b, c, d = first[..., :2], first[..., 2:], second[..., :2], second[..., 2:]
    shared = area(torch.maximum(a, c), torch.minimum(b, d))
    joined = area(a, b) + area(c, d) - shared
    hull = area(torch.minimum(a, c), torch.maximum(b, d))
    return shared / joined.clamp(min=1e-9) - (hull - joined) / hull.clamp(min=1e-9)


def findings(boxes: Array, scores: Array, least: float = FACE_SCORE) -> list[Finding]:
    """Return the suppressed findings of one picture from boxes [a, 4] and scores [a], surest first."""
    told = []
    for row in np.flatnonzero(scores >= least):
        left, top, right, bottom = (float(edge) for edge in boxes[row])
        told.append(Finding((left, top, right, bottom), float(scores[row])))
    return suppress(told)


@torch.no_grad()
def evaluate(model: FaceFinder, scenes: FaceScenes, count: int = 200) -> dict[str, float]:
    """Return how a finder does on `count` scenes at the runtime's threshold.

    `recall` of faces at IoU ≥ 0.5 (`recall_small`: below 12 % of the side), `false_finds` a picture, mean `iou`.
    """
    model.eval()
    device = next(model.parameters()).device
    rng = np.random.default_rng(0)
    overlaps: list[float] = []
    sizes: list[float] = []
    false_finds = 0
    for start in range(0, count, 25):
        made = [scenes.scene(rng) for _ in range(min(25, count - start))]
        images = torch.from_numpy(np.stack([scene.image for scene in made])).permute(0, 3, 1, 2).float() / 255.0
        boxes, scores = (told.cpu().numpy() for told in model(images.to(device)))
        for scene, some_boxes, some_scores in zip(made, boxes, scores, strict=True):
            found = findings(some_boxes, some_scores)
            faces = [tuple(box.tolist()) for box in scene.boxes]
            for face, sure in zip(faces, scene.sure, strict=True):
                if sure:
                    overlaps.append(max((iou(finding.box, face) for finding in found), default=0.0))
                    sizes.append(max(face[2] - face[0], face[3] - face[1]))
            # Of a face that does not count, a rough box is no fault.
            false_finds += sum(all(iou(finding.box, face) < 0.3 for face in faces) for finding in found)
    overlap, right = np.array(overlaps), np.array(overlaps) >= FOUND_IOU
    small = np.array(sizes) < 0.12
    return {
        "recall": float(right.mean()),
        "recall_small": float(right[small].mean()) if small.any() else 1.0,
        "false_finds": false_finds / count,
        "iou": float(overlap[right].mean()) if right.any() else 0.0,
    }


def train(model: FaceFinder, data: FaceScenes, held_out: FaceScenes, schedule: loop.Schedule, folder: Path) -> None:
    """Train the finder, going on from `folder/face_finder.pt`; scores on `held_out` go to its log."""
    model.to(schedule.device)

    def next_batch(draw: Draw) -> SceneBatch:
        return make_batch(data, draw.own)

    def batch_loss(batch: SceneBatch, _step: int) -> tuple[Tensor, dict[str, float]]:
        batch = SceneBatch(**{name: value.to(schedule.device) for name, value in vars(batch).items()})
        with schedule.autocast():
            boxes, logits = model.read(batch.images.contiguous(memory_format=torch.channels_last))
        return loss(boxes, logits, batch)

    @torch.no_grad()
    def pictures() -> loop.Pictures:
        model.eval()
        rng = np.random.default_rng(1)
        shown = [held_out.scene(rng) for _ in range(sheets.SHOWN)]
        images = np.stack([scene.image for scene in shown]).transpose(0, 3, 1, 2).astype(np.float32) / 255.0
        told = (part.cpu().numpy() for part in model(torch.from_numpy(images).to(schedule.device)))
        found = [[finding.box for finding in findings(*one)] for one in zip(*told, strict=True)]
        return {"scenes": sheets.boxes(images, [scene.boxes for scene in shown], found)}

    scores = partial(evaluate, model, held_out)
    loop.train("face_finder", model, schedule, folder, next_batch, batch_loss, scores, pictures)
