# SPDX-License-Identifier: GPL-3.0-or-later
"""What portraits are made of, as Cycles sees it: skin, eyes, brows and lashes, cloth with a neckline, hair, walls."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bpy

Colour = tuple[float, float, float]

# How far light goes in skin, decimetres of red, green and blue.
_SKIN_RADIUS = (0.045, 0.016, 0.008)
# A round neckline dips in front, less far to the sides, and not behind: decimetres of the kit's rest pose.
NECK_DIP, NECK_WIDTH, NECK_BACK, NECK_DEPTH = 0.5, 0.6, 0.2, 0.7
# How far below it the ribbed edge goes.
_RIB = 0.085
# Names of the vertex attributes that materials read.
SCALP, REST = "scalp", "rest"


class _Nodes:
    """A material being wired. A socket that is given a socket is linked to it, any other value is set."""

    def __init__(self, name: str) -> None:
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True  # Blender 4 has none otherwise
        self._tree = self.material.node_tree
        self._tree.nodes.clear()

    def add(self, kind: str, sockets: Mapping[Any, Any] | None = None, **properties: Any) -> Any:
        """Return a new node of the type `ShaderNode` + kind."""
        node = self._tree.nodes.new("ShaderNode" + kind)
        for name, value in properties.items():
            setattr(node, name, value)
        for socket, value in (sockets or {}).items():
            if isinstance(value, bpy.types.NodeSocket):
                self._tree.links.new(value, node.inputs[socket])
            else:
                node.inputs[socket].default_value = value
        return node

    def math(self, operation: str, a: Any, b: Any = 0.0, clamp: bool = False) -> Any:
        """Return the output of a math node."""
        return self.add("Math", {0: a, 1: b}, operation=operation, use_clamp=clamp).outputs[0]

    def mixed(self, a: Any, b: Any, factor: Any = 1.0, blend: str = "MIX") -> Any:
        """Return a colour between `a` and `b`, or their product by `blend` "MULTIPLY"."""
        node = self.add("Mix", {0: factor, 6: _colour(a), 7: _colour(b)}, data_type="RGBA", blend_type=blend)
        return node.outputs[2]

    def texture(self, path: Path) -> Any:
        """Return an image texture's node."""
        return self.add("TexImage", image=bpy.data.images.load(str(path.resolve()), check_existing=True))

    def bump(self, height: Any, strength: float, distance: float) -> Any:
        """Return the normals of a height."""
        sockets = {"Height": height, "Strength": strength, "Distance": distance}
        return self.add("Bump", sockets).outputs["Normal"]

    def noise(self, scale: float, detail: float) -> Any:
        """Return noise over the object's own places."""
        sockets = {"Vector": self.places, "Scale": scale, "Detail": detail}
        return self.add("TexNoise", sockets).outputs[0]

    @property
    def places(self) -> Any:
        """The object's own coordinates."""
        return self.add("TexCoord").outputs["Object"]

    def attribute(self, name: str) -> Any:
        """Return a vertex attribute's node."""
        return self.add("Attribute", attribute_name=name)

    def seen_where(self, shader: Any, cover: Any) -> Any:
        """Return a shader that is transparent where `cover` is 0."""
        clear = self.add("BsdfTransparent").outputs[0]
        return self.add("MixShader", {0: cover, 1: clear, 2: shader}).outputs[0]

    def end(self, shader: Any) -> bpy.types.Material:
        """Return the material, whose surface is `shader`."""
        self.add("OutputMaterial", {0: shader})
        return self.material


def skin(texture: Path, gain: Colour, roots: Colour) -> bpy.types.Material:
    """Return skin: `texture` times `gain`, darkened towards `roots` where hair grows out of it."""
    nodes = _Nodes("skin")
    colour = nodes.mixed(nodes.texture(texture).outputs[0], gain, blend="MULTIPLY")
    hairy = nodes.math("MULTIPLY", nodes.attribute(SCALP).outputs["Fac"], 0.75)
    colour = nodes.mixed(colour, roots, hairy)
    blotches = nodes.add("MapRange", {0: nodes.noise(9.0, 6.0), 1: 0.3, 2: 0.7, 3: 0.92, 4: 1.08}).outputs[0]
    pores = nodes.add("TexVoronoi", {"Vector": nodes.places, "Scale": 75.0}).outputs["Distance"]
    shader = nodes.add(
        "BsdfPrincipled",
        {
            "Base Color": nodes.mixed(colour, blotches, blend="MULTIPLY"),
            "Roughness": 0.45,
            "IOR": 1.4,
            "Subsurface Weight": 0.22,
            "Subsurface Scale": 1.0,
            "Subsurface Radius": _SKIN_RADIUS,
            "Normal": nodes.bump(nodes.math("ADD", pores, nodes.noise(140.0, 3.0)), 0.25, 0.004),
        },
    )
    return nodes.end(shader.outputs[0])


def eye(texture: Path) -> bpy.types.Material:
    """Return eyeballs under a wet film."""
    nodes = _Nodes("eye")
    image = nodes.texture(texture)
    shader = nodes.add(
        "BsdfPrincipled",
        {
            # The kit's eye-white is as white as paper.
            "Base Color": nodes.mixed(image.outputs[0], (0.82, 0.8, 0.78), blend="MULTIPLY"),
            "Roughness": 0.35,
            "Coat Weight": 1.0,
            "Coat Roughness": 0.02,
            "Coat IOR": 1.38,
        },
    )
    return nodes.end(nodes.seen_where(shader.outputs[0], image.outputs["Alpha"]))


def painted_strands(texture: Path, colour: Colour, density: float) -> bpy.types.Material:
    """Return brows or lashes: `colour` where the texture's alpha, times `density`, covers."""
    nodes = _Nodes("painted strands")
    cover = nodes.math("MULTIPLY", nodes.texture(texture).outputs["Alpha"], density, clamp=True)
    sockets = {"Base Color": (*colour, 1.0), "Roughness": 0.6, "Alpha": cover}
    return nodes.end(nodes.add("BsdfPrincipled", sockets).outputs[0])


def textured(texture: Path, tint: Colour, roughness: float) -> bpy.types.Material:
    """Return teeth or a tongue."""
    nodes = _Nodes("textured")
    colour = nodes.mixed(nodes.texture(texture).outputs[0], tint, blend="MULTIPLY")
    sockets = {"Base Color": colour, "Roughness": roughness}
    return nodes.end(nodes.add("BsdfPrincipled", sockets).outputs[0])


def plain(colour: Colour, glow: float = 0.0) -> bpy.types.Material:
    """Return a wall, a board or a lamp."""
    sockets = {"Base Color": (*colour, 1.0), "Roughness": 0.7}
    sockets |= {"Emission Color": (*colour, 1.0), "Emission Strength": glow}
    nodes = _Nodes("plain")
    return nodes.end(nodes.add("BsdfPrincipled", sockets).outputs[0])


def cloth(colour: Colour, neckline: float) -> bpy.types.Material:
    """Return knitted cloth with a ribbed, round neckline, at the height `neckline` beside the neck."""
    nodes = _Nodes("cloth")
    x, y, z = nodes.add("SeparateXYZ", {0: nodes.attribute(REST).outputs["Vector"]}).outputs
    beside = nodes.math("POWER", nodes.math("ABSOLUTE", nodes.math("DIVIDE", x, NECK_WIDTH)), 2.0)
    front = nodes.math("DIVIDE", nodes.math("SUBTRACT", z, NECK_BACK), NECK_DEPTH, clamp=True)
    dip = nodes.math("MULTIPLY", nodes.math("SUBTRACT", 1.0, beside, clamp=True), front)
    below = nodes.math("SUBTRACT", nodes.math("SUBTRACT", neckline, nodes.math("MULTIPLY", dip, NECK_DIP)), y)
    rib = tuple(0.82 * value for value in colour)
    shader = nodes.add(
        "BsdfPrincipled",
        {
            "Base Color": nodes.mixed(colour, rib, nodes.math("LESS_THAN", below, _RIB)),
            "Roughness": 0.9,
            "Sheen Weight": 0.3,
            "Normal": nodes.bump(nodes.noise(30.0, 4.0), 0.35, 0.02),
        },
    )
    return nodes.end(nodes.seen_where(shader.outputs[0], nodes.math("GREATER_THAN", below, 0.0)))


def hair(melanin: float, redness: float) -> bpy.types.Material:
    """Return strands by their pigment: `melanin` 0 is white, 0.3 blond, 0.6 brown, 1 black."""
    nodes = _Nodes("hair")
    sockets = {"Melanin": melanin, "Melanin Redness": redness, "Roughness": 0.3, "Radial Roughness": 0.35}
    sockets |= {"Random Color": 0.25, "Random Roughness": 0.2}
    return nodes.end(nodes.add("BsdfHairPrincipled", sockets, parametrization="MELANIN").outputs[0])


def _colour(value: Any) -> Any:
    return (*value, 1.0) if isinstance(value, tuple) and len(value) == 3 else value
