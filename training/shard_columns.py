# SPDX-License-Identifier: GPL-3.0-or-later
"""Columns of samples that stay in their shards on disk: they index like arrays, and only what is asked for is read.

Nothing is kept but where things lie, so memory does not grow with the data, and sample n is the sample n that it is in
memory: a training sees the same batches either way. What is read often, the operating system keeps as long as it can.
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

# Coded pictures lie one after the other in one array; the other says where each ends.
_CODED = {"jpeg": "jpeg_end", "coded": "coded_end"}
_LOCAL_HEADER = 30


@dataclass(frozen=True)
class _Place:
    """Where an array lies in a file."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self, path: Path, first: int, count: int) -> NDArray[Any]:
        """Return `count` entries of the flattened array."""
        entries = np.empty(count, self.dtype)
        with path.open("rb", buffering=0) as file:
            file.seek(self.offset + first * self.dtype.itemsize)
            read = file.readinto(entries.view(np.uint8).data)
        if read != entries.nbytes:
            raise ValueError(f"{path}: ends too early")
        return entries


class Column:
    """One array of many shards, joined along its first axis. Integers and arrays of them may index it, from the left;
    slices only after them, or alone.
    """

    def __init__(self, paths: list[Path], places: list[_Place]) -> None:
        self.dtype = places[0].dtype
        self.shape = (sum(place.shape[0] for place in places), *places[0].shape[1:])
        self._paths, self._places = paths, places
        self._ends = np.cumsum([math.prod(place.shape) for place in places])

    def __len__(self) -> int:
        return self.shape[0]

    def reshape(self, *shape: Any) -> Column:
        """Return the column with its entries arranged anew; nothing is read."""
        wanted = list(shape[0]) if isinstance(shape[0], tuple) else list(shape)
        if -1 in wanted:
            wanted[wanted.index(-1)] = math.prod(self.shape) // -math.prod(wanted)
        if math.prod(wanted) != math.prod(self.shape):
            raise ValueError(f"cannot arrange {self.shape} as {tuple(wanted)}")
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, shape=tuple(wanted))
        return other

    def __getitem__(self, index: Any) -> NDArray[Any]:
        if isinstance(index, slice):
            index = np.arange(len(self))[index]
        parts = index if isinstance(index, tuple) else (index,)
        depth = next((n for n, part in enumerate(parts) if isinstance(part, slice)), len(parts))
        leading = np.broadcast_arrays(*(np.asarray(part) for part in parts[:depth]))
        try:
            rows = np.ravel_multi_index([axis.ravel() for axis in leading], self.shape[:depth])
        except ValueError as error:
            raise IndexError(f"{index} is outside {self.shape}") from error
        size = math.prod(self.shape[depth:])
        items = [self._entries(int(row) * size, size).reshape(self.shape[depth:]) for row in rows]
        if leading[0].ndim == 0:
            return items[0][parts[depth:]]
        stacked = np.stack(items)[(slice(None), *parts[depth:])]
        return stacked.reshape(*leading[0].shape, *stacked.shape[1:])

    def _shard(self, first: int) -> tuple[int, int]:
        """Return which shard holds an entry of the flattened column, and which of its own that is."""
        shard = int(np.searchsorted(self._ends, first, side="right"))
        return shard, first - (int(self._ends[shard - 1]) if shard else 0)

    def _entries(self, first: int, count: int) -> NDArray[Any]:
        shard, start = self._shard(first)
        return self._places[shard].read(self._paths[shard], start, count)


class PictureColumn(Column):
    """The pictures uint8 [n, s, s, 3] of many shards, decoded when asked for; one or several whole ones at a time."""

    def __init__(self, paths: list[Path], coded: list[_Place], ends: list[_Place]) -> None:
        self._coded, self._picture_ends = coded, ends
        self._picture = _decoded(_coded_picture(paths[0], coded[0], ends[0], 0)).shape
        shapes = [(place.shape[0], *self._picture) for place in ends]
        super().__init__(paths, [_Place(0, shape, np.dtype(np.uint8)) for shape in shapes])

    def _entries(self, first: int, count: int) -> NDArray[Any]:
        shard, start = self._shard(first)
        size = math.prod(self._picture)
        pictures = [
            _decoded(_coded_picture(self._paths[shard], self._coded[shard], self._picture_ends[shard], row))
            for row in range(start // size, (start + count) // size)
        ]
        return pictures[0] if len(pictures) == 1 else np.stack(pictures)


Columns = Mapping[str, NDArray[Any] | Column]


def open_columns(paths: list[Path], leave_out: tuple[str, ...] = ()) -> dict[str, Column]:
    """Return the columns of shards, `images` in the place of coded pictures.

    Args:
        leave_out: arrays that have no entry a sample.

    Raises:
        ValueError: if a file is no uncompressed npz, or holds other arrays than the first.
    """
    indices = [_index(path) for path in paths]
    columns: dict[str, Column] = {}
    for name, first in indices[0].items():
        if name in _CODED.values() or name in leave_out or not first.shape:
            continue
        try:
            places = [index[name] for index in indices]
            if name in _CODED:
                columns["images"] = PictureColumn(paths, places, [index[_CODED[name]] for index in indices])
                continue
        except KeyError as error:
            raise ValueError(f"{paths[0].parent}: some of its shards hold no {error}") from error
        for path, place in zip(paths, places, strict=True):
            if (place.shape[1:], place.dtype) != (first.shape[1:], first.dtype):
                raise ValueError(f"{path}: its {name} are {place.dtype} {place.shape}, not as in {paths[0].name}")
        columns[name] = Column(paths, places)
    return columns


def _index(path: Path) -> dict[str, _Place]:
    """Return where an npz's arrays lie: stored as they are, they need not be unpacked."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            places = {}
            for member in archive.infolist():
                if member.compress_type != zipfile.ZIP_STORED:
                    raise ValueError("is compressed")
                # The local header's extra field may be longer than the directory's.
                file.seek(member.header_offset)
                name, extra = struct.unpack("<HH", file.read(_LOCAL_HEADER)[26:30])
                file.seek(member.header_offset + _LOCAL_HEADER + name + extra)
                version = npy.read_magic(file)
                header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                shape, fortran, dtype = header(file)
                if fortran or dtype.hasobject:
                    raise ValueError(f"{member.filename} is laid out otherwise")
                places[member.filename.removesuffix(".npy")] = _Place(file.tell(), shape, dtype)
            return places
    except (zipfile.BadZipFile, ValueError, struct.error) as error:
        raise ValueError(f"{path}: not a shard that can be read in place ({error})") from error


def _coded_picture(path: Path, coded: _Place, ends: _Place, row: int) -> NDArray[np.uint8]:
    bounds = ends.read(path, max(0, row - 1), 1 if row == 0 else 2)
    start = 0 if row == 0 else int(bounds[0])
    return coded.read(path, start, int(bounds[-1]) - start)


def _decoded(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)
