# SPDX-License-Identifier: GPL-3.0-or-later
"""Curves files: read exactly, refused clearly."""

import json
from fractions import Fraction
from pathlib import Path

import pytest

from lpmm_runtime.curves import load_curves
from lpmm_runtime.errors import CurvesError


def test_curves_give_each_frame_its_values(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"fps": 23.976, "channels": {"headYaw": [0, 1, 2], "p01": [0.5, 0, -0.5]}}))
    curves = load_curves(path)
    assert curves.fps == Fraction(24000, 1001)
    assert curves.frame_count == 3
    assert curves.at(2) == {"headYaw": 2.0, "p01": -0.5}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{", "not JSON"),
        ("[1]", 'no "channels"'),
        ('{"fps": 24}', 'no "channels"'),
        ('{"fps": 24, "channels": {}}', '"channels" is empty'),
        ('{"channels": {"p01": [1]}}', '"fps" is None'),
        ('{"fps": 0, "channels": {"p01": [1]}}', '"fps" is 0'),
        ('{"fps": 1e-9, "channels": {"p01": [1]}}', '"fps" is 1e-09'),
        ('{"fps": 24, "channels": {"p01": 1}}', "'p01' is not a list"),
        ('{"fps": 24, "channels": {"p01": []}}', "'p01' is not a list"),
        ('{"fps": 24, "channels": {"p01": [1, "2"]}}', "'p01' is not a finite number at position 1"),
        ('{"fps": 24, "channels": {"p01": [NaN]}}', "position 0"),
        ('{"fps": 24, "channels": {"p01": [1, 2], "p02": [1]}}', "'p02' has 1 frames, 'p01' has 2"),
        ('{"fps": 24, "frames": 3, "channels": {"p01": [1]}}', "unknown key 'frames'"),
        ('{"format": "lpmm-preset", "fps": 24, "channels": {"p01": [1]}}', '"format" is not "lpmm-curves"'),
    ],
)
def test_malformed_curves_are_named_in_one_line(tmp_path: Path, content: str, fault: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(CurvesError) as caught:
        load_curves(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert fault in str(caught.value)
