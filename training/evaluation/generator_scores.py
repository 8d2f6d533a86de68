# SPDX-License-Identifier: GPL-3.0-or-later
"""Generator scores on held-out synthetic people: PSNR, SSIM and flow error by region, against fair rivals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lpmm_runtime import landmarks68
from lpmm_runtime.engine import Character, Engine
from lpmm_runtime.errors import LpmmError
from training.evaluation.drives import (
    LandmarkDrive,
    ShippedDrive,
    drive_by_params,
    drive_by_pose_latent,
    drive_nowhere,
    shipped_character,
)
from training.evaluation.measures import Mask, masked_mean, mean_of, polygon_mask, psnr, ssim_map
from training.evaluation.rivals import Rivals, TruePair, rivals_of

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]

REGIONS = ("whole", "face", "eyes_and_mouth", "background")
# How far a region reaches beyond its landmarks' hull, in picture sides.
_FACE_REACH, _FEATURE_REACH = 0.02, 0.025
# A layer's id in the motion pass: clothes do not follow the head.
_CLOTH = 2
SHIPPED_DRIVES: dict[str, ShippedDrive] = {
    "pose_latent": drive_by_pose_latent,
    "params": drive_by_params,
    "nowhere": drive_nowhere,
}


@dataclass(frozen=True)
class PairRow:
    """A pair's place in the shard: group, source frame, target frame."""

    group: int
    source: int
    target: int


class HeldOutPairs:
    """The pairs of group shards (`shards.read_all`)."""

    def __init__(self, arrays: dict[str, NDArray]) -> None:
        groups, frames = arrays["landmarks"].shape[:2]
        side = arrays["images"].shape[1]
        self.images = arrays["images"].reshape(groups, frames, side, side, 3)
        self._alpha = arrays["alpha"].reshape(groups, frames, side, side)
        self.landmarks = arrays["landmarks"]
        self._irises = arrays["irises"]
        self._pairs, self._flow, self._layers = arrays["pairs"], arrays["flow"], arrays["layers"]

    def chosen(self, most: int) -> list[tuple[PairRow, TruePair]]:
        """Return at most `most` pairs, spread evenly over the groups."""
        each = self._pairs.shape[1]
        rows = np.unique(np.linspace(0, self._pairs.shape[0] * each - 1, most).round().astype(int))
        out = []
        for group, pair in zip(*np.divmod(rows, each), strict=True):
            s, t = (int(frame) for frame in self._pairs[group, pair])
            layers = self._layers[group, pair]
            true_pair = TruePair(
                source=self.images[group, s],
                target=self.images[group, t],
                source_alpha=self._alpha[group, s].astype(np.float32) / np.float32(255),
                target_alpha=self._alpha[group, t].astype(np.float32) / np.float32(255),
                source_landmarks=self.landmarks[group, s].astype(np.float32),
                target_landmarks=self.landmarks[group, t].astype(np.float32),
                source_irises=self._irises[group, s].astype(np.float32),
                target_irises=self._irises[group, t].astype(np.float32),
                flow=self._flow[group, pair].astype(np.float32),
                visible=(layers & 1).astype(bool),
                layer=layers >> 1,
            )
            out.append((PairRow(int(group), s, t), true_pair))
        return out


def region_masks(pair: TruePair) -> dict[str, Mask]:
    """Return where each of `REGIONS` lies in the target, [s, s].

    The face is the hull of its landmarks, eyes and mouth the hulls of theirs, both a little grown; the background is
    all that shows of it in the target, what the head uncovers too.
    """
    side = pair.side
    points = pair.target_landmarks * side
    shape = (side, side)
    features = np.zeros(shape, bool)
    for indices in (landmarks68.EYE_RIGHT, landmarks68.EYE_LEFT, landmarks68.MOUTH_OUTER):
        features |= polygon_mask(points[list(indices)], shape, _FEATURE_REACH * side)
    return {
        "whole": np.ones(shape, bool),
        "face": polygon_mask(points, shape, _FACE_REACH * side),
        "eyes_and_mouth": features,
        "background": pair.target_alpha < 0.02,
    }


def picture_scores(picture: Pixels, pair: TruePair, masks: dict[str, Mask]) -> dict[str, Any]:
    """Return PSNR (dB) and SSIM of a picture against the target by region."""
    similarity = ssim_map(picture, pair.target)
    return {
        "psnr": {name: psnr(picture, pair.target, mask) for name, mask in masks.items()},
        "ssim": {name: masked_mean(similarity, mask) for name, mask in masks.items()},
    }


def flow_scores(flow: Array, pair: TruePair, masks: dict[str, Mask]) -> dict[str, Any]:
    """Return the mean distance of a flow [s, s, 2] (sides) from the true one, in pixels, on the head by region.

    Only where the source shows the point at all, and not on clothes, which follow the body.
    """
    off = pair.side * np.linalg.norm(flow - pair.flow, axis=-1)
    head = pair.visible & (pair.layer > 0) & (pair.layer != _CLOTH)
    return {name: masked_mean(off, masks[name] & head) for name in ("whole", "face", "eyes_and_mouth")}


def score_pairs(engine: Engine, pairs: HeldOutPairs, most: int) -> tuple[dict[str, Any], list[list[Pixels]]]:
    """Return scores of rivals and drives, and rows of pictures for a sheet.

    Drives: "true_landmarks" (the generator and the runtime's layers; the rivals know as much), "networks_alone" (the
    same without the runtime's layers, as training sees it), "pose_latent" and "params" (the shipped paths: the runtime
    reads both frames itself, given the face's box), "nowhere" (the shipped rest frame).
    """
    by_landmarks = LandmarkDrive(engine) if LandmarkDrive.available(engine) else None
    characters: dict[tuple[int, int], Character | None] = {}

    def character(group: int, frame: int) -> Character | None:
        if (group, frame) not in characters:
            try:
                made = shipped_character(engine, pairs.images[group, frame], pairs.landmarks[group, frame])
            except LpmmError:
                made = None
            characters[group, frame] = made
        return characters[group, frame]

    rows: list[dict[str, Any]] = []
    sheet: list[list[Pixels]] = []
    unread = 0
    chosen = pairs.chosen(most)
    shown = set(np.linspace(0, len(chosen) - 1, 10).round().astype(int).tolist())
    for number, (place, pair) in enumerate(tqdm(chosen, desc="generator", unit="pair", mininterval=2)):
        rivals = rivals_of(pair)
        pictures, flows = dict(rivals.pictures), dict(rivals.flows)
        row: dict[str, Any] = {}
        if by_landmarks is not None:
            pictures["true_landmarks"], alone, flow, residual = by_landmarks.render(pair)
            if alone is not None:
                pictures["networks_alone"] = alone
            row["landmark_residual_px"] = residual * pair.side
            if flow is not None:
                flows["true_landmarks"] = flow
        source, target = (character(place.group, frame) for frame in (place.source, place.target))
        if source is None or target is None:
            unread += 1
        else:
            for name, drive in SHIPPED_DRIVES.items():
                pictures[name], flow = drive(engine, source, target)
                if flow is not None:
                    flows[name] = flow
        rows.append(row | scored(Rivals(pictures, flows), pair))
        if number in shown:
            sheet.append([pair.source, pair.target, *(pictures[name] for name in SHEET_COLUMNS if name in pictures)])
    means = mean_of(rows)
    return {"pairs": len(rows), "side": chosen[0][1].side, "unread": unread} | means, sheet


SHEET_COLUMNS = (
    "landmark_warp",
    "layered_warp",
    "exact_flow",
    "networks_alone",
    "true_landmarks",
    "pose_latent",
    "params",
)


def scored(made: Rivals, pair: TruePair) -> dict[str, Any]:
    """Return the scores of all pictures and flows of one pair, by name, then measure, then region."""
    masks = region_masks(pair)
    scores: dict[str, Any] = {}
    for name, picture in made.pictures.items():
        scores[name] = picture_scores(picture, pair, masks)
        if name in made.flows:
            scores[name]["flow_px"] = flow_scores(made.flows[name], pair, masks)
    return scores


def gains(scores: dict[str, Any], drive: str, rival: str) -> dict[str, Any]:
    """Return by how much a drive beats a rival: {"psnr": {region: dB}, "ssim": {region: …}}."""
    out: dict[str, Any] = {}
    for measure in ("psnr", "ssim"):
        ours, theirs = scores[drive][measure], scores[rival][measure]
        out[measure] = {
            name: ours[name] - theirs[name]
            for name in REGIONS
            if ours.get(name) is not None and theirs.get(name) is not None
        }
    return out
