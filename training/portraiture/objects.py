# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays into Blender objects: meshes and hair curves, linked to the scene."""

import bpy
import numpy as np
from numpy.typing import NDArray

# Strands thin out to this share of their radius.
_TIP = 0.35


def add_mesh(
    name: str,
    places: NDArray[np.floating],
    faces: NDArray[np.integer],
    material: bpy.types.Material,
    uv: NDArray[np.floating] | None = None,
    attributes: dict[str, NDArray[np.floating]] | None = None,
    subdivisions: int = 0,
    smooth: bool = True,
) -> None:
    """Add a mesh.

    Args:
        places: [v, 3]; faces: [f, 3 or 4] rows in them.
        uv: of the faces' corners, in their order: [f, 3, 2].
        attributes: of vertices, [v] or [v, 3], by name.
    """
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(places.tolist(), [], faces.tolist())
    if uv is not None:
        mesh.uv_layers.new(name="UVMap").data.foreach_set("uv", uv.astype(np.float32).ravel())
    for key, values in (attributes or {}).items():
        kind, field = ("FLOAT", "value") if values.ndim == 1 else ("FLOAT_VECTOR", "vector")
        mesh.attributes.new(key, kind, "POINT").data.foreach_set(field, values.astype(np.float32).ravel())
    mesh.polygons.foreach_set("use_smooth", np.full(len(faces), smooth))
    mesh.materials.append(material)
    thing = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(thing)
    if subdivisions:
        modifier = thing.modifiers.new("subdivision", "SUBSURF")
        modifier.levels = modifier.render_levels = subdivisions


def add_curves(name: str, strands: NDArray[np.float32], radius: float, material: bpy.types.Material) -> None:
    """Add strands [n, k, 3] from root to tip, `radius` thick at the root."""
    count, points = strands.shape[:2]
    curves = bpy.data.hair_curves.new(name)
    curves.add_curves([points] * count)
    curves.position_data.foreach_set("vector", strands.ravel())
    thickness = np.tile(radius * np.linspace(1.0, _TIP, points, dtype=np.float32), count)
    curves.attributes.new("radius", "FLOAT", "POINT").data.foreach_set("value", thickness)
    curves.materials.append(material)
    bpy.context.scene.collection.objects.link(bpy.data.objects.new(name, curves))
