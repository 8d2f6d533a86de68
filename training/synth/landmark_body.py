# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of a kit's body that landmarks need: a hundred times cheaper than the whole."""

from functools import cache

import numpy as np

from training.synth.brow_marks import average_brow_marks, brow_marks
from training.synth.facekit import Body, FaceKit, Indices, LandmarkRows, Proxy


class LandmarkBody:
    """The few vertices from which landmarks, irises and bone heads follow.

    Attributes:
        body: these vertices.
        rows: which of them the landmarks follow.
        irises: a proxy of two vertices, the picture's left one first.
        brows: the landmarks 17 to 26 on each of the kit's brows, by its name; on an average one by None.
    """

    def __init__(self, kit: FaceKit) -> None:
        rows = kit.landmark_rows
        eyes = next(proxy for proxy in kit.proxies.values() if proxy.kind == "eyes")
        irises = _vertices(eyes, _iris_vertices(kit, eyes))
        brows: dict[str | None, Proxy] = {
            name: brow_marks(kit, proxy) for name, proxy in kit.proxies.items() if proxy.kind == "eyebrows"
        }
        brows[None] = average_brow_marks(kit)
        joint_vertices = np.flatnonzero(kit.body.joints.any(axis=0))
        followed = [rows.pairs, rows.contour, joint_vertices]
        for proxy in (irises, *brows.values()):
            followed += [proxy.references, proxy.scale_pairs[:, :2].astype(np.int64)]
        needed = np.unique(np.concatenate([part.ravel() for part in followed]))
        place = np.full(len(kit.body.base), -1, np.int64)
        place[needed] = np.arange(len(needed))
        targets = len(kit.body.deltas)
        self.body = Body(
            base=kit.body.base[needed],
            deltas=np.ascontiguousarray(kit.body.deltas.reshape(targets, -1, 3)[:, needed].reshape(targets, -1)),
            weights=kit.body.weights[needed],
            joints=kit.body.joints[:, needed],
        )
        self.rows = LandmarkRows(place[rows.pairs], rows.pair_weights, place[rows.contour])
        self.irises = irises.bound_to(place)
        self.brows = {name: proxy.bound_to(place) for name, proxy in brows.items()}


@cache
def landmark_body(kit: FaceKit) -> LandmarkBody:
    """Return a kit's, made once."""
    return LandmarkBody(kit)


def _iris_vertices(kit: FaceKit, eyes: Proxy) -> Indices:
    """Return the front-most vertex of the subject's right eye, then of the left (the picture's order)."""
    positions = eyes.rest(kit.body.base)
    right = positions[:, 0] < 0
    depth = positions[:, 2]
    return np.array([np.where(right, depth, -np.inf).argmax(), np.where(~right, depth, -np.inf).argmax()])


def _vertices(proxy: Proxy, rows: Indices) -> Proxy:
    return proxy.blended(rows[:, None], np.ones((len(rows), 1), np.float32))
