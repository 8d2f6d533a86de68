# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of the tour in a window (tests/gui/tour.py), in a Blender without one: each is right in data and pixels.

One after the other in one process with the add-on installed from its zip; see `walk.py`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from reference import Reference, difference, read_png

from lpmm_blender.build import build_extension
from lpmm_runtime.presets import Preset

WALK = Path(__file__).with_name("walk.py")
LAST = 240
YAW_KEYS = {1: -30.0, 120: 40.0, LAST: -20.0}
POUT_KEYS = {60: 0.0, 100: 1.0, 140: 1.0, 180: 0.0}
POUT = Preset("Pout", {"jawOpen": 0.3}, {"p08": 1.5})


@pytest.fixture(scope="module")
def walked(tiny_bundle: Path, portrait: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a walk that came to its end, without an error in the console."""
    folder = tmp_path_factory.mktemp("walk")
    extension = build_extension(folder / "dist")
    (folder / "out").mkdir()
    result = subprocess.run(
        [sys.executable, "-P", WALK, extension, tiny_bundle, portrait, folder / "out"],
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
        env={**os.environ, "BLENDER_USER_RESOURCES": str(folder / "user"), "PYTHONPATH": ""},
    )
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    faults = [line for line in said.splitlines() if "Error" in line or "Traceback" in line]
    assert faults == []
    return folder / "out"


def shown(folder: Path, step: str, reference: Reference) -> dict[str, float]:
    """Check that the plane showed what the sliders said after a step, and return the sliders that are not at rest."""
    values = json.loads((folder / f"{step}.json").read_text())
    expected = reference.frame(values, presets={"Pout": POUT})
    assert difference(np.load(folder / f"{step}.npy"), expected) == 0, step
    return {name: value for name, value in values.items() if value != 0.0}


def values_at(frame: int) -> dict[str, float]:
    """Return what the two strips say."""
    yaw, pout = (float(np.interp(frame, list(keys), list(keys.values()))) for keys in (YAW_KEYS, POUT_KEYS))
    return {"headYaw": yaw, "Pout": pout}


def test_the_walk_ends_without_an_error_in_the_console(walked: Path) -> None:
    assert (walked / "reopened.npy").is_file()


def test_a_new_face_is_at_rest_and_a_slider_moves_it(walked: Path, reference: Reference) -> None:
    assert shown(walked, "added", reference) == {}
    assert shown(walked, "slid", reference) == {"headYaw": 20.0}


def test_every_played_frame_is_the_keys(walked: Path, reference: Reference) -> None:
    for frame in range(1, 25):
        assert shown(walked, f"played-{frame}", reference) == pytest.approx({"headYaw": values_at(frame)["headYaw"]})


def test_an_imported_preset_is_a_slider(walked: Path, reference: Reference) -> None:
    assert shown(walked, "preset", reference) == {"headYaw": 40.0, "Pout": 1.0}


def test_strips_play_together(walked: Path, reference: Reference) -> None:
    for frame in (30, 80, 120, 200):
        expected = {name: value for name, value in values_at(frame).items() if value}
        assert shown(walked, f"strips-{frame}", reference) == pytest.approx(expected), frame


def test_every_one_of_240_rendered_and_baked_frames_is_its_own(walked: Path, reference: Reference) -> None:
    baked = walked / "lpmm_bake" / "walk" / "Ada"
    assert sorted(path.name for path in baked.glob("*.png")) == sorted(p.name for p in (walked / "render").glob("*"))
    pictures = set()
    for frame in range(1, LAST + 1):
        expected = reference.frame(values_at(frame), presets={"Pout": POUT})
        assert difference(read_png(walked / "render" / f"{frame:04d}.png"), expected) <= 1, frame
        assert difference(read_png(baked / f"{frame:04d}.png"), expected) <= 1, frame
        pictures.add(expected.tobytes())
    assert len(pictures) > LAST // 2, "a frame that came too late would not be seen"


def test_a_reopened_file_goes_on_live(walked: Path, reference: Reference) -> None:
    assert shown(walked, "reopened", reference) == pytest.approx(values_at(130))
