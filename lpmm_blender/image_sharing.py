# SPDX-License-Identifier: GPL-3.0-or-later
"""Duplicated rigs: a copy still points to the other's image, so it gets one of its own."""

from bpy.types import Image, Object

from .plane import create_image, create_material, create_plane, give_planes_image, planes_of
from .rig import IMAGE, all_rigs


def separate_shared_images() -> list[Object]:
    """Give every rig an image of its own, and return the rigs that got a new one."""
    owners: dict[Image, list[Object]] = {}
    for rig in all_rigs():
        image = rig.get(IMAGE)
        if image is not None and rig.library is None and rig.override_library is None:
            owners.setdefault(image, []).append(rig)
    separated = []
    for image, rigs in owners.items():
        if len(rigs) == 1:
            continue
        # The one whose plane shows the image keeps it; among several the oldest.
        rigs.sort(key=lambda rig: (not planes_of(rig, image), rig.session_uid))
        for rig in rigs[1:]:
            _separate(rig, image)
            separated.append(rig)
    return separated


def _separate(rig: Object, shared: Image) -> None:
    width, height = shared.size
    own = create_image(rig.name, width, height)
    rig[IMAGE] = own
    if planes_of(rig, shared):
        give_planes_image(rig, shared, own)
        return
    # Only the Empty was duplicated: without a plane its face would be nowhere.
    side = 4.0 * rig.empty_display_size
    plane = create_plane(f"{rig.name} plane", create_material(rig.name, own, False), side * width / height, side)
    plane.location.z = 0.5 * side
    plane.parent = rig
    for collection in rig.users_collection:
        collection.objects.link(plane)
