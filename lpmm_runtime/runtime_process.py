# SPDX-License-Identifier: GPL-3.0-or-later
"""The runtime as a child process: starting it, waiting until it serves, stopping it, saying how it died."""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lpmm_runtime.errors import LpmmError
from lpmm_runtime.protocol import PROTOCOL_VERSION

# A log that has grown past this begins anew with the next start.
_LOG_LIMIT = 1 << 20
_TAIL_LINES = 12

# Binds the name `lpmm_runtime` to this very package: an extension may carry it outside site-packages, and
# putting its parent folder on the path would offer everything beside it to a Python it was not made for.
_BOOTSTRAP = """
import importlib.util, os, sys
package, extra, arguments = sys.argv[1], sys.argv[2], sys.argv[3:]
sys.path[:0] = [path for path in extra.split(os.pathsep) if path]
spec = importlib.util.spec_from_file_location(
    "lpmm_runtime", os.path.join(package, "__init__.py"), submodule_search_locations=[package])
module = sys.modules["lpmm_runtime"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from lpmm_runtime.cli import main
sys.exit(main(["serve", *arguments]))
"""


class RuntimeDied(LpmmError):  # noqa: N818 (an event more than an error of the caller)
    """The runtime's process is gone, or does not answer; the message says how and where its log is."""

    code = "runtime_died"


class RuntimeStartError(RuntimeDied):
    """The runtime's process did not come to serve; the message carries its own words or its log's tail."""

    code = "runtime_not_started"


@dataclass(frozen=True)
class Endpoint:
    """Where a runtime listens on this machine, and the key that it asks for."""

    port: int
    authkey: bytes


class ServerChild:
    """One run of the server process; a restart makes another."""

    def __init__(self, command: Sequence[str], log: Path, startup_timeout: float) -> None:
        self.log = log
        self._python = command[0]
        self._authkey = secrets.token_hex(32).encode()
        self._deadline = time.monotonic() + startup_timeout
        self._startup_timeout = startup_timeout
        self._announced = threading.Event()
        self._announcement = b""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            if stream.tell() > _LOG_LIMIT:
                stream.truncate(0)
            self._log_start = stream.tell()
            try:
                self._popen = _popen(command, stream)
            except OSError as error:
                raise RuntimeStartError(f"{command[0]}: cannot start the runtime: {error.strerror}") from error
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(self._authkey + b"\n")
            self._popen.stdin.flush()
        except OSError:
            pass  # It is gone already; `endpoint` will say why.
        threading.Thread(target=self._read_announcement, name="lpmm-runtime-start", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    @property
    def announced(self) -> bool:
        """Whether `endpoint` would answer at once."""
        return self._announced.is_set()

    def endpoint(self) -> Endpoint:
        """Wait until the server serves, and return where.

        Raises:
            RuntimeStartError: when it ended, or the startup timeout passed.
        """
        if not self._announced.wait(max(0.0, self._deadline - time.monotonic())):
            self.stop(0.0)
            raise RuntimeStartError(
                f"the runtime did not start in {self._startup_timeout:g} s ({self.log}):\n{self.log_tail()}"
            )
        try:
            announcement = json.loads(self._announcement)
        except ValueError as error:
            self._wait(2.0)
            raise RuntimeStartError(
                f"the runtime ended at its start, {self._ending()} ({self._python}, {self.log}):\n{self.log_tail()}"
            ) from error
        if "error" in announcement:
            raise RuntimeStartError(announcement["error"]["message"])
        if announcement["protocol"] != PROTOCOL_VERSION:
            raise RuntimeStartError(
                f"the runtime speaks protocol {announcement['protocol']}, this client {PROTOCOL_VERSION}"
            )
        return Endpoint(int(announcement["port"]), self._authkey)

    def log_tail(self, lines: int = _TAIL_LINES) -> str:
        """Return the last lines that this run wrote into its log."""
        with self.log.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(self._log_start, stream.tell() - 65536))
            return "\n".join(stream.read().decode(errors="replace").splitlines()[-lines:])

    def obituary(self) -> RuntimeDied:
        """Return the error that says how the process ended, once its connection is gone."""
        if self._wait(2.0):
            return RuntimeDied(f"the runtime (process {self.pid}) has died, {self._ending()}; its log is {self.log}")
        return RuntimeDied(f"the runtime (process {self.pid}) closed the connection; its log is {self.log}")

    def stop(self, timeout: float = 3.0) -> None:
        """End the process: closing its stdin asks it to; it is killed if it lingers for `timeout` seconds."""
        if self._popen.stdin is not None:
            with contextlib.suppress(OSError):  # The key it never read.
                self._popen.stdin.close()
        if not self._wait(timeout):
            self._popen.kill()
            self._popen.wait()

    def _wait(self, timeout: float) -> bool:
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _ending(self) -> str:
        status = self._popen.returncode
        if status is None:
            return "not yet over"
        return f"killed by signal {-status}" if status < 0 else f"exit status {status}"

    def _read_announcement(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as stdout:
            self._announcement = stdout.readline()
        self._announced.set()


class RuntimeProcess:
    """A runtime that this process started and that ends with it. Thread-safe.

    `child` is the present run; `restart` and `revive` replace it.
    """

    def __init__(self, command: Sequence[str], log: Path, startup_timeout: float) -> None:
        self._command = tuple(command)
        self._log = log
        self._startup_timeout = startup_timeout
        self._lock = threading.Lock()
        self.child = self._launch()

    @classmethod
    def start(
        cls,
        *,
        log: Path,
        python: Path | None = None,
        bundle: Path | None = None,
        device: str = "auto",
        threads: int | None = None,
        characters: int | None = None,
        extra_paths: Sequence[Path] = (),
        startup_timeout: float = 60.0,
        wait: bool = True,
    ) -> "RuntimeProcess":
        """Start `lpmm serve` as a child process.

        Args:
            log: the file that gets what the process says; its folder is made.
            python: an interpreter with numpy, onnxruntime and opencv; None is this one (`sys.executable`).
            bundle: the model bundle's folder; None is the default bundle.
            device: "auto", "cpu" or "cuda".
            threads: for the CPU; None lets the runtime choose.
            characters: how many portraits the runtime holds prepared at once; None is its own limit.
            extra_paths: folders put at the head of its `sys.path`, for packages outside its site-packages.
            startup_timeout: seconds until a process that does not serve is given up.
            wait: whether to return only when it serves; without, the first request waits for it.

        Raises:
            RuntimeStartError: when it cannot be started, or (with `wait`) does not come to serve.
        """
        package = Path(__file__).resolve().parent
        paths = os.pathsep.join(str(Path(path).absolute()) for path in extra_paths)
        # -P: the current folder, which is any folder, is no place to import from.
        command = [str(python or sys.executable), "-s", "-P", "-c", _BOOTSTRAP, str(package), paths]
        command += ["--port", "0", "--device", device]
        if bundle is not None:
            command += ["--bundle", str(Path(bundle).absolute())]
        if threads is not None:
            command += ["--threads", str(threads)]
        if characters is not None:
            command += ["--characters", str(characters)]
        process = cls(command, Path(log).absolute(), startup_timeout)
        if wait:
            try:
                process.child.endpoint()
            except RuntimeStartError:
                process.stop(0.0)
                raise
        return process

    @property
    def alive(self) -> bool:
        """Whether the process runs; it may still be starting."""
        return self.child.alive

    @property
    def ready(self) -> bool:
        """Whether the process serves (or has failed to), so that a request need not wait for its start."""
        return self.child.announced

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def log(self) -> Path:
        return self._log

    def stop(self, timeout: float = 3.0) -> None:
        """End the process; it is killed when it does not follow within `timeout` seconds."""
        with self._lock:
            self.child.stop(timeout)

    def restart(self, *, wait: bool = True) -> None:
        """End the process if it runs, and start it anew with the same arguments.

        Raises:
            RuntimeStartError: as `start`.
        """
        with self._lock:
            self.child.stop()
            child = self.child = self._launch()
        if wait:
            child.endpoint()

    def revive(self, *, wait: bool = True) -> None:
        """Start the process anew if it is gone.

        Raises:
            RuntimeStartError: as `start`.
        """
        with self._lock:
            if not self.child.alive:
                self.child.stop()
                self.child = self._launch()
            child = self.child
        if wait:
            child.endpoint()

    def __enter__(self) -> "RuntimeProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch(self) -> ServerChild:
        return ServerChild(self._command, self._log, self._startup_timeout)


def _popen(command: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    # Blender sets PYTHONHOME and PYTHONPATH for its own Python; another one cannot start with them.
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    environment["PYTHONIOENCODING"] = "utf-8"
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        # A buffered reader that a thread waits in can abort an interpreter that exits meanwhile.
        bufsize=0,
        env=environment,
        creationflags=flags,
        # A Ctrl-C in Blender's terminal is Blender's; the runtime ends when its stdin closes.
        start_new_session=True,
    )
