# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: a tiny bundle that really computes, an engine over it, and the default bundle where it is there."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_bundle import disc_photo, write_tiny_bundle

from lpmm_runtime.bundle import DEFAULT_BUNDLE, Bundle, load_bundle
from lpmm_runtime.engine import Character, Engine
from lpmm_runtime.portrait import read_image
from lpmm_runtime.video import write_png


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole bundle; not to be changed."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def own_bundle(bundle_folder: Path, tmp_path: Path) -> Path:
    """A bundle of the test's own, to be damaged."""
    return Path(shutil.copytree(bundle_folder, tmp_path / "own"))


@pytest.fixture(scope="session")
def bundle(bundle_folder: Path) -> Bundle:
    return load_bundle(bundle_folder)


@pytest.fixture(scope="session")
def engine(bundle: Bundle) -> Engine:
    return Engine(bundle, device="cpu", threads=1)


@pytest.fixture(scope="session")
def photo() -> NDArray[np.uint8]:
    return disc_photo()


@pytest.fixture
def photo_file(photo: NDArray[np.uint8], tmp_path: Path) -> Path:
    path = tmp_path / "portrait.png"
    write_png(path, photo)
    return path


@pytest.fixture(scope="session")
def character(engine: Engine, photo: NDArray[np.uint8]) -> Character:
    return engine.create_character(photo, name="disc")


@pytest.fixture(scope="session")
def default_engine() -> Engine:
    if not (DEFAULT_BUNDLE / "bundle.json").is_file():
        pytest.skip("the default bundle is not in this checkout")
    return Engine(load_bundle(), device="cpu", threads=2)


@pytest.fixture(scope="session")
def astronaut() -> Any:
    """scikit-image's astronaut: a real portrait in the public domain."""
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture(scope="session")
def ada(default_engine: Engine) -> Character:
    """A rendered portrait under the default bundle."""
    return default_engine.create_character(read_image(DEFAULT_BUNDLE.parents[1] / "portraits" / "ada.jpg"))
