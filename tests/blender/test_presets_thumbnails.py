# SPDX-License-Identifier: GPL-3.0-or-later
"""Thumbnails: the preset on this very portrait, made without waiting, once, and released.

The bpy module has no event loop, so these tests call what Blender's timer would.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np
import pytest
from bpy.types import ImagePreview, Object
from numpy.typing import NDArray

from lpmm_blender import preset_thumbnails
from lpmm_blender.frame_request import FrameRequest
from lpmm_blender.preset_sliders import add_preset
from lpmm_blender.preset_thumbnails import SIDE, show_arrived, thumbnail
from lpmm_blender.rig import record_of
from lpmm_blender.runtime_session import RuntimeSession
from lpmm_runtime.presets import Preset

OPEN = Preset("Open", {"jawOpen": 1.0})


@pytest.fixture(autouse=True)
def no_thumbnails_left() -> Iterator[None]:
    """Each test begins and ends without thumbnails."""
    preset_thumbnails.stop()
    yield
    preset_thumbnails.stop()


def wait_for(rig: Object, preset: Preset) -> ImagePreview:
    """Run the timer until a thumbnail is there."""
    deadline = time.monotonic() + 30.0
    while (preview := thumbnail(rig, preset)) is None:
        show_arrived()
        assert time.monotonic() < deadline, "no thumbnail came"
        time.sleep(0.005)
    return preview


def test_a_thumbnail_is_the_preset_at_full_weight_on_this_portrait(
    runtime: RuntimeSession, rig: Object, portrait: Path
) -> None:
    rig["headYaw"], rig["preset:Smile"] = 20.0, 0.3  # What the face shows just now is no part of it.
    for preset in (record_of(rig).presets["Smile"], OPEN):
        request = FrameRequest(portrait, None, "PHOTO", "crop", SIDE, {}, {}, ((preset, 1.0),))
        expected = runtime.render(request).pixels[..., :3]
        pixels = _pixels(wait_for(rig, preset))
        assert pixels.shape == (SIDE, SIDE, 4) and (pixels[..., 3] == 255).all()
        assert np.abs(pixels[..., :3].astype(int) - expected).max() == 0


def test_asking_never_waits_even_for_a_runtime_that_must_be_started(runtime: RuntimeSession, rig: Object) -> None:
    runtime.stop()
    assert thumbnail(rig, OPEN) is None
    assert wait_for(rig, OPEN) is not None
    assert runtime.running


def test_a_thumbnail_is_rendered_once(rig: Object) -> None:
    first = wait_for(rig, OPEN)
    assert thumbnail(rig, OPEN) == first
    assert thumbnail(rig, Preset("Other name", OPEN.controls)) == first
    assert show_arrived() is None, "nothing is under way"


def test_a_changed_preset_gets_a_new_thumbnail(rig: Object) -> None:
    before = _pixels(wait_for(rig, OPEN))
    add_preset(rig, Preset("Open", {"jawOpen": -1.0}))
    after = _pixels(wait_for(rig, record_of(rig).presets["Open"]))
    assert np.abs(before.astype(int) - after).max() > 4


def test_a_portrait_that_is_gone_leaves_presets_without_thumbnails(
    rig: Object, tmp_path: Path, runtime: RuntimeSession
) -> None:
    rig["lpmm_photo"].filepath = str(tmp_path / "gone.png")
    reports = runtime.reports
    assert thumbnail(rig, OPEN) is None
    deadline = time.monotonic() + 30.0
    while show_arrived() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert thumbnail(rig, OPEN) is None
    assert show_arrived() is None, "it is not asked for again at once"
    assert runtime.reports == reports
    del rig["lpmm_photo"]
    assert preset_thumbnails.icon_of(rig, OPEN) == 0


def test_stopping_releases_them_and_the_next_look_renders_anew(rig: Object) -> None:
    wait_for(rig, OPEN)
    preset_thumbnails.stop()
    assert not bpy.app.timers.is_registered(show_arrived)
    assert thumbnail(rig, OPEN) is None
    assert wait_for(rig, OPEN) is not None


def _pixels(preview: ImagePreview) -> NDArray[np.uint8]:
    width, height = preview.image_size
    flat = np.empty(width * height * 4, np.float32)
    preview.image_pixels_float.foreach_get(flat)
    return np.rint(flat.reshape(height, width, 4)[::-1] * 255).astype(np.uint8)
