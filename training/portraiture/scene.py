# SPDX-License-Identifier: GPL-3.0-or-later
"""A portrait's scene in Blender: a person of the face kit, dressed and with strands of hair, lit, in a room."""

from dataclasses import dataclass
from math import radians, tan
from pathlib import Path

import bpy
import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.crop import CropSquare, square_of_landmarks
from training.portraiture import materials, room
from training.portraiture.materials import Colour
from training.portraiture.objects import add_curves, add_mesh
from training.portraiture.room import Room
from training.portraiture.strands import Hair, Scalp, grow, grow_beard
from training.portraiture.surface import Surface
from training.synth.facekit import FaceKit, skin
from training.synth.head import LandmarkSampler, frontal_camera, pose_head, project_landmarks
from training.synth.motion import Motion
from training.synth.paint import MASKS, paint_masks
from training.synth.people import Person

# The picture is this much wider than the aligned crop, so that there is something around it.
_MARGIN = 1.35
# Degrees: a long lens, and a sensor in Blender's millimetres.
_FIELD_OF_VIEW, _SENSOR = 14.0, 32.0
# Cloth stands off by this, and the body under it is drawn in, decimetres.
_CLOTH, _DRAWN_IN = 0.045, 0.07
_STRAND, _BEARD_STRAND = 0.0022, 0.0024
# A shirt's faces end here, in the kit's rest pose, and this far above its neckline.
_SHIRT_TOP, _SHIRT_REACH = 6.7, 0.45
# The aperture, an f-number where a unit is a decimetre: the room is out of focus.
_F_STOP = 0.3


@dataclass(frozen=True)
class Pigment:
    """What colours hair: see `materials.hair`."""

    melanin: float
    redness: float


@dataclass(frozen=True)
class Portrait:
    """Who is portrayed, and how.

    Attributes:
        person: shape, skin, iris, brows and lashes; what else a `Person` wears is left aside.
        motion: relaxed, eyes open.
        skin_gain: times the skin texture, linear.
        beard: strands and their length in decimetres, or None.
        neckline: its height at the sides of the neck, the kit's rest pose, decimetres.
        key_side: where the key light stands: −1 the picture's left, 1 its right.
        rim: watts of the light from behind.
        exposure: stops.
        seed: of everything that is drawn at random.
    """

    person: Person
    motion: Motion
    hair: Hair
    pigment: Pigment
    shirt: Colour
    neckline: float
    room: Room
    wall: Colour
    skin_gain: Colour = (1.0, 1.0, 1.0)
    beard: tuple[int, float] | None = None
    key_side: int = -1
    rim: float = 160.0
    exposure: float = 0.0
    seed: int = 0


def render(kit: FaceKit, portrait: Portrait, path: Path, size: int, samples: int) -> None:
    """Render a portrait [size, size] into a PNG file; what Blender has open is lost.

    Args:
        samples: of Cycles, a pixel; what noise they leave is taken out.
    """
    bpy.ops.wm.read_factory_settings(use_empty=True)
    rng = np.random.default_rng(portrait.seed)
    person = portrait.person
    head = pose_head(kit, kit.body, kit.rig, person, portrait.motion)
    points = LandmarkSampler(kit).points(person, portrait.motion)
    marks = points.fixed.astype(np.float64)
    body = Surface(kit.body.skinned(head.rest, head.transforms), kit.render_vertex[kit.triangles])
    masks = dict(zip(MASKS, paint_masks(kit).T, strict=True))

    _add_body(kit, portrait, body, masks["scalp"])
    _add_shirt(kit, portrait, body)
    texture = kit.texture_path
    names = sorted(kit.textures())
    shared = {kind: next(name for name in names if name.startswith(kind)) for kind in ("teeth", "tongue")}
    worn = {
        person.eyes: materials.eye(texture(person.iris)),
        person.teeth: materials.textured(texture(shared["teeth"]), (0.8, 0.77, 0.72), 0.25),
    }
    for name, proxy in kit.proxies.items():
        if proxy.kind == "tongue":
            worn[name] = materials.textured(texture(shared["tongue"]), (0.85, 0.62, 0.6), 0.4)
    for strands in (person.brows, person.lashes):
        if strands:
            worn[strands.proxy] = materials.painted_strands(texture(strands.texture), strands.colour, strands.density)
    for name, material in worn.items():
        proxy = kit.proxies[name]
        places = skin(proxy.rest(head.rest), proxy.weights, head.transforms)
        add_mesh(name, places, proxy.render_vertex[proxy.triangles], material, proxy.uv[proxy.triangles])

    pigment = materials.hair(portrait.pigment.melanin, portrait.pigment.redness)
    add_curves("hair", grow(Scalp(body, masks["scalp"], marks), portrait.hair, rng), _STRAND, pigment)
    if portrait.beard:
        count, length = portrait.beard
        add_curves("beard", grow_beard(body, _bearded(body, masks, marks), count, length, rng), _BEARD_STRAND, pigment)

    middle = marks.mean(axis=0)
    camera = frontal_camera(middle, _FIELD_OF_VIEW)
    square = square_of_landmarks(project_landmarks(points, camera)[0])
    _set_camera(camera.eye, square, float(marks[36:48, 2].mean()))
    room.light(middle, portrait.key_side, portrait.rim)
    room.furnish(portrait.room, portrait.wall, middle, portrait.seed)
    _take(path, size, samples, portrait.exposure)


def _add_body(kit: FaceKit, portrait: Portrait, body: Surface, scalp: NDArray[np.floating]) -> None:
    """Add the body, drawn in where cloth lies over it."""
    under = np.clip((_below_neckline(kit.body.base, portrait.neckline) + 0.04) / 0.14, 0.0, 1.0)
    places = body.positions - body.normals * (_DRAWN_IN * under)[:, None]
    material = materials.skin(kit.texture_path(portrait.person.skin), portrait.skin_gain, portrait.person.scalp_colour)
    attributes = {materials.SCALP: scalp}
    add_mesh("body", places, body.triangles, material, kit.uv[kit.triangles], attributes, subdivisions=1)


def _add_shirt(kit: FaceKit, portrait: Portrait, body: Surface) -> None:
    """Add the shirt: the torso, pushed out; its material cuts the neckline."""
    rest = kit.body.base
    inside = (_below_neckline(rest, portrait.neckline) > -_SHIRT_REACH) & (rest[:, 1] < _SHIRT_TOP)
    faces = body.triangles[inside[body.triangles].all(axis=1)]
    used, rows = np.unique(faces, return_inverse=True)
    places = (body.positions + _CLOTH * body.normals)[used]
    material = materials.cloth(portrait.shirt, portrait.neckline)
    add_mesh("shirt", places, rows.reshape(-1, 3), material, None, {materials.REST: rest[used]}, subdivisions=2)


def _below_neckline(rest: NDArray[np.floating], neckline: float) -> NDArray[np.floating]:
    """Return how far rest places [n, 3] lie below the neckline [n], as `materials.cloth` cuts it, decimetres."""
    beside = np.clip(1.0 - (np.abs(rest[:, 0]) / materials.NECK_WIDTH) ** 2, 0.0, 1.0)
    front = np.clip((rest[:, 2] - materials.NECK_BACK) / materials.NECK_DEPTH, 0.0, 1.0)
    return np.asarray(neckline - materials.NECK_DIP * beside * front - rest[:, 1])


def _bearded(
    body: Surface, masks: dict[str, NDArray[np.floating]], marks: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Return how much beard grows on each vertex [v]: none below the chin."""
    grown = np.maximum.reduce([masks[name] for name in ("moustache", "chin", "jaw")])
    facing_down = np.clip((body.normals[:, 1] + 0.75) / 0.3, 0.0, 1.0)
    above_throat = np.clip((body.positions[:, 1] - marks[8, 1] + 0.12) / 0.1, 0.0, 1.0)
    return np.asarray(np.clip((grown - 0.2) / 0.6, 0.0, 1.0) * facing_down * above_throat)


def _set_camera(eye: NDArray[np.floating], square: CropSquare, focus: float) -> None:
    """Add a camera that sees the aligned crop `square` (unit square of the frontal camera's view), and its margin."""
    side = _MARGIN * square.side
    lens = bpy.data.cameras.new("camera")
    lens.sensor_width = lens.sensor_height = _SENSOR
    lens.sensor_fit = "HORIZONTAL"
    lens.lens = _SENSOR / (2.0 * tan(radians(_FIELD_OF_VIEW) / 2.0)) / side
    lens.shift_x, lens.shift_y = (square.x - 0.5) / side, (0.5 - square.y) / side
    lens.clip_end = 500.0
    lens.dof.use_dof = True
    lens.dof.focus_distance = float(eye[2]) - focus
    lens.dof.aperture_fstop = _F_STOP
    camera = bpy.data.objects.new("camera", lens)
    camera.location = tuple(eye)
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.camera = camera


def _take(path: Path, size: int, samples: int, exposure: float) -> None:
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.samples = samples
    cycles.use_adaptive_sampling = True
    cycles.use_denoising = True
    cycles.max_bounces = 8
    cycles.transparent_max_bounces = 16
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.resolution_percentage = 100
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.look = "AgX - Medium High Contrast"
    scene.view_settings.exposure = exposure
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGB"
    scene.render.filepath = str(path.resolve())
    bpy.ops.render.render(write_still=True)
