# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at processes, shared memory and raw messages from outside, on Linux."""

import time
from collections.abc import Callable
from multiprocessing.connection import Client, Connection
from pathlib import Path

from lpmm_runtime.client import RuntimeProcess
from lpmm_runtime.protocol import HOST, Message, decode, encode

SHARED_MEMORY = Path("/dev/shm")


def soon(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether `condition` comes true before long."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def is_gone(pid: int) -> bool:
    """Whether a process has ended, even if nobody has asked for its exit status."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def mapped_slots(pid: int) -> dict[str, bool]:
    """Return the frame slots that a process maps, and whether each still has its name."""
    slots = {}
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        path = line.partition("/dev/shm/lpmm_")
        if path[1]:
            name = f"lpmm_{path[2]}".removesuffix(" (deleted)")
            slots[name] = (SHARED_MEMORY / name).exists()
    return slots


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def connect(process: RuntimeProcess) -> Connection:
    """Return a bare connection, for messages that no client would send."""
    endpoint = process.child.endpoint()
    return Client((HOST, endpoint.port), authkey=endpoint.authkey)


def ask(connection: Connection, message: Message) -> Message:
    connection.send_bytes(encode(message))
    return answer(connection)


def answer(connection: Connection) -> Message:
    assert connection.poll(20), "no answer"
    return decode(connection.recv_bytes())
