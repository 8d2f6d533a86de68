# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPU runtime: onnxruntime-gpu with its CUDA libraries, in a folder of the user's that a child process fills.

Knows nothing of Blender data; `gpu_runtime_operators` has the buttons.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REQUIREMENTS = ("onnxruntime-gpu[cuda,cudnn]==1.24.4", "opencv-python-headless==4.11.0.86", "numpy>=1.26,<3")
"""The same versions as the CPU runtime in the zips, so that only the device differs."""

DOWNLOAD = "about 2 GB"
FOLDER_NAME = f"gpu-runtime-{sys.implementation.cache_tag}"
"""Named after the Python: a newer Blender may inherit the folder of an older one, and cannot load its libraries."""
_LOG_NAME = "gpu-runtime-install.log"
_FILLER = Path(__file__).with_name("package_folder.py")


@dataclass(frozen=True)
class Progress:
    """How an installation stands.

    Attributes:
        over: whether it ended.
        fault: why it failed, one line, or "".
        line: the last thing that it said.
    """

    over: bool
    fault: str
    line: str


class Installation:
    """A child process that installs the runtime into FOLDER_NAME in `home`. Nothing here waits for it."""

    def __init__(self, home: Path, python: Path | None = None, requirements: Sequence[str] = REQUIREMENTS) -> None:
        """Start it.

        Args:
            home: the extension's folder of the user; made if need be.
            python: the interpreter that will run the runtime; None is this one.
            requirements: what pip installs.

        Raises:
            OSError: it cannot be started.
        """
        home.mkdir(parents=True, exist_ok=True)
        self.log = home / _LOG_NAME
        command = [str(python or sys.executable), "-s", "-P", str(_FILLER), str(home / FOLDER_NAME), "onnxruntime"]
        environment = {key: value for key, value in os.environ.items() if key not in {"PYTHONHOME", "PYTHONPATH"}}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, *requirements],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                # Its pip is a child of its own, and both have to go when it is cancelled.
                start_new_session=os.name != "nt",
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )

    def progress(self) -> Progress:
        """Return how it stands; does not wait."""
        status = self._process.poll()
        line = _last_line(self.log)
        fault = "" if status in (None, 0) else line or f"exit status {status}"
        return Progress(over=status is not None, fault=fault, line=line)

    def cancel(self) -> None:
        """End it; what was installed before stays."""
        if self._process.poll() is None:
            _kill_tree(self._process)
            self._process.wait()
        shutil.rmtree(self.log.with_name(f"{FOLDER_NAME}.new"), ignore_errors=True)


def installed_in(home: Path) -> Path | None:
    """Return the folder of the GPU runtime below the extension's folder of the user, or None."""
    folder = home / FOLDER_NAME
    return folder if (folder / "onnxruntime").is_dir() else None


def remove_from(home: Path) -> None:
    """Delete the GPU runtime.

    Raises:
        OSError: a file cannot be deleted; on Windows those of a running runtime cannot.
    """
    if (home / FOLDER_NAME).exists():
        shutil.rmtree(home / FOLDER_NAME)


def _last_line(log: Path) -> str:
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 4096))
        lines = stream.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _kill_tree(process: "subprocess.Popen[bytes]") -> None:
    if os.name == "nt":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
