# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension zip: Blender's checker accepts it, and installed it works under its own package name."""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

from lpmm_blender.build import INDEX, MANIFEST, MOST_BYTES, ROOT, BuildError, build_extension, build_repository
from lpmm_blender.runtime_wheels import Target, WheelError, fetch_wheels

HERE = Target("linux-x64", f"{sys.version_info.major}.{sys.version_info.minor}")


@pytest.fixture(scope="module")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip; building it validates it."""
    return build_extension(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the full zip for this machine and for another one, and the index."""
    folder = tmp_path_factory.mktemp("repository")
    try:
        list(build_repository(folder, [HERE, Target("windows-x64", "3.13")], folder.parent / "wheels"))
    except WheelError as error:
        pytest.skip(f"the wheels cannot be fetched: {error}")
    return folder


def run_python(
    script: str, *arguments: object, options: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh Python that does not see this checkout's packages first."""
    return subprocess.run(
        [sys.executable, "-P", *options, "-c", script, *map(str, arguments)],
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


def test_the_index_tells_blender_which_zip_is_for_it(repository: Path) -> None:
    listed = json.loads((repository / INDEX).read_text())["data"]
    assert [(entry["platforms"], entry["python_versions"]) for entry in listed] == [
        (["linux-x64"], [HERE.python]),
        (["windows-x64"], ["3.13"]),
    ]
    for entry in listed:
        assert (repository / entry["archive_url"]).stat().st_size == entry["archive_size"] < MOST_BYTES


def test_a_wheel_that_does_not_exist_is_named_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(WheelError, match=r"linux-x64, Python 3\.11: .*onnxruntime==0\.0\.1") as caught:
        fetch_wheels(Target("linux-x64", "3.11"), tmp_path, ["onnxruntime==0.0.1"])
    assert "\n" not in str(caught.value)


def test_an_unknown_platform_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WheelError, match="amiga"):
        fetch_wheels(Target("amiga", "3.11"), tmp_path)


def test_the_runtime_starts_from_the_zip_alone(
    repository: Path, tiny_bundle: Path, portrait: Path, tmp_path: Path
) -> None:
    full = next(repository.glob("*linux_x64*.zip"))
    # A Python that has what Blender's own has, and neither onnxruntime nor OpenCV.
    blenders_own = tmp_path / "blenders own"
    blenders_own.mkdir()
    for name in ("bpy", "numpy", "numpy.libs", "requests", "urllib3", "charset_normalizer", "idna", "certifi"):
        installed = Path(sysconfig.get_path("purelib")) / name
        if installed.exists():
            (blenders_own / name).symlink_to(installed)
    result = run_python(
        INSTALLED,
        full,
        tiny_bundle,
        portrait,
        options=("-S",),
        BLENDER_USER_RESOURCES=str(tmp_path / "user"),
        PYTHONPATH=str(blenders_own),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    said = [line.split(" ", 1)[1] for line in result.stdout.splitlines() if line.startswith("LIBRARY")]
    for name in ("onnxruntime", "cv2"):
        assert any(f"/{name}/" in path for path in said), said
        assert all(path.startswith(str(tmp_path / "user")) for path in said if f"/{name}/" in path), said


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
maps = pathlib.Path(f"/proc/{runtime_session.session().process.pid}/maps").read_text()
for path in sorted({line.split()[-1] for line in maps.splitlines() if line.endswith(".so")}):
    print("LIBRARY", path)
"""


def test_installed_as_an_extension_it_makes_a_face(
    extension: Path, tiny_bundle: Path, portrait: Path, tmp_path: Path
) -> None:
    result = run_python(
        INSTALLED, extension, tiny_bundle, portrait, BLENDER_USER_RESOURCES=str(tmp_path), PYTHONPATH=""
    )
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
