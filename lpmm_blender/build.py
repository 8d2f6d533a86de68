# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the extension zips, check them with Blender's own checker, and list them for a repository.

    python -m lpmm_blender.build --out dist

makes a zip for each platform and each Python that Blender brings, and `index.json`, with which the folder is an
extension repository that any web server can offer. Each zip carries this package and, as wheels that Blender installs,
`lpmm_runtime` with the default bundle, onnxruntime and OpenCV: it works without a network. `--light` leaves the latter
two out, for those who name a Python of their own in the preferences.
"""

import argparse
import base64
import hashlib
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import lpmm_runtime
from lpmm_blender.runtime_wheels import PLATFORM_TAGS, PYTHONS, Target, fetch_wheels
from lpmm_runtime.errors import LpmmError

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = "blender_manifest.toml"
INDEX = "index.json"
NOT_IN_THE_EXTENSION = {"build.py", "demo.py", "runtime_wheels.py"}
MOST_BYTES = 120_000_000
"""A zip of this size or more is refused: nobody wants to download it."""
_EARLIEST_DATE = (1980, 1, 1, 0, 0, 0)
"""Zips do not know an earlier one; a fixed date makes equal contents give equal bytes."""


class BuildError(LpmmError):
    """The extension cannot be built."""

    code = "build_failed"


def build_extension(
    out: Path, manifest: Path = ROOT / MANIFEST, target: Target | None = None, wheels: Sequence[Path] = ()
) -> Path:
    """Build one zip of the extension and return it.

    Args:
        out: the folder for the zip; made if need be.
        manifest: the manifest without its wheels.
        target: what `wheels` are for; None is a zip for every platform.
        wheels: of the runtime's packages, besides the runtime's own.

    Raises:
        BuildError: with what Blender's checker says, or because the zip is too large.
    """
    if not manifest.is_file():
        raise BuildError(f"{manifest}: no such manifest; the extension is built from a checkout of the project")
    out.mkdir(parents=True, exist_ok=True)
    text = manifest.read_text(encoding="utf-8")
    fields = tomllib.loads(text)
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder)
        package = Path(__file__).parent
        for source in sorted(package.glob("*.py")):
            if source.name not in NOT_IN_THE_EXTENSION:
                (staged / source.name).write_bytes(source.read_bytes())
        build_runtime_wheel(staged / "wheels", fields["version"])
        for wheel in wheels:
            (staged / "wheels" / wheel.name).symlink_to(wheel.absolute())
        names = sorted(path.name for path in (staged / "wheels").iterdir())
        # Top-level keys have to stand before the first table.
        head = "wheels = [{}]\n".format(", ".join(f'"./wheels/{name}"' for name in names))
        if target is not None:
            head += f'platforms = ["{target.platform}"]\n'
        (staged / MANIFEST).write_text(head + text, encoding="utf-8")
        suffix = f"-{target.suffix}" if target is not None else ""
        built = out / f"{fields['id']}-{fields['version']}{suffix}.zip"
        _blender_ext("validate", str(staged))
        _blender_ext("build", "--source-dir", str(staged), "--output-filepath", str(built))
        _blender_ext("validate", str(built))
    if built.stat().st_size >= MOST_BYTES:
        raise BuildError(f"{built}: {_megabytes(built)}, more than {MOST_BYTES / 1e6:.0f} MB")
    return built


def build_repository(out: Path, targets: Sequence[Target], wheels: Path) -> Iterator[Path]:
    """Build a zip for each target and then the index that lists every zip of the folder; yield each file.

    Args:
        out: the folder for the zips; made if need be.
        targets: what to build for.
        wheels: the folder that keeps the wheels that were fetched.

    Raises:
        BuildError: as `build_extension`.
        WheelError: a wheel cannot be had.
    """
    for target in targets:
        yield build_extension(out, target=target, wheels=fetch_wheels(target, wheels))
    _blender_ext("server-generate", "--repo-dir", str(out))
    yield out / INDEX


def build_runtime_wheel(out: Path, version: str) -> Path:
    """Write the wheel of lpmm_runtime, bundle included, and return it."""
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"lpmm_runtime-{version}-py3-none-any.whl"
    info = f"lpmm_runtime-{version}.dist-info"
    entries = dict(_package_files(Path(lpmm_runtime.__file__).parent))
    entries[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: lpmm-runtime\nVersion: {version}\n"
        "Summary: The runtime of LPMM for Blender\nRequires-Python: >=3.11\nRequires-Dist: numpy>=1.26\n"
    ).encode()
    entries[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: lpmm_blender.build\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    entries[f"{info}/RECORD"] = _record(entries, f"{info}/RECORD")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name, _EARLIEST_DATE), data, zipfile.ZIP_DEFLATED)
    return target


def _package_files(package: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(package.rglob("*")):
        relative = path.relative_to(package.parent)
        hidden = any(part == "__pycache__" or part.startswith(".") for part in relative.parts)
        if path.is_file() and not hidden:
            yield relative.as_posix(), path.read_bytes()


def _record(entries: dict[str, bytes], own_name: str) -> bytes:
    lines = []
    for name, data in entries.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(data)}\n")
    return "".join([*lines, f"{own_name},,\n"]).encode()


def _blender_ext(*arguments: str) -> None:
    result = subprocess.run([sys.executable, str(_checker()), *arguments], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        said = " ".join((result.stdout + result.stderr).split())
        raise BuildError(f"extension {arguments[0]}: {said}")


def _checker() -> Path:
    """Return the script behind `blender --command extension`, which the bpy module brings along."""
    import bpy

    script = Path(bpy.utils.system_resource("SCRIPTS")) / "addons_core" / "bl_pkg" / "cli" / "blender_ext.py"
    if not script.is_file():
        raise BuildError(f"{script}: Blender's extension checker is missing")
    return script


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lpmm_blender.build",
        description="Build the extension zips with the CPU runtime in them, and the index of a repository of them.",
    )
    parser.add_argument("--out", type=Path, default=Path("dist"), help="the folder for the zips (default: dist)")
    parser.add_argument(
        "--platform", action="append", choices=sorted(PLATFORM_TAGS), help="only this one; may be repeated"
    )
    parser.add_argument(
        "--python",
        action="append",
        metavar="3.N",
        help=f"Blender's Python; may be repeated (default: {' and '.join(PYTHONS)}, of 4.2 to 5.0 and of 5.1 on)",
    )
    parser.add_argument(
        "--wheels", type=Path, default=Path("build/wheels"), help="keep the wheels here (default: build/wheels)"
    )
    parser.add_argument("--light", action="store_true", help="one zip for all platforms, without the CPU runtime")
    arguments = parser.parse_args()
    platforms, pythons = arguments.platform or PLATFORM_TAGS, arguments.python or PYTHONS
    targets = [Target(platform, python) for platform in platforms for python in pythons]
    try:
        if arguments.light:
            files: Iterator[Path] = iter([build_extension(arguments.out)])
        else:
            files = build_repository(arguments.out, targets, arguments.wheels)
        for path in files:
            print(f"wrote {path}" + (f" ({_megabytes(path)})" if path.suffix == ".zip" else ""), flush=True)
    except LpmmError as error:
        print(f"lpmm_blender.build: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
