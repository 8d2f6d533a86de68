# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine: a bundle's models on one device, characters in, frames out."""

from dataclasses import dataclass, field, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.backbones import Identity, create_backbone
from lpmm_runtime.backbones.beyond_crop import SURROUNDINGS
from lpmm_runtime.bundle import Bundle
from lpmm_runtime.crop import CropSquare
from lpmm_runtime.errors import ParamsError, PhotoError
from lpmm_runtime.face_finding import Box, FaceReading, read_face
from lpmm_runtime.frame import evaluate_params
from lpmm_runtime.onnx_sessions import Device, OnnxSessions
from lpmm_runtime.paste import paste
from lpmm_runtime.portrait import as_batch, as_bytes, crop_at, portrait_crop, portrait_surroundings, resize

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Base = Literal["PHOTO", "NEUTRAL"]
View = Literal["crop", "full"]

# The crop view's native size ends here; the full view's crop is rendered at most at the second.
LARGEST_CROP_VIEW = 1024
LARGEST_CROP = 2048
SMALLEST_FRAME, LARGEST_FRAME = 16, 4096
# Of a scaled full view, pixels.
LARGEST_PICTURE = 100_000_000
# A crop below this shows a face of some 36 pixels: there is nothing to animate.
SMALLEST_CROP = 64
_BLINK = ("eyeBlinkLeft", "eyeBlinkRight")


@dataclass(frozen=True, eq=False)
class Character:
    """One portrait under one bundle, with its identity features.

    Attributes:
        name: for people.
        photo: [H, W, 3] uint8 RGB.
        square: the aligned crop, whole pixels; it may reach beyond the photo.
        box: (left, top, right, bottom), the face box that the landmarks give, photo pixels.
        landmarks: [68, 2] float32, photo pixels (pixel centres at +0.5).
        params: [k] float32, the photo's own params, p_base.
        head_angles: (yaw, pitch, roll) in degrees that the params show.
        pose_latent: [w] float32, v = E(photo).
        base_offset: [w] float32, D(p_base).
        identity: the backbone's cached features.
        rest_frames: the frame at the photo's own latent by size, as last used; kept by the engine.
        scaled_photos: the photo and its square by the square's side, as last used; kept by the engine.
    """

    name: str
    photo: Pixels
    square: CropSquare
    box: Box
    landmarks: Array
    params: Array
    head_angles: tuple[float, float, float]
    pose_latent: Array
    base_offset: Array
    identity: Identity = field(repr=False)
    rest_frames: dict[int, Array] = field(default_factory=dict, repr=False)
    scaled_photos: dict[int, tuple[Pixels, CropSquare]] = field(default_factory=dict, repr=False)

    @property
    def photo_size(self) -> tuple[int, int]:
        """The photo's (width, height), pixels."""
        return self.photo.shape[1], self.photo.shape[0]


class Engine:
    """A bundle's models on one device; safe to call from several threads.

    Attributes:
        bundle: what it was opened with.
        sessions: the graphs.
    """

    def __init__(self, bundle: Bundle, device: Device = "auto", threads: int | None = None) -> None:
        """Open the bundle's graphs.

        Args:
            device: "auto" is CUDA when it is there, else the CPU.
            threads: CPU threads of one run; None is the machine's cores, at most 4.

        Raises:
            BundleError: naming the graph that is wrong.
            DeviceError: if CUDA is asked for and is not there.
        """
        if threads is not None:
            cv2.setNumThreads(threads)
        self.bundle = bundle
        self.sessions = OnnxSessions(bundle, device, threads)
        self._backbone = create_backbone(bundle.backbone_kind, self.sessions)

    @property
    def device(self) -> str:
        """Where the models run: "cuda" or "cpu"."""
        return self.sessions.device

    def create_character(self, photo: Pixels, box: Box | None = None, name: str = "") -> Character:
        """Find the face, align, read and encode it.

        Args:
            photo: [H, W, 3] uint8 RGB.
            box: the face box in photo pixels, brows and forehead to chin, if it is known.
            name: for people and for errors.

        Raises:
            NoFaceError: if there is no face.
            PhotoError: if the face is too small.
            BoxError: if the box is empty or outside the photo.
        """
        where = name or "photo"
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
            raise PhotoError(f"{where}: a photo is [H, W, 3] uint8 RGB, not {photo.shape} {photo.dtype}")
        reading = self.read_face(photo, box, where)
        side = round(reading.square.side)
        if side < SMALLEST_CROP:
            raise PhotoError(
                f"{where}: the face is too small ({side} pixels with its surroundings, {SMALLEST_CROP} needed)"
            )
        encoder_side = self.sessions.image_side("pose_encoder")
        image = as_batch(crop_at(photo, reading.square, encoder_side))
        pose_latent, mirrored_latent = (
            self.sessions.run("pose_encoder", {"image": view})["pose_latent"][0]
            for view in (image, np.ascontiguousarray(image[..., ::-1]))
        )
        crop = portrait_crop(photo, reading.square, min(side, LARGEST_CROP))
        around = portrait_surroundings(photo, reading.square, len(crop), SURROUNDINGS)
        unit = reading.square.to_unit(reading.landmarks).astype(np.float32)
        irises = None if reading.irises is None else reading.square.to_unit(reading.irises).astype(np.float32)
        yaw, pitch, roll = (float(angle) for angle in self.bundle.rig.controls.head_angles(reading.params))
        character = Character(
            name=name,
            photo=photo.copy(),
            square=reading.square,
            box=reading.box,
            landmarks=reading.landmarks,
            params=reading.params,
            head_angles=(yaw, pitch, roll),
            pose_latent=pose_latent,
            base_offset=self._pose_offset(reading.params),
            identity=self._backbone.identify(crop, unit, pose_latent, irises, around, mirrored_latent),
        )
        rig = self.bundle.rig
        if not set(_BLINK).issubset(rig.control_names):
            return character
        # Eyes that are read as further shut than they are would stay open a little with the slider at 1.
        blink = self.pose_latent_of(character, evaluate_params(rig, character.params, dict.fromkeys(_BLINK, 1.0), {}))
        return replace(character, identity=self._backbone.with_full_blink(character.identity, blink))

    def read_face(self, photo: Pixels, box: Box | None = None, name: str = "photo") -> FaceReading:
        """Find and read a face without making a character of it; see `face_finding.read_face`."""
        return read_face(self.sessions, photo, box, name)

    def render(
        self,
        character: Character,
        params: NDArray[np.floating],
        *,
        base: Base = "PHOTO",
        view: View = "crop",
        size: int | None = None,
        pose_latent: NDArray[np.floating] | None = None,
        influence: float = 0.0,
        take_params: NDArray[np.floating] | None = None,
        driven_params: NDArray[np.floating] | None = None,
    ) -> Pixels:
        """Return the frame [H, W, 4] uint8 RGBA; the same inputs give the same bytes on one device.

        Colour is not premultiplied and stands over the portrait's own background; alpha is the head's matte where
        the bundle has one (0 where it is not known), else 255.

        Args:
            params: [k], p, standard deviations; `character.params` is rest on the base PHOTO.
            base: PHOTO gives v̂ = v_photo + D(p) − D(p_base), NEUTRAL v̂ = v̄ + D(p).
            view: "crop" is the aligned square, "full" the whole photo with the crop pasted back.
            size: the crop's side in pixels; None is its own (at most 1024 in the crop view). The full view is
                the photo scaled by as much, and the photo's own size for None.
            pose_latent: [w], v of a driving take's frame.
            influence: 0 to 1, how much of the take is mixed in (Fig. 6).
            take_params: [k], p of the take's frame: its latent is v_take + D(p) − D(p_take). None is p_base.
            driven_params: [k], p for that latent: take_params with the sliders' edits. None is `params`.

        Raises:
            ParamsError: for a wrong shape, a value that is not finite, or a size out of range.
        """
        latent = self.pose_latent_of(
            character,
            params,
            base=base,
            pose_latent=pose_latent,
            influence=influence,
            take_params=take_params,
            driven_params=driven_params,
        )
        if size is not None and not SMALLEST_FRAME <= size <= LARGEST_FRAME:
            raise ParamsError(f"size {size} is not {SMALLEST_FRAME} to {LARGEST_FRAME} pixels")
        native = round(character.square.side)
        if view == "crop":
            frame = self._backbone.render(character.identity, latent, size or min(native, LARGEST_CROP_VIEW))
            return as_bytes(frame)
        photo, square = _scaled(character, size or native)
        frame_size = min(round(square.side), LARGEST_CROP)
        frame, beyond = self._backbone.render_with_surroundings(character.identity, latent, frame_size)
        rest = self._rest_frame(character, frame_size)
        return paste(photo, square, frame, rest, matte=self.bundle.alpha, beyond=beyond)

    def pose_latent_of(
        self,
        character: Character,
        params: NDArray[np.floating],
        *,
        base: Base = "PHOTO",
        pose_latent: NDArray[np.floating] | None = None,
        influence: float = 0.0,
        take_params: NDArray[np.floating] | None = None,
        driven_params: NDArray[np.floating] | None = None,
    ) -> Array:
        """Return v̂ [w] of a frame; the arguments are those of `render`."""
        offset = self._pose_offset(_checked(params, self.bundle.k, "params"))
        if base == "PHOTO":
            latent = character.pose_latent + (offset - character.base_offset)
        else:
            latent = self.bundle.rig.mean_pose_latent + offset
        if pose_latent is None or influence == 0.0:
            return latent
        if not 0.0 <= influence <= 1.0:
            raise ParamsError(f"influence {influence} is not 0 to 1")
        taken = _checked(pose_latent, self.bundle.latent_size, "pose latent")
        start = character.base_offset
        if take_params is not None:
            start = self._pose_offset(_checked(take_params, self.bundle.k, "take params"))
        if driven_params is not None:
            offset = self._pose_offset(_checked(driven_params, self.bundle.k, "driven params"))
        return latent + np.float32(influence) * (taken + (offset - start) - latent)

    def _pose_offset(self, params: Array) -> Array:
        return self.sessions.run("lp_adaptor", {"params": params[None]})["pose_offset"][0]

    def _rest_frame(self, character: Character, size: int) -> Array:
        rest = character.rest_frames.get(size)
        if rest is None:
            rest = self._backbone.render(character.identity, character.pose_latent, size)
            character.rest_frames.clear()  # one size at a time: a large one is 64 MB
            character.rest_frames[size] = rest
        return rest


def _scaled(character: Character, side: int) -> tuple[Pixels, CropSquare]:
    square = character.square
    if side == round(square.side):
        return character.photo, square
    kept = character.scaled_photos.get(side)
    if kept is not None:
        return kept
    factor = side / square.side
    width, height = (max(1, round(edge * factor)) for edge in character.photo_size)
    if width * height > LARGEST_PICTURE:
        raise ParamsError(f"size {side} would scale the full photo to {width} × {height} pixels, too large")
    photo = resize(character.photo, width, height)
    left, top = round(square.left * factor), round(square.top * factor)
    scaled = photo, CropSquare(left + 0.5 * side, top + 0.5 * side, float(side))
    character.scaled_photos.clear()
    character.scaled_photos[side] = scaled
    return scaled


def _checked(values: NDArray[np.floating], length: int, what: str) -> Array:
    array = np.asarray(values, np.float32)
    if array.shape != (length,):
        raise ParamsError(f"{what}: shape {array.shape}, not ({length},)")
    if not np.isfinite(array).all():
        raise ParamsError(f"{what}: not finite")
    return array
