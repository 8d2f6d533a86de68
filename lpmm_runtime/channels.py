# SPDX-License-Identifier: GPL-3.0-or-later
"""Channel names: a channel is a control, a param `p01`…`p40`, or a preset's weight."""

import difflib
import re
from collections.abc import Iterable, Mapping

from lpmm_runtime.errors import UnknownChannelError

PARAM_PATTERN = re.compile(r"p(\d{2,3})")


def param_name(index: int) -> str:
    """Return the name of the param at 0-based `index`: p01 for 0."""
    return f"p{index + 1:02d}"


def param_index(name: str, k: int) -> int:
    """Return the 0-based index of the param called `name`.

    Raises:
        UnknownChannelError: if it is no param's name, or beyond the k params.
    """
    match = PARAM_PATTERN.fullmatch(name)
    index = int(match.group(1)) - 1 if match else -1
    if not 0 <= index < k or name != param_name(index):
        raise UnknownChannelError(f"no such param: {name!r} (p01 to {param_name(k - 1)})")
    return index


def split_channels(
    values: Mapping[str, float], control_names: Iterable[str], k: int, preset_names: Iterable[str]
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Sort channel values into (controls, params, preset weights), each by name.

    Raises:
        UnknownChannelError: for a name that is none of them, with the nearest name as a hint.
    """
    control_set, preset_set = set(control_names), set(preset_names)
    params = {param_name(i) for i in range(k)}
    parts: tuple[dict[str, float], dict[str, float], dict[str, float]] = ({}, {}, {})
    for name, value in values.items():
        for part, known in zip(parts, (control_set, params, preset_set), strict=True):
            if name in known:
                part[name] = float(value)
                break
        else:
            raise UnknownChannelError(unknown_channel(name, [*control_set, *params, *preset_set]))
    return parts


def unknown_channel(name: str, known: Iterable[str]) -> str:
    """Return the sentence that says `name` is unknown, with the nearest known name."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"no such control, param or preset: {name!r}{hint}"
