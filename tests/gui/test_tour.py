# SPDX-License-Identifier: GPL-3.0-or-later
"""The tour in a real window, for machines that have a Blender: `LPMM_BLENDER=/opt/blender/blender pytest tests/gui`.

$LPMM_BLENDER is the command of a Blender, 4.2 or later, under Linux. Needs `xdotool` and ImageMagick's `import`, and
without a $DISPLAY `xvfb-run`. On a display of your own, leave the mouse alone for some minutes. $LPMM_TOUR_OUT, if set,
is the folder that keeps the screenshots and the console. See `tour.py`.
"""

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from lpmm_blender.build import build_extension
from lpmm_blender.runtime_wheels import Target, WheelError, fetch_wheels

TOUR = Path(__file__).with_name("tour.py")
BLENDER = shlex.split(os.environ.get("LPMM_BLENDER", ""))
SIZE = (1400, 1050)
LIMIT = 1800

pytestmark = pytest.mark.skipif(not BLENDER, reason="$LPMM_BLENDER names no Blender")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photograph with a face: scikit-image's, in the public domain."""
    import cv2
    import skimage.data

    path = tmp_path / "astronaut.png"
    cv2.imwrite(str(path), skimage.data.astronaut()[..., ::-1])
    return path


@pytest.fixture
def extension(tmp_path: Path) -> Path:
    """The zip for that Blender's Python."""
    asked = "import sys; print('PYTHON', '.'.join(map(str, sys.version_info[:2])))"
    result = subprocess.run(
        [*BLENDER, "--background", "--factory-startup", "--python-expr", asked],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    version = next(line.split()[1] for line in result.stdout.splitlines() if line.startswith("PYTHON"))
    target = Target("linux-x64", version)
    try:
        wheels = fetch_wheels(target, tmp_path / "wheels")
    except WheelError as error:
        pytest.skip(f"the wheels cannot be fetched: {error}")
    return build_extension(tmp_path / "dist", target=target, wheels=wheels)


@pytest.mark.timeout(LIMIT + 300)
def test_the_tour_ends_without_an_error_in_the_console(extension: Path, photo: Path, tmp_path: Path) -> None:
    for tool in ("xdotool", "import"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    width, height = map(str, SIZE)
    screen = [] if "DISPLAY" in os.environ else ["xvfb-run", "-a", "-s", f"-screen 0 {width}x{height}x24"]
    if screen and shutil.which(screen[0]) is None:
        pytest.skip("there is no display, and no xvfb-run")
    command = [
        *screen,
        *BLENDER,
        "--factory-startup",
        "--no-window-focus",
        "--window-geometry",
        "0",
        "0",
        width,
        height,
    ]
    out = Path(os.environ.get("LPMM_TOUR_OUT", tmp_path / "tour")).absolute()
    # What an earlier tour left would be taken for this one's.
    if out.exists() and any(out.iterdir()):
        pytest.fail(f"$LPMM_TOUR_OUT: {out} is not empty")
    out.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "LPMM_TOUR_ZIP": str(extension),
        "LPMM_TOUR_PHOTO": str(photo),
        "LPMM_TOUR_OUT": str(out),
        "BLENDER_USER_RESOURCES": str(out / "user"),
    }
    result = subprocess.run([*command, "--python", str(TOUR)], env=environment, timeout=LIMIT, check=False)
    report = json.loads((out / "report.json").read_text())
    assert report["failed"] == "", report["failed"]
    assert report["console"] == []
    assert result.returncode == 0
