# SPDX-License-Identifier: GPL-3.0-or-later
"""What the "portrait_flow" backbone keeps of a portrait, and the canvas that it makes of it for frames of one size."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.backbones.background import background_plate, head_colours
from lpmm_runtime.backbones.beyond_crop import Surroundings, WideCanvas, crop_alone, photo_in_crop, wide_canvas
from lpmm_runtime.backbones.closing_lid import Lid, portrait_lids
from lpmm_runtime.backbones.gaze_layer import Eye, portrait_eyes
from lpmm_runtime.backbones.head_detail import head_detail, skin_grain
from lpmm_runtime.backbones.matte import decided, rounded
from lpmm_runtime.backbones.mouth_layer import PortraitMouth, portrait_mouth
from lpmm_runtime.backbones.pixel_maps import enlarged
from lpmm_runtime.portrait import resize

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Canvas:
    """A portrait at one size.

    Attributes:
        crop: [s, s, 3]; alpha: [s, s], its matte; plate: [s, s, 3], the background.
        wide: what goes on beyond the crop; its head, the crop with the head's colours going on beyond the head's edge,
            is what moves: what was behind does not come along.
        detail: [s, s] each, what is fine in it, going on beyond its edge, and what is fine in its skin.
        mouth, eyes, lids: what is drawn anew.
        mirrored: the mirrored portrait's, or None where it is not needed.
        photo: [128, 128], 0 where that is beyond the photo; None where all of it is known.
    """

    crop: Array
    alpha: Array
    plate: Array
    wide: WideCanvas
    detail: tuple[Array, Array]
    mouth: PortraitMouth
    eyes: tuple[Eye | None, Eye | None]
    lids: tuple[Lid | None, Lid | None]
    mirrored: "Canvas | None" = None
    photo: Array | None = None


@dataclass(frozen=True, eq=False)
class PortraitFlowIdentity:
    """The crop [H, H, 3], its landmarks [68, 2] (unit square), the encoder's features, the crop's own latent [w].

    Irises are where they were read, [2, 2], or None; `sources` say what is behind the head (`background_sources`), of
    one that goes on beyond the crop `around` does. `gains` are `blink_gains`. `mirrored` is the mirrored portrait, of a
    face taken from a side.

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
    mirrored: "PortraitFlowIdentity | None" = None
    canvases: dict[int, Canvas] = field(default_factory=dict, repr=False)


def portrait_canvas(identity: PortraitFlowIdentity, size: int) -> Canvas:
    crop = np.ascontiguousarray(np.clip(resize(identity.crop, size, size), 0.0, 1.0), np.float32)
    # Enlarged exactly as frames' mattes are: where nothing moves the two must not differ.
    alpha = decided(enlarged(rounded(identity.features["source_alpha"][0, 0])[..., None], size)[..., 0])
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
    canvas = Canvas(crop, alpha, plate, wide, detail, mouth, eyes, lids)
    if identity.mirrored is None:
        return canvas
    return replace(canvas, mirrored=_mirrored_canvas(canvas, identity.mirrored, identity.around))


def _mirrored_canvas(canvas: Canvas, identity: PortraitFlowIdentity, around: Surroundings | None) -> Canvas:
    """Return the canvas of a mirrored portrait: what `_draw_far_side` needs of it, the rest is the portrait's."""
    crop, head = (np.ascontiguousarray(layer[:, ::-1]) for layer in (canvas.crop, canvas.wide.head))
    return replace(
        canvas,
        crop=crop,
        wide=replace(canvas.wide, head=head),
        mouth=portrait_mouth(crop, identity.landmarks),
        eyes=portrait_eyes(crop, identity.landmarks, identity.irises),
        lids=portrait_lids(crop, identity.landmarks),
        photo=None if around is None else np.ascontiguousarray(photo_in_crop(around)[:, ::-1]),
    )
