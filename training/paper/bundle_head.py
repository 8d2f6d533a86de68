# SPDX-License-Identifier: GPL-3.0-or-later
"""Any bundle as a frozen talking head in torch, from its graphs alone; G is differentiable in v."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lpmm_runtime.onnx_sessions import OnnxSessions
from training.backbones.face_geometry import warp
from training.backbones.portrait_flow import background_plate
from training.paper.torch_graph import TorchGraph


@dataclass(frozen=True)
class GraphIdentity:
    """What the identity encoder says of portraits, by the graph's names, and the backgrounds of flow backbones."""

    features: dict[str, Tensor]
    plate: Tensor | None


class BundleHead:
    """A bundle's E, identity encoder and G: a `TalkingHead`.

    E and the identity encoder run in onnxruntime; G alone is differentiated.
    """

    def __init__(self, sessions: OnnxSessions) -> None:
        """Read the generator's graph.

        Raises:
            UnknownOperatorError: if it has an operator that torch is not taught here.
        """
        bundle = sessions.bundle
        self._sessions = sessions
        self._generator = TorchGraph(bundle.graph("generator"))
        self._flows = bundle.backbone_kind == "portrait_flow"
        self.latent_size = bundle.latent_size
        self.image_size = bundle.image_size
        if self._flows:
            self.image_size = sessions.image_side("generator", "source_image")

    def encode_pose(self, crops: Tensor) -> Tensor:
        """See `TalkingHead.encode_pose`."""
        images = self._sized(crops, self._sessions.image_side("pose_encoder"))
        return torch.from_numpy(self._sessions.run("pose_encoder", {"image": images})["pose_latent"])

    def identify(self, crops: Tensor, landmarks: Tensor, latents: Tensor) -> GraphIdentity:
        """See `TalkingHead.identify`."""
        names = self._sessions.input_names("identity_encoder")
        feeds = {"landmarks": landmarks.numpy(), "pose_latent": latents.numpy()}
        if "image" in names:
            feeds["image"] = self._sized(crops, self._sessions.image_side("identity_encoder"))
        answer = self._sessions.run("identity_encoder", {name: feeds[name] for name in names})
        features = {name: torch.from_numpy(value) for name, value in answer.items()}
        plate = background_plate(features["source_image"], features["source_alpha"]) if self._flows else None
        return GraphIdentity(features, plate)

    def draw(self, identity: GraphIdentity, latent: Tensor) -> Tensor:
        """See `TalkingHead.draw`."""
        count = len(latent)
        feeds = {name: value.expand(count, *value.shape[1:]) for name, value in identity.features.items()}
        feeds["pose_latent"] = latent
        feeds = {name: feeds[name] for name in self._generator.inputs}
        if latent.requires_grad:
            maps = self._generator(feeds)
        else:  # where no gradient is asked for, onnxruntime is faster
            answer = self._sessions.run("generator", {name: value.numpy() for name, value in feeds.items()})
            maps = {name: torch.from_numpy(value) for name, value in answer.items()}
        if not self._flows:
            return maps["image"]
        assert identity.plate is not None
        warped = warp(feeds["source_image"], maps["flow"])
        head = maps["mask"] * warped + (1.0 - maps["mask"]) * maps["paint"]
        return maps["alpha"] * head + (1.0 - maps["alpha"]) * identity.plate

    @staticmethod
    def _sized(crops: Tensor, side: int) -> np.ndarray:
        if crops.shape[-1] != side:
            crops = F.interpolate(crops, (side, side), mode="bilinear", align_corners=False, antialias=True)
        return crops.clamp(0.0, 1.0).numpy()
