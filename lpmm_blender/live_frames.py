# SPDX-License-Identifier: GPL-3.0-or-later
"""Live frames: a thread that renders the newest wish of every rig, so that a slider drag never waits.

A rig has at most one wish; a newer one replaces it. Starting the runtime and reading a photo happen here too.
The thread never touches Blender data.
"""

import logging
import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.errors import LpmmError
from lpmm_runtime.protocol import Frame

from . import runtime_session
from .frame_request import FrameRequest, as_stored

logger = logging.getLogger("lpmm_blender")


@dataclass(frozen=True)
class LiveAnswer:
    """A wish that came true, or not: `frame` is None when `fault` says why.

    Attributes:
        stored: the frame as an image stores it, converted here so that the interface need not.
    """

    key: int
    request: FrameRequest
    frame: Frame | None
    fault: str = ""
    stored: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0, 4), np.float32), compare=False)


_changed = threading.Condition()
_wishes: dict[int, FrameRequest] = {}
_rendering: dict[int, FrameRequest] = {}
_answers: dict[int, LiveAnswer] = {}
_thread: threading.Thread | None = None
_generation = 0


def want(key: int, request: FrameRequest) -> None:
    """Wish for a frame of rig `key`, in place of an older wish that nobody has begun."""
    global _thread
    with _changed:
        _wishes[key] = request
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_render_wishes, name="lpmm-live", daemon=True)
            _thread.start()
        _changed.notify_all()


def wanted(key: int) -> FrameRequest | None:
    """Return the newest request of a rig whose answer was not taken yet."""
    with _changed:
        answer = _answers.get(key)
        return _wishes.get(key) or _rendering.get(key) or (answer.request if answer else None)


def take_arrived() -> list[LiveAnswer]:
    """Return the answers since the last call, at most one a rig."""
    with _changed:
        answers = list(_answers.values())
        _answers.clear()
        return answers


def under_way() -> bool:
    """Whether an answer is still to come or to be taken."""
    with _changed:
        return bool(_wishes or _rendering or _answers)


def clear() -> None:
    """Forget every wish and answer; what is being rendered will be thrown away."""
    global _generation
    with _changed:
        _generation += 1
        _wishes.clear()
        _rendering.clear()
        _answers.clear()


def keep_only(keys: set[int]) -> None:
    """Forget the wishes and answers of rigs other than these."""
    with _changed:
        for waiting in (_wishes, _answers):
            for key in set(waiting) - keys:
                del waiting[key]


def stop() -> None:
    """Forget every wish and let the thread end once its frame is done."""
    global _thread
    clear()
    with _changed:
        _thread = None
        _changed.notify_all()


def _render_wishes() -> None:
    me = threading.current_thread()
    while True:
        with _changed:
            while not _wishes and _thread is me:
                _changed.wait()
            if _thread is not me:
                return
            key = next(iter(_wishes))
            request = _wishes.pop(key)
            _rendering[key] = request
            generation = _generation
        try:
            frame = runtime_session.session().render(request)
            answer = LiveAnswer(key, request, frame, stored=as_stored(frame.pixels))
        except LpmmError as fault:
            answer = LiveAnswer(key, request, None, str(fault))
        except Exception as fault:
            # The thread must outlive a defect, or no slider would ever show again; the slate tells of it.
            logger.exception("LPMM: no live frame")
            answer = LiveAnswer(key, request, None, f"{type(fault).__name__}: {fault}")
        with _changed:
            if generation == _generation:
                _rendering.pop(key, None)
                _answers[key] = answer
