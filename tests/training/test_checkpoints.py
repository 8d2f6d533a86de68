# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints are read whatever their container and protocol; bad ones are one line, and nothing in them runs."""

import argparse
import os
import pathlib
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from training.__main__ import main
from training.backbones.checkpoints import CheckpointError, check_settings, read_checkpoint, settings_of
from training.backbones.lia import load_lia
from training.backbones.lpd import load_lpd

SETTINGS = argparse.Namespace(image_size=256, gen_padding="zero", experiment_dir=pathlib.PurePosixPath("/runs/a"))


class Shell:
    """Runs a command where it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (self.command,)


def one_line(error: Any, path: Path) -> bool:
    text = str(error.value)
    return text.startswith(str(path)) and "\n" not in text


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_every_container_and_protocol_is_read(tmp_path: Path, zipped: bool, protocol: int) -> None:
    path = tmp_path / "model.pth"
    content = {"args": SETTINGS, "generator": {"weight": torch.arange(6.0).reshape(2, 3)}, "step": 3}
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    read = read_checkpoint(path)
    assert torch.equal(read["generator"]["weight"], content["generator"]["weight"]) and read["step"] == 3
    settings = settings_of(read["args"])
    assert settings["image_size"] == 256
    # Paths are not made, only remembered.
    assert not isinstance(settings["experiment_dir"], pathlib.PurePath)
    check_settings(path, read["args"], {"image_size": 256, "gen_padding": ("zero", "reflection")})
    with pytest.raises(CheckpointError, match="image_size = 256"):
        check_settings(path, read["args"], {"image_size": 512})


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("where", ["args", "gen", "optimizer_G"])
def test_what_would_run_is_refused_and_does_not(tmp_path: Path, zipped: bool, protocol: int, where: str) -> None:
    path, trace = tmp_path / "bad.pt", tmp_path / "trace"
    content: dict[str, Any] = {"gen": {"weight": torch.zeros(1)}} | {where: Shell(f"touch {trace}")}
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="nothing was run") as error:
        read_checkpoint(path)
    assert one_line(error, path) and not trace.exists()


@pytest.mark.parametrize(
    "name", [("builtins", "eval"), ("builtins", "getattr"), ("torch.hub", "load"), ("os", "system")]
)
def test_a_bare_pickle_runs_nothing_either(tmp_path: Path, name: tuple[str, str]) -> None:
    path = tmp_path / "bad.pt"
    path.write_bytes(b"\x80\x02c" + name[0].encode() + b"\n" + name[1].encode() + b"\n" + b"X\x01\x00\x00\x00a\x85R.")
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(path)
    assert one_line(error, path)


def test_attributes_set_on_a_known_name_do_not_outlive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sly.pt"
    torch.save({"gen": {}}, path)
    # An empty namespace class, given an attribute as a pickle may.
    stream = pickle.PROTO + b"\x02" + b"cargparse\nNamespace\n" + b"N}X\x04\x00\x00\x00evilK\x01s\x86b."
    path.write_bytes(stream)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert not hasattr(argparse.Namespace, "evil")


def test_tar_files_and_programs_are_refused(tmp_path: Path) -> None:
    tar = tmp_path / "old.pt"
    with tarfile.open(tar, "w") as archive:
        archive.add(__file__, "storages")
    program = tmp_path / "program.pt"
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(program))
    for path, word in ((tar, "tar file"), (program, "TorchScript")):
        with pytest.raises(CheckpointError, match=word) as error:
            read_checkpoint(path)
        assert one_line(error, path)


@pytest.mark.parametrize("zipped", [True, False])
def test_files_that_are_cut_short_or_nothing_are_one_line(tmp_path: Path, zipped: bool) -> None:
    whole, path = tmp_path / "whole.pt", tmp_path / "part.pt"
    torch.save({"gen": {"weight": torch.zeros(5000)}}, whole, _use_new_zipfile_serialization=zipped)
    data = whole.read_bytes()
    for piece in (b"", b"no checkpoint", data[:7], data[: len(data) // 2], data[:-3]):
        path.write_bytes(piece)
        with pytest.raises(CheckpointError) as error:
            read_checkpoint(path)
        assert one_line(error, path)
    for missing in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(CheckpointError, match="no such file"):
            read_checkpoint(missing)


def test_the_wrong_network_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    cases: list[tuple[Callable[[Path], object], Any, str]] = [
        (load_lia, {"gen": {"weight": torch.zeros(1)}}, "has no 'dec.conv1.activate.bias' and 184 more"),
        (load_lia, {"generator": {}}, 'no state dict "gen"'),
        (load_lia, [1, 2], 'no state dict "gen"'),
        (load_lia, {"gen": {}, "args": argparse.Namespace(size=512)}, "size = 512"),
        (load_lpd, {"gen": {}}, 'no state dict "embedder"'),
        (load_lpd, {"embedder": {}, "generator": {}}, "not a LPD embedder: has no"),
        (load_lpd, {"args": argparse.Namespace(norm_layer="bn")}, "norm_layer = 'bn'"),
    ]
    for load, content, message in cases:
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=message) as error:
            load(path)
        assert one_line(error, path)


def test_the_command_says_it_in_one_line_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path, trace = tmp_path / "bad.pt", tmp_path / "trace"
    torch.save({"gen": Shell(f"touch {trace}")}, path)
    out = tmp_path / "bundle"
    assert main(["import-backbone", "--kind", "lia", "--checkpoint", str(path), "--out", str(out)]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"training: {path}") and "system" in lines[0]
    assert not out.exists() and not trace.exists()
