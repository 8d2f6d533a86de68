# SPDX-License-Identifier: GPL-3.0-or-later
"""A real runtime: the right frames to everybody, errors as answers, strangers turned away."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_bundle import SIDE, K, W
from watching import answer, ask, children, connect, is_gone, mapped_slots, soon

from lpmm_runtime.client import CharacterInfo, Frame, RuntimeClient, RuntimeProcess, RuntimeRequestError, TakeFrame
from lpmm_runtime.engine import Engine
from lpmm_runtime.portrait import read_image
from lpmm_runtime.protocol import HOST, encode

RENDER = {"op": "render", "character": "c", "params": [0.0] * K}


def params_of(info: CharacterInfo, number: int) -> Any:
    """Params that code a number: every number gives another picture."""
    params = info.params.copy()
    params[number % K] += 0.1 + 0.07 * number
    return params


def test_hello_names_the_device_and_the_bundle(client: RuntimeClient, runtime: RuntimeProcess, bundle: Path) -> None:
    hello = client.hello()
    assert hello["device"] == "cpu"
    assert hello["bundle"] == {"name": "tiny", "version": "1", "path": str(bundle)}
    assert (hello["k"], hello["pid"]) == (K, runtime.pid)


@pytest.mark.parametrize("view", ["crop", "full"])
@pytest.mark.parametrize("base", ["PHOTO", "NEUTRAL"])
@pytest.mark.parametrize("size", [None, 64])
def test_an_exact_frame_is_the_engines_own(
    client: RuntimeClient,
    character: CharacterInfo,
    engine: Engine,
    photos: tuple[Path, Path],
    view: Any,
    base: Any,
    size: int | None,
) -> None:
    same = engine.create_character(read_image(photos[0]))
    np.testing.assert_array_equal(character.params, same.params)
    np.testing.assert_array_equal(character.landmarks, same.landmarks)
    assert (character.photo_size, character.square) == (same.photo_size, same.square)
    frame = client.render_exact(character.id, params_of(character, 3), view, size, base)
    expected = engine.render(same, params_of(character, 3), view=view, size=size, base=base)
    np.testing.assert_array_equal(frame.pixels, expected)
    assert frame.character == character.id
    assert frame.ms > 0


def test_a_take_is_mixed_in(client: RuntimeClient, character: CharacterInfo, engine: Engine, photos: Any) -> None:
    same = engine.create_character(read_image(photos[0]))
    latent = np.linspace(-1, 1, W, dtype=np.float32)
    frame = client.render_exact(
        character.id, character.params, size=64, take=TakeFrame(latent, character.params * 0, influence=0.6)
    )
    expected = engine.render(same, same.params, size=64, pose_latent=latent, take_params=same.params * 0, influence=0.6)
    np.testing.assert_array_equal(frame.pixels, expected)
    assert not np.array_equal(frame.pixels, client.render_exact(character.id, character.params, size=64).pixels)


def test_edits_are_added_to_the_takes_own_params(
    client: RuntimeClient, character: CharacterInfo, engine: Engine, photos: Any
) -> None:
    same = engine.create_character(read_image(photos[0]))
    latent, taken = np.linspace(-1, 1, W, dtype=np.float32), same.params + np.float32(0.5)
    edits = params_of(character, 3) - character.params
    take = TakeFrame(latent, taken, influence=0.6, driven_params=taken + edits)
    frame = client.render_exact(character.id, character.params + edits, size=64, take=take)
    expected = engine.render(
        same,
        character.params + edits,
        size=64,
        pose_latent=latent,
        influence=0.6,
        take_params=taken,
        driven_params=taken + edits,
    )
    np.testing.assert_array_equal(frame.pixels, expected)
    without = client.render_exact(character.id, character.params + edits, size=64, take=TakeFrame(latent, taken, 0.6))
    assert not np.array_equal(frame.pixels, without.pixels)


def test_exact_frames_are_right_and_in_order_under_live_load(
    client: RuntimeClient, engine: Engine, photos: tuple[Path, Path]
) -> None:
    infos = [client.create_character(photo) for photo in photos]
    same = [engine.create_character(read_image(photo)) for photo in photos]
    numbers = range(24)
    expected = [[engine.render(s, params_of(i, n), size=48) for n in numbers] for i, s in zip(infos, same, strict=True)]
    assert len({pixels.tobytes() for rows in expected for pixels in rows}) == 2 * len(numbers)
    rendering, wrong = threading.Event(), []

    def scrub(which: int) -> None:
        number = 0
        coded = {}
        while not rendering.wait(0.001):
            number = (number + 1) % len(numbers)
            coded[client.request_live(infos[which].id, params_of(infos[which], number), size=48)] = number
            frame = client.poll_live(infos[which].id)
            if frame and not np.array_equal(frame.pixels, expected[which][coded[frame.seq]]):
                wrong.append(f"live {frame.seq}")

    def render(which: int, order: list[int]) -> None:
        for number in order:
            frame = client.render_exact(infos[which].id, params_of(infos[which], number), size=48)
            if not np.array_equal(frame.pixels, expected[which][number]):
                wrong.append(f"exact {number} of {which}")

    scrubbers = [threading.Thread(target=scrub, args=(which,)) for which in (0, 1)]
    orders = [list(numbers), list(numbers)[::-1], [*numbers[::5], *numbers[1::3]]]
    renderers = [threading.Thread(target=render, args=(which, order)) for which in (0, 1) for order in orders]
    for thread in (*scrubbers, *renderers):
        thread.start()
    answered: list[int] = []
    futures = []
    for number in numbers:
        futures.append(client.submit_exact(infos[number % 2].id, params_of(infos[number % 2], number), size=48))
        futures[-1].add_done_callback(lambda future: answered.append(future.result().seq))
    for number, future in zip(numbers, futures, strict=True):
        np.testing.assert_array_equal(future.result(60).pixels, expected[number % 2][number])
    for thread in renderers:
        thread.join(60)
    rendering.set()
    for thread in scrubbers:
        thread.join(60)
    assert not wrong
    assert answered == sorted(answered) and len(answered) == len(numbers)


def test_live_frames_are_latest_wins_for_each_character(
    start: Callable[..., RuntimeProcess], photos: tuple[Path, Path]
) -> None:
    process = start()
    with connect(process) as connection:
        for seq, photo in enumerate(photos, 1):
            ask(connection, {"op": "create_character", "seq": seq, "character": f"c{seq}", "photo": str(photo)})
        os.kill(process.pid, signal.SIGSTOP)
        for seq in range(3, 203):
            character = "c1" if seq % 2 else "c2"
            connection.send_bytes(encode({**RENDER, "character": character, "seq": seq, "mode": "live"}))
        connection.send_bytes(encode({**RENDER, "character": "c1", "seq": 203}))
        os.kill(process.pid, signal.SIGCONT)
        answered = []
        while {201, 202, 203} - set(answered):
            reply = answer(connection)
            answered.append(reply["reply"])
            connection.send_bytes(encode({"op": "release", "slot": reply["slot"]}))
    for remainder in (0, 1):
        live = [seq for seq in answered if seq != 203 and seq % 2 == remainder]
        assert live == sorted(live)
        assert len(live) < 50


def test_the_client_gives_the_newest_live_frame(client: RuntimeClient, character: CharacterInfo) -> None:
    assert client.poll_live(character.id) is None
    for number in range(40):
        last = client.request_live(character.id, params_of(character, number), size=48)
    frames: list[Frame] = []

    def arrived() -> bool:
        frame = client.poll_live(character.id)
        if frame:
            frames.append(frame)
        return bool(frames) and frames[-1].seq == last

    assert soon(arrived)
    assert not client.live_pending(character.id)
    exact = client.render_exact(character.id, params_of(character, 39), size=48)
    np.testing.assert_array_equal(frames[-1].pixels, exact.pixels)


def test_a_live_error_is_told_once_and_live_goes_on(client: RuntimeClient, character: CharacterInfo) -> None:
    client.request_live(character.id, [0.0, 1.0])
    with pytest.raises(RuntimeRequestError, match="params"):
        soon(lambda: client.poll_live(character.id) is not None)
    assert client.poll_live(character.id) is None
    seq = client.request_live(character.id, character.params, size=48)
    assert soon(lambda: (frame := client.poll_live(character.id)) is not None and frame.seq == seq)


def test_bad_requests_are_answered_and_the_next_one_is_served(
    client: RuntimeClient, character: CharacterInfo, photos: tuple[Path, Path], tmp_path: Path
) -> None:
    no_image, no_face = tmp_path / "text.png", tmp_path / "sky.png"
    no_image.write_text("no image")
    cv2.imwrite(str(no_face), np.full((200, 200, 3), 90, np.uint8))
    rest = client.render_exact(character.id, character.params, size=48).pixels
    refusals: list[tuple[str, str, Callable[[], object]]] = [
        ("bad_photo", "none.png", lambda: client.create_character(tmp_path / "none.png")),
        ("bad_photo", "text.png", lambda: client.create_character(no_image)),
        ("bad_photo", str(tmp_path), lambda: client.create_character(tmp_path)),
        ("no_face", "sky.png", lambda: client.create_character(no_face)),
        ("bad_box", "first.png", lambda: client.create_character(photos[0], (5, 5, 5, 5))),
        ("bad_box", "numbers", lambda: client.create_character(photos[0], (1, 2, 3))),  # type: ignore[arg-type]
        ("unknown_character", "c99", lambda: client.render_exact("c99", character.params)),
        ("bad_params", "params", lambda: client.render_exact(character.id, character.params[:-1])),
        ("bad_params", "nan", lambda: client.render_exact(character.id, character.params * np.nan)),
        ("bad_params", "size", lambda: client.render_exact(character.id, character.params, size=100_000)),
        ("bad_params", "size", lambda: client.render_exact(character.id, character.params, size=-1)),
        ("bad_params", "latent", lambda: client.render_exact(character.id, character.params, take=TakeFrame([0.0]))),
        ("bad_request", "view", lambda: client.render_exact(character.id, character.params, "top")),  # type: ignore[arg-type]
    ]
    for code, named, request in refusals:
        with pytest.raises(RuntimeRequestError, match=named) as refused:
            request()
        assert refused.value.code == code
        assert "\n" not in str(refused.value)
        np.testing.assert_array_equal(client.render_exact(character.id, character.params, size=48).pixels, rest)


def test_raw_messages_that_no_client_sends_are_answered(runtime: RuntimeProcess, photos: tuple[Path, Path]) -> None:
    with connect(runtime) as connection:
        connection.send_bytes(b"\x00\xff not json")
        assert answer(connection)["error"]["code"] == "bad_request"
        assert ask(connection, {"op": "dance", "seq": 5})["error"]["code"] == "bad_request"
        assert ask(connection, {"op": "hello", "seq": 5, "protocol": 1})["error"]["code"] == "bad_sequence"
        assert ask(connection, {"op": "hello", "seq": "6", "protocol": 1})["error"]["code"] == "bad_sequence"
        assert ask(connection, {"op": "hello", "seq": 6, "protocol": 99})["error"]["code"] == "bad_protocol"
        create = {"op": "create_character", "seq": 7, "character": "c", "photo": str(photos[0])}
        assert ask(connection, create)["ok"]
        assert ask(connection, {**RENDER, "seq": 8, "params": [float("nan")] * K})["error"]["code"] == "bad_params"
        assert ask(connection, {**RENDER, "seq": 9, "params": [1e200] * K})["error"]["code"] == "bad_params"
        reply = ask(connection, {**RENDER, "seq": 10})
        assert (reply["reply"], reply["ok"], reply["character"]) == (10, True, "c")


def test_a_message_too_long_ends_that_conversation_only(runtime: RuntimeProcess, client: RuntimeClient) -> None:
    with connect(runtime) as connection, pytest.raises((EOFError, OSError)):
        connection.send_bytes(b" " * (4 << 20))
        connection.recv_bytes()
    assert client.hello()["pid"] == runtime.pid


def test_strangers_are_turned_away_and_hold_up_nobody(runtime: RuntimeProcess, photos: tuple[Path, Path]) -> None:
    port = runtime.child.endpoint().port
    silent = socket.create_connection((HOST, port))
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, b"\x00\x00\x00\x04junk", os.urandom(4096)):
        with socket.create_connection((HOST, port)) as stranger:
            stranger.sendall(garbage)
    with pytest.raises(AuthenticationError):
        Client((HOST, port), authkey=b"a wrong key")
    with RuntimeClient(runtime) as client:
        assert client.create_character(photos[0]).params.shape == (K,)
    silent.close()


def test_the_port_is_open_on_this_machine_only(runtime: RuntimeProcess) -> None:
    port = f"{runtime.child.endpoint().port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port}")]
    assert listening == [f"0100007F:{port}"]


def test_two_clients_do_not_see_each_others_characters(
    runtime: RuntimeProcess, client: RuntimeClient, character: CharacterInfo, photos: tuple[Path, Path]
) -> None:
    mine = client.render_exact(character.id, character.params, size=48)
    with RuntimeClient(runtime) as other:
        theirs = other.create_character(photos[1])
        assert theirs.id == character.id
        assert not np.array_equal(other.render_exact(theirs.id, theirs.params, size=48).pixels, mine.pixels)
    again = client.render_exact(character.id, character.params, size=48)
    np.testing.assert_array_equal(again.pixels, mine.pixels)


def test_a_dropped_character_is_unknown(client: RuntimeClient, character: CharacterInfo) -> None:
    client.drop_character(character.id)
    with pytest.raises(RuntimeRequestError) as refused:
        client.render_exact(character.id, character.params)
    assert refused.value.code == "unknown_character"


def test_slots_follow_the_size_and_have_no_names(
    runtime: RuntimeProcess, client: RuntimeClient, character: Any
) -> None:
    others = set(mapped_slots(os.getpid()))  # of clients that other tests keep
    for size in (SIDE, 300, 600, 1000, 1500, 2000, SIDE, 1000):
        assert client.render_exact(character.id, character.params, size=size).pixels.shape == (size, size, 4)
    for pid in (os.getpid(), runtime.pid):
        mapped = mapped_slots(pid)
        assert not any(mapped.values())
    assert 1 <= len(mapped_slots(runtime.pid)) <= 5
    client.close()
    assert soon(lambda: not mapped_slots(runtime.pid) and set(mapped_slots(os.getpid())) <= others)


def test_a_client_that_pauses_still_gets_every_exact_frame(runtime: RuntimeProcess, photos: tuple[Path, Path]) -> None:
    with connect(runtime) as connection:
        ask(connection, {"op": "create_character", "seq": 1, "character": "c", "photo": str(photos[0])})
        wanted = list(range(2, 80))
        for seq in wanted:
            connection.send_bytes(encode({**RENDER, "seq": seq, "size": 32}))
        connection.send_bytes(encode({"op": "hello", "seq": 80, "protocol": 1}))
        replies = [answer(connection)]
        while replies[-1]["reply"] != 80:
            replies.append(answer(connection))
        replies.pop()
        with RuntimeClient(runtime) as other:
            # All of the above has been read, so this is answered after what can be done for the paused client.
            other.create_character(photos[1])
        assert 1 <= sum(mapped_slots(runtime.pid).values()) < len(wanted)
        for reply in replies:
            connection.send_bytes(encode({"op": "release", "slot": reply["slot"]}))
        while len(replies) < len(wanted):
            replies.append(answer(connection))
            connection.send_bytes(encode({"op": "release", "slot": replies[-1]["slot"]}))
    assert [reply["reply"] for reply in replies] == wanted


def test_a_client_that_never_reads_leaves_no_memory_behind(runtime: RuntimeProcess, photos: tuple[Path, Path]) -> None:
    with connect(runtime) as connection:
        ask(connection, {"op": "create_character", "seq": 1, "character": "c", "photo": str(photos[0])})
        for seq in range(2, 80):
            connection.send_bytes(encode({**RENDER, "seq": seq, "size": 32}))
        slots = {answer(connection)["slot"] for _ in range(10)}
        assert len(slots) == 10
        assert slots <= {name for name, named in mapped_slots(runtime.pid).items() if named}
        with RuntimeClient(runtime) as other:
            assert other.create_character(photos[1]), "a client that does not read holds up another"
    assert soon(lambda: not slots & set(mapped_slots(runtime.pid)))
    assert not any(Path("/dev/shm", name).exists() for name in slots)


def test_more_characters_than_are_held_still_answer(
    start: Callable[..., RuntimeProcess], photos: tuple[Path, Path], tmp_path: Path
) -> None:
    with RuntimeClient(start(characters=1)) as client:
        copy = tmp_path / "copy.png"
        copy.write_bytes(photos[0].read_bytes())
        first, second = client.create_character(copy), client.create_character(photos[1])
        frames = [client.render_exact(info.id, info.params, size=48).pixels for info in (first, second, first, second)]
        np.testing.assert_array_equal(frames[0], frames[2])
        np.testing.assert_array_equal(frames[1], frames[3])
        copy.write_bytes(photos[1].read_bytes())
        with pytest.raises(RuntimeRequestError, match=r"copy\.png: another picture"):
            client.render_exact(first.id, first.params, size=48)


def test_the_runtime_starts_no_process_of_its_own(runtime: RuntimeProcess, client: RuntimeClient) -> None:
    client.hello()
    assert children(runtime.pid) == []
    assert not is_gone(runtime.pid)
