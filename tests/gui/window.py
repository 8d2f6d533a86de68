# SPDX-License-Identifier: GPL-3.0-or-later
"""A hand and an eye for a real Blender window on X11: the mouse, the keyboard, what is under the mouse, screenshots.

Whatever waits is a generator that yields seconds, because Blender only handles events between two calls of a timer.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bpy
from bpy.types import Area, Context, Region, Window

Wait = Iterator[float]

_SETTLE = 0.25
"""Seconds for an event to be handled and drawn, in software OpenGL on a busy machine."""


class Console:
    """What Blender writes to its console from now on, kept in a file.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._own = os.dup(1)
        kept = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(kept, 1)
        os.dup2(kept, 2)
        sys.stdout.reconfigure(line_buffering=True)

    def say(self, line: str) -> None:
        """Write a line to the console that was there before, and to the file."""
        os.write(self._own, f"{line}\n".encode())
        os.write(1, f"{line}\n".encode())

    def faults(self) -> list[str]:
        """Return the lines that tell of an error."""
        words = ("error", "traceback", "exception", "segmentation", "unexpected")
        harmless = ("alsa", "ao::", "dbus", "libdecor", "color management: error could not find role")
        lines = self.path.read_text(errors="replace").splitlines()
        return [
            line
            for line in lines
            if any(word in line.lower() for word in words) and not any(word in line.lower() for word in harmless)
        ]


class Hand:
    """Mouse and keyboard over the first window, which lies at the screen's top left corner."""

    @property
    def window(self) -> Window:
        return bpy.context.window_manager.windows[0]

    def area(self, kind: str) -> Area:
        """Return the largest area of a kind."""
        return max((area for area in self.window.screen.areas if area.type == kind), key=lambda a: a.width * a.height)

    def region(self, kind: str, area: str = "VIEW_3D") -> Region:
        """Return a region of the largest area of a kind."""
        return next(region for region in self.area(area).regions if region.type == kind)

    def centre(self, kind: str, area: str = "VIEW_3D") -> tuple[float, float]:
        """Return the middle of a region of the largest area of a kind."""
        region = self.region(kind, area)
        return region.x + 0.5 * region.width, region.y + 0.5 * region.height

    def over(self, region: str = "WINDOW", area: str = "VIEW_3D") -> Context:
        """Return the context that an operator has with the mouse over a region."""
        return bpy.context.temp_override(
            window=self.window, area=self.area(area), region=self.region(region, area), screen=self.window.screen
        )

    def move(self, x: float, y: float) -> None:
        """Put the mouse on a place of the window; y from the bottom, as Blender counts."""
        _xdotool("mousemove", round(x), round(self.window.height - y))

    def away(self) -> None:
        """Put the mouse where there is nothing to hover over."""
        header = self.region("HEADER")
        self.move(header.x + 0.5 * header.width, header.y + 4)

    def click(self, button: int = 1) -> Wait:
        """Click where the mouse is."""
        _xdotool("click", button)
        yield _SETTLE

    def press(self, keys: str) -> Wait:
        """Press a key or a combination where the mouse is: `i`, `ctrl+s`."""
        _xdotool("key", keys)
        yield _SETTLE

    def drag(self, start: tuple[float, float], by: tuple[float, float], steps: int = 8) -> Wait:
        """Drag with the left button, in steps, as a hand does.

        The steps are relative: while a slider is dragged Blender takes the mouse back to where it was.
        """
        self.move(*start)
        yield _SETTLE
        _xdotool("mousedown", 1)
        yield _SETTLE
        for _step in range(steps):
            _xdotool("mousemove_relative", "--", round(by[0] / steps), round(-by[1] / steps))
            yield 0.06
        _xdotool("mouseup", 1)
        yield _SETTLE

    def find(self, wanted: str, scroll: int = 0, turns: int = 6) -> Iterator[float | tuple[float, float]]:
        """Find the button of a property in the sidebar by hovering, and by scrolling on when it is out of sight.

        Args:
            wanted: the end of the property's data path.
            scroll: turns of the wheel before looking; then it is looked for from below, where new buttons appear.
            turns: how often to scroll on before giving up.

        Yields:
            Seconds to wait; at the end the place of the button (use `found`).

        Raises:
            LookupError: if there is no such button.
        """
        for turn in range(turns):
            region = self.region("UI")
            x = region.x + 0.6 * region.width
            yield from self.scroll(8 if turn else scroll)
            places = range(region.y + 10, region.y + region.height - 8, 14)
            for y in places if scroll else reversed(places):
                self.move(x, y)
                yield 0.04
                if self.hovered().endswith(wanted):
                    # A few pixels on, where the answer cannot be that of the place before.
                    self.move(x - 6, y)
                    yield _SETTLE
                    if self.hovered().endswith(wanted):
                        yield x - 6, y
                        return
        raise LookupError(f"there is no button of {wanted} in the sidebar")

    def scroll(self, turns: int) -> Wait:
        """Turn the wheel over the sidebar, towards its end."""
        region = self.region("UI")
        # At the edge: over a list the wheel would scroll the list.
        self.move(region.x + 3, region.y + 0.5 * region.height)
        for _turn in range(turns):
            _xdotool("click", 5)
            yield 0.05
        self.away()
        yield _SETTLE

    def hovered(self) -> str:
        """Return the data path of the property under the mouse in the sidebar, or ""."""
        with self.over("UI"):
            found = bpy.context.property
        return "" if found is None else found[1]


def found(search: Iterator[float | tuple[float, float]]) -> Iterator[float]:
    """Wait through a search; returns its place: `place = yield from found(hand.find(…))`."""
    for answer in search:
        if isinstance(answer, tuple):
            return answer
        yield answer
    raise LookupError("the search ended without an answer")


def screenshot(path: Path, *regions: Region | Area | Window, margins: tuple[int, int, int, int] = (0, 0, 0, 0)) -> None:
    """Save what the screen shows, or the smallest rectangle of it around some regions.

    Args:
        path: the picture; its ending says the format.
        regions: what to show; nothing is the whole screen.
        margins: pixels to leave out of the rectangle: left, top, right, bottom.

    Blender's own screenshot operator comes out black where OpenGL is done in software.
    """
    crop = []
    if regions:
        height = bpy.context.window_manager.windows[0].height
        left, low = min(r.x for r in regions) + margins[0], min(r.y for r in regions) + margins[3]
        right = max(r.x + r.width for r in regions) - margins[2]
        high = max(r.y + r.height for r in regions) - margins[1]
        crop = ["-crop", f"{right - left}x{high - low}+{left}+{height - high}", "+repage"]
    subprocess.run(["import", "-window", "root", *crop, "-quality", "88", str(path)], check=True)


def _xdotool(*words: str | int) -> None:
    subprocess.run(["xdotool", *map(str, words)], check=True)
