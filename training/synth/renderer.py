# SPDX-License-Identifier: GPL-3.0-or-later
"""Rendering heads with moderngl (EGL, no screen): pictures with alpha, and the exact motion between two frames."""

from dataclasses import dataclass, field

import cv2
import moderngl
import numpy as np
from numpy.typing import NDArray

from training.synth import shaders
from training.synth.facekit import FaceKit, skin, vertex_normals
from training.synth.hair import tousled
from training.synth.head import Camera, PosedHead, look_at
from training.synth.paint import MASKS, paint_masks
from training.synth.people import Person, Strands
from training.synth.wear import GlassesMesh, HeadgearMesh

Array = NDArray[np.float32]

# Layers of the motion pass.
LAYERS = {"background": 0, "skin": 1, "cloth": 2, "eyes": 3, "teeth": 4, "tongue": 5, "hair": 6}

# Hair proxies lie inside the scalp here and there; pushed out, decimetres.
_HAIR_PUSH = 0.018
_TORSO_TOP = 6.7
_SHADOW_SIZE = 512
# What headgear cuts away, in the shaders' `part`; hair is 2.
_PARTS = {"headgear": 1.0, "body": 3.0}


@dataclass(frozen=True)
class Lighting:
    """Two directional lights over a linear sky. Directions [3] point to the light; colours are linear."""

    key_direction: NDArray[np.float64]
    key_colour: NDArray[np.float64]
    fill_direction: NDArray[np.float64]
    fill_colour: NDArray[np.float64]
    ambient: NDArray[np.float64]
    ambient_slope: NDArray[np.float64]
    exposure: float
    shadow: bool


@dataclass(frozen=True)
class Stage:
    """What stands around a head: camera, light and a backdrop picture uint8 [h, w, 3]."""

    camera: Camera
    lighting: Lighting
    backdrop: NDArray[np.uint8]


@dataclass
class _Mesh:
    render_vertex: NDArray[np.int64]
    buffer: moderngl.Buffer
    source: moderngl.Buffer
    surface: moderngl.VertexArray
    shadow: moderngl.VertexArray
    motion: moderngl.VertexArray


@dataclass
class _Texture:
    texture: moderngl.Texture
    # What brings the mean lightness of the visible texels to 1: hair colours are then the tint's.
    gain: float


@dataclass(frozen=True)
class PosedMeshes:
    """World positions [n, 3] of every mesh of one frame, by mesh name; what the motion pass compares."""

    positions: dict[str, Array]
    person: Person
    hair_rest: dict[str, Array] = field(default_factory=dict)


class Renderer:
    """Renders square pictures of one kit. One instance owns one GL context and belongs to one thread."""

    def __init__(self, kit: FaceKit, size: int = 256, supersampling: int = 2) -> None:
        self.kit = kit
        self.size = size
        self.context = _headless_context()
        gl = self.context
        wide = size * supersampling
        self._picture = gl.framebuffer([gl.texture((wide, wide), 4)], gl.depth_texture((wide, wide)))
        self._motion = gl.framebuffer([gl.texture((size, size), 4, dtype="f4")], gl.depth_texture((size, size)))
        self._shadow_map = gl.depth_texture((_SHADOW_SIZE, _SHADOW_SIZE))
        self._shadow_map.compare_func = "<="
        self._shadow_map.repeat_x = self._shadow_map.repeat_y = False
        self._shadow = gl.framebuffer(depth_attachment=self._shadow_map)
        self._surface_program = gl.program(shaders.SURFACE_VERTEX, shaders.SURFACE_FRAGMENT)
        self._shadow_program = gl.program(shaders.SHADOW_VERTEX, shaders.SHADOW_FRAGMENT)
        self._motion_program = gl.program(shaders.MOTION_VERTEX, shaders.MOTION_FRAGMENT)
        self._backdrop_program = gl.program(shaders.BACKDROP_VERTEX, shaders.BACKDROP_FRAGMENT)
        corners = np.array([-1, -1, 1, -1, -1, 1, 1, 1], "f4")
        self._backdrop = gl.vertex_array(self._backdrop_program, [(gl.buffer(corners), "2f", "corner")])
        self._backdrop_texture: moderngl.Texture | None = None
        self._textures: dict[str, _Texture] = {}
        self._meshes: dict[str, _Mesh] = {}
        self._plain_faces: dict[str, NDArray[np.int64]] = {}
        base = kit.body.base
        self._masks = paint_masks(kit)
        self._add("body", kit.triangles, kit.uv, kit.render_vertex, base, kit.occlusion, self._masks)
        height = base[kit.render_vertex][:, 1]
        torso = kit.triangles[(height[kit.triangles] < _TORSO_TOP).all(axis=1)]
        self._add("shirt", torso, kit.uv, kit.render_vertex, base, kit.occlusion)
        for name, proxy in kit.proxies.items():
            rest = proxy.rest(base)
            self._add(name, proxy.triangles, proxy.uv, proxy.render_vertex, rest, np.ones(len(rest), np.float32))
        self._headgear = HeadgearMesh(kit)
        self._glasses = GlassesMesh(kit)
        self._add_plain("headgear", self._headgear.triangles, self._headgear.all_rest)
        self._add_plain("glasses", self._glasses.triangles, np.zeros((self._glasses.count, 3), np.float32))
        self._add_plain("lenses", self._glasses.lens_triangles, np.zeros((self._glasses.lens_count, 3), np.float32))
        self._body_faces = kit.render_vertex[kit.triangles]
        self._proxy_faces = {name: proxy.render_vertex[proxy.triangles] for name, proxy in kit.proxies.items()}

    def render(self, person: Person, head: PosedHead, stage: Stage) -> tuple[NDArray[np.uint8], PosedMeshes]:
        """Draw a frame.

        Returns:
            uint8 [size, size, 4]: colour over the backdrop, and the head's coverage as alpha; and the meshes as
            they stand, for `motion`.
        """
        meshes = self._place(person, head)
        shadow_matrix = self._draw_shadow(person, meshes, stage.lighting)
        self._picture.use()
        self._draw_backdrop(stage.backdrop)
        self._draw_surfaces(person, stage, shadow_matrix)
        wide = self._picture.width
        pixels = np.frombuffer(self._picture.read(components=4), np.uint8).reshape(wide, wide, 4)[::-1]
        if wide != self.size:
            pixels = cv2.resize(pixels, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(pixels), meshes

    def motion(self, target: PosedMeshes, source: PosedMeshes, target_camera: Camera, source_camera: Camera) -> Array:
        """Return float32 [size, size, 4] for each pixel of the target frame: x, y in [0, 1] (y down) and NDC depth
        of the same surface point in the source frame, and the layer (0 where the background shows).
        """
        gl, program = self.context, self._motion_program
        self._motion.use()
        self._motion.clear(0, 0, 0, 0, depth=1.0)
        gl.enable(moderngl.DEPTH_TEST)
        gl.disable(moderngl.BLEND | moderngl.CULL_FACE)
        _set(program, "view_projection", target_camera.matrix.T)
        _set(program, "source_projection", source_camera.matrix.T)
        person = target.person
        shirt = person.shirt
        _set(
            program,
            "neckline",
            (shirt.neck_height, shirt.neck_depth, shirt.neck_narrowness) if shirt else (99, 0, 1),
        )
        _set(program, "fringe", person.hair.fringe if person.hair else 0.0)
        self._set_gear(program, person)
        for name, layer, texture in self._layers(person):
            _set(program, "part", _PARTS.get(name, 2.0 if layer == "hair" else 0.0))
            mesh = self._meshes[name]
            self._write(mesh, target.positions[name], None)
            mesh.source.write(np.ascontiguousarray(source.positions[name][mesh.render_vertex], "f4"))
            _set(program, "alpha_minimum", 0.5 if texture else 0.0)
            _set(program, "layer", float(LAYERS[layer]))
            if texture:
                self._texture(texture).texture.use(0)
            mesh.motion.render()
        raw = np.frombuffer(self._motion.read(components=4, dtype="f4"), np.float32)
        out = raw.reshape(self.size, self.size, 4)[::-1].copy()
        out[..., 0] = 0.5 + 0.5 * out[..., 0]
        out[..., 1] = 0.5 - 0.5 * out[..., 1]
        return out

    def _layers(self, person: Person) -> list[tuple[str, str, str | None]]:
        layers: list[tuple[str, str, str | None]] = [("body", "skin", None)]
        if person.shirt:
            layers.append(("shirt", "cloth", None))
        layers += [(person.eyes, "eyes", person.iris), (person.teeth, "teeth", None)]
        layers += [(name, "tongue", None) for name in self._tongues()]
        if person.hair:
            layers.append((person.hair.proxy, "hair", person.hair.texture))
        if person.headgear:
            layers.append(("headgear", "hair", None))
        if person.glasses:
            layers.append(("glasses", "skin", None))
        return layers

    def _tongues(self) -> list[str]:
        return [name for name, proxy in self.kit.proxies.items() if proxy.kind == "tongue"]

    def _add(
        self,
        name: str,
        triangles: NDArray[np.int64],
        uv: Array,
        render_vertex: NDArray[np.int64],
        rest: Array,
        occlusion: Array,
        masks: Array | None = None,
    ) -> None:
        gl = self.context
        count = len(render_vertex)
        masks = np.zeros((len(rest), len(MASKS)), np.float32) if masks is None else masks
        buffer = gl.buffer(reserve=count * 24, dynamic=True)
        source = gl.buffer(reserve=count * 12, dynamic=True)
        fixed = gl.buffer(
            np.concatenate(
                [uv, occlusion[render_vertex][:, None], rest[render_vertex], masks[render_vertex]], axis=1
            ).astype("f4")
        )
        index = gl.buffer(triangles.astype("i4"))
        self._meshes[name] = _Mesh(
            render_vertex=render_vertex,
            buffer=buffer,
            source=source,
            surface=gl.vertex_array(
                self._surface_program,
                [
                    (buffer, "3f 3f", "position", "normal"),
                    (fixed, "2f 1f 3f 4f 3f", "uv", "occlusion", "rest", "paint", "paint_more"),
                ],
                index,
            ),
            shadow=gl.vertex_array(
                self._shadow_program,
                [(buffer, "3f 12x", "position"), (fixed, "2f 4x 3f 28x", "uv", "rest")],
                index,
            ),
            motion=gl.vertex_array(
                self._motion_program,
                [
                    (buffer, "3f 12x", "position"),
                    (source, "3f", "source"),
                    (fixed, "2f 4x 3f 28x", "uv", "rest"),
                ],
                index,
            ),
        )

    def _add_plain(self, name: str, triangles: NDArray[np.int64], rest: Array) -> None:
        """Add a mesh without a texture."""
        count = len(rest)
        self._add(name, triangles, np.zeros((count, 2), np.float32), np.arange(count), rest, np.ones(count, np.float32))
        self._plain_faces[name] = triangles

    def _write(self, mesh: _Mesh, positions: Array, normals: Array | None) -> None:
        if normals is None:
            normals = np.zeros_like(positions)
        both = np.concatenate([positions, normals], axis=1)[mesh.render_vertex]
        mesh.buffer.write(np.ascontiguousarray(both, "f4"))

    def _place(self, person: Person, head: PosedHead) -> PosedMeshes:
        kit = self.kit
        body = kit.body.skinned(head.rest, head.transforms)
        normals = vertex_normals(self._body_faces, body)
        hooded = person.headgear is not None and person.headgear.kind == "hood"
        if person.beard and person.beard.length and not hooded:
            grown = (self._masks[:, :3] * (person.beard.moustache, person.beard.chin, person.beard.jaw)).max(axis=1)
            body = body + normals * (np.float32(person.beard.length) * grown[:, None])
            normals = vertex_normals(self._body_faces, body)
        self._write(self._meshes["body"], body, normals)
        positions: dict[str, Array] = {"body": body}
        if person.shirt:
            positions["shirt"] = body + normals * np.float32(person.shirt.offset)
            self._write(self._meshes["shirt"], positions["shirt"], normals)
        pivot = kit.body.joints[kit.rig.bones.index("head")] @ head.rest
        transform = head.transforms[kit.rig.bones.index("head")]
        centre = transform[:, :3] @ pivot + transform[:, 3] + np.array([0.0, 0.6, 0.1], np.float32)
        names = [person.eyes, person.teeth, *self._tongues()]
        names += [strands.proxy for strands in (person.brows, person.lashes, person.hair) if strands]
        for name in names:
            proxy = kit.proxies[name]
            posed = skin(proxy.rest(head.rest), proxy.weights, head.transforms)
            proxy_normals = vertex_normals(self._proxy_faces[name], posed)
            if proxy.kind == "hair":
                outward = posed - centre
                outward /= np.linalg.norm(outward, axis=1, keepdims=True)
                posed = posed + _HAIR_PUSH * outward
                if person.hair and person.hair.tousle:
                    posed = posed + tousled(proxy.rest(kit.body.base), person.hair) @ transform[:, :3].T
                facing = np.where((proxy_normals * outward).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
                proxy_normals = proxy_normals * facing * 0.5 + outward * 0.6
                proxy_normals /= np.linalg.norm(proxy_normals, axis=1, keepdims=True)
            elif proxy.kind in ("eyebrows", "eyelashes"):
                proxy_normals = np.tile(transform[:, :3] @ np.array([0, 0.3, 0.95], np.float32), (len(posed), 1))
            positions[name] = posed.astype(np.float32)
            self._write(self._meshes[name], positions[name], proxy_normals)
        worn: dict[str, tuple[Array, Array | None]] = {}
        if person.headgear:
            worn["headgear"] = self._headgear.place(person.headgear, head.rest), self._headgear.all_weights
        if person.glasses:
            frames, lenses = self._glasses.place(person.glasses, head.rest)
            worn |= {"glasses": (frames, None), "lenses": (lenses, None)}
        for name, (rest, weights) in worn.items():
            if weights is None:
                posed = rest @ transform[:, :3].T + transform[:, 3]
            else:
                posed = skin(rest, weights, head.transforms)
            positions[name] = posed.astype(np.float32)
            self._write(self._meshes[name], positions[name], vertex_normals(self._plain_faces[name], posed))
        return PosedMeshes(positions, person)

    def _draw_shadow(self, person: Person, meshes: PosedMeshes, light: Lighting) -> NDArray[np.float64]:
        if not light.shadow:
            return np.eye(4)
        centre = meshes.positions[person.eyes].mean(axis=0).astype(np.float64)
        towards = light.key_direction
        up = (0, 1, 0) if abs(towards[1]) < 0.95 else (0, 0, 1)
        radius, near, far = 2.2, 4.0, 16.0
        orthographic = np.diag([1 / radius, 1 / radius, -2 / (far - near), 1.0])
        orthographic[2, 3] = -(far + near) / (far - near)
        matrix = orthographic @ look_at(centre + towards * 10.0, centre, up)
        self._shadow.use()
        self._shadow.clear(depth=1.0)
        self.context.enable(moderngl.DEPTH_TEST)
        self.context.disable(moderngl.BLEND | moderngl.CULL_FACE)
        _set(self._shadow_program, "shadow_matrix", matrix.T)
        _set(self._shadow_program, "alpha_minimum", 0.0)
        _set(self._shadow_program, "part", 3.0)
        self._set_gear(self._shadow_program, person)
        self._meshes["body"].shadow.render()
        _set(self._shadow_program, "part", 0.0)
        if person.glasses:
            self._meshes["glasses"].shadow.render()
        if person.headgear:
            _set(self._shadow_program, "part", 1.0)
            self._meshes["headgear"].shadow.render()
        _set(self._shadow_program, "part", 2.0)
        hair = person.hair
        if hair and not hair.fringe:
            self._texture(hair.texture).texture.use(0)
            _set(self._shadow_program, "alpha_minimum", 0.5)
            self._meshes[hair.proxy].shadow.render()
        return matrix

    def _set_gear(self, program: moderngl.Program, person: Person) -> None:
        gear, bridge = person.headgear, self._headgear.bridge
        kind = 0.0 if gear is None else {"hat": 1.0, "hood": 2.0}[gear.kind]
        _set(program, "gear", (kind, bridge[1] + gear.level, gear.slope, gear.reach) if gear else (0.0, 0.0, 1.0, 1.0))
        _set(program, "gear_depth", float(bridge[2]))

    def _draw_backdrop(self, backdrop: NDArray[np.uint8]) -> None:
        gl = self.context
        self._picture.clear(depth=1.0)
        gl.disable(moderngl.DEPTH_TEST | moderngl.BLEND | moderngl.CULL_FACE)
        height, width = backdrop.shape[:2]
        if self._backdrop_texture is None or self._backdrop_texture.size != (width, height):
            if self._backdrop_texture is not None:
                self._backdrop_texture.release()
            self._backdrop_texture = gl.texture((width, height), 3, alignment=1)
            self._backdrop_texture.repeat_x = self._backdrop_texture.repeat_y = False
        self._backdrop_texture.write(np.ascontiguousarray(backdrop[::-1]).tobytes())
        self._backdrop_texture.use(0)
        self._backdrop.render(moderngl.TRIANGLE_STRIP)

    def _draw_surfaces(self, person: Person, stage: Stage, shadow_matrix: NDArray[np.float64]) -> None:
        gl, program, light = self.context, self._surface_program, stage.lighting
        gl.enable(moderngl.DEPTH_TEST)
        self._shadow_map.use(1)
        for name, value in {
            "view_projection": stage.camera.matrix.T,
            "shadow_matrix": shadow_matrix.T,
            "eye_place": tuple(stage.camera.eye),
            "shadow_on": 1.0 if light.shadow else 0.0,
            "shadow_map": 1,
            "albedo_map": 0,
            "key_direction": tuple(light.key_direction),
            "key_colour": tuple(light.key_colour),
            "fill_direction": tuple(light.fill_direction),
            "fill_colour": tuple(light.fill_colour),
            "ambient": tuple(light.ambient),
            "ambient_slope": light.ambient_slope.T,
            "exposure": light.exposure,
            "fringe": 0.0,
            "density": 1.0,
            **_paint(person),
        }.items():
            _set(program, name, value)
        self._set_gear(program, person)

        gl.enable(moderngl.CULL_FACE)
        _set(program, "variation", person.skin_variation)
        _set(program, "skin_colour", person.skin_colour)
        self._draw("body", person.skin, shaders.SKIN, person.skin_tint, person.skin_shine, person.skin_gloss)
        gl.disable(moderngl.CULL_FACE)
        if person.shirt:
            shirt = person.shirt
            _set(program, "neckline", (shirt.neck_height, shirt.neck_depth, shirt.neck_narrowness))
            _set(program, "stripes", (shirt.stripe_slant, shirt.stripe_gain, float(shirt.striped)))
            self._draw("shirt", person.skin, shaders.CLOTH, shirt.colour, 0.02, 8.0)
        if person.headgear:
            gear = person.headgear
            _set(program, "stripes", gear.stripes)
            self._draw("headgear", person.skin, shaders.HEADGEAR, gear.colour, 0.02, 8.0)
        if person.glasses:
            frame = person.glasses
            self._draw("glasses", person.skin, shaders.FRAME, frame.colour, frame.shine, 60.0)
        self._draw(person.eyes, person.iris, shaders.EYE, (1, 1, 1), 0.25, 120.0)
        _set(program, "darkening", 1.15)
        self._draw(person.teeth, self._shared_texture("teeth"), shaders.MOUTH, person.teeth_tint, 0.2, 40.0)
        _set(program, "darkening", 0.75)
        for name in self._tongues():
            self._draw(name, self._shared_texture("tongue"), shaders.MOUTH, (0.85, 0.62, 0.6), 0.08, 20.0)

        gl.enable(moderngl.BLEND)
        self._picture.depth_mask = False
        gl.blend_func = moderngl.ONE, moderngl.ONE
        self._draw(person.eyes, person.iris, shaders.CORNEA, (0, 0, 0), 1.2, 250.0)
        gl.blend_func = (  # type: ignore[assignment]
            moderngl.SRC_ALPHA,
            moderngl.ONE_MINUS_SRC_ALPHA,
            moderngl.ONE,
            moderngl.ONE_MINUS_SRC_ALPHA,
        )
        for strands, bias in ((person.brows, 6e-4), (person.lashes, 2e-4)):
            if strands:
                self._draw_strands(strands, (0.02, 2.0), bias)
        if person.hair:
            _set(program, "fringe", person.hair.fringe)
            self._picture.depth_mask = True
            self._draw_strands(person.hair, (0.55, 2.0), 0.0)
            self._picture.depth_mask = False
            self._draw_strands(person.hair, (0.03, 0.55), 0.0)
        if person.glasses:
            _set(program, "density", person.glasses.lens_cover)
            self._draw("lenses", person.skin, shaders.LENS, person.glasses.lens_colour, 0.9, 90.0)
        self._picture.depth_mask = True
        gl.disable(moderngl.BLEND)

    def _draw_strands(self, strands: Strands, alpha_range: tuple[float, float], depth_bias: float) -> None:
        program = self._surface_program
        _set(program, "alpha_range", alpha_range)
        _set(program, "contrast", strands.contrast)
        _set(program, "gain", self._texture(strands.texture).gain)
        _set(program, "depth_bias", depth_bias)
        _set(program, "density", strands.density)
        self._draw(strands.proxy, strands.texture, shaders.STRANDS, strands.colour, strands.shine, 30.0)
        _set(program, "depth_bias", 0.0)

    def _draw(
        self,
        mesh: str,
        texture: str,
        material: int,
        tint: tuple[float, float, float],
        shine: float,
        gloss: float,
    ) -> None:
        program = self._surface_program
        self._texture(texture).texture.use(0)
        _set(program, "material", material)
        _set(program, "tint", tint)
        _set(program, "shine", shine)
        _set(program, "gloss", gloss)
        self._meshes[mesh].surface.render()

    def _shared_texture(self, stem: str) -> str:
        return next(name for name in sorted(self.kit.textures()) if name.startswith(stem))

    def _texture(self, name: str) -> _Texture:
        if name not in self._textures:
            image = cv2.imread(str(self.kit.texture_path(name)), cv2.IMREAD_UNCHANGED)
            channels = image.shape[2]
            image = np.ascontiguousarray(image[::-1, :, [2, 1, 0, 3][:channels]])
            texture = self.context.texture((image.shape[1], image.shape[0]), channels, image.tobytes(), alignment=1)
            texture.build_mipmaps()
            texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
            lightness = ((image[..., :3] / 255.0) ** 2.2) @ np.array([0.3, 0.5, 0.2])
            alpha = image[..., 3] / 255.0 if channels == 4 else np.ones_like(lightness)
            mean = (lightness * alpha).sum() / max(alpha.sum(), 1.0)
            self._textures[name] = _Texture(texture, float(1.0 / max(mean, 1e-3)))
        return self._textures[name]


def _set(program: moderngl.Program, name: str, value: object) -> None:
    """Set a uniform, unless the driver has optimised it away."""
    member = program.get(name, None)
    if isinstance(member, moderngl.Uniform):
        if isinstance(value, np.ndarray):
            member.write(np.ascontiguousarray(value, "f4").tobytes())
        else:
            member.value = value


def _paint(person: Person) -> dict[str, object]:
    """Return the uniforms of what is painted on a skin."""
    beard, makeup, complexion = person.beard, person.makeup, person.complexion
    return {
        "beard": (beard.moustache, beard.chin, beard.jaw) if beard else (0.0, 0.0, 0.0),
        "beard_colour": beard.colour if beard else (0.0, 0.0, 0.0),
        "scalp": person.scalp,
        "scalp_colour": person.scalp_colour,
        "lip_paint": (*makeup.lip_colour, makeup.lips),
        "lid_paint": (*makeup.lid_colour, makeup.lids),
        "blush": makeup.blush,
        "complexion": (complexion.blotches, complexion.freckles, complexion.pores),
    }


def _headless_context() -> moderngl.Context:
    """Return a GL context without a screen. The versioned library names need no development packages."""
    options = {"backend": "egl", "libgl": "libGL.so.1", "libegl": "libEGL.so.1"}
    return moderngl.create_context(standalone=True, **options)  # type: ignore[arg-type]
