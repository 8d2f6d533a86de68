# SPDX-License-Identifier: GPL-3.0-or-later
"""The default backbone: it moves the portrait's own pixels.

The pose latent v says pose and expression as the mean person shows them, so it knows no identity. A geometry head
turns the portrait's landmarks and v into this person's target landmarks; those give a base warp; a U-Net corrects
it, says what the portrait does not show, and a second one paints that. What the graphs return are maps at 128²: the
runtime's file of the same name warps the photo at its own resolution with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lpmm_runtime import landmarks68
from training.backbones.face_geometry import (
    LINE_COUNT,
    landmark_flow,
    line_maps,
    warp,
    with_lids,
    with_source_lids,
)

MAP_SIZE = 128
FLOW_SIZE = 64
IDENTITY_SIZE = 256
# The most that a turn brightens or darkens a place, as a logarithm.
_LIGHT_RANGE = 0.7


@dataclass(frozen=True)
class LatentSpace:
    """Pose latents as whitened principal components of canonical points, brows and eyes counting more.

    Attributes:
        mean: [140], canonical landmarks and irises, x and y interleaved, in crop sides.
        basis: [w, 140], the change that a latent entry of 1 makes.
        project: [140, w], the way back.
    """

    mean: NDArray[np.float32]
    basis: NDArray[np.float32]
    project: NDArray[np.float32]

    @classmethod
    def fit(cls, canonical: NDArray[np.floating], size: int) -> LatentSpace:
        """Fit it on canonical points [n, 70, 2]."""
        flat = canonical.reshape(len(canonical), -1).astype(np.float64)
        mean = flat.mean(axis=0)
        weights = np.repeat(_latent_weights(), 2)
        values, vectors = np.linalg.eigh(np.cov((flat - mean) * weights, rowvar=False))
        order = np.argsort(values)[::-1][:size]
        sigma = np.sqrt(np.maximum(values[order], 1e-10))
        vectors = vectors[:, order]
        # The same data give the same latents, whatever signs the solver picks.
        vectors = vectors * np.sign(np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0))
        return cls(
            mean.astype(np.float32),
            (vectors * sigma / weights[:, None]).T.astype(np.float32),
            (vectors / sigma * weights[:, None]).astype(np.float32),
        )

    @classmethod
    def of_basis(cls, mean: NDArray[np.float32], basis: NDArray[np.float32]) -> LatentSpace:
        """Return the space of a mean [140] and a basis [w, 140] that `fit` found."""
        weights = np.repeat(_latent_weights(), 2)
        turned = basis.astype(np.float64) * weights
        project = (turned / np.square(turned).sum(axis=1, keepdims=True) * weights).T
        return cls(mean, basis, project.astype(np.float32))

    def encode(self, canonical: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return latents [n, w] of canonical points [n, 70, 2]."""
        flat = canonical.reshape(len(canonical), -1)
        return ((flat - self.mean) @ self.project).astype(np.float32)

    def average(self, canonical: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return v̄ [w], the average latent of motions [n, 70, 2] and of their mirror images."""
        average = self.encode(canonical).mean(axis=0)
        return 0.5 * (average + average @ self.mirror())

    def mirror(self) -> NDArray[np.float32]:
        """Return the matrix [w, w] from latents (as rows) to those of the mirrored motion; `mean` is its own image."""
        points = self.basis.reshape(len(self.basis), -1, 2)[:, [*landmarks68.MIRROR, 69, 68]]
        turned = points * np.array([-1.0, 1.0], np.float32)
        return (turned.reshape(len(points), -1) @ self.project).astype(np.float32)


# By variance alone one brow's rise would be rounded off, or taken for both brows'.
_LATENT_WEIGHTS = {"brows": 2.0, "eyes": 1.5, "irises": 1.5}


def _latent_weights() -> NDArray[np.float64]:
    """Return how much each canonical point [70] counts in the latents' principal components."""
    weights = np.ones(70)
    weights[landmarks68.REGIONS["brows"]] = _LATENT_WEIGHTS["brows"]
    weights[landmarks68.REGIONS["eyes"]] = _LATENT_WEIGHTS["eyes"]
    weights[landmarks68.COUNT :] = _LATENT_WEIGHTS["irises"]
    return weights


# A relaxed eye's lid gap in the canonical frame, crop sides, and how much wider than a portrait's an eye may open.
_OPEN_GAP = 0.027
_OWN_GAPS = (0.95 * _OPEN_GAP, 1.1 * _OPEN_GAP)
_WIDEST = 1.6
_ALL_BUT = 0.18
# Latents need not tell which of two lower lids rises; which upper lid comes down with it they do, and who squints with
# one eye moves both of its lids. Believed from the first to the second share of the gap.
_BOTH_RISE, _COMES_DOWN, _SURE_OF_SIDE = (0.04, 0.1), (0.04, 0.12), 0.5


def _eyes(landmarks: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return of either eye, the picture's left first, its points [n, 6, 2] and its own way down [n, 2]."""
    eyes = []
    for eye in (landmarks68.EYE_RIGHT, landmarks68.EYE_LEFT):
        p = landmarks[:, eye[0] : eye[0] + 6]
        axis = p[:, 3] - p[:, 0]
        down = torch.stack([-axis[:, 1], axis[:, 0]], dim=-1) / axis.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        eyes.append((p, down))
    return eyes


def lid_gaps(landmarks: Tensor) -> Tensor:
    """Return how far the lower lid is below the upper one [n, 2], the picture's left eye first.

    Args:
        landmarks: [n, 68, 2]. A latent that says more than closed has crossed lids: a gap below 0.
    """
    gaps = [(0.5 * (p[:, 5] - p[:, 1] + p[:, 4] - p[:, 2]) * down).sum(dim=-1) for p, down in _eyes(landmarks)]
    return torch.stack(gaps, dim=1)


def lower_lids(landmarks: Tensor) -> Tensor:
    """Return how far the lower lid is below the line of the eye's corners [n, 2], the picture's left eye first.

    Args:
        landmarks: [n, 68, 2].
    """
    heights = [(0.5 * (p[:, 4] + p[:, 5] - p[:, 0] - p[:, 3]) * down).sum(dim=-1) for p, down in _eyes(landmarks)]
    return torch.stack(heights, dim=1)


class GeometryHead(nn.Module):
    """(the portrait's landmarks, its latent, the target latent) → the target's landmarks and irises.

    The canonical change is the first guess; what this person makes of it is linear in the change, by factors that a
    perceptron says for the person and the middle of the motion. So equal latents move nothing, there and back are
    opposites, and a turn by half a degree moves a face by half of what one by a degree does: a perceptron that sees
    both latents learns to take small turns for noise.
    """

    basis: Tensor
    mean: Tensor
    mirror: Tensor

    def __init__(self, space: LatentSpace, hidden: int = 384, factors: int = 256) -> None:
        super().__init__()
        self.register_buffer("basis", torch.from_numpy(space.basis))
        self.register_buffer("mean", torch.from_numpy(space.mean))
        self.register_buffer("mirror", torch.from_numpy(space.mirror()), persistent=False)
        latent = len(space.basis)
        self.factors = nn.Sequential(
            nn.Linear(136 + latent, hidden),
            nn.ELU(),
            nn.Linear(hidden, hidden),
            nn.ELU(),
            nn.Linear(hidden, factors),
        )
        self.enter = nn.Linear(latent, factors, bias=False)
        self.leave = nn.Linear(factors, 140, bias=False)
        nn.init.normal_(self.leave.weight, std=1e-3)

    def forward(self, landmarks: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """Return displacements [n, 70, 2] in crop sides, for landmarks [n, 68, 2] and latents [n, w].

        A face and its mirror image get each other's mirror image: training alone makes them nearly so.
        """
        own = self._one_side(landmarks, source, target)
        order = torch.from_numpy(landmarks68.MIRROR).to(landmarks.device)
        flip = landmarks.new_tensor([-1.0, 1.0])
        mirrored = landmarks[:, order] * flip + landmarks.new_tensor([1.0, 0.0])
        other = self._one_side(mirrored, source @ self.mirror, target @ self.mirror) * flip
        return 0.5 * (own + torch.cat([other[:, :68][:, order], other[:, [69, 68]]], dim=1))

    def _one_side(self, landmarks: Tensor, source: Tensor, target: Tensor) -> Tensor:
        shape = 4.0 * (landmarks.reshape(-1, 136) - 0.5)
        middle, change = 0.5 * (source + target), target - source
        factors = self.factors(torch.cat([shape, middle], dim=1))
        change = change @ self.basis + 0.1 * self.leave(factors * self.enter(change))
        return change.reshape(-1, 70, 2)

    def lids(self, landmarks: Tensor, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return how open the target's eyes are and how far their lower lids rise, in shares of the portrait's gaps.

        Both are [n, 2], the picture's left eye first. What the latents change is measured against the portrait's own
        gap, from its landmarks [n, 68, 2] by the length of its nose: its latent may err about how open the eyes are,
        and a closing lid would stop short. Gaps far from people's are taken for nearer ones: the widest eyes must shut,
        and the narrowest not by half a blink.
        """
        nose = (landmarks[:, 27] - landmarks[:, 33]).norm(dim=-1, keepdim=True)
        canonical = self.mean.reshape(70, 2)
        own = lid_gaps(landmarks) * (canonical[27] - canonical[33]).norm() / nose.clamp(min=1e-3)
        own = own.clamp(*_OWN_GAPS)
        before, after = ((self.mean + latent @ self.basis).reshape(-1, 70, 2)[:, :68] for latent in (source, target))
        rise = (lower_lids(before) - lower_lids(after)) / own
        gap = (lid_gaps(after) - lid_gaps(before)) / own
        both, down = rise.mean(dim=1, keepdim=True), _ramp(-gap - rise, *_COMES_DOWN)
        side = (down - down.flip(1)) / down.sum(dim=1, keepdim=True).clamp(min=_SURE_OF_SIDE)
        apart = _ramp(both, *_BOTH_RISE) * side * side * (both * (1.0 + side) - rise)
        share = (1.0 + gap - apart).clamp(0.0, _WIDEST)
        # A lid that is all but closed is meant to be: slits of a few pixels show eye-white. Half a blink stays half.
        gone = (1.0 - share) / (1.0 - _ALL_BUT)
        share = torch.where(share < 1.0, (share - _ALL_BUT * gone * gone * gone).clamp(min=0.0), share)
        return share, (rise + apart).clamp(0.0, 1.0)


def _ramp(value: Tensor, low: float, high: float) -> Tensor:
    return ((value - low) / (high - low)).clamp(0.0, 1.0)


def _conv(inner: int, outer: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inner, outer, 3, stride, 1), nn.GroupNorm(8, outer), nn.LeakyReLU(0.1, inplace=True))


def _up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class UNet(nn.Module):
    """Four scales. Returns features of the input's size."""

    def __init__(self, inner: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        a, b, c, d = widths
        self.enter = _conv(inner, a)
        self.down = nn.ModuleList(
            [
                nn.Sequential(_conv(a, b, 2), _conv(b, b)),
                nn.Sequential(_conv(b, c, 2), _conv(c, c)),
                nn.Sequential(_conv(c, d, 2), _conv(d, d), _conv(d, d)),
            ]
        )
        self.squeeze = nn.ModuleList([nn.Conv2d(d, c, 1), nn.Conv2d(c, b, 1), nn.Conv2d(b, a, 1)])
        self.mend = nn.ModuleList([_conv(c, c), _conv(b, b), _conv(a, a)])

    def forward(self, x: Tensor) -> Tensor:
        levels = [self.enter(x)]
        for down in self.down:
            levels.append(down(levels[-1]))
        y = levels.pop()
        for squeeze, mend in zip(self.squeeze, self.mend, strict=True):
            y = mend(_up(squeeze(y)) + levels.pop())
        return y


@dataclass
class Identity:
    """What a portrait leaves behind, once.

    Attributes:
        image: [n, 3, 128, 128] in [0, 1]; alpha: [n, 1, 128, 128]; features: [n, c, 64, 64].
        landmarks: [n, 68, 2] in the unit square; latent: [n, w].
    """

    image: Tensor
    alpha: Tensor
    features: Tensor
    landmarks: Tensor
    latent: Tensor


class IdentityEncoder(nn.Module):
    """Portrait crop and its landmarks → matte and features."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.stem = _conv(3, 16)
        self.net = UNet(3 + 16 + LINE_COUNT, (channels, 48, 72, 96))
        self.alpha_low = nn.Conv2d(channels, 8, 1)
        self.alpha_high = nn.Sequential(_conv(8 + 16, 16), nn.Conv2d(16, 1, 3, 1, 1))

    def forward(self, image: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [n, c, 64, 64] and alpha logits [n, 1, 128, 128] of an image [n, 3, 128, 128]."""
        fine = self.stem(image - 0.5)
        coarse = F.avg_pool2d(torch.cat([image - 0.5, fine], dim=1), 2)
        features = self.net(torch.cat([coarse, line_maps(landmarks, FLOW_SIZE)], dim=1))
        logits = self.alpha_high(torch.cat([_up(self.alpha_low(features)), fine], dim=1))
        return features, logits


@dataclass
class Maps:
    """What one frame needs beyond the portrait, at 128² unless said.

    Attributes:
        landmarks: [n, 70, 2], the target's 68, lids included, then the irises' displacements.
        base: [n, 2, 64, 64], the landmark warp; flow: [n, 2, 128, 128], the corrected one; both in crop sides.
        visible: [n, 1, 128, 128], how well the portrait shows what is seen there (logits).
        paint: [n, 3, 128, 128] and mask [n, 1, 128, 128]: colour = mask · warped + (1 − mask) · paint.
        alpha: [n, 1, 128, 128], the moved matte.
        light: [n, 3, 64, 64], factors: a face that turns takes the light otherwise.
        warped: [n, 3, 128, 128], moved and lit.
    """

    landmarks: Tensor
    base: Tensor
    flow: Tensor
    visible: Tensor
    paint: Tensor
    mask: Tensor
    alpha: Tensor
    light: Tensor
    warped: Tensor


class PortraitFlow(nn.Module):
    """Identity encoder and generator G of the default backbone."""

    def __init__(self, space: LatentSpace, channels: int = 32) -> None:
        super().__init__()
        self.latent_size = len(space.basis)
        self.geometry = GeometryHead(space)
        self.identity_net = IdentityEncoder(channels)
        self.flow_net = UNet(channels + 3 + 2 + 1 + LINE_COUNT, (channels, 48, 72, 96))
        self.flow_out = nn.Conv2d(channels, 4, 3, 1, 1)
        self.light_out = nn.Conv2d(channels, 3, 3, 1, 1)
        self.hand_over = nn.Conv2d(channels, 12, 1)
        self.paint_net = UNet(3 + 1 + 1 + 12, (16, 32, 48, 64))
        self.paint_out = nn.Conv2d(16, 4, 3, 1, 1)
        for layer in (self.flow_out, self.light_out, self.paint_out):
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def identify(self, image: Tensor, landmarks: Tensor, latent: Tensor) -> Identity:
        """Return the identity of portrait crops [n, 3, s, s], s = 128 or 256."""
        if image.shape[-1] != MAP_SIZE:
            image = F.avg_pool2d(image, image.shape[-1] // MAP_SIZE)
        features, logits = self.identity_net(image, landmarks)
        return Identity(image, torch.sigmoid(logits.float()), features.float(), landmarks, latent)

    def forward(self, identity: Identity, latent: Tensor) -> Maps:
        """Return the maps of pose latents [n, w]."""
        change = self.geometry(identity.landmarks, identity.latent, latent)
        target = identity.landmarks + change[:, :68]
        lids = self.geometry.lids(identity.landmarks, identity.latent, latent)
        target = with_lids(identity.landmarks, target, *lids)
        return self.maps(identity, torch.cat([target, change[:, 68:]], dim=1))

    def maps(self, identity: Identity, points: Tensor) -> Maps:
        """Return the maps for given target points [n, 70, 2] (`Maps.landmarks`); training gives the true ones.

        The lid state is kept from the networks: they see the eyes as open as the portrait's.
        """
        source, target = identity.landmarks, points[:, :68]
        opened = with_source_lids(source, target)
        activity = _activity(opened - source)
        base = landmark_flow(source, opened, FLOW_SIZE)
        small = F.avg_pool2d(identity.image, 2)
        alpha_small = F.avg_pool2d(identity.alpha, 2)
        moved = warp(torch.cat([identity.features, small - 0.5, alpha_small], dim=1), base)
        y = self.flow_net(torch.cat([moved, 5.0 * base, line_maps(opened, FLOW_SIZE)], dim=1))
        read = self.flow_out(y).float()
        flow = _up(base + 0.1 * activity * read[:, :2])
        visible = _up(read[:, 2:3])
        light = torch.exp(_LIGHT_RANGE * activity * torch.tanh(self.light_out(y).float()))
        warped = (warp(identity.image, flow) * _up(light)).clamp(max=1.0)
        alpha = (warp(identity.alpha, flow) + activity * torch.tanh(_up(read[:, 3:4]))).clamp(0.0, 1.0)
        seen = torch.sigmoid(visible)
        z = self.paint_net(torch.cat([warped - 0.5, seen, alpha, _up(self.hand_over(y))], dim=1))
        painted = self.paint_out(z).float()
        logit = torch.log(warped.clamp(0.02, 0.98) / (1.0 - warped.clamp(0.02, 0.98)))
        paint = torch.sigmoid(logit + 2.0 * painted[:, :3])
        mask = 1.0 - activity * torch.sigmoid(-(painted[:, 3:] + visible + 1.0))
        return Maps(points, base, flow, visible, paint, mask, alpha, light, warped)


def _activity(change: Tensor) -> Tensor:
    """Return [n, 1, 1, 1]: 0 where no landmark [n, 68, 2] moves, 1 from about two pixels of 128 on."""
    largest = (change * change).sum(-1).amax(dim=1).sqrt()
    return (largest / 0.015).clamp(0.0, 1.0).reshape(-1, 1, 1, 1)


def composite(maps: Maps, plate: Tensor) -> Tensor:
    """Return the frame [n, 3, 128, 128]: the moved head over the still background plate."""
    head = maps.mask * maps.warped + (1.0 - maps.mask) * maps.paint
    return maps.alpha * head + (1.0 - maps.alpha) * plate


def background_plate(image: Tensor, alpha: Tensor) -> Tensor:
    """Return the background [n, 3, s, s] behind a head: known outside, filled in from coarser scales inside."""
    weight = (1.0 - alpha).clamp(0.0, 1.0) ** 2
    levels = [(image * weight, weight)]
    while levels[-1][0].shape[-1] > 2:
        levels.append(tuple(F.avg_pool2d(part, 2) for part in levels[-1]))  # type: ignore[arg-type]
    filled = levels[-1][0] / levels[-1][1].clamp(min=1e-4)
    for colour, share in reversed(levels[:-1]):
        filled = colour + (1.0 - share) * _up(filled)
    return filled
