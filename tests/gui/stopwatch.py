# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the add-on holds up Blender's main thread: its handlers, and the timer that shows live frames."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import bpy

_EVENTS = {"drag": "depsgraph_update_post", "playback": "frame_change_post"}


class Stopwatch:
    """Times the handlers of an installed add-on while it is over something.

    Attributes:
        taken: milliseconds of every call, by what was watched and what was called.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        self.taken: dict[tuple[str, str], list[float]] = {}

    @contextmanager
    def over(self, what: str) -> Iterator[None]:
        """Time what happens inside; `what` begins with "drag" or is "playback"."""
        listeners = getattr(bpy.app.handlers, _EVENTS[what.split()[0]])
        frames = import_module(f"{self._package}.frames")
        place = next(i for i, handler in enumerate(listeners) if handler.__module__ == f"{self._package}.handlers")
        handler, timer = listeners[place], frames._show_arrived
        listeners[place] = self._timed((what, "handler"), handler)
        # The add-on looks the timer up by its name; one that runs already is not timed.
        frames._show_arrived = self._timed((what, "timer"), timer)
        try:
            yield
        finally:
            listeners[place] = handler
            if bpy.app.timers.is_registered(frames._show_arrived):
                bpy.app.timers.unregister(frames._show_arrived)
                bpy.app.timers.register(timer, persistent=True)
            frames._show_arrived = timer

    def median(self, what: str) -> float | None:
        """Return the median of a handler's calls in milliseconds; None if there were none."""
        taken = self.taken.get((what, "handler"))
        return statistics.median(taken) if taken else None

    def report(self) -> dict[str, dict[str, float]]:
        """Return calls, median and 90th percentile of all that was watched."""
        return {
            f"{what}, {part}": {
                "calls": len(taken),
                "median": round(statistics.median(taken), 3),
                "p90": round(sorted(taken)[int(0.9 * (len(taken) - 1))], 3),
            }
            for (what, part), taken in self.taken.items()
        }

    def _timed(self, key: tuple[str, str], function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            begun = time.perf_counter()
            answer = function(*arguments)
            self.taken.setdefault(key, []).append(1000.0 * (time.perf_counter() - begun))
            return answer

        return timed
