# SPDX-License-Identifier: GPL-3.0-or-later
"""The runtime's process: one engine, many characters, any number of clients on this machine.

Each client has a thread that reads its messages; one worker renders for all of them. A request that fails is
answered with its error. The process ends when its stdin closes, that is, with the process that started it.
"""

import json
import logging
import os
import secrets
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener, answer_challenge, deliver_challenge
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.bundle import load_bundle
from lpmm_runtime.character_shelf import CharacterShelf
from lpmm_runtime.engine import Engine
from lpmm_runtime.errors import LpmmError
from lpmm_runtime.frame_slots import SlotPool
from lpmm_runtime.onnx_sessions import Device
from lpmm_runtime.protocol import (
    HOST,
    MESSAGE_LIMIT,
    PROTOCOL_VERSION,
    CharacterInfo,
    Message,
    Numbers,
    RenderRequest,
    RuntimeRequestError,
    decode,
    encode,
    error_reply,
    finite_numbers,
    hang_up,
    send_at_once,
    text,
)
from lpmm_runtime.request_queue import RequestQueue

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServeOptions:
    """What `lpmm serve` is asked for; `port` 0 is any free one, `characters` how many are held prepared."""

    bundle: Path
    device: Device
    threads: int | None
    port: int
    characters: int


class Conversation:
    """One client's connection: its slots, and the last sequence number it used."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.lock = threading.Lock()
        # Short, because macOS allows a name 30 characters.
        self.slots = SlotPool(f"lpmm_{secrets.token_hex(4)}_")
        self.last_seq = 0

    def send(self, message: Message) -> None:
        """Send a reply; a client that is gone needs none."""
        try:
            with self.lock:
                self.connection.send_bytes(encode(message))
        except OSError as error:
            _log.info("a reply found no client: %s", error)


@dataclass(frozen=True)
class _Job:
    """What the worker does for a client: a request, or (`message` None) clearing up after the client has gone."""

    client: Conversation
    message: Message | None
    render: RenderRequest | None = None


def _can_be_served(job: _Job) -> bool:
    return job.message is None or not job.client.slots.full


class Server:
    """Serves one engine to the clients that know the key."""

    def __init__(self, engine: Engine, authkey: bytes, port: int, characters: int) -> None:
        self._engine = engine
        self._authkey = authkey
        self._shelf = CharacterShelf(engine, characters)
        self._queue: RequestQueue[_Job] = RequestQueue(_can_be_served)
        self._clients: set[Conversation] = set()
        # The key is asked for in each client's own thread: a stranger that says nothing holds up nobody.
        self._listener = Listener((HOST, port), "AF_INET", backlog=16)

    @property
    def port(self) -> int:
        return int(self._listener.address[1])

    def run(self) -> None:
        """Accept clients and work for them; never returns."""
        threading.Thread(target=self._accept, name="accept", daemon=True).start()
        while True:
            self._work(self._queue.take())

    def remove_slots(self) -> None:
        """Remove the names of all slots that no client has opened yet, and let no new ones be made."""
        for client in list(self._clients):
            # Never given back. The worker may hold it in a reply that nobody reads, hence the timeout.
            client.lock.acquire(timeout=1.0)
            client.slots.unlink()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except OSError as error:
                # Out of file descriptors, or a client that was gone at once.
                _log.warning("a client could not be accepted: %s", error)
                time.sleep(0.1)
                continue
            threading.Thread(target=self._converse, args=(connection,), name="client", daemon=True).start()

    def _converse(self, connection: Connection) -> None:
        try:
            deliver_challenge(connection, self._authkey)
            answer_challenge(connection, self._authkey)
        # Python 3.11 asserts where later versions raise AuthenticationError.
        except (OSError, EOFError, AuthenticationError, AssertionError, ValueError) as error:
            _log.warning("turned a stranger away: %s", error or type(error).__name__)
            connection.close()
            return
        send_at_once(connection)
        client = Conversation(connection)
        self._clients.add(client)
        try:
            while True:
                self._receive(client, connection.recv_bytes(MESSAGE_LIMIT))
        except (OSError, EOFError):
            pass  # The client hung up, or sent something too long to be a message.
        hang_up(connection)
        self._queue.discard(lambda job: job.client is client)
        self._queue.put(_Job(client, None))

    def _receive(self, client: Conversation, data: bytes) -> None:
        seq = None
        try:
            message = decode(data)
            operation = text(message, "op")
            if operation == "release":
                with client.lock:
                    client.slots.release(text(message, "slot"))
                self._queue.reconsider()
                return
            seq = message.get("seq")
            if type(seq) is not int or seq <= client.last_seq:
                raise RuntimeRequestError("bad_sequence", f"seq {seq!r} does not follow {client.last_seq}")
            client.last_seq = seq
            if operation == "hello":
                client.send({"reply": seq, "ok": True, **self._hello(message)})
            elif operation == "render":
                render = RenderRequest.of_message(message)
                job = _Job(client, message, render)
                if render.mode == "live":
                    self._queue.put_live((client, render.character), job)
                else:
                    self._queue.put(job)
            elif operation in ("create_character", "drop_character"):
                text(message, "character")
                self._queue.put(_Job(client, message))
            else:
                raise RuntimeRequestError("bad_request", f"no such operation: {operation}")
        except RuntimeRequestError as error:
            client.send(error_reply(seq if type(seq) is int else None, error))

    def _work(self, job: _Job) -> None:
        if job.message is None:
            self._clients.discard(job.client)
            self._shelf.drop_owner(job.client)
            with job.client.lock:
                job.client.slots.close()
                job.client.connection.close()
            return
        seq = job.message["seq"]
        try:
            if job.render is not None:
                fields = self._render(job.client, seq, job.render)
            elif job.message["op"] == "create_character":
                fields = self._create_character(job.client, job.message)
            else:
                self._shelf.drop((job.client, job.message["character"]))
                fields = {}
        except LpmmError as error:
            job.client.send(error_reply(seq, RuntimeRequestError(error.code, str(error))))
        # Whatever the models threw, it is this request's answer and no reason to leave the others alone.
        except Exception as error:
            _log.exception("request %d failed", seq)
            message = f"{type(error).__name__}: {error} (the runtime's log says more)"
            job.client.send(error_reply(seq, RuntimeRequestError("internal", message)))
        else:
            job.client.send({"reply": seq, "ok": True, **fields})

    def _hello(self, message: Message) -> Message:
        if message.get("protocol") != PROTOCOL_VERSION:
            raise RuntimeRequestError(
                "bad_protocol", f"the runtime speaks protocol {PROTOCOL_VERSION}, not {message.get('protocol')!r}"
            )
        bundle = self._engine.bundle
        return {
            "protocol": PROTOCOL_VERSION,
            "device": self._engine.device,
            "bundle": {"name": bundle.name, "version": bundle.version, "path": str(bundle.path)},
            "k": bundle.k,
            "pid": os.getpid(),
            "versions": _versions(),
        }

    def _create_character(self, client: Conversation, message: Message) -> Message:
        box = message.get("box")
        if box is not None:
            left, top, right, bottom = _four(finite_numbers(box, "box"))
            box = (left, top, right, bottom)
        name = message["character"]
        character = self._shelf.create((client, name), Path(text(message, "photo")), box)
        _log.info("character %s: %s", name, character.name)
        return CharacterInfo(
            id=name,
            params=character.params,
            landmarks=character.landmarks,
            box=character.box,
            square=character.square,
            photo_size=character.photo_size,
            head_angles=np.asarray(character.head_angles, np.float32),
        ).message()

    def _render(self, client: Conversation, seq: int, request: RenderRequest) -> Message:
        character = self._shelf.get((client, request.character))
        take: dict[str, Any] = {}
        if request.take is not None:
            take = {
                "pose_latent": _array(request.take.pose_latent),
                "influence": request.take.influence,
                "take_params": _array(request.take.params),
                "driven_params": _array(request.take.driven_params),
            }
        began = time.perf_counter()
        params = np.array(request.params, np.float32)
        pixels = self._engine.render(character, params, base=request.base, view=request.view, size=request.size, **take)
        ms = 1000.0 * (time.perf_counter() - began)
        with client.lock:
            slot = client.slots.take(pixels.nbytes)
            retired = client.slots.retired()
        slot.write(seq, pixels)
        return {
            "character": request.character,
            "slot": slot.name,
            "shape": list(pixels.shape),
            "ms": round(ms, 3),
            "retired": retired,
        }


def serve(options: ServeOptions) -> int:
    """Serve until stdin closes. The first line of stdin is the authkey; stdout gets one line that says where.

    Returns:
        The exit status, when it could not begin.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    announcement = _take_stdout()
    authkey = sys.stdin.buffer.readline().strip()
    if not authkey:
        return _give_up(announcement, "no_authkey", "no authkey on the first line of stdin")
    ending = _Ending()
    threading.Thread(target=ending.wait_for_stdin, name="stdin", daemon=True).start()
    try:
        engine = Engine(load_bundle(options.bundle), options.device, options.threads)
        server = Server(engine, authkey, options.port, options.characters)
    except LpmmError as error:
        return _give_up(announcement, error.code, str(error))
    except OSError as error:
        return _give_up(announcement, "no_port", f"port {options.port}: {error.strerror}")
    ending.server = server
    _announce(announcement, {"port": server.port, "pid": os.getpid(), "protocol": PROTOCOL_VERSION})
    _log.info("serving %s on %s, port %d", engine.bundle.path, engine.device, server.port)
    try:
        server.run()
    except KeyboardInterrupt:
        ending.end()
    return 0


class _Ending:
    """Ends the process when its stdin closes, whatever its threads are doing then."""

    def __init__(self) -> None:
        self.server: Server | None = None

    def wait_for_stdin(self) -> None:
        # Not through `sys.stdin`: a thread that waits in its buffer makes a regular exit abort.
        while os.read(0, 4096):
            pass
        self.end()

    def end(self) -> None:
        _log.info("ending")
        if self.server is not None:
            self.server.remove_slots()
        logging.shutdown()
        # A model may be running in another thread, and nobody waits for its frame.
        os._exit(0)


def _array(values: Numbers | None) -> NDArray[np.float32] | None:
    return None if values is None else np.array(values, np.float32)


def _take_stdout() -> IO[bytes]:
    """Return the real stdout, and let everything else that is printed go to the log."""
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return stdout


def _announce(stdout: IO[bytes], message: Message) -> None:
    with stdout:
        stdout.write(json.dumps(message).encode() + b"\n")


def _give_up(stdout: IO[bytes], code: str, message: str) -> int:
    _log.error(message)
    _announce(stdout, {"error": {"code": code, "message": message}})
    return 1


def _four(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(values) != 4:
        raise RuntimeRequestError("bad_box", f"a box is left, top, right, bottom, not {len(values)} numbers")
    return values


def _versions() -> dict[str, str]:
    import onnxruntime

    return {
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
