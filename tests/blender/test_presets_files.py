# SPDX-License-Identifier: GPL-3.0-or-later
"""Presets in and out of files: many at once, clashes, duplicates, bad files among good ones, the library."""

import json
from pathlib import Path

import bpy
import pytest
from bpy.types import Object
from reference import Reference, change_slider, difference, shown_by

from lpmm_blender.preset_files import export_presets, import_presets
from lpmm_blender.preset_sliders import add_preset, remove_preset
from lpmm_blender.rig import record_of
from lpmm_runtime.errors import PresetError
from lpmm_runtime.presets import Preset, load_preset

SMILE = Preset("Smile", {"jawOpen": 0.5}, {"p07": 1.5})
"""The tiny bundle's own, which every rig has."""


@pytest.fixture
def active(rig: Object) -> Object:
    """A rig that the operators work on."""
    bpy.context.view_layer.objects.active = rig
    return rig


def test_a_folder_is_imported_with_what_lies_below_it(active: Object, tmp_path: Path) -> None:
    write(tmp_path / "b.json", Preset("B", {"jawOpen": 0.2}))
    write(tmp_path / "deeper" / "c.json", Preset("C", {}, {"p01": 1.0}))
    (tmp_path / "notes.txt").write_text("not for import")
    assert bpy.ops.lpmm.import_preset(filepath=str(tmp_path)) == {"FINISHED"}
    assert list(record_of(active).presets) == ["Smile", "B", "C"]
    assert active["preset:C"] == 0.0


def test_chosen_files_are_imported_together(active: Object, tmp_path: Path) -> None:
    for name in ("A", "B", "C"):
        write(tmp_path / f"{name}.json", Preset(name, {"jawOpen": 0.2}))
    files = [{"name": "A.json"}, {"name": "C.json"}]
    assert bpy.ops.lpmm.import_preset(directory=str(tmp_path), files=files) == {"FINISHED"}
    assert list(record_of(active).presets) == ["Smile", "A", "C"]


def test_a_bad_file_among_good_ones_is_named_and_stops_nothing(active: Object, tmp_path: Path) -> None:
    write(tmp_path / "1.json", Preset("One", {"jawOpen": 0.1}))
    (tmp_path / "2.json").write_text("{")
    write(tmp_path / "3.json", Preset("Three", {"tailWag": 0.1}))
    write(tmp_path / "4.json", Preset("x" * 60, {"jawOpen": 0.1}))
    write(tmp_path / "5.json", Preset("Five", {"jawOpen": 0.5}))
    report = import_presets(active, [tmp_path, tmp_path / "gone.json"])
    assert report.added == ["One", "Five"]
    assert [fault.partition(":")[0].rpartition("/")[2] for fault in report.faults] == [
        "2.json",
        "3.json",
        "4.json",
        "gone.json",
    ]
    assert "not JSON" in report.faults[0] and "tailWag" in report.faults[1]
    assert all("\n" not in fault for fault in report.faults)


def test_only_bad_files_are_an_error_and_change_nothing(active: Object, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("[]")
    before = dict(active.items())
    with pytest.raises(RuntimeError, match=r"bad\.json: not a preset"):
        bpy.ops.lpmm.import_preset(filepath=str(tmp_path / "bad.json"))
    with pytest.raises(RuntimeError, match="no JSON file in this folder"):
        (tmp_path / "empty").mkdir()
        bpy.ops.lpmm.import_preset(filepath=str(tmp_path / "empty"))
    assert dict(active.items()) == before


def test_a_clash_gets_a_number_and_both_work(active: Object, tmp_path: Path, reference: Reference) -> None:
    path = write(tmp_path / "smile.json", Preset("Smile", {"jawOpen": 1.0}))
    report = import_presets(active, [path])
    assert report.added == ["Smile.001"] and report.renamed == {"Smile": "Smile.001"}
    assert record_of(active).presets["Smile"] == SMILE
    change_slider(active, "preset:Smile.001", 0.6)
    assert difference(shown_by(active), reference.frame({"jawOpen": 0.6})) <= 1
    assert import_presets(active, [path]).skipped == ["Smile"], "the same file again is known under its number"


def test_a_clash_can_replace_and_keeps_the_weight(active: Object, tmp_path: Path, reference: Reference) -> None:
    change_slider(active, "preset:Smile", 0.5)
    path = write(tmp_path / "smile.json", Preset("Smile", {"jawOpen": 1.0}))
    assert bpy.ops.lpmm.import_preset(filepath=str(path), on_clash="REPLACE") == {"FINISHED"}
    bpy.context.view_layer.update()
    assert list(record_of(active).presets) == ["Smile"]
    assert difference(shown_by(active), reference.frame({"jawOpen": 0.5})) <= 1


def test_what_is_there_already_is_skipped_and_told(active: Object, tmp_path: Path) -> None:
    path = write(tmp_path / "smile.json", SMILE)
    report = import_presets(active, [path, path])
    assert report.skipped == ["Smile", "Smile"] and not report.changed
    assert "there already (Smile, Smile)" in report.summary()
    assert bpy.ops.lpmm.import_preset(filepath=str(path)) == {"CANCELLED"}


def test_exported_presets_come_back_as_they_were(active: Object, tmp_path: Path) -> None:
    add_preset(active, Preset("Über/mut?", {"headYaw": 3.25}, {"p02": -0.125}, "A note."))
    add_preset(active, Preset("über-mut-", {"headYaw": 1.0}))
    presets = dict(record_of(active).presets)
    assert bpy.ops.lpmm.export_presets(directory=str(tmp_path / "out"), which="ALL") == {"FINISHED"}
    files = sorted((tmp_path / "out").iterdir())
    assert len(files) == 3
    assert {preset.name: preset for preset in map(load_preset, files)} == presets
    for name in presets:
        remove_preset(active, name)
    import_presets(active, [tmp_path / "out"])
    assert dict(record_of(active).presets) == presets


def test_an_export_never_overwrites_another_preset_unasked(active: Object, tmp_path: Path) -> None:
    foreign = write(tmp_path / "Smile.json", Preset("Smile", {"jawOpen": 1.0}))
    kept = foreign.read_text()
    (written,) = export_presets(active, ["Smile"], tmp_path)
    assert written.name == "Smile-001.json" and foreign.read_text() == kept
    assert export_presets(active, ["Smile"], tmp_path) == [written], "the same preset needs no second file"
    assert export_presets(active, ["Smile"], tmp_path, overwrite=True) == [foreign]
    assert load_preset(foreign) == SMILE


def test_an_export_that_cannot_be_written_says_where(active: Object, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PresetError, match=r"file.*cannot be made"):
        export_presets(active, ["Smile"], tmp_path / "file")


def test_the_librarys_presets_can_be_added_again(active: Object) -> None:
    remove_preset(active, "Smile")
    assert bpy.ops.lpmm.add_library_presets(preset="Smile") == {"FINISHED"}
    assert record_of(active).presets["Smile"] == SMILE
    assert bpy.ops.lpmm.add_library_presets() == {"CANCELLED"}, "all are there already"
    with pytest.raises(RuntimeError, match="no preset named 'Gone'"):
        bpy.ops.lpmm.add_library_presets(preset="Gone")


def write(path: Path, preset: Preset) -> Path:
    """Write a preset file, whether it fits a bundle or not."""
    path.parent.mkdir(exist_ok=True)
    fields = {"name": preset.name, "controls": dict(preset.controls), "params": dict(preset.params)}
    path.write_text(json.dumps({"format": "lpmm-preset", "format_version": 1, **fields}), encoding="utf-8")
    return path
