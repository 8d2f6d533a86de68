# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the extension zip, and check it with Blender's own checker.

    python -m lpmm_blender.build --out dist

The zip carries this package and a wheel of `lpmm_runtime` with the default bundle, which Blender installs, so
that `import lpmm_runtime` works there too.
"""

import argparse
import base64
import hashlib
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import lpmm_runtime
from lpmm_runtime.errors import LpmmError

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = "blender_manifest.toml"
NOT_IN_THE_EXTENSION = {"build.py", "demo.py"}
_EARLIEST_DATE = (1980, 1, 1, 0, 0, 0)
"""Zips do not know an earlier one; a fixed date makes equal contents give equal bytes."""


class BuildError(LpmmError):
    """The extension cannot be built."""

    code = "build_failed"


def build_extension(out: Path, manifest: Path = ROOT / MANIFEST) -> Path:
    """Build the extension and return the zip.

    Args:
        out: the folder for the zip; made if need be.
        manifest: the manifest without its wheels.

    Raises:
        BuildError: with what Blender's checker says.
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
        wheel = build_runtime_wheel(staged / "wheels", fields["version"])
        # A top-level key has to stand before the first table.
        (staged / MANIFEST).write_text(f'wheels = ["./wheels/{wheel.name}"]\n{text}', encoding="utf-8")
        target = out / f"{fields['id']}-{fields['version']}.zip"
        _blender_ext("validate", str(staged))
        _blender_ext("build", "--source-dir", str(staged), "--output-filepath", str(target))
        _blender_ext("validate", str(target))
    return target


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


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m lpmm_blender.build", description="Build the extension zip.")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="the folder for the zip (default: dist)")
    arguments = parser.parse_args()
    try:
        target = build_extension(arguments.out)
    except LpmmError as error:
        print(f"lpmm_blender.build: error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {target} ({target.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
