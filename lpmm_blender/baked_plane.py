# SPDX-License-Identifier: GPL-3.0-or-later
"""The plane of a baked face: an ordinary image sequence in place of the live image, and back.

Both image nodes stay in the material and only the links change hands, so that the other one is a click away and
the sequence renders where there is neither add-on nor runtime.
"""

from pathlib import Path

import bpy
from bpy.types import Image, NodeTree, Object, ShaderNodeTexImage

from .bake_manifest import BakeError
from .plane import planes_of, texture_nodes
from .rig import IMAGE, all_rigs

BAKE = "lpmm_bake"
"""The rig's property that points to the image sequence."""

BAKED = "lpmm_baked"
"""The rig's property that is true while its planes show the sequence."""

NODE_NAME = "LPMM bake"


def shows_bake(rig: Object) -> bool:
    """Whether the rig's planes show its baked frames, so that it needs no runtime."""
    return bool(rig.get(BAKED)) and rig.get(BAKE) is not None


def baked_folder(rig: Object) -> Path | None:
    """Return where the frames lie that the rig's image sequence shows, or None if it was never baked."""
    image = rig.get(BAKE)
    if image is None:
        return None
    return Path(bpy.path.abspath(image.filepath, library=image.library)).parent


def show_bake(rig: Object, first_file: str, start: int, end: int) -> None:
    """Let the rig's planes show baked frames; before the first and after the last one these stand still.

    Args:
        first_file: the path of frame `start`'s file, "//…" for one relative to the .blend.
        start, end: the first and the last frame; a file's number is its frame.

    Raises:
        BakeError: if a plane's material cannot be edited, because it is linked.
    """
    nodes = _live_nodes(rig)
    image = _sequence_of(rig, first_file, start, end)
    for tree, live in nodes:
        bake = tree.nodes.get(NODE_NAME) or _new_bake_node(tree, live)
        bake.image = image
        user = bake.image_user
        # Blender holds the last file after the range, but before it shows number `frame_offset`: so that is the first.
        user.frame_start, user.frame_offset = start + 1, start
        user.frame_duration = max(1, end - start)
        user.use_auto_refresh = True
        user.use_cyclic = False
        _hand_over(tree, live, bake)
    rig[BAKED] = True
    _tag(rig)


def show_bake_again(rig: Object) -> None:
    """Let the planes show the frames that `show_bake` gave them before.

    Raises:
        BakeError: if there are none, or the material is linked.
    """
    if rig.get(BAKE) is None:
        raise BakeError(f"{rig.name}: was not baked yet")
    for tree, live in _live_nodes(rig):
        bake = tree.nodes.get(NODE_NAME)
        if bake is None:
            raise BakeError(f"{rig.name}: its material has lost the baked image; bake again")
        _hand_over(tree, live, bake)
    rig[BAKED] = True
    _tag(rig)


def show_live(rig: Object) -> None:
    """Let the rig's planes show the live image again.

    Raises:
        BakeError: if a plane's material is linked.
    """
    for tree, live in _live_nodes(rig):
        bake = tree.nodes.get(NODE_NAME)
        if bake is not None:
            _hand_over(tree, bake, live)
    rig[BAKED] = False
    _tag(rig)


def _sequence_of(rig: Object, first_file: str, start: int, end: int) -> Image:
    image = rig.get(BAKE)
    if image is not None and any(other != rig and other.get(BAKE) == image for other in all_rigs()):
        image = None  # The rig is a duplicate: what it shared so far must not change.
    if image is None:
        image = bpy.data.images.load(bpy.path.abspath(first_file))
        image.name = f"{rig.name} bake"
        image.colorspace_settings.name = "sRGB"
        image.alpha_mode = "CHANNEL_PACKED"
        rig[BAKE] = image
    image.source = "SEQUENCE" if end > start else "FILE"
    image.filepath = first_file
    # Else frames baked anew would be shown as they were.
    image.reload()
    return image


def _live_nodes(rig: Object) -> list[tuple[NodeTree, ShaderNodeTexImage]]:
    """Return the nodes that show the rig's live image, or would if they were linked."""
    if rig.library is not None:
        raise BakeError(f"{rig.name}: is linked; show its bake in {rig.library.name}")
    image = rig.get(IMAGE)
    if image is None:
        raise BakeError(f"{rig.name}: its image was deleted; add the face again")
    found = [node for plane in planes_of(rig, image) for node in texture_nodes(plane, image)]
    nodes = {(node.id_data.as_pointer(), node.name): node for node in found}
    for node in nodes.values():
        if node.id_data.library is not None:
            raise BakeError(f"{rig.name}: its material is linked; show its bake in {node.id_data.library.name}")
    return [(node.id_data, node) for node in nodes.values()]


def _new_bake_node(tree: NodeTree, live: ShaderNodeTexImage) -> ShaderNodeTexImage:
    bake = tree.nodes.new("ShaderNodeTexImage")
    bake.name = bake.label = NODE_NAME
    bake.extension, bake.interpolation = live.extension, live.interpolation
    bake.projection = live.projection
    bake.location = (live.location.x, live.location.y - 300)
    return bake


def _hand_over(tree: NodeTree, giver: ShaderNodeTexImage, taker: ShaderNodeTexImage) -> None:
    """Link everything that hangs on one image node to the other."""
    for socket in giver.inputs:
        for link in list(socket.links):
            tree.links.new(link.from_socket, taker.inputs[socket.name])
    for socket in giver.outputs:
        for link in list(socket.links):
            tree.links.new(taker.outputs[socket.name], link.to_socket)
    # Workbench and the Solid viewport show the active image node.
    tree.nodes.active = taker


def _tag(rig: Object) -> None:
    rig.update_tag()
    for plane in planes_of(rig, rig[IMAGE]):
        plane.update_tag()
