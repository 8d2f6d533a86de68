# SPDX-License-Identifier: GPL-3.0-or-later
"""The shipped presets: enough of them, fit for the shipped bundle, and written into a bundle that stays whole."""

import shutil
from pathlib import Path

import pytest

from lpmm_runtime.bundle import DEFAULT_BUNDLE, load_bundle
from lpmm_runtime.errors import PresetError
from lpmm_runtime.presets import Preset, save_preset
from training.__main__ import main
from training.presets import EXPRESSIONS, GAZES, VISEMES, shipped_presets, write_presets


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of the shipped bundle."""
    if not DEFAULT_BUNDLE.is_dir():
        pytest.skip("no bundle is shipped here")
    return Path(shutil.copytree(DEFAULT_BUNDLE, tmp_path / "bundle"))


def test_the_shipped_bundle_has_the_expressions_and_visemes_with_a_word_on_each() -> None:
    assert len(EXPRESSIONS) >= 12 and len(VISEMES) == 15
    assert all(preset.description and preset.controls for preset in (*EXPRESSIONS, *VISEMES, *GAZES))
    shipped = load_bundle()
    assert dict(shipped.presets) == {preset.name: preset for preset in shipped_presets(shipped.rig.control_names)}


def test_only_a_bundle_that_can_turn_the_eyes_gets_gazes(tmp_path: Path) -> None:
    names = {name for preset in (*EXPRESSIONS, *VISEMES) for name in preset.controls}
    gaze = {name for preset in GAZES for name in preset.controls}
    assert len(gaze) == 8 and not gaze & names
    for known, count in ((names, 32), (names | gaze, 36)):
        write_presets(tmp_path, known, 40)
        files = {path.stem for path in (tmp_path / "presets").iterdir()}
        assert len(files) == count
        assert ("look-left" in files) == (count == 36)


def test_the_step_replaces_a_bundles_presets_and_leaves_it_whole(bundle: Path) -> None:
    (bundle / "presets" / "smile.json").unlink()
    save_preset(Preset("Old", {"jawOpen": 1.0}), bundle / "presets" / "old.json")
    before = load_bundle(DEFAULT_BUNDLE).manifest
    assert main(["presets", str(bundle)]) == 1, "a bundle that lacks a listed file is not written over"
    shutil.copy(DEFAULT_BUNDLE / "presets" / "smile.json", bundle / "presets")
    assert main(["presets", str(bundle)]) == 0
    after = load_bundle(bundle)
    assert set(after.presets) == {preset.name for preset in shipped_presets(after.rig.control_names)}
    assert after.manifest == before and after.unlisted_files == ()


def test_a_damaged_bundle_is_refused_with_the_file_named(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (bundle / "generator.onnx").open("ab") as stream:
        stream.write(b"x")
    manifest = (bundle / "bundle.json").read_text()
    assert main(["presets", str(bundle)]) == 1
    assert "generator.onnx" in capsys.readouterr().err
    assert (bundle / "bundle.json").read_text() == manifest


def test_presets_that_do_not_fit_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(PresetError, match="mouthSmileLeft"):
        write_presets(tmp_path, ["jawOpen"], 8)
    assert list(tmp_path.iterdir()) == []
