# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints of other people's making, read without running anything that is in them.

A torch checkpoint is a pickle, and a pickle may name any function to be called. Here only tensors, plain containers
and a few inert stand-ins are ever made: torch's own `weights_only` reader first; where a file's container or pickle
protocol is beyond it, an unpickler that knows a handful of names and refuses every other.
"""

from __future__ import annotations

import io
import pickle
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; one line that names the file and what is wrong."""


class RefusedNameError(pickle.UnpicklingError):
    """A pickle names something that a checkpoint has no need of."""


class Settings:
    """Stands in for an `argparse.Namespace`: attributes, and nothing else."""


class PathName:
    """Stands in for a `pathlib` path: its parts, and nothing else."""

    def __init__(self, *parts: object) -> None:
        self.parts = parts


_PATHS = ("Path", "PurePath", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")


class _Unpickler(pickle.Unpickler):
    """Makes tensors, containers and stand-ins; every other name is refused."""

    def find_class(self, module: str, name: str) -> Any:
        made = _known_names().get((module, name))
        if made is None:
            raise RefusedNameError(f"{module}.{name}")
        return made


def _known_names() -> dict[tuple[str, str], Any]:
    # Made anew each time: a pickle may set attributes of what it was given, and these are then gone with the file.
    def rebuild_tensor(*args: Any) -> Tensor:
        return torch._utils._rebuild_tensor_v2(*args)

    def rebuild_parameter(data: Tensor, _requires_grad: bool, _hooks: object) -> Tensor:
        return data

    namespace = type("Settings", (Settings,), {})
    path = type("PathName", (PathName,), {})
    names: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
        ("argparse", "Namespace"): namespace,
        ("torch", "Size"): torch.Size,
        ("torch", "device"): lambda *args: ":".join(str(part) for part in args),
    }
    names |= {(module, name): path for module in ("pathlib", "pathlib._local") for name in _PATHS}
    for module in ("builtins", "__builtin__"):
        names |= {(module, "set"): set, (module, "frozenset"): frozenset}
    return names


class _SafePickle:
    """What `torch.load` asks of a pickle module."""

    Unpickler = _Unpickler
    UnpicklingError = pickle.UnpicklingError
    PickleError = pickle.PickleError

    @staticmethod
    def load(file: io.BufferedIOBase, **options: Any) -> Any:
        return _Unpickler(file, **options).load()

    @staticmethod
    def loads(data: bytes, **options: Any) -> Any:
        return _Unpickler(io.BytesIO(data), **options).load()


def read_checkpoint(path: Path) -> Any:
    """Return what a torch checkpoint holds, on the CPU; zip or legacy container, any pickle protocol.

    Namespaces come back as `Settings`, paths as `PathName`.

    Raises:
        CheckpointError: if it is missing, no checkpoint, cut short, or names code to be run (none is).
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path}: empty")
    _check_container(path)
    with warnings.catch_warnings():
        # torch remarks on protocols and old storages; what matters is said below.
        warnings.simplefilter("ignore")
        return _load(path)


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    # A damaged pickle may raise nearly anything; the second reader says what.
    except Exception:
        pass
    try:
        return torch.load(path, map_location="cpu", pickle_module=_SafePickle, weights_only=False)
    except RefusedNameError as error:
        raise CheckpointError(f"{path}: names {error}, which no checkpoint needs: refused, nothing was run") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise CheckpointError(f"{path}: not a torch checkpoint, or cut short ({reason})") from error


def _check_container(path: Path) -> None:
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise CheckpointError(f"{path}: not a torch checkpoint, or cut short ({error})") from error
        # TorchScript is a program; torch.load would hand it to another loader.
        if any(name.rpartition("/")[2] == "constants.pkl" for name in names):
            raise CheckpointError(f"{path}: a TorchScript program, not a checkpoint")
    # Tar files of torch 0.1 would be unpacked to disk first.
    elif tarfile.is_tarfile(path):
        raise CheckpointError(f"{path}: a tar file, not a checkpoint")


def check_settings(path: Path, settings: object, expected: Mapping[str, object]) -> None:
    """Check the hyper-parameters that a checkpoint states; what it does not state is taken as expected.

    Args:
        settings: a `Settings`, a dict, or None.

    Raises:
        CheckpointError: naming the first that differs.
    """
    stated = settings_of(settings)
    for name, value in expected.items():
        allowed = value if isinstance(value, tuple) else (value,)
        if name in stated and stated[name] not in allowed:
            wanted = " or ".join(repr(one) for one in allowed)
            raise CheckpointError(f"{path}: was trained with {name} = {stated[name]!r}; only {wanted} is supported")


def settings_of(settings: object) -> dict[str, Any]:
    """Return a checkpoint's stated hyper-parameters by name."""
    if isinstance(settings, Mapping):
        return {str(name): value for name, value in settings.items()}
    return dict(vars(settings)) if isinstance(settings, Settings) else {}


def load_strictly(model: nn.Module, state: Mapping[str, Any], path: Path, what: str) -> None:
    """Load a state dict whose keys, shapes and values are all as the model's, which may be on the meta device.

    Args:
        what: what the state should be, for errors: "LIA generator".

    Raises:
        CheckpointError: naming the first key that is missing, unknown, misshapen or not finite.
    """
    expected = model.state_dict()
    for word, keys in (("has no", set(expected) - set(state)), ("has an unknown", set(state) - set(expected))):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise CheckpointError(f"{path}: not a {what}: {word} {min(map(str, keys))!r}{more}")
    for name, tensor in expected.items():
        value = state[name]
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta or value.is_quantized:
            raise CheckpointError(f"{path}: not a {what}: {name!r} is no plain tensor")
        if value.shape != tensor.shape:
            raise CheckpointError(
                f"{path}: not a {what}: {name!r} has shape {list(value.shape)}, not {list(tensor.shape)}"
            )
        if value.is_floating_point() != tensor.is_floating_point() or value.is_complex():
            raise CheckpointError(f"{path}: not a {what}: {name!r} is {value.dtype}, not {tensor.dtype}")
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{path}: {name!r} holds values that are not finite")
    model.load_state_dict({name: state[name].to(tensor.dtype) for name, tensor in expected.items()}, assign=True)
