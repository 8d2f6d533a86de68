# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame slots: the shared memory through which pixels pass from the runtime to Blender.

The runtime makes and fills a slot, names it in its reply, and has it back when the client releases it. A slot
begins with a header that repeats the frame's sequence number and shape, so that a client never takes one
frame for another. The client removes a slot's name as soon as it has opened it: from then on the memory goes
with the last process that maps it, even if both are killed.
"""

import contextlib
import importlib.util
import os
import struct
import sys
from multiprocessing import shared_memory
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.errors import LpmmError

# Magic, sequence number, height, width; then padding, so that the pixels start aligned.
_HEADER = struct.Struct("<4sqii")
_MAGIC = b"LPMM"
_PIXELS_AT = 64
_GRAIN = 1 << 20
# So many frames unread, and the client has been stopped.
_BUSY_LIMIT = 32
# Slots kept for reuse; the sizes of a viewport, a render and a bake may alternate.
_KEPT = 4


class FrameSlotError(LpmmError):
    """A slot cannot be made, or does not hold the frame that its reply says."""

    code = "no_slot"


class Slot:
    """One block of shared memory that holds one frame.

    Attributes:
        name: its name for the other process.
        capacity: how many pixel bytes fit.
    """

    def __init__(self, memory: shared_memory.SharedMemory) -> None:
        self._memory = memory
        self._buffer: Any = memory.buf
        self.name = memory.name
        self.capacity = memory.size - _PIXELS_AT

    @staticmethod
    def create(name: str, capacity: int) -> "Slot":
        """Return a new slot with room for at least `capacity` bytes of pixels.

        Raises:
            FrameSlotError: when there is no shared memory left.
        """
        size = -(-(capacity + _PIXELS_AT) // _GRAIN) * _GRAIN
        try:
            memory = _open(name, create=True, size=size)
        except OSError as error:
            raise FrameSlotError(f"cannot make {size >> 20} MiB of shared memory: {error.strerror}") from error
        try:
            _reserve(memory, size)
        except OSError as error:
            memory.close()
            memory.unlink()
            raise FrameSlotError(f"no {size >> 20} MiB of shared memory left (/dev/shm): {error.strerror}") from error
        return Slot(memory)

    @staticmethod
    def attach(name: str) -> "Slot":
        """Return the slot that the other process made, and remove its name.

        Raises:
            FrameSlotError: when there is none of that name.
        """
        try:
            memory = _open(name)
            memory.unlink()
        except OSError as error:
            raise FrameSlotError(f"the frame's shared memory {name} is gone: {error}") from error
        return Slot(memory)

    def write(self, seq: int, pixels: NDArray[np.uint8]) -> None:
        """Put frame `seq` [H, W, 4] into the slot."""
        height, width, _ = pixels.shape
        # A reader that looks while the pixels change must find no frame at all.
        _HEADER.pack_into(self._buffer, 0, _MAGIC, -1, 0, 0)
        np.ndarray(pixels.shape, np.uint8, self._buffer, _PIXELS_AT)[:] = pixels
        _HEADER.pack_into(self._buffer, 0, _MAGIC, seq, height, width)

    def read(self, seq: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
        """Return a copy of frame `seq` with `shape` [H, W, 4].

        Raises:
            FrameSlotError: when the slot holds another frame.
        """
        height, width, depth = shape
        if depth != 4 or min(height, width) < 1 or height * width * 4 > self.capacity:
            raise FrameSlotError(f"a frame of shape {shape} cannot be in a slot of {self.capacity} bytes")
        expected = (_MAGIC, seq, height, width)
        found = _HEADER.unpack_from(self._buffer)
        pixels: NDArray[np.uint8] = np.ndarray(shape, np.uint8, self._buffer, _PIXELS_AT).copy()
        if found != expected or _HEADER.unpack_from(self._buffer) != expected:
            raise FrameSlotError(f"slot {self.name} holds frame {found[1]}, not frame {seq}")
        return pixels

    def close(self) -> None:
        """Let go of the memory; the other process keeps its own hold."""
        self._buffer = None
        self._memory.close()

    def unlink(self) -> None:
        """Remove the name, if the client has not done so."""
        with contextlib.suppress(FileNotFoundError):
            self._memory.unlink()

    def remove(self) -> None:
        """Let go of the memory and remove its name."""
        self.close()
        self.unlink()


class SlotPool:
    """The runtime's slots for one client. Not thread-safe: the server locks it.

    Args:
        prefix: begins every name. macOS allows 30 characters in all.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._made = 0
        self._free: list[Slot] = []
        self._busy: dict[str, Slot] = {}
        self._retired: list[str] = []

    @property
    def full(self) -> bool:
        """Whether so many frames wait unread that the client should read them before it gets more."""
        return len(self._busy) >= _BUSY_LIMIT

    def take(self, nbytes: int) -> Slot:
        """Return a slot with room for `nbytes`, busy until `release`.

        Raises:
            FrameSlotError: when there is no memory for a new one.
        """
        fitting = [slot for slot in self._free if slot.capacity >= nbytes]
        if fitting:
            slot = min(fitting, key=lambda one: one.capacity)
            self._free.remove(slot)
        else:
            if self._free and len(self._free) + len(self._busy) >= _KEPT:
                self._retire(min(self._free, key=lambda one: one.capacity))
            self._made += 1
            slot = Slot.create(f"{self._prefix}{self._made}", nbytes)
        self._busy[slot.name] = slot
        return slot

    def release(self, name: str) -> None:
        """Have a slot back; a name that is not busy is ignored, as a retired one may be released late."""
        slot = self._busy.pop(name, None)
        if slot is not None:
            self._free.append(slot)
            if len(self._free) > _KEPT:
                self._retire(self._free[0])

    def retired(self) -> list[str]:
        """Return the names that went out of use since the last call, for the client to close too."""
        names, self._retired = self._retired, []
        return names

    def unlink(self) -> None:
        """Remove every name that a client has not removed; for a process about to end."""
        for slot in (*self._free, *self._busy.values()):
            slot.unlink()

    def close(self) -> None:
        """Remove every slot."""
        for slot in (*self._free, *self._busy.values()):
            slot.remove()
        self._free.clear()
        self._busy.clear()

    def _retire(self, slot: Slot) -> None:
        self._free.remove(slot)
        self._retired.append(slot.name)
        slot.remove()


def _reserve(memory: shared_memory.SharedMemory, size: int) -> None:
    """Take the pages now: where /dev/shm is small (64 MB in a container), a later write would be a SIGBUS."""
    descriptor = getattr(memory, "_fd", -1)
    if hasattr(os, "posix_fallocate") and descriptor >= 0:
        os.posix_fallocate(descriptor, 0, size)


def _open(name: str, create: bool = False, size: int = 0) -> shared_memory.SharedMemory:
    if sys.version_info >= (3, 13):
        return shared_memory.SharedMemory(name, create, size, track=False)
    memory: shared_memory.SharedMemory = _untracked().SharedMemory(name, create, size)
    return memory


_private_module: list[ModuleType] = []


def _untracked() -> ModuleType:
    """Return a private copy of `multiprocessing.shared_memory` that leaves the resource tracker alone.

    Before Python 3.13's `track=False`, opening a slot starts a tracker process (from `sys.executable`, which
    in Blender need not be a Python) that warns about the slot and unlinks it. Patching the shared module
    instead would reach into the other add-ons of the same Blender.
    """
    if not _private_module:
        spec = importlib.util.find_spec("multiprocessing.shared_memory")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.resource_tracker = _NoTracker  # type: ignore[attr-defined]
        _private_module.append(module)
    return _private_module[0]


class _NoTracker:
    @staticmethod
    def register(*_: Any) -> None:
        pass

    @staticmethod
    def unregister(*_: Any) -> None:
        pass
