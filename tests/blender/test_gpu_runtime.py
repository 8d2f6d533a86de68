# SPDX-License-Identifier: GPL-3.0-or-later
"""Installing the GPU runtime: asked for, in a process of its own, all or nothing. With small wheels and no network."""

import base64
import hashlib
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import bpy
import pytest

from lpmm_blender.gpu_runtime import FOLDER_NAME, Installation, Progress, installed_in, remove_from
from lpmm_blender.runtime_session import RuntimeSettings, session
from lpmm_runtime.client import RuntimeStartError


def write_wheel(folder: Path, code: str, version: str = "1.0") -> Path:
    """Write a wheel that installs a package named onnxruntime."""
    name, info = f"onnxruntime_small-{version}", f"onnxruntime_small-{version}.dist-info"
    files = {
        "onnxruntime/__init__.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: onnxruntime-small\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},"
        f"{len(text.encode())}\n"
        for path, text in files.items()
    )
    wheel = folder / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)
    return wheel


def ended(installation: Installation) -> Progress:
    """Wait for an installation as Blender's timer does, by looking."""
    for _look in range(1200):
        if installation.progress().over:
            break
        time.sleep(0.1)
    return installation.progress()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No index that pip could ask."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")


@pytest.fixture
def online() -> Iterator[None]:
    """Online access as the preferences allow it."""
    system = bpy.context.preferences.system
    before = system.use_online_access
    system.use_online_access = True
    yield
    system.use_online_access = before


def test_what_is_installed_is_found_and_can_be_removed(tmp_path: Path, offline: None) -> None:
    home = tmp_path / "user folder"
    outcome = ended(Installation(home, requirements=[str(write_wheel(tmp_path, "KIND = 'gpu'\n"))]))
    assert outcome == Progress(over=True, fault="", line="ok")
    assert installed_in(home) == home / FOLDER_NAME
    remove_from(home)
    assert installed_in(home) is None


def test_starting_it_does_not_wait_for_it(tmp_path: Path, offline: None) -> None:
    installation = Installation(tmp_path, requirements=[str(write_wheel(tmp_path, ""))])
    assert not installation.progress().over
    installation.cancel()


def test_a_failure_is_told_in_one_line_and_leaves_what_was_there(tmp_path: Path, offline: None) -> None:
    ended(Installation(tmp_path, requirements=[str(write_wheel(tmp_path, "KIND = 'before'\n"))]))
    outcome = ended(Installation(tmp_path, requirements=["no-such-package==1.0"]))
    assert "no-such-package==1.0" in outcome.fault and "\n" not in outcome.fault
    assert (tmp_path / FOLDER_NAME / "onnxruntime" / "__init__.py").read_text() == "KIND = 'before'\n"


def test_packages_that_cannot_be_imported_are_not_taken(tmp_path: Path, offline: None) -> None:
    broken = write_wheel(tmp_path, "raise ImportError('libcudart.so.12: no such file')\n")
    outcome = ended(Installation(tmp_path, requirements=[str(broken)]))
    assert outcome.fault == "ImportError: libcudart.so.12: no such file"
    assert installed_in(tmp_path) is None


def test_a_cancelled_installation_leaves_nothing(tmp_path: Path, offline: None) -> None:
    slow = write_wheel(tmp_path, "import time\ntime.sleep(600)\n")
    installation = Installation(tmp_path, requirements=[str(slow)])
    for _look in range(600):
        if (tmp_path / f"{FOLDER_NAME}.new" / "onnxruntime").is_dir():
            break
        time.sleep(0.1)
    installation.cancel()
    assert installation.progress().over
    assert installed_in(tmp_path) is None
    assert not (tmp_path / f"{FOLDER_NAME}.new").exists()


def test_the_button_respects_online_access() -> None:
    assert not bpy.app.online_access
    with pytest.raises(RuntimeError, match="Allow Online Access"):
        bpy.ops.lpmm.install_gpu_runtime()


def test_a_plain_import_has_no_folder_to_install_into(online: None) -> None:
    with pytest.raises(RuntimeError, match="folder"):
        bpy.ops.lpmm.install_gpu_runtime()


def test_the_runtime_prefers_the_packages_of_the_folder(
    tmp_path: Path, offline: None, settings: RuntimeSettings
) -> None:
    # It can be imported, but not by the runtime, whose start then tells that this is what it found.
    code = "import sys\nif 'lpmm_runtime' in sys.modules:\n    raise ImportError('the small package was found')\n"
    assert ended(Installation(tmp_path, requirements=[str(write_wheel(tmp_path, code))])).fault == ""
    session().configure(replace(settings, log=tmp_path / "runtime.log", packages=installed_in(tmp_path)))
    try:
        with pytest.raises(RuntimeStartError, match="the small package was found"):
            session().character(tmp_path / "photo.png")
    finally:
        session().configure(settings)
