# SPDX-License-Identifier: GPL-3.0-or-later
"""The image plane: the picture of the face, its exact-colour material, and a camera that maps pixel to pixel."""

from typing import cast

import bpy
import numpy as np
from bpy.types import Image, Material, Object, Scene
from numpy.typing import NDArray

from .frame_request import as_stored

NODE_NAME = "LPMM frame"


def create_image(name: str, width: int, height: int) -> Image:
    """Return a byte image whose stored values reach the screen unchanged under the Standard view."""
    image = bpy.data.images.new(name, width, height, alpha=True, float_buffer=False)
    image.colorspace_settings.name = "sRGB"
    # STRAIGHT multiplies the colour by alpha on upload: 8-bit errors of 63.
    image.alpha_mode = "CHANNEL_PACKED"
    return image


def write_pixels(image: Image, pixels: NDArray[np.uint8]) -> None:
    """Put a frame [height, width, 4] uint8 RGBA, first row on top, into the image; its size follows."""
    store_pixels(image, as_stored(pixels))


def store_pixels(image: Image, stored: NDArray[np.float32]) -> None:
    """Put pixels [height, width, 4] float32 in [0, 1], first row below, into the image; its size follows."""
    height, width = stored.shape[:2]
    if tuple(image.size) != (width, height):
        image.scale(width, height)
    image.pixels.foreach_set(stored.ravel())
    image.update()


def create_material(name: str, image: Image, cut_out: bool) -> Material:
    """Return a material that shows the image's own colours, unlit.

    Args:
        cut_out: let the frame's alpha make the rest of the plane transparent.
    """
    material = bpy.data.materials.new(name)
    if material.node_tree is None:
        material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    texture = tree.nodes.new("ShaderNodeTexImage")
    texture.name = NODE_NAME
    texture.image = image
    texture.extension = "EXTEND"
    emission = tree.nodes.new("ShaderNodeEmission")
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(texture.outputs["Color"], emission.inputs["Color"])
    surface = emission.outputs["Emission"]
    if cut_out:
        transparent = tree.nodes.new("ShaderNodeBsdfTransparent")
        mix = tree.nodes.new("ShaderNodeMixShader")
        tree.links.new(texture.outputs["Alpha"], mix.inputs[0])
        tree.links.new(transparent.outputs["BSDF"], mix.inputs[1])
        tree.links.new(surface, mix.inputs[2])
        surface = mix.outputs[0]
        transparent.location, mix.location = (-200, -120), (0, 0)
        if hasattr(material, "surface_render_method"):
            material.surface_render_method = "BLENDED"
    tree.links.new(surface, output.inputs["Surface"])
    texture.location, emission.location, output.location = (-500, 0), (-200, 0), (200, 0)
    tree.nodes.active = texture
    return material


def create_plane(name: str, material: Material, width: float, height: float) -> Object:
    """Return an upright plane [width × height] that faces the front view (toward −Y), centred on its origin."""
    x, z = 0.5 * width, 0.5 * height
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata([(-x, 0, -z), (x, 0, -z), (x, 0, z), (-x, 0, z)], [], [(0, 1, 2, 3)])
    uv_map = mesh.uv_layers.new(name="UVMap")
    uv_map.data.foreach_set("uv", (0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0))
    mesh.materials.append(material)
    return cast(Object, bpy.data.objects.new(name, mesh))


def create_camera(name: str, width: float, height: float) -> Object:
    """Return an orthographic camera that sees the plane and nothing beside it."""
    camera = bpy.data.cameras.new(name)
    camera.type = "ORTHO"
    camera.ortho_scale = max(width, height)
    thing = cast(Object, bpy.data.objects.new(name, camera))
    thing.location = (0.0, -2.0 * max(width, height), 0.0)
    thing.rotation_euler = (np.pi / 2, 0.0, 0.0)
    return thing


def frame_with_camera(scene: Scene, camera: Object, width: int, height: int) -> None:
    """Make a render of the scene be the image, pixel for pixel."""
    scene.camera = camera
    scene.render.resolution_x, scene.render.resolution_y = width, height
    scene.render.resolution_percentage = 100
    scene.render.pixel_aspect_x = scene.render.pixel_aspect_y = 1.0


def show_exact_colours(scene: Scene) -> None:
    """Let the image's colours reach the screen and the file unchanged: the default AgX view is off by 132 of 255."""
    scene.view_settings.view_transform = "Standard"
    scene.view_settings.look = "None"
    scene.view_settings.exposure = 0.0
    scene.view_settings.gamma = 1.0
    scene.render.dither_intensity = 0.0


def planes_of(rig: Object, image: Image) -> list[Object]:
    """Return the rig's planes that show an image."""
    return [child for child in rig.children_recursive if any(True for _ in texture_nodes(child, image))]


def give_planes_image(rig: Object, old: Image, new: Image) -> None:
    """Let the rig's planes show another image, with a material of their own."""
    for plane in planes_of(rig, old):
        for slot in plane.material_slots:
            if slot.material is None or not any(node.image == old for node in _image_nodes(slot.material)):
                continue
            # Object-linked, because a duplicate may share the other plane's mesh.
            material = slot.material.copy()
            slot.link = "OBJECT"
            slot.material = material
            for node in _image_nodes(material):
                if node.image == old:
                    node.image = new


def texture_nodes(thing: Object, image: Image) -> list[bpy.types.ShaderNodeTexImage]:
    """Return the image nodes of an object's materials that show an image."""
    materials = [slot.material for slot in thing.material_slots if slot.material is not None]
    return [node for material in materials for node in _image_nodes(material) if node.image == image]


def _image_nodes(material: Material) -> list[bpy.types.ShaderNodeTexImage]:
    if material.node_tree is None:
        return []
    return [node for node in material.node_tree.nodes if node.bl_idname == "ShaderNodeTexImage"]
