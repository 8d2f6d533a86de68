# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a user does, in whatever order, every face shows what its sliders say and the runtime holds no more.

LPMM_RANDOM_STEPS sets how many steps are walked.
"""

import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import bpy
from bpy.types import FCurve, Object
from reference import Reference, change_slider, difference, shown_by

from lpmm_blender import frames
from lpmm_blender.add_face import FaceOptions, add_face
from lpmm_blender.plane import planes_of
from lpmm_blender.rig import all_rigs, data_path, rigs_of, slider_names
from lpmm_blender.runtime_session import RuntimeSession

STEPS = int(os.environ.get("LPMM_RANDOM_STEPS", "2000"))
MOST_FACES = 3
LONGEST_HISTORY = 20

Values = dict[str, dict[str, float]]


@dataclass
class Walk:
    """A user of one scene.

    Attributes:
        history: what the sliders without animation were at every undo step.
        place: where in the history the scene is.
        saved: what they were when the file was saved; None before.
        done: how often each step was taken.
    """

    chance: random.Random
    blend: Path
    history: list[Values] = field(default_factory=list)
    place: int = -1
    saved: Values | None = None
    done: Counter[str] = field(default_factory=Counter)

    def remember(self) -> None:
        """Add an undo step, as Blender does after every operator."""
        bpy.ops.ed.undo_push(message=f"step {self.done.total()}")
        self.history = [*self.history[: self.place + 1], still_values()][-LONGEST_HISTORY:]
        self.place = len(self.history) - 1

    def face(self) -> Object:
        """Return any face."""
        return self.chance.choice(sorted(all_rigs(), key=lambda rig: rig.name))

    def slider(self, rig: Object) -> str:
        """Return any slider of a face."""
        return self.chance.choice(list(slider_names(rig)))

    def set(self) -> None:
        rig = self.face()
        name = self.slider(rig)
        reach = 30.0 if name.startswith("head") else 1.0
        change_slider(rig, name, round(self.chance.uniform(-reach, reach), 3))
        self.remember()

    def key(self) -> None:
        rig = self.face()
        rig.keyframe_insert(data_path(self.slider(rig)), frame=bpy.context.scene.frame_current)
        bpy.context.view_layer.update()
        self.remember()

    def jump(self) -> None:
        bpy.context.scene.frame_set(self.chance.randint(1, 20))
        self.remember()

    def mute(self) -> None:
        rig = self.face()
        curves = curves_of(rig)
        if curves:
            curve = self.chance.choice(curves)
            curve.mute = not curve.mute
            bpy.context.scene.frame_set(bpy.context.scene.frame_current)
            self.remember()

    def undo(self) -> None:
        if self.place > 0:
            bpy.ops.ed.undo()
            self.place -= 1
            assert_same(self.history[self.place], still_values())

    def redo(self) -> None:
        if self.place < len(self.history) - 1:
            bpy.ops.ed.redo()
            self.place += 1
            assert_same(self.history[self.place], still_values())

    def duplicate(self) -> None:
        if len(all_rigs()) < MOST_FACES:
            rig = self.face()
            for thing in bpy.data.objects:
                thing.select_set(thing == rig or thing.parent == rig)
            bpy.ops.object.duplicate(linked=self.chance.random() < 0.3)
            bpy.context.view_layer.update()
            self.remember()

    def delete(self) -> None:
        if len(all_rigs()) > 1:
            rig = self.face()
            for thing in bpy.data.objects:
                thing.select_set(thing == rig or thing.parent == rig)
            bpy.ops.object.delete()
            bpy.context.view_layer.update()
            self.remember()

    def save(self) -> None:
        bpy.ops.wm.save_as_mainfile(filepath=str(self.blend), copy=True)
        self.saved = still_values()

    def reload(self) -> None:
        if self.saved is not None:
            bpy.ops.wm.open_mainfile(filepath=str(self.blend))
            assert_same(self.saved, still_values())
            # A value that was set against its keys is the keys' again. A window asks for the frame at once; without
            # one nobody looks before the next frame change.
            bpy.context.scene.frame_set(bpy.context.scene.frame_current)
            self.history, self.place = [], -1
            self.remember()


STEP_WEIGHTS: dict[Callable[[Walk], None], int] = {
    Walk.set: 30,
    Walk.key: 15,
    Walk.jump: 15,
    Walk.undo: 14,
    Walk.redo: 9,
    Walk.mute: 5,
    Walk.duplicate: 5,
    Walk.delete: 4,
    Walk.save: 2,
    Walk.reload: 1,
}


def curves_of(rig: Object) -> list[FCurve]:
    """Return the F-curves of the rig's action."""
    if rig.animation_data is None or rig.animation_data.action is None:
        return []
    action = rig.animation_data.action
    if hasattr(action, "fcurves"):
        return list(action.fcurves)
    bag = action.layers[0].strips[0].channelbag(rig.animation_data.action_slot)
    return [] if bag is None else list(bag.fcurves)


def still_values() -> Values:
    """Return the sliders of every face that have no animation: Blender evaluates the others when it likes to."""
    values: Values = {}
    for rig in all_rigs():
        moving = {curve.data_path for curve in curves_of(rig)}
        values[rig.name] = {name: float(rig[name]) for name in slider_names(rig) if data_path(name) not in moving}
    return values


def assert_same(expected: Values, found: Values) -> None:
    assert found == expected


def assert_agreement(runtime: RuntimeSession, reference: Reference) -> None:
    """Check that every face shows what its evaluated sliders say, on its own plane, and that nothing else is kept."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    rigs = rigs_of(bpy.context.scene)
    assert rigs and len({rig["lpmm_image"] for rig in rigs}) == len(rigs)
    for rig in rigs:
        evaluated = rig.evaluated_get(depsgraph)
        channels = {name.removeprefix("preset:"): float(evaluated[name]) for name in slider_names(rig)}
        assert difference(shown_by(rig), reference.frame(channels)) == 0, rig.name
        assert len(planes_of(rig, rig["lpmm_image"])) == 1
    assert len(runtime.photos) <= 1
    assert set(frames._shown) <= {rig.session_uid for rig in all_rigs()}


def test_random_steps_leave_scene_and_runtime_in_agreement(
    runtime: RuntimeSession, portrait: Path, reference: Reference, tmp_path: Path
) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    add_face(bpy.context.scene, portrait, FaceOptions())
    walk = Walk(random.Random(20), tmp_path / "walk.blend")
    walk.remember()
    steps, weights = list(STEP_WEIGHTS), list(STEP_WEIGHTS.values())
    reports = runtime.reports
    for number in range(STEPS):
        (step,) = walk.chance.choices(steps, weights)
        walk.done[step.__name__] += 1
        try:
            step(walk)
            assert_agreement(runtime, reference)
        except AssertionError as fault:
            raise AssertionError(f"step {number}, {step.__name__}: {fault}") from fault
    assert runtime.reports == reports
    print(dict(walk.done))
