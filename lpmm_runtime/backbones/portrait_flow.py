# SPDX-License-Identifier: GPL-3.0-or-later
"""The "portrait_flow" backbone: its graphs give maps at 128²; here the photo's own pixels are moved by them.

Layers, from the back: a still background plate, the head with its matte, what the portrait did not show (painted),
the inside of an opening mouth, irises that look elsewhere over eye-white, and the lids: their edges slide, and the skin
that a closing one brings down is made.
"""

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime import landmarks68
from lpmm_runtime.backbones.background import background_plate, background_sources, head_colours
from lpmm_runtime.backbones.beyond_crop import (
    Strip,
    Surroundings,
    WideCanvas,
    carried_on,
    crop_alone,
    strips_beyond,
    surroundings,
    wide_canvas,
    within_crop,
)
from lpmm_runtime.backbones.closing_lid import Lid, close_lids, portrait_lids
from lpmm_runtime.backbones.gaze_layer import Eye, gaze_shift, portrait_eyes, turned
from lpmm_runtime.backbones.head_detail import head_detail, hull_mask, skin_grain
from lpmm_runtime.backbones.lid_layer import (
    EYES,
    Opening,
    Patch,
    blink_gains,
    eye_opening,
    lid_displacement,
    openings,
    source_lids,
    with_closed_further,
    with_given_way,
)
from lpmm_runtime.backbones.matte import decided, regained_matte, rounded, settled_matte
from lpmm_runtime.backbones.mouth_layer import PortraitMouth, draw_mouth, portrait_mouth
from lpmm_runtime.backbones.pixel_maps import around, changed, pixels, ramp
from lpmm_runtime.backbones.turned_side import TurnedSide, show_detail, turned_side
from lpmm_runtime.errors import BundleError
from lpmm_runtime.onnx_sessions import OnnxSessions
from lpmm_runtime.portrait import as_batch, resize

Array = NDArray[np.float32]

_OUTPUTS = ("flow", "paint", "mask", "alpha", "landmarks")
# As far as a head moves, in pixels of 128, before stray hair that the matte missed is seen to stay behind.
_LEFT = (0.7, 2.0)
# A change of light counts as this many pixels' motion.
_LIGHT_COUNTS = 8.0
# Landmarks that move less than the first, in crop sides, and less than that share of what the furthest one does, are at
# rest; beyond the second they move, and all within reach.
_AT_REST, _ON_THE_MOVE = (8e-4, 0.15), (2e-3, 0.35)
_REACH, _COARSE = 0.035, 48
# What no expression moves: when it goes that far, or as far as that share of the furthest landmark, the head turns.
_HEAD = (0, 16, 27, 28, 29, 36, 39, 42, 45)
_TURNED = (6e-4, 1.5e-3), (0.1, 0.3)
# Where the networks are as sure as the second that the portrait shows a place, it does: what they mix in for safety's
# sake everywhere greys teeth and flattens a face as soon as it moves. Below the first they are believed.
# The first of each is for hair that is not drawn out: they shade it by mixing black in, and it loses its colour.
_DOUBTED, _SHOWN = (0.5, 0.78), (0.8, 0.92)
# Over so many pixels of 128 a face ends.
_FACE_ENDS = 2.0


@dataclass(frozen=True, eq=False)
class Canvas:
    """A portrait at one size.

    Attributes:
        crop: [s, s, 3]; alpha: [s, s], its matte; plate: [s, s, 3], the background.
        wide: what goes on beyond the crop; its head, the crop with the head's colours going on beyond the head's edge,
            is what moves: what was behind does not come along.
        detail: [s, s] each, what is fine in it, going on beyond its edge, and what is fine in its skin.
        mouth, eyes, lids: what is drawn anew.
    """

    crop: Array
    alpha: Array
    plate: Array
    wide: WideCanvas
    detail: tuple[Array, Array]
    mouth: PortraitMouth
    eyes: tuple[Eye | None, Eye | None]
    lids: tuple[Lid | None, Lid | None]


@dataclass(frozen=True, eq=False)
class PortraitFlowIdentity:
    """The crop [H, H, 3], its landmarks [68, 2] (unit square), the encoder's features, the crop's own latent [w].

    Irises are where they were read, [2, 2], or None; `sources` say what is behind the head (`background_sources`), of
    one that goes on beyond the crop `around` does. `gains` are `blink_gains`.

    `canvases` caches one canvas: a character is shown at one size for long.
    """

    crop: Array
    landmarks: Array
    features: dict[str, Array]
    pose_latent: Array
    irises: Array | None = None
    sources: Array | None = None
    around: Surroundings | None = None
    gains: tuple[float, float] = (1.0, 1.0)
    canvases: dict[int, Canvas] = field(default_factory=dict, repr=False)


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

    def identify(
        self,
        crop: Array,
        landmarks: Array,
        pose_latent: Array,
        irises: Array | None = None,
        around: NDArray[np.uint8] | None = None,
    ) -> PortraitFlowIdentity:
        """See `Backbone.identify`."""
        side = self._sessions.image_side("identity_encoder")
        features = self._sessions.run(
            "identity_encoder",
            {
                "image": as_batch(np.clip(resize(crop, side, side), 0.0, 1.0)),
                "landmarks": landmarks[None],
                "pose_latent": pose_latent[None],
            },
        )
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
        return PortraitFlowIdentity(crop, own, features, pose_latent, irises, sources, known)

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
            canvas = _canvas(identity, size)
            identity.canvases.clear()
            identity.canvases[size] = canvas
        own_alpha = identity.features["source_alpha"][0, 0]
        if np.array_equal(pose_latent, identity.pose_latent):
            known = canvas.wide.alpha
            strips = strips_beyond(canvas.wide, np.zeros((*known.shape, 2), np.float32), known) if beyond else ()
            return np.dstack([canvas.crop, canvas.alpha]), strips
        maps = self._sessions.run("generator", {**identity.features, "pose_latent": pose_latent[None]})
        target = with_closed_further(identity.landmarks, maps["landmarks"][0, :68], identity.gains)
        alpha = maps["alpha"][0, 0]
        moving = _moving(identity.landmarks, target, len(alpha))
        light = maps["light"][0].transpose(1, 2, 0) if "light" in maps else None
        if light is not None:
            lit = cv2.resize(moving, light.shape[1::-1], interpolation=cv2.INTER_AREA)
            light = 1.0 + lit[..., None] * (light - 1.0)
        flow = maps["flow"][0].transpose(1, 2, 0) * moving[..., None]
        wide_flow, wide_alpha = carried_on(canvas.wide, flow, own_alpha + moving * (alpha - own_alpha), target)
        frame = _compose(
            canvas,
            identity.landmarks,
            target=target,
            irises=maps["landmarks"][0, 68:],
            flow=np.ascontiguousarray(within_crop(wide_flow)),
            paint=maps["paint"][0].transpose(1, 2, 0),
            mask=1.0 - moving * (1.0 - maps["mask"][0, 0]),
            alpha=np.ascontiguousarray(within_crop(wide_alpha)),
            light=light,
        )
        return frame, strips_beyond(canvas.wide, wide_flow, wide_alpha, light) if beyond else ()


def _canvas(identity: PortraitFlowIdentity, size: int) -> Canvas:
    crop = np.ascontiguousarray(np.clip(resize(identity.crop, size, size), 0.0, 1.0), np.float32)
    # Enlarged exactly as frames' mattes are: where nothing moves the two must not differ.
    alpha = decided(_enlarged(rounded(identity.features["source_alpha"][0, 0])[..., None], size)[..., 0])
    eyes = portrait_eyes(crop, identity.landmarks, identity.irises)
    if identity.around is None:
        plate, head = background_plate(crop, alpha, identity.sources), head_colours(crop, alpha)
        wide = crop_alone(head, plate, identity.features["source_alpha"][0, 0])
    else:
        wide = wide_canvas(identity.around, crop)
        middle = slice(wide.margin, wide.margin + size)
        plate, head = (np.ascontiguousarray(layer[middle, middle]) for layer in (wide.plate, wide.head))
    mouth = portrait_mouth(crop, identity.landmarks)
    lids = portrait_lids(crop, identity.landmarks)
    detail = head_detail(head, alpha), skin_grain(crop, identity.landmarks)
    return Canvas(crop, alpha, plate, wide, detail, mouth, eyes, lids)


def _compose(
    canvas: Canvas,
    source: Array,
    *,
    target: Array,
    irises: Array,
    flow: Array,
    paint: Array,
    mask: Array,
    alpha: Array,
    light: Array | None,
) -> Array:
    """Return the frame [s, s, 4] of maps [m, m, …]; landmarks and the irises' ways are in the unit square."""
    size = len(canvas.crop)
    side = turned_side(flow, alpha, canvas.alpha, target)
    mask = _trusted(mask, target, side)
    # Apart, for OpenCV is fast on two and three channels, NumPy slow on so few.
    moves, painted = _enlarged(side.flow * np.float32(size), size), _enlarged(paint, size)
    shown, matte = cv2.split(_enlarged(cv2.merge([mask, rounded(alpha)]), size))
    place = np.asarray(cv2.add(moves, pixels(size)), np.float32)
    shifts, ways = _gazes(canvas, target, irises, side.flow)
    opened, target = source_lids(source, target), with_given_way(target, ways)
    whole = canvas.eyes[0] is not None, canvas.eyes[1] is not None
    for (rows, columns), displacement in lid_displacement(opened, target, size, whole):
        # Lids slide in the target; where they came from is looked up in the maps of the open eye.
        origin = pixels(size)[rows, columns] + displacement
        for layer in (shown, matte, painted):
            layer[rows, columns] = _looked_up(layer, origin)
        place[rows, columns] = origin + _looked_up(moves, origin)
    _show_teeth(shown, canvas.mouth, place, target)
    # Hair that the photo cuts off goes on as hair.
    margin = canvas.wide.margin
    from_there = cv2.add(place, (margin, margin, 0.0, 0.0)) if margin else place
    moved = cv2.remap(canvas.wide.head, from_there, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    drawn = _draw_eyeballs(moved, canvas, opened, target, shifts, place)
    show_detail(moved, canvas.detail, side)
    if light is not None:
        cv2.multiply(moved, cv2.resize(light, (size, size), interpolation=cv2.INTER_LINEAR), dst=moved)
    head = _mixed(painted, np.clip(moved, 0.0, 1.0, out=moved), shown)
    drawn += close_lids(head, canvas.lids, opened, target, light)
    draw_mouth(head, canvas.crop, canvas.mouth, source, target, place)
    matte = decided(matte)
    change = _change(place, shown, matte, canvas.alpha, light)
    for patch, amount in drawn:
        change[patch] = np.maximum(change[patch], amount)
    colour = _mixed(canvas.crop, _mixed(canvas.plate, head, matte), change)
    return np.asarray(cv2.merge([*cv2.split(colour), matte]), np.float32)


def _gazes(
    canvas: Canvas, target: Array, irises: Array, flow: Array
) -> tuple[tuple[Array, Array], tuple[Opening, Opening]]:
    """Return how far either eye's iris moves on its eyeball [2], in eye widths, and how far its lids give way.

    Args:
        target: [68, 2], the target's landmarks; irises: [2, 2], displacements, the picture's left eye first; flow: as
            the graph gives it.
    """
    flow = np.ascontiguousarray(flow)
    first, second = (
        (np.zeros(2, np.float32), Opening())
        if eye is None
        else gaze_shift(eye, target[[points[0], points[3]]], eye.middle + move, flow)
        for eye, (points, _), move in zip(canvas.eyes, EYES, irises, strict=True)
    )
    return (first[0], second[0]), (first[1], second[1])


def _draw_eyeballs(
    moved: Array, canvas: Canvas, opened: Array, target: Array, shifts: tuple[Array, Array], place: Array
) -> list[tuple[Patch, Array]]:
    """Draw, in place, eyes whose irises move or whose lids open wider; return patches and how much was drawn [h, w].

    Args:
        opened, target: [68, 2], the target's landmarks with the portrait's lids and with its own.
        shifts: of the irises; place: [s, s, 2], where in the portrait pixels come from.
    """
    drawn: list[tuple[Patch, Array]] = []
    for eye, (points, _), shift, way in zip(canvas.eyes, EYES, shifts, openings(opened, target), strict=True):
        if eye is None:
            continue
        own = canvas.crop[eye.rows, eye.columns]
        eyeball = turned(eye, own, shift, way)
        found = eye_opening(points, target, len(moved), way.rise)
        if eyeball is own or found is None:
            continue
        patch, between = found
        origin = place[patch] - np.array([eye.columns.start, eye.rows.start], np.float32)
        seen = cv2.remap(eyeball, origin, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        part = moved[patch]
        part += between[..., None] * (seen - part)
        drawn.append((patch, between))
    return drawn


def _trusted(mask: Array, face: Array, side: TurnedSide) -> Array:
    """Return how far the portrait is shown [m, m], by the networks' mask; `face` are the target's landmarks [68, 2]."""
    about = cv2.blur(cv2.dilate(side.amount, np.ones((7, 7), np.uint8)), (3, 3))
    amount, skin = (cv2.resize(part, mask.shape[::-1], interpolation=cv2.INTER_LINEAR) for part in (about, side.skin))
    other = cv2.max(cv2.GaussianBlur(hull_mask(face, len(mask)), (0, 0), _FACE_ENDS), amount)
    doubted, shown = (hair + other * (high - hair) for hair, high in (_DOUBTED, _SHOWN))
    certain = ramp((mask - doubted) / (shown - doubted), 0.0, 1.0)
    # Skin's streaks are mended, and the networks' paint, which makes up for them, would be seen.
    return np.asarray(mask + cv2.max(certain, skin) * (1.0 - mask), np.float32)


def _show_teeth(shown: Array, mouth: PortraitMouth, place: Array, target: Array) -> None:
    """Let the portrait's teeth be seen as they are, in place: the networks paint them as dark as an average mouth."""
    size = len(shown)
    lips = target[landmarks68.REGIONS["mouth"]] * size
    room = 0.1 * float(np.ptp(lips[:, 0])) + 2.0
    low, high = (np.clip(edge, 0, size).astype(int) for edge in (lips.min(axis=0) - room, lips.max(axis=0) + room))
    patch = (slice(low[1], high[1]), slice(low[0], high[0]))
    if shown[patch].size:
        shown[patch] += _looked_up(mouth.teeth, place[patch]) * (1.0 - shown[patch])


def _mixed(below: Array, above: Array, amount: Array) -> Array:
    """Return pictures [s, s, 3] mixed by `amount` [s, s]; exactly `below` where it is 0."""
    mixed = cv2.subtract(above, below)
    cv2.multiply(mixed, cv2.merge([amount] * 3), dst=mixed)
    return np.asarray(cv2.add(mixed, below, dst=mixed), np.float32)


def _looked_up(layer: Array, place: Array) -> Array:
    return np.asarray(cv2.remap(layer, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _enlarged(maps: Array, size: int) -> Array:
    if len(maps) == size:
        return maps.copy()
    # OpenCV resizes at most four channels at full speed.
    parts = [maps[..., start : start + 4] for start in range(0, maps.shape[2], 4)]
    wide = [cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR).reshape(size, size, -1) for part in parts]
    return np.concatenate(wide, axis=2)


def _change(place: Array, shown: Array, matte: Array, alpha: Array, light: Array | None) -> Array:
    """Return [s, s]: 0 where nothing moves, is lit anew, painted or uncovered: the portrait stands there exactly."""
    size = len(place)
    covered, inside = cv2.max(matte, alpha), cv2.min(matte, alpha)
    across, down = cv2.split(cv2.subtract(place, pixels(size)))
    way = cv2.multiply(cv2.magnitude(across, down), covered, scale=128 / size)
    unseen = cv2.multiply(cv2.subtract(1.0, shown), covered, scale=4.0)
    amount = cv2.max(way, cv2.max(cv2.multiply(cv2.absdiff(matte, alpha), 4.0), unseen))
    if size > 128:
        amount, covered, inside, way = (
            cv2.resize(part, (128, 128), interpolation=cv2.INTER_AREA) for part in (amount, covered, inside, way)
        )
    # Where a head was and is no more nothing may move at all.
    bared = cv2.erode(cv2.subtract(covered, inside), np.ones((3, 3), np.uint8))
    left = ramp(around(cv2.max(way, cv2.multiply(bared, 4.0 * _LEFT[1]))), *_LEFT)
    if light is not None:
        lit = cv2.resize(np.abs(light - 1.0).max(axis=2), covered.shape, interpolation=cv2.INTER_LINEAR)
        amount = cv2.max(amount, cv2.multiply(lit, covered, scale=_LIGHT_COUNTS))
    noticed = changed(amount)
    # The edge of a head that hardly moves, and what is beside it, need not be made up: no matte is as exact.
    within = cv2.erode(inside, np.ones((5, 5), np.uint8))
    noticed = cv2.min(noticed, cv2.max(left, within))
    return np.asarray(cv2.resize(noticed, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)


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
