# SPDX-License-Identifier: GPL-3.0-or-later
"""A rig in the params of another LPMM: what its controls, head angles and LP-adaptor say of one, said of the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from lpmm_runtime.controls import ControlMap, head_features
from lpmm_runtime.morphable import LandmarkModel
from training.synth.motion import GAZE_CONTROLS

Array = NDArray[np.float32]

_RIDGE = 1e-3


@dataclass(frozen=True)
class Rebase:
    """From one LPMM's params to another's, by the landmarks that both speak of.

    Where the new one has no irises, the old params that say gaze stay average.

    Attributes:
        old, new: the two models; the new one has the old one's points, or but the 68 of them.
    """

    old: LandmarkModel
    new: LandmarkModel

    def old_params(self, params: NDArray[np.floating]) -> Array:
        """Return the old params [..., k_old] nearest to what new params [..., k_new] say."""
        matrix, constant = self.matrix()
        return (np.asarray(params, np.float32) @ matrix + constant).astype(np.float32)

    def matrix(self) -> tuple[Array, Array]:
        """Return M [k_new, k_old] and c [k_old] of p_old = p_new · M + c."""
        projection = self.old.projection(self.new.points)
        turn = (self.new.sigma[:, None] * self.new.eigenvectors) @ projection
        constant = (self.new.mean - self.old.mean[: len(self.new.mean)]) @ projection
        return turn.astype(np.float32), constant.astype(np.float32)

    def new_offsets(self, offsets: NDArray[np.floating]) -> Array:
        """Return what is added to new params [..., k_new] where `offsets` [..., k_old] were added to old ones."""
        moved = (offsets * self.old.sigma) @ self.old.eigenvectors[:, : 2 * self.new.points]
        return (moved @ self.new.eigenvectors.T / self.new.sigma).astype(np.float32)

    def controls(self, controls: ControlMap, landmarks: Array) -> ControlMap:
        """Return a control map for new params, without gaze where they cannot say it.

        Args:
            landmarks: [n, 68, 2] or [n, 70, 2], aligned, the new model's points: on these the head angles read from
                new params are fitted to those that the old map reads.
        """
        features = head_features(self.new.params(landmarks)).astype(np.float64)
        angles = controls.head_angles(self.old.likeliest_params(landmarks))
        gram = features.T @ features + _RIDGE * len(features) * np.eye(features.shape[1])
        lost = GAZE_CONTROLS if self.new.points < self.old.points else ()
        kept = [row for row, name in enumerate(controls.names) if name not in lost]
        return replace(
            controls,
            names=tuple(controls.names[row] for row in kept),
            directions=self.new_offsets(controls.directions[kept]),
            moves=controls.moves[kept, : 2 * self.new.points],
            head_coefficients=self.new_offsets(controls.head_coefficients),
            head_readout=np.linalg.solve(gram, features.T @ angles).astype(np.float32),
        )

    def write_adaptor(self, old_graph: Path, path: Path) -> None:
        """Write an LP-adaptor's graph that takes new params: the old one behind p_new · M + c."""
        model = onnx.load(str(old_graph))
        graph = model.graph
        for node in graph.node:
            for place, name in enumerate(node.input):
                if name == "params":
                    node.input[place] = "old_params"
        for name, values in zip(("rebase_matrix", "rebase_constant"), self.matrix(), strict=True):
            graph.initializer.append(numpy_helper.from_array(values, name))
        turned = onnx.helper.make_node("MatMul", ["params", "rebase_matrix"], ["turned_params"])
        graph.node.insert(0, turned)
        graph.node.insert(1, onnx.helper.make_node("Add", ["turned_params", "rebase_constant"], ["old_params"]))
        (given,) = graph.input
        given.type.tensor_type.shape.dim[1].dim_value = self.new.k
        onnx.checker.check_model(model)
        onnx.save(model, str(path))
