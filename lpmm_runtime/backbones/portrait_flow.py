# SPDX-License-Identifier: GPL-3.0-or-later
"""The "portrait_flow" backbone: its graphs give maps at 128²; here the photo's own pixels are moved by them.

A frame is a still background plate and, over it, the head with its matte (`head_drawing`).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime import landmarks68
from lpmm_runtime.backbones.background import background_sources
from lpmm_runtime.backbones.beyond_crop import Strip, carried_on, strips_beyond, surroundings, within_crop
from lpmm_runtime.backbones.head_drawing import (
    FrameMaps,
    MirroredHead,
    compose,
    draw_far_side,
    draw_head,
    iris_ways,
    with_mirrored,
)
from lpmm_runtime.backbones.lid_layer import blink_gains, with_closed_further
from lpmm_runtime.backbones.matte import decided, regained_matte, settled_matte
from lpmm_runtime.backbones.mirrored_side import (
    alignment,
    far_side,
    from_a_side,
    mirrored_irises,
    mirrored_share,
    turns_back,
)
from lpmm_runtime.backbones.pixel_maps import ramp
from lpmm_runtime.backbones.portrait_canvas import Canvas, PortraitFlowIdentity, portrait_canvas
from lpmm_runtime.errors import BundleError
from lpmm_runtime.onnx_sessions import OnnxSessions
from lpmm_runtime.portrait import as_batch, resize

Array = NDArray[np.float32]

_OUTPUTS = ("flow", "paint", "mask", "alpha", "landmarks")
# Landmarks that move less than the first, in crop sides, and less than that share of what the furthest one does, are at
# rest; beyond the second they move, and all within reach.
_AT_REST, _ON_THE_MOVE = (8e-4, 0.15), (2e-3, 0.35)
_REACH, _COARSE = 0.035, 48
# What no expression moves: when it goes that far, or as far as that share of the furthest landmark, the head turns.
_HEAD = (0, 16, 27, 28, 29, 36, 39, 42, 45)
_TURNED = (6e-4, 1.5e-3), (0.1, 0.3)


class PortraitFlowBackbone:
    """Runs identity_encoder once a portrait and generator once a frame, and warps the photo at its own resolution."""

    def __init__(self, sessions: OnnxSessions) -> None:
        """Check the generator's outputs.

        Raises:
            BundleError: naming the graph and what it lacks.
        """
        missing = [name for name in _OUTPUTS if name not in sessions.output_names("generator")]
        if missing:
            raise BundleError(f"{sessions.bundle.graph('generator')}: has no output {missing[0]!r}")
        for name in ("source_alpha", "source_landmarks"):
            if name not in sessions.output_names("identity_encoder"):
                raise BundleError(f"{sessions.bundle.graph('identity_encoder')}: has no output {name!r}")
        self._sessions = sessions
        self._beside = ThreadPoolExecutor(1, "mirrored portrait")

    def identify(
        self,
        crop: Array,
        landmarks: Array,
        pose_latent: Array,
        irises: Array | None = None,
        around: NDArray[np.uint8] | None = None,
        mirrored_latent: Array | None = None,
    ) -> PortraitFlowIdentity:
        """See `Backbone.identify`."""
        features = self._features(crop, landmarks, pose_latent)
        alpha = settled_matte(crop, features["source_alpha"][0, 0])
        # The encoder looks at eyes and mouth again.
        own = features["source_landmarks"][0]
        chin, known, sources = float(own[8, 1]), None, None
        if around is None:
            alpha = regained_matte(crop, alpha, chin)
            sources = background_sources(crop, decided(alpha))
        else:
            known = surroundings(around, alpha, chin)
            alpha = np.ascontiguousarray(within_crop(known.alpha))
        features["source_alpha"] = alpha[None, None]
        mirrored = None
        if mirrored_latent is not None and from_a_side(own):
            turned_crop = np.ascontiguousarray(crop[:, ::-1])
            turned_features = self._features(turned_crop, landmarks68.mirror(landmarks), mirrored_latent)
            turned_features["source_alpha"] = np.ascontiguousarray(features["source_alpha"][..., ::-1])
            theirs = None if irises is None else mirrored_irises(irises)
            mirrored = PortraitFlowIdentity(
                turned_crop, turned_features["source_landmarks"][0], turned_features, mirrored_latent, theirs
            )
        return PortraitFlowIdentity(crop, own, features, pose_latent, irises, sources, known, mirrored=mirrored)

    def _features(self, crop: Array, landmarks: Array, pose_latent: Array) -> dict[str, Array]:
        side = self._sessions.image_side("identity_encoder")
        image = as_batch(np.clip(resize(crop, side, side), 0.0, 1.0))
        inputs = {"image": image, "landmarks": landmarks[None], "pose_latent": pose_latent[None]}
        return self._sessions.run("identity_encoder", inputs)

    def with_full_blink(self, identity: PortraitFlowIdentity, pose_latent: Array) -> PortraitFlowIdentity:
        """See `Backbone.with_full_blink`."""
        maps = self._sessions.run("generator", {**identity.features, "pose_latent": pose_latent[None]})
        return replace(identity, gains=blink_gains(identity.landmarks, maps["landmarks"][0, :68]), canvases={})

    def render(self, identity: PortraitFlowIdentity, pose_latent: Array, size: int) -> Array:
        """See `Backbone.render`."""
        return self._render(identity, pose_latent, size, beyond=False)[0]

    def render_with_surroundings(
        self, identity: PortraitFlowIdentity, pose_latent: Array, size: int
    ) -> tuple[Array, tuple[Strip, ...]]:
        """See `Backbone.render_with_surroundings`."""
        return self._render(identity, pose_latent, size, beyond=True)

    def _render(
        self, identity: PortraitFlowIdentity, pose_latent: Array, size: int, *, beyond: bool
    ) -> tuple[Array, tuple[Strip, ...]]:
        canvas = identity.canvases.get(size)
        if canvas is None:
            canvas = portrait_canvas(identity, size)
            identity.canvases.clear()
            identity.canvases[size] = canvas
        own_alpha = identity.features["source_alpha"][0, 0]
        if np.array_equal(pose_latent, identity.pose_latent):
            known = canvas.wide.alpha
            strips = strips_beyond(canvas.wide, np.zeros((*known.shape, 2), np.float32), known) if beyond else ()
            return np.dstack([canvas.crop, canvas.alpha]), strips
        maps, points = self._maps(identity, pose_latent)
        target = with_closed_further(identity.landmarks, points[:68], identity.gains)
        irises = points[68:]
        moving = _moving(identity.landmarks, target, len(maps.alpha))
        wide_flow, wide_alpha = carried_on(
            canvas.wide, maps.flow * moving[..., None], own_alpha + moving * (maps.alpha - own_alpha), target
        )
        maps = FrameMaps(
            flow=np.ascontiguousarray(within_crop(wide_flow)),
            paint=maps.paint,
            mask=1.0 - moving * (1.0 - maps.mask),
            alpha=np.ascontiguousarray(within_crop(wide_alpha)),
            light=_lit(maps.light, moving),
        )
        waiting = None
        if identity.mirrored is not None and turns_back(identity.landmarks, target):
            # Side by side: one head is drawn on one core while the networks say the other on the next.
            waiting = self._beside.submit(self._mirrored_head, identity, canvas, pose_latent, maps, points, target)
        drawn = draw_head(canvas, identity.landmarks, target, irises, maps)
        if waiting is not None and (other := waiting.result()) is not None:
            drawn = with_mirrored(drawn, *other)
        frame = compose(canvas, drawn, maps.light)
        return frame, strips_beyond(canvas.wide, wide_flow, wide_alpha, maps.light) if beyond else ()

    def _maps(self, identity: PortraitFlowIdentity, pose_latent: Array) -> tuple[FrameMaps, Array]:
        """Return what the generator says, and the landmarks [68 or 70, 2] that it draws: irises as displacements."""
        found = self._sessions.run("generator", {**identity.features, "pose_latent": pose_latent[None]})
        flow, paint = (found[name][0].transpose(1, 2, 0) for name in ("flow", "paint"))
        light = found["light"][0].transpose(1, 2, 0) if "light" in found else None
        return FrameMaps(flow, paint, found["mask"][0, 0], found["alpha"][0, 0], light), found["landmarks"][0]

    def _mirrored_head(
        self,
        identity: PortraitFlowIdentity,
        canvas: Canvas,
        pose_latent: Array,
        maps: FrameMaps,
        points: Array,
        target: Array,
    ) -> tuple[MirroredHead, Array] | None:
        """Return the mirrored portrait's head in a frame and its share of that [64, 64]; None where it has none.

        Args:
            maps: the portrait's own; points: the landmarks that the generator draws of it; target: [68, 2], the
                frame's.
        """
        mirror = identity.mirrored
        if mirror is None or canvas.mirrored is None:
            return None
        side = far_side(maps.flow, maps.alpha, identity.landmarks, target)
        if not side.any:
            return None
        theirs, their_points = self._maps(mirror, pose_latent)
        theirs = theirs.brought(alignment(points[:68], their_points[:68], len(theirs.alpha)))
        share = mirrored_share(side, theirs.flow, canvas.mirrored.photo)
        irises = points[68:] + iris_ways(canvas, canvas.mirrored)
        return draw_far_side(canvas.mirrored, mirror.landmarks, target, irises, theirs), share


def _lit(light: Array | None, moving: Array) -> Array | None:
    """Return the gains of light [n, n, 3] where anything moves [m, m]."""
    if light is None:
        return None
    lit = cv2.resize(moving, light.shape[1::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(1.0 + lit[..., None] * (light - 1.0), np.float32)


def _moving(source: Array, target: Array, size: int) -> Array:
    """Return [s, s]: 1 where the nearest landmarks move, 0 where they stay: the networks move a little everywhere.

    A head that turns moves all of itself.
    """
    way = np.linalg.norm(target - source, axis=-1)
    most, head = float(way.max()), float(np.median(way[list(_HEAD)]))
    turned = 1.0
    if most > 0.0:
        turned = float(max(ramp(np.array(head), *_TURNED[0]), ramp(np.array(head / most), *_TURNED[1])))
    if turned == 1.0:
        return np.ones((size, size), np.float32)
    places = ((np.arange(_COARSE, dtype=np.float32) + 0.5) / _COARSE).astype(np.float32)
    x, y = (np.square(places - points[:, None]) for points in target.T)
    far = (y[:, :, None] + x[:, None, :]) * np.float32(0.5 / _REACH**2)
    # Where no landmark is near, the nearest one's motion counts.
    moves = (np.exp(far.min(axis=0) - far) * way[:, None, None]).max(axis=0)
    low, high = (min(still, share * most) for still, share in (_AT_REST, _ON_THE_MOVE))
    moving = np.maximum(ramp(moves, low, high), np.float32(turned))
    return np.asarray(cv2.resize(moving, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)
