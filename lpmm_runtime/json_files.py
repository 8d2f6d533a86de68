# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON from files of unknown origin, with one clear line for what is wrong."""

import json
import math
from pathlib import Path
from typing import Any

from lpmm_runtime.errors import LpmmError


def read_json(path: Path, what: str, error_type: type[LpmmError]) -> Any:
    """Return what a JSON file holds.

    Args:
        what: what it should be, for errors: "a preset".

    Raises:
        error_type: if there is no such file, or it is not JSON; one line that names the file.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise error_type(f"{path}: no such file") from error
    except OSError as error:
        raise error_type(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise error_type(f"{path}: not {what}: not UTF-8 text") from error
    # Nesting without end is no ValueError to the json module.
    except (ValueError, RecursionError) as error:
        raise error_type(f"{path}: not {what}: not JSON ({error})") from error


def finite_number(value: Any) -> float | None:
    """Return a JSON value as a float; None if it is no number, or none that is finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
