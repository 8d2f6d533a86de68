# SPDX-License-Identifier: GPL-3.0-or-later
"""A rig whose face is an imported LIA or LPD: from the published layouts' checkpoint to frames that Blender renders."""

import sys
from pathlib import Path

import bpy
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

pytest.importorskip("torch", reason="importing is a step of the training")

from importing import import_bundle, train_adaptor
from reference import Reference, difference, read_png, render_with_cycles, shown_by

from lpmm_blender.add_face import FaceOptions, add_face
from lpmm_blender.runtime_session import RuntimeSettings, session
from lpmm_runtime.bundle import DEFAULT_BUNDLE

PORTRAIT = DEFAULT_BUNDLE.parents[1] / "portraits" / "ada.jpg"

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(not (DEFAULT_BUNDLE / "bundle.json").is_file(), reason="borrows the default bundle's readers"),
]


@pytest.mark.parametrize("published", ["lia", "lpd-tuned"])
def test_a_rig_shows_and_renders_an_imported_talking_head(published, tmp_path: Path) -> None:
    bundle, checkpoint = import_bundle(published, tmp_path)
    train_adaptor(bundle, checkpoint, tmp_path, "--warm-up-steps", "60", "--steps", "1", "--batch", "1")
    session().configure(RuntimeSettings(bundle=bundle, device="cpu", threads=1, log=tmp_path / "runtime.log"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    rig = add_face(scene, PORTRAIT, FaceOptions(camera=True))
    reference = Reference(bundle, PORTRAIT)
    assert difference(shown_by(rig), reference.frame({})) == 0

    values = {1: 0.0, 2: 20.0}
    for frame, value in values.items():
        rig["headYaw"] = value
        rig.keyframe_insert('["headYaw"]', frame=frame)
    render_with_cycles(scene)
    scene.frame_start, scene.frame_end = 1, 2
    scene.render.filepath = f"{tmp_path}/####"
    bpy.ops.render.render(animation=True)
    truth = {frame: reference.frame({"headYaw": value}) for frame, value in values.items()}
    assert difference(truth[1], truth[2]) > 3, "the slider moves nothing"
    for frame, picture in truth.items():
        assert difference(read_png(tmp_path / f"{frame:04d}.png"), picture) <= 1
