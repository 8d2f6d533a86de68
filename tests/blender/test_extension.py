# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension zip: Blender's checker accepts it, and installed it works under its own package name."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from lpmm_blender.build import MANIFEST, ROOT, BuildError, build_extension


@pytest.fixture(scope="module")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip; building it validates it."""
    return build_extension(tmp_path_factory.mktemp("dist"))


def run_python(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh Python that does not see this checkout's packages first."""
    return subprocess.run(
        [sys.executable, "-P", "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


def test_the_zip_holds_the_addon_and_the_runtime_and_nothing_of_the_workshop(extension: Path) -> None:
    with zipfile.ZipFile(extension) as archive:
        names = archive.namelist()
    assert "__init__.py" in names and "blender_manifest.toml" in names
    assert [name for name in names if name.endswith(".whl")] == ["wheels/lpmm_runtime-0.1.0-py3-none-any.whl"]
    assert not {"build.py", "demo.py"} & set(names)


def test_extension_and_project_have_one_version() -> None:
    manifest = tomllib.loads((ROOT / MANIFEST).read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert manifest["version"] == project["version"]


def test_equal_sources_give_equal_wheels(extension: Path, tmp_path: Path) -> None:
    wheel = "wheels/lpmm_runtime-0.1.0-py3-none-any.whl"
    again = build_extension(tmp_path)
    assert zipfile.ZipFile(extension).read(wheel) == zipfile.ZipFile(again).read(wheel)


def test_a_bad_manifest_is_refused(tmp_path: Path) -> None:
    manifest = tmp_path / "blender_manifest.toml"
    manifest.write_text('schema_version = "1.0.0"\nid = "lpmm"\nversion = "0.1.0"\nname = "LPMM"\n')
    with pytest.raises(BuildError, match="missing"):
        build_extension(tmp_path / "dist", manifest)


INSTALLED = """
import sys, pathlib
sys.path = [path for path in sys.path if "lpmm" not in path]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(getattr(finder, "__module__", ""))]
import bpy
zip_file, bundle, photo = sys.argv[1:]
bpy.ops.extensions.package_install_files(filepath=zip_file, repo="user_default", enable_on_install=True)
chosen = bpy.context.preferences.addons["bl_ext.user_default.lpmm"].preferences
chosen.bundle_folder, chosen.device = bundle, "cpu"
bpy.ops.wm.read_factory_settings  # the add-on is on: no reset
assert bpy.ops.lpmm.add_face(filepath=photo) == {"FINISHED"}
import lpmm_runtime
print("RUNTIME", lpmm_runtime.__file__)
from bl_ext.user_default.lpmm import runtime_session
print("LOG", runtime_session.session().settings.log)
print("STATUS", runtime_session.session().status)
"""


def test_installed_as_an_extension_it_makes_a_face(
    extension: Path, tiny_bundle: Path, portrait: Path, tmp_path: Path
) -> None:
    result = run_python(INSTALLED, extension, tiny_bundle, portrait, BLENDER_USER_RESOURCES=str(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr
    said = dict(line.split(" ", 1) for line in result.stdout.splitlines() if line[:3] in {"RUN", "LOG", "STA"})
    assert said["RUNTIME"].startswith(str(tmp_path))
    assert said["LOG"].startswith(str(tmp_path))
    assert "tiny 1" in said["STATUS"]


PLAIN = """
import sys
import bpy, lpmm_blender
from pathlib import Path
from lpmm_blender.runtime_session import RuntimeSettings, session
lpmm_blender.register()
lpmm_blender.register()
session().configure(RuntimeSettings(bundle=Path(sys.argv[1]), device="cpu"))
bpy.ops.lpmm.add_face(filepath=sys.argv[2])
print("PID", session().process.pid)
if sys.argv[3] == "unregister":
    lpmm_blender.unregister()
    assert not any("lpmm" in handler.__module__ for handler in bpy.app.handlers.frame_change_post)
    assert not hasattr(bpy.types, "LPMM_OT_add_face")
"""


@pytest.mark.parametrize("ending", ["unregister", "just exit"])
def test_python_exits_cleanly_and_takes_the_runtime_along(tiny_bundle: Path, portrait: Path, ending: str) -> None:
    result = run_python(PLAIN, tiny_bundle, portrait, ending)
    assert result.returncode == 0, result.stdout + result.stderr
    pid = next(line.split()[1] for line in result.stdout.splitlines() if line.startswith("PID"))
    assert not Path(f"/proc/{pid}").exists()
