# SPDX-License-Identifier: GPL-3.0-or-later
"""Duplicated rigs: a copy still points to the other's image, so it gets one of its own.

So does every library override of a linked face, whose image lies in the library and is no one's to change."""

import numpy as np
from bpy.types import Image, Object

from .plane import create_image, create_material, create_plane, give_planes_image, planes_of
from .rig import IMAGE, all_rigs, data_path, record_of
from .rig_record import RigRecordError


def separate_shared_images() -> list[Object]:
    """Give every rig an image of its own, and return the rigs that got a new one."""
    owners: dict[Image, list[Object]] = {}
    for rig in all_rigs():
        image = rig.get(IMAGE)
        if image is not None and rig.library is None:
            owners.setdefault(image, []).append(rig)
    separated = []
    for image, rigs in owners.items():
        if len(rigs) == 1 and image.library is None:
            continue
        # The one whose plane shows the image keeps it; among several the oldest. A linked image is for its own file.
        rigs.sort(key=lambda rig: (not planes_of(rig, image), rig.session_uid))
        for rig in rigs if image.library is not None else rigs[1:]:
            _separate(rig, image)
            separated.append(rig)
    return separated


def _separate(rig: Object, shared: Image) -> None:
    width, height = shared.size
    own = create_image(rig.name, width, height)
    # The same picture until its own frame comes, which may take as long as a runtime needs to start.
    pixels = np.empty(width * height * 4, np.float32)
    shared.pixels.foreach_get(pixels)
    own.pixels.foreach_set(pixels)
    rig[IMAGE] = own
    if rig.override_library is None:
        rig.property_overridable_library_set(data_path(IMAGE), True)
    if planes_of(rig, shared):
        give_planes_image(rig, shared, own)
        return
    # Only the Empty was duplicated: without a plane its face would be nowhere.
    cut_out, tall = _plane_settings(rig)
    plane = create_plane(f"{rig.name} plane", create_material(rig.name, own, cut_out), tall * width / height, tall)
    plane.location.z = 0.5 * tall
    plane.parent = rig
    for collection in rig.users_collection:
        collection.objects.link(plane)


def _plane_settings(rig: Object) -> tuple[bool, float]:
    """Return whether the head is cut out, and the plane's height in Blender units."""
    by_cross = 4.0 * rig.empty_display_size
    try:
        record = record_of(rig)
    except RigRecordError:
        return False, by_cross
    return record.cut_out, record.plane_height or by_cross
