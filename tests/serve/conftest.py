# SPDX-License-Identifier: GPL-3.0-or-later
"""Real runtimes over the tiny bundle, and what the tests look at from outside."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest

from lpmm_runtime.bundle import load_bundle
from lpmm_runtime.client import CharacterInfo, RuntimeClient, RuntimeProcess
from lpmm_runtime.engine import Engine

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))

from tiny_bundle import disc_photo, write_tiny_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two portraits, as the tiny bundle sees them."""
    folder = tmp_path_factory.mktemp("photos")
    first, second = folder / "first.png", folder / "second.png"
    cv2.imwrite(str(first), disc_photo()[..., ::-1])
    cv2.imwrite(str(second), disc_photo(x=180, y=130, diameter=90)[..., ::-1])
    return first, second


@pytest.fixture(scope="session")
def engine(bundle: Path) -> Engine:
    """The same engine in this process: what the runtime's frames are compared with."""
    return Engine(load_bundle(bundle), "cpu", threads=1)


@pytest.fixture
def start(bundle: Path, tmp_path: Path) -> Iterator[Callable[..., RuntimeProcess]]:
    """Start runtimes that end with the test."""
    processes = []

    def start_one(**changes: object) -> RuntimeProcess:
        arguments = {"bundle": bundle, "device": "cpu", "threads": 1, "log": tmp_path / "runtime.log", **changes}
        processes.append(RuntimeProcess.start(**arguments))
        return processes[-1]

    yield start_one
    for process in processes:
        process.stop()


@pytest.fixture(scope="module")
def runtime(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    """A runtime that the tests of a module share; those that hurt it start their own."""
    log = tmp_path_factory.mktemp("log") / "runtime.log"
    with RuntimeProcess.start(bundle=bundle, device="cpu", threads=1, log=log) as process:
        yield process
        assert process.alive, log.read_text()


@pytest.fixture
def client(runtime: RuntimeProcess) -> Iterator[RuntimeClient]:
    with RuntimeClient(runtime, timeout=60.0) as one:
        yield one


@pytest.fixture
def character(client: RuntimeClient, photos: tuple[Path, Path]) -> CharacterInfo:
    return client.create_character(photos[0])
