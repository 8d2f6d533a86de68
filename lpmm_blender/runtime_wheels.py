# SPDX-License-Identifier: GPL-3.0-or-later
"""The wheels of the CPU runtime, fetched with pip for any platform that Blender runs on."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lpmm_runtime.errors import LpmmError

PACKAGES = ("onnxruntime==1.24.4", "opencv-python-headless==4.11.0.86")
"""What the runtime imports beside numpy, which every Blender has. What they in turn require, it never loads."""

PLATFORM_TAGS = {
    "linux-x64": ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64"),
    "windows-x64": ("win_amd64",),
    "macos-arm64": ("macosx_14_0_arm64", "macosx_13_0_arm64"),
}
"""Blender's names of the platforms, each with the wheel tags that run there."""

PYTHONS = ("3.11", "3.13")
"""The Pythons of Blender 4.2 to 5.0, and of 5.1 and later."""


class WheelError(LpmmError):
    """A wheel of the runtime cannot be had."""

    code = "no_wheel"


@dataclass(frozen=True)
class Target:
    """Where a zip's runtime runs.

    Blender installs the wheels of a zip by name and version, whichever Python they are for; so a zip serves one.

    Attributes:
        platform: one of PLATFORM_TAGS.
        python: "3.11", say.
    """

    platform: str
    python: str

    @property
    def suffix(self) -> str:
        """How a zip for it is named."""
        return f"{self.platform.replace('-', '_')}-py{self.python.replace('.', '')}"


def fetch_wheels(target: Target, folder: Path, packages: Sequence[str] = PACKAGES) -> list[Path]:
    """Put the wheels of `packages` for a target into a folder with pip, which keeps what is there.

    Raises:
        WheelError: with the last thing that pip says.
    """
    if target.platform not in PLATFORM_TAGS:
        raise WheelError(f"{target.platform}: no such platform; there are {', '.join(PLATFORM_TAGS)}")
    tags = [part for tag in PLATFORM_TAGS[target.platform] for part in ("--platform", tag)]
    chosen = folder / target.suffix
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", target.python, *tags, "--dest", str(chosen), *packages]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        said = [line for line in result.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise WheelError(f"{target.platform}, Python {target.python}: {said[-1] if said else 'pip failed'}")
    return [_one_wheel(chosen, package) for package in packages]


def _one_wheel(folder: Path, package: str) -> Path:
    name, _, version = package.partition("==")
    found = sorted(folder.glob(f"{name.replace('-', '_')}-{version or '*'}-*.whl"))
    if len(found) != 1:
        raise WheelError(f"{folder}: {len(found)} wheels of {package}; one is wanted")
    return found[0]
