# SPDX-License-Identifier: GPL-3.0-or-later
"""One conversation of a client with a run of the server: a writing and a reading thread, and futures.

The threads own the connection, so that sending never waits for a socket and a reply is taken, and its pixels
copied, whoever waits for it.
"""

import itertools
import logging
import queue
import threading
from concurrent.futures import Future
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection
from typing import Any

from lpmm_runtime.frame_slots import FrameSlotError, Slot
from lpmm_runtime.protocol import (
    HOST,
    MESSAGE_LIMIT,
    Frame,
    Message,
    RuntimeRequestError,
    decode,
    encode,
    hang_up,
    send_at_once,
)
from lpmm_runtime.runtime_process import RuntimeDied, ServerChild

_log = logging.getLogger(__name__)


class Session:
    """A conversation; once `dead`, it stays so. Thread-safe.

    Attributes:
        dead: why nothing can be asked any more, or None.
        characters: the ids that this run of the server has been told to prepare.
    """

    def __init__(self, child: ServerChild, counter: "itertools.count[int]") -> None:
        self.dead: RuntimeDied | None = None
        self.characters: set[str] = set()
        self._child = child
        self._counter = counter
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._pending: dict[int, Future[Any]] = {}
        self._outbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._slots: dict[str, Slot] = {}
        self._connection: Connection | None = None
        threading.Thread(target=self._converse, name="lpmm-runtime-replies", daemon=True).start()

    def check(self) -> None:
        """Raise why the session is dead, if it is."""
        if self.dead is not None:
            # A new one each time: a raised exception keeps a traceback that would grow with every poll.
            raise type(self.dead)(str(self.dead))

    def submit(self, message: Message) -> "tuple[int, Future[Any]]":
        """Send a request without waiting.

        Returns:
            Its sequence number, and the future of its reply: a `Frame` for a render, else the message.
            The future's callbacks run in the reading thread.

        Raises:
            RuntimeDied: when the session is dead.
        """
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            self.check()
            seq = next(self._counter)
            self._pending[seq] = future
            self._outbox.put({"seq": seq, **message})
        return seq, future

    def forget(self, seq: int) -> None:
        """Expect no reply to `seq` any more: a newer live request has overtaken it."""
        with self._lock:
            self._pending.pop(seq, None)

    def close(self) -> None:
        """End the conversation; what is pending fails."""
        self._die(RuntimeDied("the connection to the runtime was closed"))

    def give_up(self, reason: RuntimeDied) -> None:
        """Kill the server, which does not answer; what is pending fails with `reason`."""
        self._child.stop(0.0)
        self._die(reason)

    def _converse(self) -> None:
        try:
            endpoint = self._child.endpoint()
            connection = Client((HOST, endpoint.port), authkey=endpoint.authkey)
        except RuntimeDied as error:
            self._die(error)
            return
        except (OSError, EOFError, AssertionError, AuthenticationError):
            self._die(self._child.obituary())
            return
        send_at_once(connection)
        with self._lock:
            self._connection = connection
            closed = self.dead is not None
        writer = threading.Thread(target=self._write, args=(connection,), name="lpmm-runtime-requests", daemon=True)
        writer.start()
        try:
            while not closed:
                self._receive(connection, decode(connection.recv_bytes(MESSAGE_LIMIT)))
        except (OSError, EOFError):
            pass  # Either side hung up.
        except (RuntimeRequestError, KeyError, TypeError, ValueError) as error:
            self._die(RuntimeDied(f"the runtime's reply cannot be read: {error!r}"))
        if self.dead is None:
            self._die(self._child.obituary())
        writer.join()
        with self._lock:
            self._connection = None
            connection.close()
        for slot in self._slots.values():
            slot.close()

    def _write(self, connection: Connection) -> None:
        while (message := self._outbox.get()) is not None:
            try:
                self._send(connection, message)
            except OSError:
                hang_up(connection)
                return

    def _send(self, connection: Connection, message: Message) -> None:
        with self._sending:
            connection.send_bytes(encode(message))

    def _receive(self, connection: Connection, reply: Message) -> None:
        for name in reply.get("retired", ()):
            if (retired := self._slots.pop(name, None)) is not None:
                retired.close()
        with self._lock:
            future = self._pending.pop(reply.get("reply") or 0, None)
        if not reply.get("ok"):
            error = RuntimeRequestError(reply["error"]["code"], reply["error"]["message"])
            if future is None:
                _log.warning("the runtime rejected a message: %s", error)
            else:
                future.set_exception(error)
        elif "slot" in reply:
            self._take_frame(connection, reply, future)
        elif future is not None:
            future.set_result(reply)

    def _take_frame(self, connection: Connection, reply: Message, future: "Future[Any] | None") -> None:
        name = reply["slot"]
        try:
            if name not in self._slots:
                self._slots[name] = Slot.attach(name)
            height, width, depth = reply["shape"]
            pixels = self._slots[name].read(reply["reply"], (height, width, depth))
        except FrameSlotError as error:
            if future is not None:
                future.set_exception(RuntimeRequestError(error.code, str(error)))
        else:
            if future is not None:
                future.set_result(Frame(reply["reply"], reply["character"], pixels, reply["ms"]))
        # Past the outbox: behind many requests there the runtime would run out of slots.
        self._send(connection, {"op": "release", "slot": name})

    def _die(self, reason: RuntimeDied) -> None:
        with self._lock:
            if self.dead is not None:
                return
            self.dead = reason
            pending, self._pending = self._pending, {}
            if self._connection is not None:
                hang_up(self._connection)
        self._outbox.put(None)
        for future in pending.values():
            future.set_exception(type(reason)(str(reason)))
