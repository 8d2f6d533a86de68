# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluated sliders at any frame, with the animator's scene left where it is.

A throw-away copy of the scene that holds the rigs alone is moved through the frames. Its evaluation pulls in
whatever the sliders depend on (actions, NLA, drivers and their targets), writes nothing back, and keeps the values
that the animator has changed and not keyed. Only what hangs on a property of the scene itself is not evaluated
there (measured on 4.2, 4.5 and 5.0); then the scene is moved, and put back.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import cast

import bpy
from bpy.types import Depsgraph, Object, Scene

from . import handlers
from .rig import rigs_of, slider_names


@contextmanager
def sampling(scene: Scene, rigs: Sequence[Object]) -> Iterator[Scene]:
    """Give the scene that `depsgraph_at` evaluates, and clear up afterwards.

    Time remapping is off in it: a frame is a moment of the animation.

    Args:
        scene: the scene that the rigs are shown in.
        rigs: whose sliders will be read.
    """
    with ExitStack() as stack:
        stack.enter_context(handlers.paused())
        alone = stack.enter_context(_scene_of_rigs(scene, rigs))
        if _hangs_on(scene, alone):
            stack.enter_context(_scene_put_back(scene))
            alone = scene
        alone.render.frame_map_old = alone.render.frame_map_new = 100
        yield alone


def depsgraph_at(sampler: Scene, frame: int) -> Depsgraph:
    """Return the evaluated frame; it holds until the next call."""
    sampler.frame_set(frame)
    return sampler.view_layers[0].depsgraph


@contextmanager
def _scene_of_rigs(scene: Scene, rigs: Sequence[Object]) -> Iterator[Scene]:
    # A copy, because a driver may ask for a property of "the active scene".
    alone = cast(Scene, scene.copy())
    anchors: list[Object] = []
    try:
        while len(alone.view_layers) > 1:
            alone.view_layers.remove(alone.view_layers[-1])
        for child in list(alone.collection.children):
            alone.collection.children.unlink(child)
        for thing in list(alone.collection.objects):
            alone.collection.objects.unlink(thing)
        for rig in rigs:
            alone.collection.objects.link(rig)
            # A hidden rig is evaluated only if something visible depends on it.
            anchor = cast(Object, bpy.data.objects.new("LPMM sampling", None))
            anchors.append(anchor)
            anchor.parent = rig
            alone.collection.objects.link(anchor)
        yield alone
    finally:
        bpy.data.scenes.remove(alone)
        for anchor in anchors:
            bpy.data.objects.remove(anchor)


def _hangs_on(scene: Scene, alone: Scene) -> bool:
    """Whether what is evaluated in `alone` reads the scene itself."""
    depsgraph_at(alone, alone.frame_current)
    return any(isinstance(thing, Scene) and thing.original == scene for thing in alone.view_layers[0].depsgraph.ids)


@contextmanager
def _scene_put_back(scene: Scene) -> Iterator[None]:
    """Let the scene be moved inside, and put back its frame and the unkeyed values of its faces."""
    render = scene.render
    moment = (scene.frame_current, scene.frame_subframe, render.frame_map_old, render.frame_map_new)
    values = {(rig, name): rig[name] for rig in rigs_of(scene) for name in slider_names(rig)}
    try:
        yield
    finally:
        frame, subframe, render.frame_map_old, render.frame_map_new = moment
        scene.frame_set(frame, subframe=subframe)
        for (rig, name), value in values.items():
            if rig[name] != value:
                rig[name] = value
                rig.update_tag()
