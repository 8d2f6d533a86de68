# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are there whole or not at all: a full disk or a kill leaves the old one, never half a new one."""

from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Put `data` into a file, in place of what it held.

    Raises:
        OSError: the disk is full, the folder cannot be written, …; the file is then as it was.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
