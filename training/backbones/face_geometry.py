# SPDX-License-Identifier: GPL-3.0-or-later
"""Landmarks as dense maps, inside the network and exportable: soft line maps, and the warp that landmarks imply."""

from collections.abc import Callable
from functools import wraps
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lpmm_runtime import landmarks68

# The torso does not follow the head: these points of the crop stay.
_ANCHORS = tuple((x, 1.12) for x in (-0.1, 0.2, 0.5, 0.8, 1.1))
# Weights fall as 1 / (d² + ε²)^1.5; ε in crop sides, about a pixel of a 128 px crop.
_SOFTNESS = 0.012
# Pulls a badly determined local affine map toward a pure shift.
_STIFFNESS = 4e-5

# How far up a closing lower lid comes at least, in shares of the gap.
_LOWER_LID_SHARE = 0.12

_SEGMENTS = tuple((a, b) for line in landmarks68.POLYLINES for a, b in pairwise(line))
_LINE_SIZES = tuple(len(line) - 1 for line in landmarks68.POLYLINES)
LINE_COUNT = len(_LINE_SIZES)
# From here on looking all channels of a pixel up at once pays.
_MANY_CHANNELS = 8


def in_float32(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Keep a function out of autocast: these cancel large terms, which bfloat16's 8 bits do not survive."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Tensor:
        device = next(value.device.type for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        with torch.autocast(device, enabled=False):
            return function(*(value.float() if isinstance(value, Tensor) else value for value in args), **kwargs)

    return wrapped


def pixel_grid(size: int, device: torch.device | None = None) -> Tensor:
    """Return pixel centres [size·size, 2], x then y, in the unit square."""
    centre = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) / size
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


@in_float32
def landmark_flow(source: Tensor, target: Tensor, size: int) -> Tensor:
    """Return the backward flow [n, 2, size, size], in crop sides, that takes target points to source points.

    Moving least squares with affine maps (Schaefer et al., 2006): closed form at each pixel, so that it can be
    exported, exact in the limit at the points, and affine far from them, which carries hair and hats along.

    Args:
        source, target: [n, m, 2] in the unit square.
    """
    anchors = torch.tensor(_ANCHORS, dtype=source.dtype, device=source.device).expand(source.shape[0], -1, -1)
    s = torch.cat([source, anchors], dim=1)
    t = torch.cat([target, anchors], dim=1)
    grid = pixel_grid(size, source.device)
    squared = (grid * grid).sum(-1)[None, :, None] + (t * t).sum(-1)[:, None, :] - 2.0 * grid @ t.transpose(1, 2)
    # A power of −3/2, which runtimes know no fast way to take.
    weights = (squared.clamp(min=0.0) + _SOFTNESS**2).rsqrt()
    weights = weights * weights * weights
    weights = weights / weights.sum(dim=-1, keepdim=True)
    tx, ty = t[..., 0], t[..., 1]
    sx, sy = s[..., 0], s[..., 1]
    moments = weights @ torch.stack([tx, ty, sx, sy, tx * tx, tx * ty, ty * ty, sx * tx, sx * ty, sy * tx, sy * ty], -1)
    mtx, mty, msx, msy, txx, txy, tyy, sxx, sxy, syx, syy = moments.unbind(-1)
    cxx, cxy, cyy = txx - mtx * mtx + _STIFFNESS, txy - mtx * mty, tyy - mty * mty + _STIFFNESS
    dxx, dxy = sxx - msx * mtx + _STIFFNESS, sxy - msx * mty
    dyx, dyy = syx - msy * mtx, syy - msy * mty + _STIFFNESS
    determinant = (cxx * cyy - cxy * cxy).clamp(min=1e-12)
    x, y = grid[:, 0] - mtx, grid[:, 1] - mty
    u, v = (cyy * x - cxy * y) / determinant, (cxx * y - cxy * x) / determinant
    flow = torch.stack([dxx * u + dxy * v + msx - grid[:, 0], dyx * u + dyy * v + msy - grid[:, 1]], dim=1)
    return flow.reshape(-1, 2, size, size)


@in_float32
def line_maps(landmarks: Tensor, size: int, width: float = 0.012) -> Tensor:
    """Return soft polylines [n, 9, size, size] in [0, 1] of landmarks [n, 68, 2]; `width` is a sd in crop sides."""
    first = torch.tensor([a for a, _ in _SEGMENTS], device=landmarks.device)
    second = torch.tensor([b for _, b in _SEGMENTS], device=landmarks.device)
    a = landmarks.index_select(1, first)
    along = landmarks.index_select(1, second) - a
    length = (along * along).sum(-1)[..., None] + 1e-9
    grid = pixel_grid(size, landmarks.device)
    # |p − a − t·u|² expanded, so that no [n, segments, pixels, 2] tensor is ever made.
    dot = along @ grid.T - (along * a).sum(-1)[..., None]
    squared = (grid * grid).sum(-1) - 2.0 * a @ grid.T + (a * a).sum(-1)[..., None]
    share = (dot / length).clamp(0.0, 1.0)
    squared = (squared + share * (share * length - 2.0 * dot)).clamp(min=0.0)
    nearest = [part.amin(dim=1) for part in squared.split(_LINE_SIZES, dim=1)]
    lines = torch.exp(torch.stack(nearest, dim=1) * (-0.5 / width**2))
    return lines.reshape(-1, LINE_COUNT, size, size)


@in_float32
def with_source_lids(source: Tensor, target: Tensor) -> Tensor:
    """Return target landmarks [n, 68, 2] whose eyes are as open as the source's.

    Each eye's source lids are carried by the similarity that takes its source corners to the target corners. The
    lids themselves are closed afterwards, at full resolution, where an eye is more than a few pixels high.
    """
    parts = [target[:, :36]]
    for eye in (landmarks68.EYE_RIGHT, landmarks68.EYE_LEFT):
        s, t = source[:, eye[0] : eye[0] + 6], target[:, eye[0] : eye[0] + 6]
        before, after = s[:, 3] - s[:, 0], t[:, 3] - t[:, 0]
        length = (before * before).sum(-1, keepdim=True) + 1e-9
        cosine = (before * after).sum(-1, keepdim=True) / length
        sine = (before[:, :1] * after[:, 1:] - before[:, 1:] * after[:, :1]) / length
        rest = s - s[:, :1]
        x = cosine * rest[..., 0] - sine * rest[..., 1]
        y = sine * rest[..., 0] + cosine * rest[..., 1]
        parts.append(t[:, :1] + torch.stack([x, y], dim=-1))
    return torch.cat([*parts, target[:, 48:]], dim=1)


@in_float32
def with_lids(source: Tensor, target: Tensor, openness: Tensor, raised: Tensor) -> Tensor:
    """Return target landmarks [n, 68, 2] whose lids are the source's, opened or closed by shares [n, 2].

    People's eyes differ more than their lids' ways: a share of the person's own gap closes any eye exactly, where a
    displacement learned on others stops short or overshoots. Closed lids meet a little above the lower one, or as far
    up as that is `raised` [n, 2], in shares of the gap: who squints raises it.
    """
    opened = with_source_lids(source, target)
    parts = [opened[:, :36]]
    for number, eye in enumerate((landmarks68.EYE_RIGHT, landmarks68.EYE_LEFT)):
        p = opened[:, eye[0] : eye[0] + 6]
        share = openness[:, number, None, None]
        closing, wider = (1.0 - share).clamp(min=0.0), (share - 1.0).clamp(min=0.0)
        rise = torch.maximum(_LOWER_LID_SHARE * closing, torch.minimum(raised[:, number, None, None], closing))
        upper, lower = p[:, 1:3], p[:, 4:6].flip(1)
        gap = upper - lower
        upper = upper + ((1.0 - _LOWER_LID_SHARE) * wider - (closing - rise)) * gap
        parts += [p[:, :1], upper, p[:, 3:4], (lower + rise * gap).flip(1)]
    return torch.cat([*parts, opened[:, 48:]], dim=1)


@in_float32
def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Return the image [n, c, *, *] sampled where a backward flow [n, 2, h, w] (crop sides) points."""
    size = flow.shape[-1]
    grid = pixel_grid(size, flow.device).reshape(1, size, size, 2)
    place = grid + flow.permute(0, 2, 3, 1)
    if torch.jit.is_tracing() and image.shape[1] >= _MANY_CHANNELS:
        return _looked_up(image, place)
    return F.grid_sample(image, 2.0 * place - 1.0, mode="bilinear", padding_mode="border", align_corners=False)


def _looked_up(image: Tensor, place: Tensor) -> Tensor:
    """Return what `grid_sample` does of places [n, h, w, 2] in the unit square, a pixel's channels at once.

    onnxruntime's GridSample looks each channel up for itself: on a CPU this takes a quarter of its time.
    """
    n, c, h, w = image.shape
    x = (place[..., 0] * w - 0.5).clamp(0.0, w - 1.0)
    y = (place[..., 1] * h - 0.5).clamp(0.0, h - 1.0)
    left, top = x.floor().clamp(max=w - 2.0), y.floor().clamp(max=h - 2.0)
    across, down = (x - left)[..., None], (y - top)[..., None]
    pixels = image.permute(0, 2, 3, 1).reshape(-1, c)
    first = (top * w + left).long() + (torch.arange(n, device=image.device) * (h * w)).reshape(-1, 1, 1)

    def row(start: Tensor) -> Tensor:
        a, b = (pixels[(start + step).reshape(-1)].reshape(*start.shape, c) for step in (0, 1))
        return a + across * (b - a)

    upper = row(first)
    return (upper + down * (row(first + w) - upper)).permute(0, 3, 1, 2)
