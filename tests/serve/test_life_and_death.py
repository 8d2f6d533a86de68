# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting, stopping, dying and coming back: of the runtime and of the process that started it."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from watching import is_gone, mapped_slots, soon

import lpmm_runtime
from lpmm_runtime.client import RuntimeClient, RuntimeDied, RuntimeProcess, RuntimeRequestError, RuntimeStartError

Start = Callable[..., RuntimeProcess]
Photos = tuple[Path, Path]

PARENT = """
import sys
from pathlib import Path
from lpmm_runtime.client import RuntimeClient, RuntimeProcess
bundle, photo, log = map(Path, sys.argv[1:])
process = RuntimeProcess.start(bundle=bundle, device="cpu", threads=1, log=log)
client = RuntimeClient(process)
info = client.create_character(photo)
client.render_exact(info.id, info.params, size=64)
print(process.pid, flush=True)
sys.stdin.read()
"""


def test_a_killed_runtime_is_told_and_comes_back(start: Start, photos: Photos) -> None:
    process = start()
    with RuntimeClient(process) as client:
        infos = [client.create_character(photo) for photo in photos]
        before = [client.render_exact(info.id, info.params, size=48).pixels for info in infos]
        old = process.pid
        os.kill(old, signal.SIGKILL)
        with pytest.raises(RuntimeDied, match=f"process {old}.*killed by signal 9.*runtime.log"):
            client.render_exact(infos[0].id, infos[0].params)
        with pytest.raises(RuntimeDied):
            client.request_live(infos[0].id, infos[0].params)
        with pytest.raises(RuntimeDied):
            client.poll_live(infos[0].id)
        client.revive()
        assert process.pid != old
        for info, pixels in zip(infos, before, strict=True):
            np.testing.assert_array_equal(client.render_exact(info.id, info.params, size=48).pixels, pixels)


def test_live_frames_resume_after_a_revival_that_waits_for_nothing(start: Start, photos: Photos) -> None:
    process = start()
    with RuntimeClient(process) as client:
        info = client.create_character(photos[0])
        os.kill(process.pid, signal.SIGKILL)
        assert soon(lambda: client.dead is not None)
        client.revive(wait=False)
        seq = client.request_live(info.id, info.params, size=48)
        assert soon(lambda: (frame := client.poll_live(info.id)) is not None and frame.seq == seq)


def test_every_waiting_request_learns_of_the_death_and_one_revival_serves_all(start: Start, photos: Photos) -> None:
    process = start()
    with RuntimeClient(process) as client:
        info = client.create_character(photos[0])
        expected = client.render_exact(info.id, info.params, size=48).pixels
        os.kill(process.pid, signal.SIGSTOP)
        waiting = [client.submit_exact(info.id, info.params, size=48) for _ in range(5)]
        os.kill(process.pid, signal.SIGKILL)
        for future in waiting:
            assert isinstance(future.exception(20), RuntimeDied)
        frames: list[Any] = []
        threads = [
            threading.Thread(
                target=lambda: frames.append(client.render_exact(info.id, info.params, size=48, revive=True))
            )
            for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(frames) == 5
        assert all(np.array_equal(frame.pixels, expected) for frame in frames)


def test_a_runtime_that_hangs_is_ended_and_comes_back(start: Start, photos: Photos) -> None:
    process = start()
    with RuntimeClient(process, timeout=0.3) as client:
        # Under load the first answer may take longer than this test's patience.
        name = client.add_character(photos[0])
        info = client.submit_character(name).result(60)
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(RuntimeDied, match="not answered"):
            client.render_exact(name, info.params, size=48)
        client.revive()
        assert client.submit_exact(name, info.params, size=48).result(60).pixels.shape == (48, 48, 4)


def test_a_photo_that_went_missing_is_told_and_may_come_back(start: Start, photos: Photos, tmp_path: Path) -> None:
    photo = tmp_path / "portrait.png"
    shutil.copy(photos[0], photo)
    with RuntimeClient(start()) as client:
        info = client.create_character(photo)
        expected = client.render_exact(info.id, info.params, size=48).pixels
        photo.unlink()
        client.restart()
        for _ in range(2):
            with pytest.raises(RuntimeRequestError, match=r"portrait\.png") as refused:
                client.render_exact(info.id, info.params, size=48)
            assert refused.value.code == "bad_photo"
        shutil.copy(photos[0], photo)
        np.testing.assert_array_equal(client.render_exact(info.id, info.params, size=48).pixels, expected)


def test_a_character_can_be_named_before_the_runtime_has_started(start: Start, photos: Photos) -> None:
    with RuntimeClient(start(wait=False)) as client:
        name = client.add_character(photos[0])
        assert client.character(name) is None
        future = client.submit_character(name)
        assert future.result(60).id == name
        info = client.character(name)
        assert info is not None
        assert client.render_exact(name, info.params, size=48).pixels.shape == (48, 48, 4)


@pytest.mark.parametrize("way", ["exit", "kill"])
def test_the_runtime_ends_with_the_process_that_started_it(
    way: str, bundle: Path, photos: Photos, tmp_path: Path
) -> None:
    command = [sys.executable, "-W", "error", "-c", PARENT, str(bundle), str(photos[0]), str(tmp_path / "log")]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root, text=True
    ) as parent:
        assert parent.stdout is not None and parent.stdin is not None and parent.stderr is not None
        runtime = int(parent.stdout.readline())
        slots = mapped_slots(runtime)
        assert slots and not is_gone(runtime)
        if way == "kill":
            parent.kill()
        else:
            parent.stdin.close()
        assert soon(lambda: is_gone(runtime))
        assert not any(Path("/dev/shm", name).exists() for name in slots)
        assert "resource_tracker" not in parent.stderr.read()
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_leaving_before_the_runtime_has_started_is_quiet(bundle: Path, photos: Photos, tmp_path: Path) -> None:
    script = PARENT.replace("log=log)", "log=log, wait=False)").partition("info =")[0] + "print(process.pid)"
    command = [sys.executable, "-c", script, str(bundle), str(photos[0]), str(tmp_path / "log")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stderr) == (0, "")
    assert soon(lambda: is_gone(int(done.stdout)))


def test_both_killed_leave_no_shared_memory(start: Start, photos: Photos) -> None:
    process = start()
    with RuntimeClient(process) as client:
        info = client.create_character(photos[0])
        for size in (64, 512, 1024):
            client.render_exact(info.id, info.params, size=size)
        slots = mapped_slots(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        assert slots and not any(Path("/dev/shm", name).exists() for name in slots)


def test_blenders_python_variables_do_not_reach_the_runtime(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    assert start().alive


def test_the_runtime_runs_the_clients_own_package_wherever_it_lies(
    bundle: Path, photos: Photos, tmp_path: Path
) -> None:
    vendored = tmp_path / "extension" / "lpmm_runtime"
    source = Path(lpmm_runtime.__file__).parent
    shutil.copytree(source, vendored, ignore=shutil.ignore_patterns("bundles", "portraits", "__pycache__"))
    # A neighbour that must stay out of the runtime's way.
    (vendored.parent / "numpy.py").write_text("raise ImportError('the wrong numpy')")
    extra = tmp_path / "extra"
    extra.mkdir()
    (extra / "sitecustomize_probe.py").write_text("")
    with (vendored / "cli" / "serve.py").open("a") as file:
        file.write("\n\nimport sys, sitecustomize_probe\nprint(__file__, file=sys.stderr)\n")
    script = f"""
import sys, numpy
sys.path.insert(0, {str(vendored.parent)!r})
from pathlib import Path
from lpmm_runtime.client import RuntimeProcess
with RuntimeProcess.start(bundle=Path({str(bundle)!r}), device="cpu", threads=1, log=Path({str(tmp_path / "log")!r}),
                          extra_paths=[Path({str(extra)!r})]):
    pass
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
    assert str(vendored / "cli" / "serve.py") in (tmp_path / "log").read_text()


def test_a_bad_bundle_fails_the_start_in_one_line(start: Start, bundle: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(bundle, damaged)
    with (damaged / "generator.onnx").open("r+b") as file:
        file.seek(100)
        file.write(b"damage")
    with pytest.raises(RuntimeStartError, match=r"generator\.onnx") as failed:
        start(bundle=damaged)
    assert "\n" not in str(failed.value)


def test_a_start_that_fails_says_why(start: Start, tmp_path: Path) -> None:
    with pytest.raises(RuntimeStartError, match="no_such_python: cannot start the runtime: No such file"):
        start(python=tmp_path / "no_such_python")
    broken, slow = tmp_path / "broken", tmp_path / "slow"
    broken.write_text("#!/bin/sh\necho the reason >&2\nexit 3\n")
    slow.write_text("#!/bin/sh\necho still thinking >&2\nexec sleep 60\n")
    broken.chmod(0o755)
    slow.chmod(0o755)
    with pytest.raises(RuntimeStartError, match=r"exit status 3(.|\n)*the reason"):
        start(python=broken)
    with pytest.raises(RuntimeStartError, match=r"did not start in 0.5 s(.|\n)*still thinking"):
        start(python=slow, startup_timeout=0.5)


def test_a_start_that_fails_later_is_told_by_every_request(start: Start, tmp_path: Path, photos: Photos) -> None:
    with RuntimeClient(start(bundle=tmp_path / "no-bundle", wait=False)) as client:
        name = client.add_character(photos[0])
        for _ in range(2):
            with pytest.raises(RuntimeStartError, match="no-bundle"):
                client.render_exact(name, [0.0])


def test_a_closed_client_says_so_and_the_runtime_goes_on(start: Start, photos: Photos) -> None:
    process = start()
    client = RuntimeClient(process)
    info = client.create_character(photos[0])
    client.close()
    with pytest.raises(RuntimeDied, match="closed"):
        client.render_exact(info.id, info.params)
    assert process.alive
    process.stop()
    assert not process.alive
