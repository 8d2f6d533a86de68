# SPDX-License-Identifier: GPL-3.0-or-later
"""From a photo to a rig in the scene; when anything fails, the scene stays as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import bpy
from bpy.types import Collection, Object, Scene

from lpmm_runtime.bundle import Bundle
from lpmm_runtime.protocol import Base, Box, CharacterInfo, Frame, View

from . import frames, runtime_session
from .frame_request import FrameRequest
from .interface_lock import keep_lock
from .plane import (
    create_camera,
    create_image,
    create_material,
    create_plane,
    frame_with_camera,
    show_exact_colours,
    write_pixels,
)
from .preset_sliders import add_preset
from .rig import IMAGE, PHOTO, add_sliders, data_path, write_record
from .rig_record import RigRecord

_MADE_OF = ("collections", "objects", "meshes", "cameras", "materials", "images")


@dataclass(frozen=True)
class FaceOptions:
    """How a face is set up.

    Attributes:
        base: what the face is at rest: the PHOTO itself, or the paper's NEUTRAL, frontal face.
        view: the aligned "crop", or the "full" photo.
        size: the crop's side in pixels; None is the photo's own resolution.
        box: a face box (left, top, right, bottom) in photo pixels, when the face is not found by itself.
        plane_height: Blender units.
        cut_out: only the head stands on the plane, the background is transparent.
        camera: add an orthographic camera that renders the image pixel for pixel, and make it the scene's.
        exact_colours: switch the scene to the Standard view, so that the photo's colours stay as they are.
    """

    base: Base = "PHOTO"
    view: View = "crop"
    size: int | None = None
    box: Box | None = None
    plane_height: float = 2.0
    cut_out: bool = False
    camera: bool = False
    exact_colours: bool = True


def add_face(scene: Scene, photo: Path, options: FaceOptions | None = None) -> Object:
    """Make a rig of a photo, in one collection named after it, at the 3D cursor.

    Args:
        scene: where the collection is linked.
        photo: a picture file with a face.
        options: see `FaceOptions`.

    Returns:
        The rig object.

    Raises:
        LpmmError: if the photo, the bundle or the runtime is at fault; nothing is left in the scene.
    """
    options = options or FaceOptions()
    photo = Path(photo).absolute()
    session = runtime_session.session()
    bundle = session.bundle()
    request = FrameRequest(photo, options.box, options.base, options.view, options.size, {}, {}, ())
    frame = session.render(request)
    character = session.character(photo, options.box)
    with _nothing_on_failure():
        rig = _build(scene, photo, options, bundle, character, frame)
    frames.mark_shown(rig, frames.request_of(rig, bpy.context.evaluated_depsgraph_get()))
    return rig


def _build(
    scene: Scene, photo: Path, options: FaceOptions, bundle: Bundle, character: CharacterInfo, frame: Frame
) -> Object:
    name = photo.stem
    collection = cast(Collection, bpy.data.collections.new(name))
    scene.collection.children.link(collection)

    rig = cast(Object, bpy.data.objects.new(name, None))
    rig.empty_display_type = "PLAIN_AXES"
    rig.empty_display_size = 0.25 * options.plane_height
    rig.location = scene.cursor.location
    add_sliders(rig, bundle.rig.control_list, bundle.rig.component_names)
    write_record(
        rig,
        RigRecord(
            base=options.base,
            view=options.view,
            size=options.size,
            box=options.box,
            photo_size=character.photo_size,
            base_params=tuple(float(value) for value in character.params),
            components=bundle.rig.component_names,
            controls={control.name: control.group for control in bundle.rig.control_list},
            bundle_name=bundle.name,
            bundle_version=bundle.version,
            cut_out=options.cut_out,
            plane_height=options.plane_height,
        ),
    )
    for preset in bundle.presets.values():
        add_preset(rig, preset)

    height, width = frame.pixels.shape[:2]
    image = create_image(name, width, height)
    write_pixels(image, frame.pixels)
    rig[IMAGE] = image
    # So that every override of a linked face can have a picture of its own.
    rig.property_overridable_library_set(data_path(IMAGE), True)
    # A datablock rather than a path: Blender then remaps, packs and relinks the photo as it does any other.
    rig[PHOTO] = bpy.data.images.load(str(photo), check_existing=True)

    plane_height = options.plane_height
    plane_width = plane_height * width / height
    material = create_material(name, image, options.cut_out)
    plane = create_plane(f"{name} plane", material, plane_width, plane_height)
    parts = [plane]
    if options.camera:
        camera = create_camera(f"{name} camera", plane_width, plane_height)
        frame_with_camera(scene, camera, width, height)
        parts.append(camera)
    collection.objects.link(rig)
    for part in parts:
        # The face stands on its rig, so that the rig's cross does not lie over it.
        part.location.z = 0.5 * plane_height
        part.parent = rig
        collection.objects.link(part)
    if options.camera:
        # Its frame would be drawn across the face; hidden here, it still renders.
        for view_layer in scene.view_layers:
            camera.hide_set(True, view_layer=view_layer)
    if options.exact_colours:
        show_exact_colours(scene)
    keep_lock(scene)
    return rig


@contextmanager
def _nothing_on_failure() -> Iterator[None]:
    """Remove every datablock made inside, if what is inside fails."""
    before = {kind: set(getattr(bpy.data, kind)) for kind in _MADE_OF}
    try:
        yield
    except BaseException:
        made = [thing for kind in _MADE_OF for thing in set(getattr(bpy.data, kind)) - before[kind]]
        bpy.data.batch_remove(made)
        raise
