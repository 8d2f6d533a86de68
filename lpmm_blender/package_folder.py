# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill a folder with Python packages, all or nothing, in a process of its own.

    python -s -P package_folder.py FOLDER IMPORT REQUIREMENT…

installs the requirements with pip beside FOLDER, tries `import IMPORT` from there, and only then puts the result in
FOLDER's place. The last line of the output is the outcome: "ok", or what went wrong. Needs nothing but Python, for
Blender's comes with pip packed away in `ensurepip`.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path


class InstallError(Exception):
    """The packages cannot be installed; the message is one line."""


def fill(folder: Path, module: str, requirements: list[str]) -> None:
    """Install `requirements` into `folder`, replacing what it had, if `module` can be imported then.

    Raises:
        InstallError: with pip's last word; `folder` is as it was.
    """
    new, old = folder.with_name(f"{folder.name}.new"), folder.with_name(f"{folder.name}.old")
    for left_over in (new, old):
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        command = [*_pip(), "install", "--no-input", "--disable-pip-version-check", "--only-binary=:all:"]
        _run([*command, "--progress-bar", "off", "--target", str(new), *requirements])
        trial = "import sys; sys.path.insert(0, sys.argv[1]); __import__(sys.argv[2])"
        _run([sys.executable, "-s", "-P", "-c", trial, str(new), module])
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        for left_over in (new, old):
            shutil.rmtree(left_over, ignore_errors=True)


def _pip() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-s", "-P", "-m", "pip"]
    if importlib.util.find_spec("ensurepip") is not None:
        import ensurepip

        packed = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
        if packed:
            # A wheel is a zip, and Python runs a package out of one.
            return [sys.executable, "-s", "-P", str(packed[-1] / "pip")]
    raise InstallError(f"{sys.executable} has no pip; choose a Python of your own that has onnxruntime-gpu")


def _run(command: list[str]) -> None:
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        print(line, end="", flush=True)
        if line.strip():
            said.append(line.strip())
    if process.wait() != 0:
        errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR")]
        raise InstallError((errors or said or [f"exit status {process.returncode}"])[-1])


def main() -> int:
    """Run the command line."""
    folder, module, *requirements = sys.argv[1:]
    try:
        fill(Path(folder), module, requirements)
    except (InstallError, OSError) as fault:
        print(" ".join(str(fault).split()), flush=True)
        return 1
    print("ok", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
