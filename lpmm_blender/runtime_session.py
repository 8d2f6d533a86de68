# SPDX-License-Identifier: GPL-3.0-or-later
"""The one runtime of this Blender: started when it is first needed, asked from any thread, revived when it died.

Knows nothing of Blender data, so the live thread and a render's worker threads may use it.
"""

import importlib.util
import logging
import sys
import tempfile
import threading
from collections.abc import Callable, Set
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from lpmm_runtime.bundle import DEFAULT_BUNDLE, Bundle, load_bundle
from lpmm_runtime.client import CharacterInfo, Frame, RuntimeClient, RuntimeDied, RuntimeProcess, RuntimeStartError
from lpmm_runtime.protocol import Box

from .frame_request import FrameRequest

logger = logging.getLogger("lpmm_blender")

T = TypeVar("T")

_RUNTIME_MODULES = ("numpy", "onnxruntime", "cv2")


@dataclass(frozen=True)
class RuntimeSettings:
    """How the runtime is started.

    Attributes:
        python: the interpreter that has onnxruntime and opencv; None is the one that runs this.
        bundle: the model bundle's folder; None is the default bundle.
        device: "auto", "cpu" or "cuda".
        threads: for the CPU; None lets the runtime choose.
        characters: how many portraits the runtime holds prepared at once; None is its own limit.
        log: the file that gets what the runtime says.
        packages: a folder whose packages the runtime prefers, when no other Python is set.
    """

    python: Path | None = None
    bundle: Path | None = None
    device: str = "auto"
    threads: int | None = None
    characters: int | None = None
    log: Path = Path(tempfile.gettempdir()) / "lpmm-runtime.log"
    packages: Path | None = None


@dataclass(frozen=True)
class RuntimeStatus:
    """What the panel shows of the runtime.

    Attributes:
        device: "cuda", "cpu", or "" while none was started.
        bundle: the bundle's name and version, or "".
        frame_ms: how long the last frame took to render, or None.
        fault: the last report, one line, until the runtime is restarted.
    """

    device: str = ""
    bundle: str = ""
    frame_ms: float | None = None
    fault: str = ""


class RuntimeSession:
    """A runtime process, its client, and the characters asked of it. Thread-safe.

    Attributes:
        status: for the panel; replaced as a whole, so it may be read without waiting.
        reports: how many faults were reported; one that every frame repeats counts once.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._settings = RuntimeSettings()
        self._process: RuntimeProcess | None = None
        self._client: RuntimeClient | None = None
        self._bundle: Bundle | None = None
        self._characters: dict[tuple[Path, float, Box | None], CharacterInfo] = {}
        self._start_fault: RuntimeStartError | None = None
        self._told = self._last_death = ""
        self.status = RuntimeStatus()
        self.reports = 0

    @property
    def settings(self) -> RuntimeSettings:
        return self._settings

    @property
    def process(self) -> RuntimeProcess | None:
        """The runtime's process, or None while it was not needed."""
        return self._process

    @property
    def running(self) -> bool:
        """Whether the runtime's process is alive; does not wait."""
        process = self._process
        return process is not None and process.alive

    def configure(self, settings: RuntimeSettings) -> None:
        """Use other settings; a runtime that runs with the old ones is stopped."""
        if settings != self._settings:
            self.stop()
            self._settings = settings

    def bundle(self) -> Bundle:
        """Return the bundle, read once.

        Raises:
            BundleError: naming the file that is wrong.
        """
        with self._lock:
            if self._bundle is None:
                self._bundle = load_bundle(self._settings.bundle or DEFAULT_BUNDLE)
            return self._bundle

    def character(self, photo: Path, box: Box | None = None) -> CharacterInfo:
        """Return what the runtime reads from a photo; asked once per state of the file.

        Raises:
            LpmmError: no such photo, no face, …, or the runtime cannot be had.
        """
        return self._surviving_death(lambda client: self._character(client, photo, box))

    def known_character(self, photo: Path, box: Box | None = None) -> CharacterInfo | None:
        """Return what the runtime has read from a photo; None if it was not asked yet. Does not wait."""
        found = [info for key, info in tuple(self._characters.items()) if (key[0], key[2]) == (photo, box)]
        return found[-1] if found else None

    def render(self, request: FrameRequest) -> Frame:
        """Return exactly the frame of a request, waiting for it; a runtime that died is revived once.

        Raises:
            LpmmError: why it cannot be had.
        """
        rig_model = self.bundle().rig

        def ask(client: RuntimeClient) -> Frame:
            character = self._character(client, request.photo, request.box)
            params = request.params(rig_model, character.params)
            return client.render_exact(character.id, params, request.view, request.size, request.base)

        frame = self._surviving_death(ask)
        self.status = replace(self.status, frame_ms=frame.ms)
        self._told = ""
        return frame

    def submit(self, request: FrameRequest) -> "Future[Frame]":
        """Ask for exactly the frame of a request without waiting for it, so that several can be under way.

        Returns:
            The frame; it raises `RuntimeDied` when the runtime dies meanwhile, and `render` then revives it.

        Raises:
            LpmmError: why it cannot be asked for.
        """
        rig_model = self.bundle().rig

        def ask(client: RuntimeClient) -> "Future[Frame]":
            character = self._character(client, request.photo, request.box)
            params = request.params(rig_model, character.params)
            return client.submit_exact(character.id, params, request.view, request.size, request.base)

        return self._surviving_death(ask)

    def report(self, fault: str) -> None:
        """Tell of a fault in the log and in the panel; the same one is told once until a frame went well."""
        line = fault.partition("\n")[0]
        if line != self._told:
            self._told = line
            self.reports += 1
            self.status = replace(self.status, fault=line)
            logger.error("LPMM: %s", fault)

    def try_again(self) -> None:
        """Let the next request try to start the runtime, even if the last attempt failed."""
        self._start_fault = None

    def forget_characters(self) -> None:
        """Drop all characters: another file was opened."""
        with self._lock:
            for character in self._characters.values():
                if self._client is not None:
                    self._client.drop_character(character.id)
            self._characters.clear()

    def release_characters(self, wanted: Set[tuple[Path, Box | None]]) -> bool:
        """Drop the characters of photos that are not wanted; does not wait.

        Args:
            wanted: the photos that are still in use, each with its face box by hand or None.

        Returns:
            Whether it could be done; not while the runtime is starting or reading a photo.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            for key in [key for key in self._characters if (key[0], key[2]) not in wanted]:
                character = self._characters.pop(key)
                if self._client is not None:
                    self._client.drop_character(character.id)
        finally:
            self._lock.release()
        return True

    @property
    def photos(self) -> tuple[Path, ...]:
        """The photos that the runtime has a character of."""
        return tuple(key[0] for key in self._characters)

    def stop(self) -> None:
        """End the runtime; the next request starts it again, with the bundle read anew."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            if self._process is not None:
                self._process.stop()
            self._client = self._process = self._bundle = self._start_fault = None
            self._characters.clear()
            self.status = RuntimeStatus()

    def _surviving_death(self, ask: Callable[[RuntimeClient], T]) -> T:
        try:
            return ask(self._started())
        except RuntimeStartError:
            raise
        except RuntimeDied as death:
            self._report_death(death)
        return ask(self._started())

    def _report_death(self, death: RuntimeDied) -> None:
        # Several threads may learn of one death, some after the others' next frame went well.
        if str(death) != self._last_death:
            self._last_death = str(death)
            self.report(f"{death}; it is started again")

    def _started(self) -> RuntimeClient:
        with self._lock:
            if self._start_fault is not None:
                raise self._start_fault
            try:
                if self._client is not None:
                    # A death between two requests is known before the second is made.
                    death = self._client.dead
                    if death is not None:
                        self._report_death(death)
                        self._client.revive()
                    return self._client
                return self._start()
            except RuntimeStartError as fault:
                # Kept, because a render would else wait for the same failure on every frame.
                self._start_fault = fault
                raise

    def _start(self) -> RuntimeClient:
        settings = self._settings
        packages = [] if settings.packages is None else [settings.packages]
        missing = [name for name in _RUNTIME_MODULES if importlib.util.find_spec(name) is None]
        if settings.python is None and missing and not packages:
            raise RuntimeStartError(
                f"{sys.executable} has no {' and no '.join(missing)}: "
                "install the zip that is made for this Blender, or choose a Python for the runtime in the preferences"
            )
        process = RuntimeProcess.start(
            log=settings.log,
            python=settings.python,
            bundle=settings.bundle,
            device=settings.device,
            threads=settings.threads,
            characters=settings.characters,
            extra_paths=(*packages, *_module_folders()) if settings.python is None else (),
        )
        client = RuntimeClient(process)
        self._process, self._client = process, client
        hello = client.hello()
        bundle = hello["bundle"]
        self.status = replace(self.status, device=str(hello["device"]), bundle=f"{bundle['name']} {bundle['version']}")
        return client

    def _character(self, client: RuntimeClient, photo: Path, box: Box | None) -> CharacterInfo:
        try:
            changed = photo.stat().st_mtime
        except OSError:
            changed = 0.0  # The runtime says what is wrong with the file.
        key = (photo, changed, box)
        with self._lock:
            if key not in self._characters:
                self._characters[key] = client.create_character(photo, box)
            return self._characters[key]


_session = RuntimeSession()


def session() -> RuntimeSession:
    """Return the session of this Blender."""
    return _session


def _module_folders() -> tuple[Path, ...]:
    """Return where this interpreter finds what the runtime needs: an extension's wheels lie outside its own folders."""
    specs = [importlib.util.find_spec(name) for name in _RUNTIME_MODULES]
    origins = [Path(spec.origin) for spec in specs if spec is not None and spec.origin is not None]
    return tuple(dict.fromkeys(origin.parent.parent for origin in origins))
