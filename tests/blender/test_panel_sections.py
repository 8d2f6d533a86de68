# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel's sections: in both places, for the faces that have them; disabled things say why."""

from collections.abc import Iterator
from pathlib import Path

import bpy
import pytest
from bpy.types import Object, Scene

import lpmm_blender
from lpmm_blender import runtime_operators
from lpmm_blender.add_face import add_face
from lpmm_blender.panels import SECTIONS
from lpmm_blender.rig import record_of
from lpmm_blender.runtime_session import RuntimeSession, RuntimeSettings


def section(name: str) -> type[bpy.types.Panel]:
    """Return a registered panel."""
    return getattr(bpy.types, name)


def test_every_section_is_in_the_sidebar_and_in_the_data_tab() -> None:
    for cls in SECTIONS:
        name = cls.__name__.removeprefix("LPMM_PT_")
        sidebar, tab = section(f"LPMM_PT_{name}"), section(f"LPMM_PT_data_{name}")
        assert (sidebar.bl_space_type, sidebar.bl_region_type, sidebar.bl_category) == ("VIEW_3D", "UI", "LPMM")
        assert (tab.bl_space_type, tab.bl_context) == ("PROPERTIES", "data")
        assert tab.bl_label == sidebar.bl_label
    assert "DEFAULT_CLOSED" in section("LPMM_PT_coefficients").bl_options
    assert "DEFAULT_CLOSED" in section("LPMM_PT_data_coefficients").bl_options


def test_sections_are_shown_for_the_groups_that_a_face_has(rig: Object) -> None:
    bpy.context.view_layer.objects.active = rig
    groups = set(record_of(rig).controls.values())
    for group in ("head", "eyes", "brows", "mouth"):
        assert section(f"LPMM_PT_{group}").poll(bpy.context) == (group in groups)


def test_the_data_tab_of_a_plane_stays_a_meshs(rig: Object) -> None:
    (plane,) = (child for child in rig.children if child.type == "MESH")
    bpy.context.view_layer.objects.active = rig
    assert section("LPMM_PT_data_head").poll(bpy.context)
    bpy.context.view_layer.objects.active = plane
    assert section("LPMM_PT_head").poll(bpy.context)
    assert not section("LPMM_PT_data_head").poll(bpy.context)


def test_a_damaged_face_has_no_sections(rig: Object) -> None:
    bpy.context.view_layer.objects.active = rig
    rig["lpmm"] = "nonsense"
    assert not section("LPMM_PT_head").poll(bpy.context)
    assert not section("LPMM_PT_coefficients").poll(bpy.context)


def test_the_log_is_one_click_away(runtime: RuntimeSession, rig: Object) -> None:
    assert bpy.ops.lpmm.show_log() == {"FINISHED"}
    text = bpy.data.texts[runtime_operators.LOG_NAME]
    assert text.as_string().strip()
    assert not text.use_fake_user


def test_a_missing_log_is_said(
    runtime: RuntimeSession, scene: Scene, settings: RuntimeSettings, tmp_path: Path
) -> None:
    runtime.configure(RuntimeSettings(bundle=settings.bundle, log=tmp_path / "never.log"))
    with pytest.raises(RuntimeError, match="not started yet"):
        bpy.ops.lpmm.show_log()


def test_every_button_and_slider_explains_itself(rig: Object) -> None:
    for name in dir(bpy.ops.lpmm):
        described = getattr(bpy.ops.lpmm, name).get_rna_type().description
        assert len(described.split()) > 3, name
    for name in record_of(rig).controls:
        assert rig.id_properties_ui(name).as_dict()["description"]


@pytest.mark.parametrize("face", [False, True], ids=["without a face", "with a face"])
def test_everything_that_is_disabled_says_why(scene: Scene, portrait: Path, face: bool) -> None:
    if face:
        add_face(scene, portrait)
    disabled = [name for name in dir(bpy.ops.lpmm) if not getattr(bpy.ops.lpmm, name).poll()]
    assert {"cancel_bake", "show_live", "check_bake"} <= set(disabled)
    for name in disabled:
        with pytest.raises(RuntimeError) as refused:
            getattr(bpy.ops.lpmm, name)()
        # What an operator without a reason gets: "…poll() failed, context is incorrect".
        assert "context is incorrect" not in str(refused.value), name


def test_preferences_reach_the_runtime(runtime: RuntimeSession, scene: Scene, tiny_bundle: Path) -> None:
    addon = bpy.context.preferences.addons.new()
    addon.module = lpmm_blender.__name__
    try:
        addon.preferences.bundle_folder = str(tiny_bundle)
        addon.preferences.device = "cpu"
        addon.preferences.threads = 3
        addon.preferences.portraits = 2
        addon.preferences.runtime_python = "/opt/other/python"
        chosen = runtime.settings
        assert (chosen.bundle, chosen.device, chosen.threads, chosen.characters) == (tiny_bundle, "cpu", 3, 2)
        assert chosen.python == Path("/opt/other/python")
        addon.preferences.threads = addon.preferences.portraits = 0
        assert runtime.settings.threads is None and runtime.settings.characters is None
    finally:
        bpy.context.preferences.addons.remove(addon)


@pytest.fixture
def without_addon() -> Iterator[None]:
    """The add-on switched off, and on again afterwards."""
    lpmm_blender.unregister()
    yield
    lpmm_blender.register()


def test_an_addon_that_is_switched_off_leaves_no_trace(without_addon: None) -> None:
    left = [name for name in dir(bpy.types) if name.startswith("LPMM_")]
    assert not left
    assert not [prop.identifier for prop in Object.bl_rna.properties if prop.identifier.startswith("lpmm")]
    assert "lpmm_show_handles" not in bpy.types.WindowManager.bl_rna.properties


def test_the_runtime_holds_as_many_portraits_as_it_is_told(
    runtime: RuntimeSession, settings: RuntimeSettings, scene: Scene, portrait: Path
) -> None:
    runtime.configure(RuntimeSettings(bundle=settings.bundle, device="cpu", threads=1, characters=1, log=settings.log))
    first = bpy.ops.lpmm.add_face(filepath=str(portrait))
    second = bpy.ops.lpmm.add_face(filepath=str(portrait), use_box=True, box=(110, 60, 190, 160))
    assert first == second == {"FINISHED"}
    for rig in [thing for thing in bpy.data.objects if thing.type == "EMPTY"] * 2:
        rig["jawOpen"] += 0.25
        rig.update_tag()
        bpy.context.view_layer.update()
    assert runtime.status.fault == ""
