# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame slots: shared memory that carries the right frame or says so, and leaves nothing behind."""

import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lpmm_runtime.frame_slots import FrameSlotError, Slot, SlotPool

PIXELS = np.arange(6 * 5 * 4, dtype=np.uint8).reshape(6, 5, 4)


@pytest.fixture
def pool() -> Iterator[SlotPool]:
    one = SlotPool(f"lpmm_{secrets.token_hex(4)}_")
    yield one
    one.close()


def test_a_frame_passes_unchanged(pool: SlotPool) -> None:
    slot = pool.take(PIXELS.nbytes)
    slot.write(7, PIXELS)
    seen = Slot.attach(slot.name)
    np.testing.assert_array_equal(seen.read(7, PIXELS.shape), PIXELS)
    seen.close()


@pytest.mark.parametrize(("seq", "shape"), [(6, (6, 5, 4)), (8, (6, 5, 4)), (7, (5, 6, 4)), (7, (6, 4, 4))])
def test_another_frame_is_never_taken_for_this_one(pool: SlotPool, seq: int, shape: tuple[int, int, int]) -> None:
    slot = pool.take(PIXELS.nbytes)
    slot.write(7, PIXELS)
    seen = Slot.attach(slot.name)
    with pytest.raises(FrameSlotError, match=f"holds frame 7, not frame {seq}"):
        seen.read(seq, shape)
    seen.close()


def test_a_shape_beyond_the_slot_is_refused(pool: SlotPool) -> None:
    slot = pool.take(PIXELS.nbytes)
    with pytest.raises(FrameSlotError, match="cannot be in a slot"):
        slot.read(7, (4096, 4096, 4))


def test_a_released_slot_is_used_again_and_an_unreleased_one_is_not(pool: SlotPool) -> None:
    first, second = pool.take(1000), pool.take(1000)
    assert first.name != second.name
    pool.release(first.name)
    assert pool.take(1000).name == first.name


def test_slots_grow_and_few_are_kept(pool: SlotPool) -> None:
    names = set()
    for size in range(1, 12):
        slot = pool.take(size << 20)
        assert slot.capacity >= size << 20
        names.add(slot.name)
        pool.release(slot.name)
    retired = pool.retired()
    assert len(names) == 11
    assert len(names - set(retired)) <= 4
    assert pool.retired() == []


def test_a_slot_has_no_name_once_both_sides_hold_it(pool: SlotPool) -> None:
    slot = pool.take(1000)
    Slot.attach(slot.name).close()
    with pytest.raises(FrameSlotError, match="is gone"):
        Slot.attach(slot.name)
    slot.write(1, PIXELS)
    np.testing.assert_array_equal(slot.read(1, PIXELS.shape), PIXELS)


@pytest.mark.skipif(not hasattr(__import__("os"), "posix_fallocate"), reason="only there is the memory reserved")
def test_more_memory_than_there_is_is_an_error_and_no_crash(pool: SlotPool) -> None:
    with pytest.raises(FrameSlotError, match="shared memory"):
        pool.take(1 << 45)


def test_no_resource_tracker_is_started_and_nothing_is_said() -> None:
    script = """
import secrets, sys
from multiprocessing import resource_tracker
import lpmm_runtime.client
from lpmm_runtime.frame_slots import Slot
slot = Slot.create(f"lpmm_{secrets.token_hex(4)}_1", 1000)
Slot.attach(slot.name).close()
slot.remove()
assert resource_tracker._resource_tracker._pid is None
assert "cv2" not in sys.modules and "onnxruntime" not in sys.modules
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
