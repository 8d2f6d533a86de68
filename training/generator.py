# SPDX-License-Identifier: GPL-3.0-or-later
"""Training the default backbone's generator G on groups of frames with exact motion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lpmm_runtime import landmarks68
from training import loop, processes, sheets
from training.backbones.face_geometry import landmark_flow, line_maps, pixel_grid, warp
from training.backbones.portrait_flow import (
    FLOW_SIZE,
    MAP_SIZE,
    Identity,
    PortraitFlow,
    background_plate,
    composite,
)
from training.draws import Draw
from training.shard_columns import Columns

Array = NDArray[np.float32]

# How a regressor errs, sd in pixels of 128: mostly a bias that source and target share.
_POINT_NOISE = {"jaw": 0.6, "brows": 0.6, "nose": 0.5, "eyes": 0.3, "mouth": 0.4}
# From here on training also paints; before, the motion alone is learned.
_PAINT_FROM = 0.25
# How many pairs show somebody else beside, who stays where he is; of those, how many before the head and not behind it.
_NEIGHBOURS, _IN_FRONT = 0.25, 0.3
# How far aside their crop lies, behind and in front, in crop sides, and how many times as large it is (sd of its log).
_ASIDE, _ASIDE_IN_FRONT, _SIZES = (0.3, 0.75), (0.5, 0.75), 0.2
_CLOTH = 2.0


@dataclass(frozen=True)
class PairBatch:
    """Source and target frames at 128² with all that is known of the motion between them; see `MotionGroup`."""

    source: Tensor
    target: Tensor
    source_alpha: Tensor
    target_alpha: Tensor
    source_landmarks: Tensor
    target_landmarks: Tensor
    flow: Tensor
    visible: Tensor
    layer: Tensor


class GroupData:
    """Groups of frames, in memory or in shards."""

    def __init__(self, arrays: Columns) -> None:
        groups, frames = arrays["landmarks"].shape[:2]
        side = arrays["images"].shape[1]
        self.images = arrays["images"].reshape(groups, frames, side, side, 3)
        self.alpha = arrays["alpha"].reshape(groups, frames, side, side)
        self.landmarks = arrays["landmarks"]
        self.canonical = arrays["canonical"]
        self.pairs, self.flow, self.layers = arrays["pairs"], arrays["flow"], arrays["layers"]

    def __len__(self) -> int:
        return self.pairs.shape[0] * self.pairs.shape[1]

    def batch(self, rows: NDArray[np.int64]) -> PairBatch:
        """Return the pairs numbered `rows`."""
        group, pair = np.divmod(rows, self.pairs.shape[1])
        s, t = self.pairs[group, pair].T
        layers = torch.from_numpy(self.layers[group, pair])[:, None]

        def pictures(frame: NDArray[np.int64]) -> Tensor:
            return torch.from_numpy(self.images[group, frame]).permute(0, 3, 1, 2).float() / 255.0

        def mattes(frame: NDArray[np.int64]) -> Tensor:
            return torch.from_numpy(self.alpha[group, frame])[:, None].float() / 255.0

        return PairBatch(
            source=pictures(s),
            target=pictures(t),
            source_alpha=mattes(s),
            target_alpha=mattes(t),
            source_landmarks=torch.from_numpy(self.landmarks[group, s]),
            target_landmarks=torch.from_numpy(self.landmarks[group, t]),
            flow=torch.from_numpy(self.flow[group, pair].astype(np.float32)).permute(0, 3, 1, 2),
            visible=(layers & 1).float(),
            layer=(layers >> 1).float(),
        )


def _jittered(batch: PairBatch, draw: Draw) -> PairBatch:
    """Mirror half of the pairs' batches, change the picture's tone, and move landmarks as a regressor errs."""
    rng = draw.shared
    source, target, sa, ta = batch.source, batch.target, batch.source_alpha, batch.target_alpha
    sl, tl, flow, visible, layer = (
        batch.source_landmarks,
        batch.target_landmarks,
        batch.flow,
        batch.visible,
        batch.layer,
    )
    if rng.random() < 0.5:
        source, target, sa, ta, flow, visible, layer = (
            part.flip(3) for part in (source, target, sa, ta, flow, visible, layer)
        )
        flow = flow * torch.tensor([-1.0, 1.0])[None, :, None, None]
        order = torch.from_numpy(landmarks68.MIRROR)
        flip = torch.tensor([-1.0, 1.0])
        sl, tl = (part[:, order] * flip + torch.tensor([1.0, 0.0]) for part in (sl, tl))

    def normal(*shape: int, sd: float = 1.0) -> Tensor:
        return sd * torch.from_numpy(np.stack([own.standard_normal(shape, np.float32) for own in draw.own]))

    def uniform() -> Tensor:
        return torch.tensor([own.random() for own in draw.own], dtype=torch.float32)

    spread = torch.ones(68, 1)
    for name, region in landmarks68.REGIONS.items():
        spread[region] = _POINT_NOISE[name] / MAP_SIZE
    amount = uniform()[:, None, None]
    shared = normal(68, 2) * spread * amount * 1.5
    sl, tl = (part + shared + normal(68, 2) * spread * amount * 0.35 for part in (sl, tl))
    gamma, gain = torch.exp(normal(1, 1, 1, sd=0.25)), torch.exp(normal(3, 1, 1, sd=0.12) + normal(1, 1, 1, sd=0.15))
    saturation = 0.2 + 0.9 * uniform()[:, None, None, None]

    def toned(picture: Tensor) -> Tensor:
        picture = picture.clamp(1e-3, 1.0) ** gamma * gain
        grey = picture.mean(dim=1, keepdim=True)
        return (grey + (picture - grey) * saturation).clamp(0.0, 1.0)

    source, target = toned(source), toned(target)
    grain = 0.03 * float(rng.random())
    source = (source + normal(3, MAP_SIZE, MAP_SIZE, sd=grain)).clamp(0.0, 1.0)
    return PairBatch(source, target, sa, ta, sl, tl, flow, visible, layer)


def accompanied(batch: PairBatch, data: GroupData, draw: Draw) -> PairBatch:
    """Return the pairs, some with somebody else of the data beside, behind or before the head, at rest in both frames.

    A matte that has only ever seen one head to a picture takes a piece of its neighbour along.
    """
    rows = draw.rows(len(data))

    def drawn(low: float, high: float) -> Tensor:
        return torch.from_numpy(draw.shared.uniform(low, high, draw.batch)[draw.part].astype(np.float32))

    some, front = drawn(0.0, 1.0) < _NEIGHBOURS, drawn(0.0, 1.0) < _IN_FRONT
    side, down = torch.sign(drawn(-1.0, 1.0)), drawn(-0.15, 0.15)
    away = torch.where(front, drawn(*_ASIDE_IN_FRONT), drawn(*_ASIDE)) * side
    size = torch.exp(_SIZES * torch.from_numpy(draw.shared.standard_normal(draw.batch)[draw.part].astype(np.float32)))
    if not some.any():
        return batch
    other = data.batch(rows)
    # In grid_sample's units the crop's sides are 2.
    matrix = torch.zeros(len(rows), 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = 1.0 / size
    matrix[:, 0, 2], matrix[:, 1, 2] = -2.0 * away / size, -2.0 * down / size
    body = torch.maximum(other.target_alpha, (other.layer == _CLOTH).float())
    grid = F.affine_grid(matrix, [len(rows), 4, MAP_SIZE, MAP_SIZE], align_corners=False)
    seen = F.grid_sample(torch.cat([other.target, body], dim=1), grid, align_corners=False)
    colour, cover = seen[:, :3], seen[:, 3:] * some[:, None, None, None]
    before = front[:, None, None, None].float()
    # Where the portrait's shoulders were in the source no map says: they hardly move.
    clothes = (batch.layer == _CLOTH).float()
    source, target = (
        picture + cover * (before + (1.0 - before) * (1.0 - torch.maximum(alpha, clothes))) * (colour - picture)
        for picture, alpha in ((batch.source, batch.source_alpha), (batch.target, batch.target_alpha))
    )
    hidden = before * cover
    still = (hidden > 0.5).float()
    uncovered = 1.0 - warp(hidden, batch.flow)
    return replace(
        batch,
        source=source,
        target=target,
        source_alpha=batch.source_alpha * (1.0 - hidden),
        target_alpha=batch.target_alpha * (1.0 - hidden),
        flow=batch.flow * (1.0 - still),
        visible=torch.maximum(still, batch.visible * (uncovered > 0.5).float()),
        layer=batch.layer * (1.0 - still),
    )


def _lid_weight(source: Tensor, target: Tensor) -> Tensor:
    """Return [n, 1, 128, 128]: 0 about eyes whose lids move between the frames, for those are closed elsewhere."""
    grid = pixel_grid(MAP_SIZE, source.device)
    weight = torch.ones(len(source), MAP_SIZE * MAP_SIZE, device=source.device)
    for eye in (landmarks68.EYE_RIGHT, landmarks68.EYE_LEFT):
        s, t = source[:, list(eye)], target[:, list(eye)]
        width = (t[:, 3] - t[:, 0]).norm(dim=-1).clamp(min=1e-3)
        gaps = [(part[:, 1] - part[:, 5]).norm(dim=-1) + (part[:, 2] - part[:, 4]).norm(dim=-1) for part in (s, t)]
        moved = ((gaps[0] - gaps[1]).abs() / (2 * width) / 0.08).clamp(0.0, 1.0)
        away = (grid[None] - t.mean(dim=1, keepdim=True)).norm(dim=-1) / width[:, None]
        weight = weight * (1.0 - moved[:, None] * torch.sigmoid(12.0 * (0.95 - away)))
    return weight.reshape(-1, 1, MAP_SIZE, MAP_SIZE)


def _feature_weight(landmarks: Tensor) -> Tensor:
    """Return [n, 1, 128, 128]: 1, and up to 7 about eyes and lips."""
    lines = line_maps(landmarks, FLOW_SIZE, width=0.03)[:, 5:].amax(dim=1, keepdim=True)
    return 1.0 + 6.0 * F.interpolate(lines, scale_factor=2.0, mode="bilinear", align_corners=False)


def ssim(a: Tensor, b: Tensor, window: int = 7) -> Tensor:
    """Return the structural similarity [n] of pictures [n, c, h, w] in [0, 1], over a square window."""

    def mean(picture: Tensor) -> Tensor:
        return F.avg_pool2d(F.avg_pool2d(picture, (window, 1), 1), (1, window), 1)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b, both = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2, mean(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + 1e-4) * (2 * both + 9e-4)
    return (top / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4))).mean(dim=(1, 2, 3))


def _slopes(picture: Tensor) -> tuple[Tensor, Tensor]:
    return picture[..., :, 1:] - picture[..., :, :-1], picture[..., 1:, :] - picture[..., :-1, :]


def pair_loss(model: PortraitFlow, batch: PairBatch, paint: bool) -> tuple[Tensor, dict[str, float]]:
    """Return the generator's loss and its parts."""
    identity = model.identify(batch.source, batch.source_landmarks, batch.source_landmarks.new_zeros(0))
    points = F.pad(batch.target_landmarks, (0, 0, 0, 2))
    # The matte that moves is the true one: its own encoder is taught beside.
    moved = Identity(identity.image, batch.source_alpha, identity.features, identity.landmarks, identity.latent)
    maps = model.maps(moved, points)
    weight = _feature_weight(batch.target_landmarks) * _lid_weight(batch.source_landmarks, batch.target_landmarks)
    weight = weight / processes.average(weight.mean())
    ahead = (batch.layer > 0).float()
    visible = batch.visible

    off = MAP_SIZE * ((maps.flow - batch.flow) ** 2).sum(dim=1, keepdim=True).add(1e-6).sqrt()
    relevant = ahead * (visible + 0.08 * (1.0 - visible)) + 0.05 * (1.0 - ahead)
    flow_loss = (off.clamp(max=20.0) * relevant * weight).mean()
    warp_loss = ((maps.warped - batch.target).abs() * visible * ahead * weight).mean()
    seen_loss = (F.binary_cross_entropy_with_logits(maps.visible, visible, reduction="none") * ahead * weight).mean()
    logits = torch.log((identity.alpha + 1e-4) / (1.0 - identity.alpha + 1e-4))
    matte_loss = F.binary_cross_entropy_with_logits(logits, batch.source_alpha)
    moved_loss = (maps.alpha - batch.target_alpha).abs().mean()
    total = 0.15 * flow_loss + 4.0 * warp_loss + 0.3 * seen_loss + 0.5 * matte_loss + 3.0 * moved_loss
    total = total + 0.2 * sum(slope.abs().mean() for slope in _slopes(maps.light.log()))
    parts = {
        "flow": float(flow_loss.detach()),
        "matte": float(matte_loss.detach()),
        "alpha": float(moved_loss.detach()),
    }
    if paint:
        plate = background_plate(batch.source, batch.source_alpha)
        frame = composite(maps, plate)
        picture_loss = ((frame - batch.target).abs() * weight).mean()
        slope_loss = sum(
            ((a - b).abs() * w).mean()
            for a, b, w in zip(
                _slopes(frame), _slopes(batch.target), (weight[..., 1:], weight[..., 1:, :]), strict=True
            )
        )
        spare_loss = (visible * (1.0 - maps.mask) * weight).mean()
        # Squares, too: what the portrait does not tell (light, hidden skin) is best met in the middle.
        square_loss = (((frame - batch.target) ** 2) * weight).mean()
        total = total + 8.0 * picture_loss + 20.0 * square_loss + 4.0 * slope_loss + 0.1 * spare_loss
        total = total + 0.5 * (1.0 - ssim(frame, batch.target).mean())
        parts["picture"] = float(picture_loss.detach())
    return total, parts


def train_generator(
    model: PortraitFlow, data: GroupData, held_out: GroupData, schedule: loop.Schedule, folder: Path
) -> None:
    """Train the identity encoder and the networks of G on pairs with true landmarks."""
    for parameter in model.geometry.parameters():
        parameter.requires_grad_(False)
    model.to(schedule.device)

    def make_batch(draw: Draw) -> PairBatch:
        return _jittered(accompanied(data.batch(draw.rows(len(data))), data, draw), draw)

    def loss(batch: PairBatch, step: int) -> tuple[Tensor, dict[str, float]]:
        batch = PairBatch(*(part.to(schedule.device) for part in vars(batch).values()))
        with schedule.autocast():
            return pair_loss(model, batch, step >= _PAINT_FROM * schedule.steps)

    @torch.no_grad()
    def pictures() -> loop.Pictures:
        model.eval()
        rows = np.linspace(0, len(held_out) - 1, min(sheets.SHOWN, len(held_out))).astype(np.int64)
        shown = PairBatch(*(part.to(schedule.device) for part in vars(held_out.batch(rows)).values()))
        return {"source_target_drawn": sheets.rows(shown.source, shown.target, drawn(model, shown)[1])}

    scores = partial(evaluate, model, held_out)
    # The painting networks wait for their time.
    loop.train("generator", model, schedule, folder, make_batch, loss, scores, pictures, partly_used=True)


def drawn(model: PortraitFlow, batch: PairBatch) -> tuple[Identity, Tensor]:
    """Return the sources' identities, and the frames [n, 3, 128, 128] drawn of them with the targets' landmarks."""
    identity = model.identify(batch.source, batch.source_landmarks, batch.source_landmarks.new_zeros(0))
    maps = model.maps(identity, F.pad(batch.target_landmarks, (0, 0, 0, 2)))
    return identity, composite(maps, background_plate(batch.source, identity.alpha))


@torch.no_grad()
def evaluate(model: PortraitFlow, data: GroupData, most: int = 100) -> dict[str, float]:
    """Return PSNR and SSIM on held-out people: copying the source, a landmark warp over the plate, the generator."""
    model.eval()
    device = next(model.parameters()).device
    rows = np.linspace(0, len(data) - 1, min(most, len(data))).astype(np.int64)
    sums: dict[str, list[Tensor]] = {}
    for start in range(0, len(rows), 10):
        batch = PairBatch(*(part.to(device) for part in vars(data.batch(rows[start : start + 10])).values()))
        identity, frame = drawn(model, batch)
        plate = background_plate(batch.source, identity.alpha)
        face = F.max_pool2d((_feature_weight(batch.target_landmarks) > 1.5).float(), 21, 1, 10)
        # The rival gets what can be had without a network but the matte: its own lids, and a background that stays.
        flow = landmark_flow(batch.source_landmarks, batch.target_landmarks, MAP_SIZE)
        matte = warp(identity.alpha, flow)
        plain = matte * warp(batch.source, flow) + (1.0 - matte) * plate
        for name, picture in (("copy", batch.source), ("warp", plain), ("full", frame)):
            error = ((picture - batch.target) ** 2).mean(dim=1, keepdim=True)
            sums.setdefault(f"psnr_{name}", []).append(-10 * torch.log10(error.mean(dim=(1, 2, 3))))
            inside = (error * face).sum(dim=(1, 2, 3)) / face.sum(dim=(1, 2, 3)).clamp(min=1.0)
            sums.setdefault(f"psnr_face_{name}", []).append(-10 * torch.log10(inside))
            sums.setdefault(f"ssim_{name}", []).append(ssim(picture, batch.target))
        sums.setdefault("alpha_off", []).append((identity.alpha - batch.source_alpha).abs().mean(dim=(1, 2, 3)))
    return {name: float(torch.cat(values).mean()) for name, values in sums.items()}
