# SPDX-License-Identifier: GPL-3.0-or-later
"""The client of the runtime, for Blender's Python: characters, exact frames and live frames.

    process = RuntimeProcess.start(log=folder / "runtime.log")
    client = RuntimeClient(process)
    character = client.create_character(photo)
    frame = client.render_exact(character.id, character.params, size=512)

Needs the standard library and numpy only. Every method may be called from any thread. What an animator can
mend raises `RuntimeRequestError`, and the runtime goes on; a runtime that is gone raises `RuntimeDied`, and
`revive` starts it again: characters are then prepared anew by the first request that names them.
"""

import itertools
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from lpmm_runtime.protocol import (
    PROTOCOL_VERSION,
    Base,
    Box,
    CharacterInfo,
    Frame,
    Message,
    Numbers,
    RenderRequest,
    RuntimeRequestError,
    TakeFrame,
    View,
    numbers,
)
from lpmm_runtime.runtime_process import RuntimeDied, RuntimeProcess, RuntimeStartError
from lpmm_runtime.session import Session

__all__ = [
    "CharacterInfo",
    "Frame",
    "RuntimeClient",
    "RuntimeDied",
    "RuntimeProcess",
    "RuntimeRequestError",
    "RuntimeStartError",
    "TakeFrame",
]

T = TypeVar("T")


@dataclass
class _Portrait:
    """What it takes to prepare a character again, and what the runtime last said of it."""

    photo: Path
    box: Box | None
    info: CharacterInfo | None = None


@dataclass
class _Live:
    """The live frames of one character: the numbers not yet answered, and what was not polled yet."""

    asked: list[int] = field(default_factory=list)
    frame: Frame | None = None
    error: RuntimeRequestError | None = None


class RuntimeClient:
    """A client of one runtime.

    Args:
        process: the runtime; it may still be starting, requests wait for it.
        timeout: seconds after which a runtime that leaves a blocking request unanswered is killed.
    """

    def __init__(self, process: RuntimeProcess, *, timeout: float = 300.0) -> None:
        self._process = process
        self._timeout = timeout
        self._lock = threading.RLock()
        self._counter = itertools.count(1)
        self._names = itertools.count(1)
        self._portraits: dict[str, _Portrait] = {}
        self._live: dict[str, _Live] = {}
        self._session = Session(process.child, self._counter)

    @property
    def process(self) -> RuntimeProcess:
        return self._process

    @property
    def dead(self) -> RuntimeDied | None:
        """Why the runtime cannot be asked, or None. Does not wait."""
        return self._session.dead

    def hello(self) -> Message:
        """Return what the runtime is: {device, bundle: {name, version, path}, k, pid, protocol, versions}.

        Raises:
            RuntimeDied.
        """
        with self._lock:
            _, future = self._session.submit({"op": "hello", "protocol": PROTOCOL_VERSION})
        reply: Message = self._wait(future)
        return {name: value for name, value in reply.items() if name not in ("reply", "ok")}

    def add_character(self, photo: Path, box: Box | None = None) -> str:
        """Return the id of a character that the runtime prepares when it is first asked for. Does not wait.

        Args:
            photo: the portrait's file.
            box: the face's (left, top, right, bottom) in photo pixels; None lets the runtime find it.
        """
        with self._lock:
            name = f"c{next(self._names)}"
            self._portraits[name] = _Portrait(Path(photo).absolute(), box)
        return name

    def create_character(self, photo: Path, box: Box | None = None) -> CharacterInfo:
        """Prepare a portrait and wait for it; the arguments are `add_character`'s.

        Raises:
            RuntimeRequestError: no such photo, no image, no face ("bad_photo", "no_face", "bad_box", …).
            RuntimeDied.
        """
        name = self.add_character(photo, box)
        try:
            return self.prepare_character(name)
        except (RuntimeRequestError, RuntimeDied):
            self.drop_character(name)
            raise

    def prepare_character(self, character: str) -> CharacterInfo:
        """Have the runtime prepare a character, anew if it has it already, and wait for it.

        Raises:
            As `create_character`.
        """
        return self._wait(self.submit_character(character))

    def submit_character(self, character: str) -> "Future[CharacterInfo]":
        """Have the runtime prepare a character without waiting; the future raises as `create_character`."""
        with self._lock:
            future = self._prepare(character)
        result: Future[CharacterInfo] = Future()
        result.set_running_or_notify_cancel()

        def settle(done: "Future[Any]") -> None:
            error = done.exception()
            if error is not None:
                result.set_exception(error)
            else:
                result.set_result(CharacterInfo.of_message(done.result()))

        future.add_done_callback(settle)
        return result

    def character(self, character: str) -> CharacterInfo | None:
        """Return what the runtime last said of a character; None before it is prepared. Does not wait."""
        with self._lock:
            portrait = self._portraits.get(character)
            return portrait.info if portrait else None

    def drop_character(self, character: str) -> None:
        """Forget a character here and in the runtime; an unknown id is ignored. Does not wait."""
        with self._lock:
            self._portraits.pop(character, None)
            self._live.pop(character, None)
            if character in self._session.characters and self._session.dead is None:
                self._session.characters.discard(character)
                self._session.submit({"op": "drop_character", "character": character})

    def render_exact(
        self,
        character: str,
        params: Numbers,
        view: View = "crop",
        size: int | None = None,
        base: Base = "PHOTO",
        *,
        take: TakeFrame | None = None,
        revive: bool = False,
    ) -> Frame:
        """Return the frame of these very params; waits for it.

        Args:
            character: the id.
            params: [k] absolute params p, in standard deviations.
            view: "crop", or "full" for the whole photo.
            size: the crop's side in pixels; None is its native size.
            base: "PHOTO" or "NEUTRAL".
            take: a driving take's frame to mix in, or None.
            revive: start a dead runtime again and ask once more.

        Raises:
            RuntimeRequestError: bad params, unknown character, or the portrait cannot be prepared.
            RuntimeDied.
        """
        request = RenderRequest(character, params, "exact", base, view, size, take)
        try:
            return self._wait(self._render(request)[1])
        except RuntimeDied:
            if not revive:
                raise
        self.revive()
        return self._wait(self._render(request)[1])

    def submit_exact(
        self,
        character: str,
        params: Numbers,
        view: View = "crop",
        size: int | None = None,
        base: Base = "PHOTO",
        *,
        take: TakeFrame | None = None,
    ) -> "Future[Frame]":
        """Ask as `render_exact` without waiting; the future raises what that would."""
        return self._render(RenderRequest(character, params, "exact", base, view, size, take))[1]

    def request_live(
        self,
        character: str,
        params: Numbers,
        view: View = "crop",
        size: int | None = None,
        base: Base = "PHOTO",
        *,
        take: TakeFrame | None = None,
    ) -> int:
        """Ask for a live frame without waiting; a newer request of the same character overtakes this one.

        Returns:
            The sequence number that the frame will carry.

        Raises:
            RuntimeRequestError: bad params, or no such character.
            RuntimeDied.
        """
        request = RenderRequest(character, params, "live", base, view, size, take)
        with self._lock:
            seq, future = self._render(request)
            live = self._live.setdefault(character, _Live())
            live.asked.append(seq)
            future.add_done_callback(partial(self._live_answered, self._session, live, seq))
        return seq

    def poll_live(self, character: str) -> Frame | None:
        """Return the newest live frame that was not polled yet, or None. Does not wait.

        Raises:
            RuntimeRequestError: what the runtime answered to the newest live request; once.
            RuntimeDied: while the runtime is dead.
        """
        with self._lock:
            self._session.check()
            live = self._live.get(character)
            if live is None:
                return None
            frame, error = live.frame, live.error
            live.frame = live.error = None
        if error is not None:
            raise error
        return frame

    def live_pending(self, character: str) -> bool:
        """Return whether a live request waits for its answer or its frame to be polled."""
        with self._lock:
            live = self._live.get(character)
            return live is not None and bool(live.asked or live.frame or live.error)

    def revive(self, *, wait: bool = True) -> None:
        """Start the runtime again if it is gone, and connect again; nothing if all is well.

        Args:
            wait: whether to wait until it serves.

        Raises:
            RuntimeStartError.
        """
        with self._lock:
            if self._session.dead is None:
                return
            self._process.revive(wait=False)
            self._connect()
        if wait:
            self._process.child.endpoint()

    def restart(self, *, wait: bool = True) -> None:
        """End the runtime, start it again and connect; characters are prepared anew when they are asked for.

        Raises:
            RuntimeStartError.
        """
        with self._lock:
            self._session.close()
            self._process.restart(wait=False)
            self._connect()
        if wait:
            self._process.child.endpoint()

    def close(self) -> None:
        """End the connection; the process is its owner's to stop. Pending requests raise `RuntimeDied`."""
        self._session.close()

    def __enter__(self) -> "RuntimeClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self) -> None:
        self._live.clear()
        self._session = Session(self._process.child, self._counter)

    def _prepare(self, character: str) -> "Future[Any]":
        portrait = self._portraits.get(character)
        if portrait is None:
            raise RuntimeRequestError("unknown_character", f"there is no character {character}")
        box = None if portrait.box is None else numbers(portrait.box)
        message = {"op": "create_character", "character": character, "photo": str(portrait.photo), "box": box}
        _, future = self._session.submit(message)
        # Before the callback, which takes it out again when the portrait cannot be prepared.
        self._session.characters.add(character)
        future.add_done_callback(partial(self._prepared, self._session, character, portrait))
        return future

    def _prepared(self, session: Session, character: str, portrait: _Portrait, future: "Future[Any]") -> None:
        if future.exception() is None:
            portrait.info = CharacterInfo.of_message(future.result())
        else:
            # The next request tries again: the animator may have put the photo back.
            with self._lock:
                session.characters.discard(character)

    def _render(self, request: RenderRequest) -> "tuple[int, Future[Frame]]":
        with self._lock:
            if request.character not in self._session.characters:
                # The server answers in order, so the frame may be asked for at once.
                self._prepare(request.character)
            return self._session.submit(request.message())

    def _live_answered(self, session: Session, live: _Live, seq: int, future: "Future[Frame]") -> None:
        error = future.exception()
        with self._lock:
            # The server answers in order: what is older was overtaken, what is newer is still to come.
            for overtaken in [one for one in live.asked if one < seq]:
                session.forget(overtaken)
            live.asked = [one for one in live.asked if one > seq]
            if error is None:
                live.frame = future.result()
            elif isinstance(error, RuntimeRequestError):
                live.error = error

    def _wait(self, future: "Future[T]") -> T:
        try:
            return future.result(self._timeout)
        except TimeoutError as error:
            reason = f"the runtime has not answered for {self._timeout:g} s and was ended"
            self._session.give_up(RuntimeDied(reason))
            raise RuntimeDied(reason) from error
