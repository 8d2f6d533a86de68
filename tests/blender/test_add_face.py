# SPDX-License-Identifier: GPL-3.0-or-later
"""Add ▸ LPMM Face: what a photo becomes in the scene, and that a failure leaves no trace."""

import shutil
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest
from bpy.types import Object, Scene
from reference import Reference, difference, names_in_file, pixels_of, read_png, render_with_cycles, shown_by
from tiny_bundle import CONTROLS, K

from lpmm_blender import add_face as add_face_module
from lpmm_blender.add_face import FaceOptions, add_face
from lpmm_blender.plane import (
    create_camera,
    create_image,
    create_material,
    create_plane,
    frame_with_camera,
    show_exact_colours,
    write_pixels,
)
from lpmm_blender.rig import record_of
from lpmm_blender.runtime_session import RuntimeSession, RuntimeSettings
from lpmm_runtime.errors import LpmmError
from lpmm_runtime.protocol import RuntimeRequestError

PARAMS = [f"p{number:02d}" for number in range(1, K + 1)]


def test_every_control_param_and_preset_is_a_slider_at_rest(rig: Object) -> None:
    for name in ("headYaw", "headPitch", "headRoll", *CONTROLS, *PARAMS, "preset:Smile"):
        ui = rig.id_properties_ui(name).as_dict()
        assert rig[name] == 0.0 and ui["default"] == 0.0
        assert ui["description"]
        assert ui["min"] < ui["soft_min"] < ui["soft_max"] < ui["max"]
        assert rig.is_property_overridable_library(f'["{name}"]')


def test_soft_limits_are_the_natural_range(rig: Object) -> None:
    def soft(name: str) -> tuple[float, float]:
        ui = rig.id_properties_ui(name).as_dict()
        return ui["soft_min"], ui["soft_max"]

    assert soft("headYaw") == (-45, 45)
    assert soft("jawOpen") == (0, 1)
    assert soft("p03") == (-3, 3)
    assert soft("preset:Smile") == (0, 1)


def test_a_face_stands_in_one_collection_named_after_its_photo(scene: Scene, rig: Object) -> None:
    (collection,) = scene.collection.children
    assert collection.name == "Ada"
    assert sorted(thing.type for thing in collection.objects) == ["CAMERA", "EMPTY", "MESH"]
    assert {thing.parent for thing in collection.objects} == {None, rig}


def test_at_rest_the_image_is_the_photo_around_the_face(rig: Object, reference: Reference) -> None:
    assert difference(shown_by(rig), reference.frame({})) == 0


def test_the_full_view_has_the_photos_size_and_the_plane_its_aspect(scene: Scene, portrait: Path) -> None:
    rig = add_face(scene, portrait, FaceOptions(view="full", plane_height=3.0))
    (plane,) = rig.children
    bpy.context.view_layer.update()
    assert tuple(rig["lpmm_image"].size) == (320, 240)
    assert tuple(plane.dimensions) == pytest.approx((4.0, 0.0, 3.0))
    photo = bpy.data.images.load(str(portrait))
    assert difference(shown_by(rig), pixels_of(photo)) == 0


def test_the_neutral_base_is_another_face_than_the_photo(scene: Scene, portrait: Path, reference: Reference) -> None:
    rig = add_face(scene, portrait, FaceOptions(base="NEUTRAL"))
    assert difference(shown_by(rig), reference.frame({}, base="NEUTRAL")) == 0
    assert difference(shown_by(rig), reference.frame({})) > 8


def test_its_camera_renders_the_image_pixel_for_pixel(scene: Scene, rig: Object, tmp_path: Path) -> None:
    render_with_cycles(scene)
    scene.render.filepath = str(tmp_path / "still.png")
    bpy.ops.render.render(write_still=True)
    assert difference(read_png(tmp_path / "still.png"), shown_by(rig)) == 0


def test_cut_out_makes_the_background_transparent(scene: Scene, tmp_path: Path) -> None:
    pixels = np.full((32, 32, 4), 200, np.uint8)
    pixels[:16, :, 3], pixels[16:, :, 3] = 0, 255
    image = create_image("half", 32, 32)
    write_pixels(image, pixels)
    plane = create_plane("half", create_material("half", image, cut_out=True), 1.0, 1.0)
    camera = create_camera("camera", 1.0, 1.0)
    for thing in (plane, camera):
        scene.collection.objects.link(thing)
    frame_with_camera(scene, camera, 32, 32)
    show_exact_colours(scene)
    render_with_cycles(scene)
    scene.render.film_transparent = True
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.filepath = str(tmp_path / "still.png")
    bpy.ops.render.render(write_still=True)
    alpha = read_png(tmp_path / "still.png")[..., 3]
    assert (alpha[:16] == 0).all() and (alpha[16:] == 255).all()


def test_the_interface_is_locked_before_any_render(scene: Scene, rig: Object) -> None:
    assert scene.render.use_lock_interface


def test_operator_and_function_give_the_same_scene(scene: Scene, portrait: Path) -> None:
    add_face(scene, portrait, FaceOptions())
    by_function = names_in_file()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    assert bpy.ops.lpmm.add_face(filepath=str(portrait)) == {"FINISHED"}
    assert names_in_file() == by_function
    assert bpy.context.active_object.name == "Ada"


def test_a_face_box_can_be_given_by_hand(scene: Scene, portrait: Path) -> None:
    assert bpy.ops.lpmm.add_face(filepath=str(portrait), use_box=True, box=(100, 60, 200, 160)) == {"FINISHED"}
    by_hand = bpy.context.active_object
    assert record_of(by_hand).box == (100, 60, 200, 160)
    with pytest.raises(RuntimeError, match="box"):
        bpy.ops.lpmm.add_face(filepath=str(portrait), use_box=True, box=(900, 60, 950, 160))


@pytest.mark.parametrize("fault", ["missing", "not an image", "no face"])
def test_a_bad_photo_leaves_the_scene_untouched(scene: Scene, tmp_path: Path, fault: str) -> None:
    photo = tmp_path / "bad.png"
    if fault == "not an image":
        photo.write_text("no pixels here")
    elif fault == "no face":
        grey = bpy.data.images.new("grey", 200, 200)
        grey.filepath_raw, grey.file_format = str(photo), "PNG"
        grey.save()
        bpy.data.images.remove(grey)
    before = names_in_file()
    with pytest.raises(RuntimeRequestError, match=r"bad\.png") as raised:
        add_face(scene, photo, FaceOptions())
    assert "\n" not in str(raised.value)
    assert names_in_file() == before


def test_the_operator_reports_a_bad_photo_in_one_line(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"nobody\.png") as raised:
        bpy.ops.lpmm.add_face(filepath=str(tmp_path / "nobody.png"))
    assert len(str(raised.value).strip().splitlines()) == 1


def test_a_damaged_bundle_is_named_and_leaves_the_scene_untouched(
    runtime: RuntimeSession, settings: RuntimeSettings, scene: Scene, portrait: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(tiny_bundle, damaged)
    with (damaged / "generator.onnx").open("ab") as stream:
        stream.write(b"x")
    runtime.configure(replace(settings, bundle=damaged))
    before = names_in_file()
    with pytest.raises(LpmmError, match=r"generator\.onnx: damaged"):
        add_face(scene, portrait, FaceOptions())
    assert names_in_file() == before


def test_a_failure_halfway_leaves_the_scene_untouched(
    scene: Scene, portrait: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(add_face_module, "create_plane", fail)
    before = names_in_file()
    with pytest.raises(MemoryError):
        add_face(scene, portrait, FaceOptions(camera=True))
    assert names_in_file() == before
