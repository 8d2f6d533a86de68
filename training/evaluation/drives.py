# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to drive the shipped generator toward a true frame: by its true landmarks, by E, and by the rig's params."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from lpmm_runtime.backbones import create_backbone
from lpmm_runtime.crop import CropSquare, face_box
from lpmm_runtime.engine import Character, Engine
from lpmm_runtime.portrait import as_batch, as_bytes, resize
from training.backbones.face_geometry import warp
from training.backbones.portrait_flow import background_plate
from training.evaluation.rivals import TruePair

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]

_STEPS, _NUDGE = 8, 0.05
# What a pose latent's entry of 1 must gain in landmarks (sum of squares, crop sides) to be worth it.
_LATENT_COST = 1e-5


def subgraph(path: Path, output: str) -> onnx.ModelProto:
    """Return the part of an ONNX graph that one output needs, with only the inputs it needs."""
    model = onnx.load(str(path))
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    needed: set[str] = set()
    waiting = [output]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        if name in makers:
            waiting += [name for name in makers[name].input if name]
    nodes = [node for node in graph.node if needed & set(node.output)]
    part = onnx.helper.make_graph(
        nodes,
        graph.name,
        [item for item in graph.input if item.name in needed],
        [item for item in graph.output if item.name == output],
        [item for item in graph.initializer if item.name in needed],
    )
    made = onnx.helper.make_model(part, opset_imports=model.opset_import)
    made.ir_version = model.ir_version
    return made


class LandmarkDrive:
    """Drives the generator to given landmarks: finds the pose latent whose target landmarks are nearest to them.

    So the generator is judged apart from what F, E and D misread. Its exported graph says which landmarks it takes
    a pose latent for; Gauss-Newton steps on that part of the graph turn the map round.
    """

    def __init__(self, engine: Engine) -> None:
        """Open the part of the generator's graph that says its landmarks; see `available`."""
        self._engine = engine
        self._backbone = create_backbone(engine.bundle.backbone_kind, engine.sessions)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        part = subgraph(engine.bundle.graph("generator"), "landmarks")
        self._session = onnxruntime.InferenceSession(
            part.SerializeToString(), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [item.name for item in self._session.get_inputs()]

    @staticmethod
    def available(engine: Engine) -> bool:
        """Return whether the bundle's generator says its landmarks and its encoder takes some."""
        sessions = engine.sessions
        return (
            "landmarks" in sessions.output_names("generator")
            and "landmarks" in sessions.input_names("identity_encoder")
            and "source_landmarks" in sessions.output_names("identity_encoder")
        )

    def render(self, pair: TruePair) -> tuple[Pixels, Pixels | None, Array | None, float]:
        """Return the frame uint8 [s, s, 3], that of the networks alone, the flow [s, s, 2] in sides, and the residual.

        The middle two are None if the graph does not give them.

        The picture itself is the crop. The residual is the mean distance, in sides, of the landmarks and irises reached
        from those wanted: what no pose latent says.
        """
        sessions = self._engine.sessions
        side = pair.side
        crop = pair.source.astype(np.float32) / np.float32(255)
        encoder_side = sessions.image_side("pose_encoder")
        image = as_batch(np.clip(resize(crop, encoder_side, encoder_side), 0.0, 1.0))
        start, mirrored = (
            sessions.run("pose_encoder", {"image": view})["pose_latent"][0]
            for view in (image, np.ascontiguousarray(image[..., ::-1]))
        )
        identity = self._backbone.identify(crop, pair.source_landmarks, start, mirrored_latent=mirrored)
        features: dict[str, Array] = identity.features
        landmarks = features["source_landmarks"][0] + (pair.target_landmarks - pair.source_landmarks)
        # The graph says where landmarks are, and how far irises have moved.
        wanted = np.concatenate([landmarks, pair.target_irises - pair.source_irises])
        latent, reached = self._solve(features, start, wanted.astype(np.float32))
        frame = as_bytes(self._backbone.render(identity, latent, side)[..., :3])
        residual = float(np.linalg.norm(reached - wanted, axis=-1).mean())
        alone = _networks_alone(self._engine, features, latent, crop)
        return frame, alone, _flow(self._engine, features, latent, side), residual

    def _solve(self, features: dict[str, Array], start: Array, wanted: Array) -> tuple[Array, Array]:
        def landmarks(latents: Array) -> NDArray[np.float64]:
            rows = {name: np.repeat(value, len(latents), axis=0) for name, value in features.items()}
            feeds = {name: latents if name == "pose_latent" else rows[name] for name in self._inputs}
            return np.asarray(self._session.run(["landmarks"], feeds)[0], np.float64)

        latent, size = start.astype(np.float64), len(start)
        reached = landmarks(start[None])[0]
        damping = 1e-6
        cost = _cost(reached - wanted, latent - start)
        for _ in range(_STEPS):
            nudged = (latent[None] + _NUDGE * np.eye(size)).astype(np.float32)
            jacobian = ((landmarks(nudged) - reached) / _NUDGE).reshape(size, -1).T
            off = (wanted - reached).ravel()
            normal = jacobian.T @ jacobian + (_LATENT_COST + damping) * np.eye(size)
            step = np.linalg.solve(normal, jacobian.T @ off - _LATENT_COST * (latent - start))
            there = landmarks((latent + step)[None].astype(np.float32))[0]
            new_cost = _cost(there - wanted, latent + step - start)
            if new_cost < cost:
                latent, reached, damping = latent + step, there, 0.3 * damping
                if cost - new_cost < 1e-3 * cost:
                    break
                cost = new_cost
            else:
                damping *= 30
        return latent.astype(np.float32), reached


def _cost(off: NDArray[np.float64], moved: NDArray[np.float64]) -> float:
    return float((off**2).sum() + _LATENT_COST * (moved**2).sum())


def shipped_character(engine: Engine, picture: Pixels, landmarks: Array) -> Character:
    """Return a picture's character given its true face box; F, its re-cropping, E and the second look do the rest."""
    return engine.create_character(picture, face_box(landmarks * picture.shape[0]))


def drive_by_pose_latent(engine: Engine, source: Character, target: Character) -> tuple[Pixels, Array | None]:
    """Return the full picture that E's latent of the target gives, as a take does at full influence, and the flow."""
    frame = engine.render(source, source.params, view="full", pose_latent=target.pose_latent, influence=1.0)
    return frame[..., :3], _shipped_flow(engine, source, target.pose_latent)


def drive_by_params(engine: Engine, source: Character, target: Character) -> tuple[Pixels, Array | None]:
    """Return the full picture that the target's params give through D, as the rig's sliders do, and the flow.

    Params say how an aligned face looks, not where it is: where the target's head has moved sideways, this cannot.
    """
    frame = engine.render(source, target.params, view="full")
    return frame[..., :3], _shipped_flow(engine, source, engine.pose_latent_of(source, target.params))


def drive_nowhere(engine: Engine, source: Character, target: Character) -> tuple[Pixels, Array | None]:
    """Return the rest frame: what any drive must beat."""
    return engine.render(source, source.params, view="full")[..., :3], None


ShippedDrive = Callable[[Engine, Character, Character], tuple[Pixels, Array | None]]


def _shipped_flow(engine: Engine, character: Character, latent: Array) -> Array | None:
    features = getattr(character.identity, "features", None)
    if features is None:
        return None
    side = round(character.square.side)
    flow = _flow(engine, features, latent, side)
    return None if flow is None else _in_picture(flow, character.square, character.photo_size)


def _flow(engine: Engine, features: dict[str, Array], latent: Array, side: int) -> Array | None:
    if "flow" not in engine.sessions.output_names("generator"):
        return None
    answer = engine.sessions.run("generator", {**features, "pose_latent": latent[None]})
    return np.asarray(resize(answer["flow"][0].transpose(1, 2, 0), side, side), np.float32)


def _networks_alone(engine: Engine, features: dict[str, Array], latent: Array, crop: Array) -> Pixels | None:
    """Return the frame that training compares with the truth: the maps put together at their own size, enlarged."""
    names = ("flow", "paint", "mask", "alpha", "light")
    if not set(names) <= set(engine.sessions.output_names("generator")):
        return None
    answer = engine.sessions.run("generator", {**features, "pose_latent": latent[None]})
    flow, paint, mask, alpha, light = (torch.from_numpy(answer[name]) for name in names)
    size = alpha.shape[-1]
    image = torch.from_numpy(as_batch(np.clip(resize(crop, size, size), 0.0, 1.0)))
    plate = background_plate(image, torch.from_numpy(features["source_alpha"]))
    factors = torch.nn.functional.interpolate(light, size=(size, size), mode="bilinear", align_corners=False)
    warped = (warp(image, flow) * factors).clamp(max=1.0)
    drawn = alpha * (mask * warped + (1.0 - mask) * paint) + (1.0 - alpha) * plate
    return as_bytes(resize(drawn[0].permute(1, 2, 0).numpy(), len(crop), len(crop)))


def _in_picture(flow: Array, square: CropSquare, size: tuple[int, int]) -> Array:
    """Return a crop's flow (crop sides) as the picture's [h, w, 2] (picture widths); 0 outside the crop."""
    width, height = size
    side, left, top = round(square.side), round(square.left), round(square.top)
    whole = np.zeros((height, width, 2), np.float32)
    rows, columns = (slice(max(low, 0), min(low + side, edge)) for low, edge in ((top, height), (left, width)))
    inside = flow[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    whole[rows, columns] = inside * np.float32(side / width)
    return whole
