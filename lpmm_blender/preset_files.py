# SPDX-License-Identifier: GPL-3.0-or-later
"""Presets between a rig and JSON files: many at once, names that clash, and faulty files among good ones."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from bpy.types import Object

from lpmm_runtime.errors import LpmmError, PresetError
from lpmm_runtime.presets import Preset, load_preset, save_preset

from .preset_sliders import add_preset, base_name, contents, free_name, read_fitting
from .rig import record_of

OnClash = Literal["RENAME", "REPLACE"]

_NOT_IN_FILE_NAMES = '<>:"/\\|?*'


@dataclass
class ImportReport:
    """What became of presets that were to be added.

    Attributes:
        added: the names of the new presets, as they are on the rig.
        renamed: of those, the ones whose own name was taken: rig's name by own name.
        replaced: the presets that got new contents.
        skipped: the presets that were there already, the same in every value.
        faults: one line for each that could not be added, naming the file and the fault.
    """

    added: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether the rig is another than before."""
        return bool(self.added or self.replaced)

    def summary(self) -> str:
        """Return one line for people."""
        parts = [f"{len(self.added)} added"]
        if self.renamed:
            parts[0] += " (" + ", ".join(f"{own} as {name}" for own, name in self.renamed.items()) + ")"
        if self.replaced:
            parts.append(f"{len(self.replaced)} replaced ({', '.join(self.replaced)})")
        if self.skipped:
            parts.append(f"{len(self.skipped)} there already ({', '.join(self.skipped)})")
        if self.faults:
            parts.append(f"{len(self.faults)} faulty")
        return "Presets: " + ", ".join(parts)


def import_presets(rig: Object, paths: Iterable[Path], on_clash: OnClash = "RENAME") -> ImportReport:
    """Add the presets of files and folders to a rig; a faulty file does not stop the others.

    Args:
        paths: preset files, and folders, which stand for all JSON files in them and below.
        on_clash: a preset of the same name with other contents: "RENAME" the new one ("Smile.001"), or
            "REPLACE" the old one, which keeps its weight and its keys.
    """
    report = ImportReport()
    for path in paths:
        files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
        if not files:
            report.faults.append(f"{path}: no JSON file in this folder")
        for file in files:
            try:
                _take(rig, read_fitting(rig, file), on_clash, report)
            except LpmmError as fault:
                report.faults.append(str(fault))
    return report


def add_presets(rig: Object, presets: Iterable[Preset], on_clash: OnClash = "RENAME") -> ImportReport:
    """Add presets that fit the rig, as `import_presets` adds files."""
    report = ImportReport()
    for preset in presets:
        _take(rig, preset, on_clash, report)
    return report


def export_presets(rig: Object, names: Iterable[str], folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write presets of a rig as JSON files named after them, and return the files.

    Args:
        overwrite: replace files of the same name; otherwise only one that holds the same preset is
            written again, and beside any other a number is added.

    Raises:
        PresetError: if there is no such preset, or a file cannot be written.
    """
    presets = [contents(rig, name) for name in names]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PresetError(f"{folder}: cannot be made: {error.strerror or error}") from error
    written: list[Path] = []
    for preset in presets:
        path = _file_for(preset, folder, overwrite, written)
        save_preset(preset, path)
        written.append(path)
    return written


def _take(rig: Object, preset: Preset, on_clash: OnClash, report: ImportReport) -> None:
    presets = record_of(rig).presets
    if _same_there(preset, presets):
        report.skipped.append(preset.name)
    elif preset.name not in presets:
        add_preset(rig, preset)
        report.added.append(preset.name)
    elif on_clash == "REPLACE":
        add_preset(rig, preset)
        report.replaced.append(preset.name)
    else:
        name = free_name(preset.name, presets)
        add_preset(rig, replace(preset, name=name))
        report.added.append(name)
        report.renamed[preset.name] = name


def _same_there(preset: Preset, presets: Mapping[str, Preset]) -> bool:
    """Whether a rig has the preset, if need be under a name that an earlier clash gave it."""
    return any(
        preset.name in (name, base_name(name)) and _values(preset) == _values(other) for name, other in presets.items()
    )


def _values(preset: Preset) -> tuple[dict[str, float], dict[str, float]]:
    return dict(preset.controls), dict(preset.params)


def _file_for(preset: Preset, folder: Path, overwrite: bool, written: list[Path]) -> Path:
    stem = "".join("-" if letter in _NOT_IN_FILE_NAMES else letter for letter in preset.name).strip(" .") or "preset"
    number = 0
    while True:
        path = folder / (f"{stem}-{number:03d}.json" if number else f"{stem}.json")
        # Two names may differ only in letters that a file name cannot have, or in case.
        taken = any(path.name.lower() == other.name.lower() for other in written)
        if not taken and (overwrite or not path.exists() or _holds(path, preset)):
            return path
        number += 1


def _holds(path: Path, preset: Preset) -> bool:
    try:
        return _values(load_preset(path)) == _values(preset)
    except PresetError:
        return False
