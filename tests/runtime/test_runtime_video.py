# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames reach their files: numbered pictures exactly, a clip near-losslessly, and nothing half-made stays."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_bundle import disc_photo

from lpmm_runtime.errors import OutputError
from lpmm_runtime.portrait import read_image
from lpmm_runtime.video import check_output, write_frames, write_video

Pixels = NDArray[np.uint8]


def moving(count: int, width: int = 320, height: int = 240) -> list[Pixels]:
    return [disc_photo(width, height, x=80 + 10 * i) for i in range(count)]


def decoded(path: Path) -> list[Pixels]:
    with av.open(str(path)) as container:
        return [f.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray() for f in container.decode(video=0)]


def test_a_clip_has_every_frame_in_order_at_its_rate(tmp_path: Path) -> None:
    frames = moving(12)
    path = tmp_path / "clip.mp4"
    write_frames(path, iter(frames), Fraction(24000, 1001))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == Fraction(24000, 1001)
        assert stream.codec_context.name == "h264"
        assert (stream.width, stream.height) == (320, 240)
    shown = decoded(path)
    assert len(shown) == len(frames)
    for i, picture in enumerate(shown):
        errors = [np.square(picture.astype(float) - frame).mean() for frame in frames]
        assert int(np.argmin(errors)) == i
        assert 10 * np.log10(255**2 / errors[i]) > 33


def test_a_clip_keeps_colours(tmp_path: Path) -> None:
    colours = [(220, 60, 50), (30, 200, 40), (20, 40, 230), (128, 128, 128), (255, 255, 255), (0, 0, 0)]
    frames = [np.full((64, 64, 3), colour, np.uint8) for colour in colours]
    write_video(tmp_path / "c.mp4", frames, Fraction(24))
    for picture, colour in zip(decoded(tmp_path / "c.mp4"), colours, strict=True):
        assert np.abs(picture[32, 32].astype(int) - colour).max() <= 4


def test_an_odd_picture_gains_a_row_and_a_column(tmp_path: Path) -> None:
    write_video(tmp_path / "odd.mp4", moving(2, 321, 241), Fraction(24))
    assert decoded(tmp_path / "odd.mp4")[0].shape == (242, 322, 3)


def test_numbered_pictures_are_exact(tmp_path: Path) -> None:
    frames = moving(3)
    written = write_frames(tmp_path / "f_%03d.png", frames, Fraction(24), first_frame=7)
    assert [path.name for path in written] == ["f_007.png", "f_008.png", "f_009.png"]
    assert all(np.array_equal(read_image(p), frame) for p, frame in zip(written, frames, strict=True))


def test_a_render_that_breaks_leaves_no_clip(tmp_path: Path) -> None:
    def breaking() -> Iterator[Pixels]:
        yield from moving(60, 64, 64)  # more than the encoder holds back
        raise RuntimeError("the runtime died")

    with pytest.raises(RuntimeError, match="died"):
        write_video(tmp_path / "clip.mp4", breaking(), Fraction(24))
    assert list(tmp_path.iterdir()) == []


def test_no_frames_make_no_clip(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no frames"):
        write_video(tmp_path / "clip.mp4", [], Fraction(24))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "count", "fault"),
    [
        ("clip.avi", 1, "unknown kind of output"),
        ("clip", 1, "unknown kind of output"),
        ("x.png", 5, "need a numbered name"),
        ("x_%s.png", 5, "not a file name pattern"),
        ("x_%d_%d.png", 5, "not a file name pattern"),
        ("x_100%.png", 5, "not a file name pattern"),
        ("%04d.mp4", 5, "not a file name pattern"),
    ],
)
def test_an_output_that_cannot_hold_the_frames_is_refused_before_rendering(
    tmp_path: Path, name: str, count: int, fault: str
) -> None:
    with pytest.raises(OutputError, match=fault):
        check_output(tmp_path / "new" / name, count)


def test_an_output_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        check_output(tmp_path / "file" / "x.png", 1)
