# SPDX-License-Identifier: GPL-3.0-or-later
"""A registered add-on with a real runtime over the tiny bundle, and a fresh file a test."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))

import bpy
import cv2
from bpy.types import Object, Scene
from reference import Reference
from tiny_bundle import disc_photo, write_tiny_bundle

import lpmm_blender
from lpmm_blender.add_face import FaceOptions, add_face
from lpmm_blender.runtime_session import RuntimeSession, RuntimeSettings, session


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny bundle."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="session")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo with a face as the tiny bundle knows faces."""
    path = tmp_path_factory.mktemp("photos") / "Ada.png"
    cv2.imwrite(str(path), disc_photo()[..., ::-1])
    return path


@pytest.fixture(scope="session")
def reference(tiny_bundle: Path, portrait: Path) -> Reference:
    """The engine's own answers, without add-on and process boundary."""
    return Reference(tiny_bundle, portrait)


@pytest.fixture(scope="session")
def settings(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> RuntimeSettings:
    """Settings of a runtime over the tiny bundle."""
    log = tmp_path_factory.mktemp("runtime") / "runtime.log"
    return RuntimeSettings(bundle=tiny_bundle, device="cpu", threads=1, log=log)


@pytest.fixture(scope="session", autouse=True)
def addon() -> Iterator[None]:
    """The registered add-on."""
    lpmm_blender.register()
    yield
    lpmm_blender.unregister()


@pytest.fixture
def runtime(settings: RuntimeSettings) -> RuntimeSession:
    """The add-on's session over the tiny bundle; a running runtime is kept from test to test."""
    session().configure(settings)
    return session()


@pytest.fixture
def scene(runtime: RuntimeSession) -> Scene:
    """The scene of a fresh, empty file."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return bpy.context.scene


@pytest.fixture
def rig(scene: Scene, portrait: Path) -> Object:
    """A rig with its camera."""
    return add_face(scene, portrait, FaceOptions(camera=True))
