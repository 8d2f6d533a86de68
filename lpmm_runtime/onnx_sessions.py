# SPDX-License-Identifier: GPL-3.0-or-later
"""The bundle's ONNX graphs as sessions on one device, checked when they are opened."""

import contextlib
import os
import sys
from collections.abc import Mapping
from typing import Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from lpmm_runtime import landmarks68
from lpmm_runtime.bundle import GRAPHS, Bundle
from lpmm_runtime.errors import BundleError, DeviceError

Array = NDArray[np.float32]
Device = Literal["auto", "cpu", "cuda"]
# A dimension: a fixed number, or a letter for one that may be anything.
Shape = tuple[int | str, ...]

# More threads than this gain little at these sizes and starve the Blender beside us.
MOST_THREADS = 4

_IMAGE: Shape = ("n", 3, "s", "s")


class OnnxSessions:
    """One session a graph, all on the same device.

    Attributes:
        bundle: where the graphs are from.
        device: "cuda" or "cpu", where they really run.
    """

    def __init__(self, bundle: Bundle, device: Device = "auto", threads: int | None = None) -> None:
        """Open every graph of `bundle`.

        Args:
            device: "auto" is CUDA when it is there, else the CPU.
            threads: CPU threads of one run; None is the machine's cores, at most 4.

        Raises:
            BundleError: if a graph cannot be opened or has the wrong inputs or outputs; names the file.
            DeviceError: if "cuda" is asked for and is not there.
        """
        self.bundle = bundle
        self.device = "cpu"
        onnxruntime.set_default_logger_severity(3)
        has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        if device == "cuda" and not has_cuda:
            raise DeviceError("device cuda: this onnxruntime has no CUDA provider (install onnxruntime-gpu)")
        if device != "cpu" and has_cuda:
            _find_cuda_libraries()
            self._sessions = self._open("cuda", threads)
            # onnxruntime falls back to the CPU without an exception where a driver or a library is missing.
            if all("CUDAExecutionProvider" in s.get_providers() for s in self._sessions.values()):
                self.device = "cuda"
            elif device == "cuda":
                raise DeviceError("device cuda: onnxruntime could not start CUDA (driver, CUDA or cuDNN missing)")
        if self.device == "cpu":
            self._sessions = self._open("cpu", threads)
        self._check()

    def run(self, graph: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run a graph, one of GRAPHS, on float32 arrays by input name; return its outputs by name.

        Raises:
            BundleError: if the graph fails; names the file.
        """
        session = self._sessions[graph]
        names = self.output_names(graph)
        contiguous = {name: np.ascontiguousarray(value, np.float32) for name, value in feeds.items()}
        try:
            return dict(zip(names, session.run(list(names), contiguous), strict=True))
        # onnxruntime's exceptions have no common base below Exception.
        except Exception as error:
            raise BundleError(f"{self.bundle.graph(graph)}: failed to run: {_one_line(error)}") from error

    def input_names(self, graph: str) -> tuple[str, ...]:
        """Return the names of a graph's inputs."""
        return tuple(item.name for item in self._sessions[graph].get_inputs())

    def output_names(self, graph: str) -> tuple[str, ...]:
        """Return the names of a graph's outputs."""
        return tuple(item.name for item in self._sessions[graph].get_outputs())

    def image_side(self, graph: str, name: str = "image") -> int:
        """Return the side in pixels of a graph's square image input."""
        for item in self._sessions[graph].get_inputs():
            if item.name == name:
                return int(item.shape[-1])
        raise KeyError(f"{graph} has no input {name!r}")

    def _open(self, device: str, threads: int | None) -> dict[str, onnxruntime.InferenceSession]:
        providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
        if device == "cuda":
            # The exhaustive search times kernels and may choose others next time; TF32 would cost digits.
            options = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
            providers.insert(0, ("CUDAExecutionProvider", options))
        sessions = {}
        for name in GRAPHS:
            path = self.bundle.graph(name)
            try:
                sessions[name] = onnxruntime.InferenceSession(
                    str(path), sess_options=_session_options(threads), providers=providers
                )
            # onnxruntime's exceptions have no common base below Exception.
            except Exception as error:
                raise BundleError(f"{path}: not a graph that onnxruntime can open: {_one_line(error)}") from error
        return sessions

    def _check(self) -> None:
        k, w = self.bundle.k, self.bundle.latent_size
        params, latent, landmarks = ("n", k), ("n", w), ("n", landmarks68.COUNT, 2)
        inputs: dict[str, dict[str, Shape]] = {
            "face_finder": {"image": _IMAGE},
            "lp_regressor": {"image": _IMAGE},
            "pose_encoder": {"image": _IMAGE},
            "lp_adaptor": {"params": params},
        }
        outputs: dict[str, dict[str, Shape]] = {
            "face_finder": {"boxes": ("n", "a", 4), "scores": ("n", "a")},
            "lp_regressor": {"params": params},
            "pose_encoder": {"pose_latent": latent},
            "lp_adaptor": {"pose_offset": latent},
        }
        if "alignment" in self.output_names("lp_regressor"):
            outputs["lp_regressor"]["alignment"] = ("n", 3)
        for graph, expected in inputs.items():
            self._check_tensors(graph, "input", expected, optional=False)
        for graph, expected in outputs.items():
            self._check_tensors(graph, "output", expected, optional=False)
        identity_inputs: dict[str, Shape] = {"image": _IMAGE, "landmarks": landmarks, "pose_latent": latent}
        self._check_tensors("identity_encoder", "input", identity_inputs, optional=True)
        features: dict[str, Shape] = {name: () for name in self.output_names("identity_encoder")}
        self._check_tensors("generator", "input", {**features, "pose_latent": latent}, optional=True)
        if "pose_latent" not in self.input_names("generator"):
            raise BundleError(f"{self.bundle.graph('generator')}: has no input 'pose_latent'")

    def _check_tensors(self, graph: str, side: str, expected: Mapping[str, Shape], optional: bool) -> None:
        path = self.bundle.graph(graph)
        session = self._sessions[graph]
        found = {t.name: t for t in (session.get_inputs() if side == "input" else session.get_outputs())}
        missing = sorted(set(expected) - set(found))
        if missing and not optional:
            raise BundleError(f"{path}: has no {side} {missing[0]!r}")
        unknown = sorted(set(found) - set(expected))
        if side == "input" and unknown:
            raise BundleError(f"{path}: has an unknown input {unknown[0]!r}")
        for name, tensor in found.items():
            if tensor.type != "tensor(float)":
                raise BundleError(f"{path}: {side} {name!r} is {tensor.type}, not float32")
            shape = expected.get(name, ())
            fault = _shape_fault(tensor.shape, shape, fixed_image=side == "input") if shape else None
            if fault:
                raise BundleError(f"{path}: {side} {name!r} has shape {list(tensor.shape)}, {fault}")


def _session_options(threads: int | None) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or min(os.cpu_count() or 1, MOST_THREADS)
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    # Spinning threads would take the cores from Blender between two frames.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _shape_fault(found: list[int | str | None], expected: Shape, fixed_image: bool) -> str | None:
    if len(found) != len(expected):
        return f"not {list(expected)}"
    if isinstance(found[0], int):
        return "but its batch dimension must be free"
    for size, wanted in zip(found[1:], expected[1:], strict=True):
        # A free inner dimension is only what shape inference could not tell.
        if isinstance(wanted, int) and isinstance(size, int) and size != wanted:
            return f"not {list(expected)}"
    if fixed_image and expected == _IMAGE and (not isinstance(found[3], int) or found[2] != found[3]):
        return "but its image must be a square of a fixed size"
    return None


def _find_cuda_libraries() -> None:
    """Load the CUDA libraries that pip installed, if there are any; onnxruntime alone looks in the system's folders."""
    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is not None:
        # It prints what it does not find, and our standard output belongs to the protocol.
        with contextlib.redirect_stdout(sys.stderr):
            preload()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
