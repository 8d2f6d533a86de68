# SPDX-License-Identifier: GPL-3.0-or-later
"""What Blender and the runtime say to each other: JSON messages over a loopback connection with an authkey.

Every request but `release` has an `op` and a `seq`; the sequence numbers of one connection only rise.
Every reply names the request it answers: `{"reply": seq, "ok": true, …}` or
`{"reply": seq, "ok": false, "error": {"code": …, "message": …}}`. A live request that a newer one overtakes
gets no reply. Pixels never pass here: a frame's reply names the shared-memory slot that holds them
(`frame_slots`), and the client gives the slot back with `release`.

| op | more fields | reply |
|---|---|---|
| `hello` | `protocol` | `protocol, device, bundle {name, version, path}, k, pid, versions` |
| `create_character` | `character` (the client's choice), `photo`, `box` | the fields of `CharacterInfo` |
| `drop_character` | `character` | |
| `render` | the fields of `RenderRequest` | `character, slot, shape, ms, retired` |
| `release` | `slot` | none |

The server's first line on its stdout is a message too: `{"port", "pid", "protocol"}`, or `{"error": {…}}`.
"""

import json
import math
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.crop import CropSquare
from lpmm_runtime.errors import LpmmError

PROTOCOL_VERSION = 1
HOST = "127.0.0.1"
# A render request is about 1 kB, so anything near this is no message of ours.
MESSAGE_LIMIT = 1 << 20

Message = dict[str, Any]
Numbers = Sequence[float] | NDArray[np.floating]
Box = tuple[float, float, float, float]
Mode = Literal["exact", "live"]
Base = Literal["PHOTO", "NEUTRAL"]
View = Literal["crop", "full"]


class RuntimeRequestError(LpmmError):
    """The runtime's answer to a request that it could not fulfil; it goes on serving.

    Attributes:
        code: what kind of error, in snake_case: "no_face", "bad_params", "unknown_character", …
        message: one line, for the animator.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class TakeFrame:
    """One frame of a driving take, to be mixed into a render.

    Attributes:
        pose_latent: [w], v_take.
        params: [k], p_take, in standard deviations; None is the portrait's own.
        influence: 0 to 1.
        driven_params: [k], p_take with the sliders' edits; None is the request's params, which is right where `params`
            is None, too: then the edits are those from the portrait's own.
    """

    pose_latent: Numbers
    params: Numbers | None = None
    influence: float = 1.0
    driven_params: Numbers | None = None


@dataclass(frozen=True)
class RenderRequest:
    """One frame to render. Sizes and ranges are the engine's to judge; what is no number is refused here.

    Attributes:
        character: the client's id of the character.
        params: [k] absolute params p, in standard deviations.
        mode: "exact" is never dropped; "live" may be overtaken by a newer live request of the same character.
        base: which rest the params start from (design: the arithmetic of a frame).
        view: the aligned crop, or the full photo with the crop pasted back.
        size: the crop's side in pixels; None is its native size in the photo.
        take: a driving take's frame, or None.

    Raises:
        RuntimeRequestError: "bad_request" or "bad_params" for what is no such value.
    """

    character: str
    params: Numbers
    mode: Mode = "exact"
    base: Base = "PHOTO"
    view: View = "crop"
    size: int | None = None
    take: TakeFrame | None = None

    def __post_init__(self) -> None:
        # The class is frozen; these make plain floats of whatever array came.
        object.__setattr__(self, "params", finite_numbers(self.params, "params"))
        if self.take is not None:
            object.__setattr__(self, "take", _plain_take(self.take))
        for name, allowed in (("mode", Mode), ("base", Base), ("view", View)):
            if getattr(self, name) not in get_args(allowed):
                choices = " or ".join(get_args(allowed))
                raise RuntimeRequestError("bad_request", f"{name} is {getattr(self, name)!r}, not {choices}")
        if self.size is not None and type(self.size) is not int:
            raise RuntimeRequestError("bad_request", f"size is {self.size!r}, not a whole number of pixels")

    def message(self) -> Message:
        """Return the request's message, without its sequence number."""
        take = None if self.take is None else vars(self.take)
        return {"op": "render", **vars(self), "take": take}

    @staticmethod
    def of_message(message: Mapping[str, Any]) -> "RenderRequest":
        """Return the request in a message."""
        take = message.get("take")
        if take is not None:
            try:
                take = TakeFrame(**take)
            except TypeError as error:
                raise RuntimeRequestError("bad_request", "take is no frame of a take") from error
        return RenderRequest(
            character=text(message, "character"),
            params=message.get("params", ()),
            mode=message.get("mode", "exact"),
            base=message.get("base", "PHOTO"),
            view=message.get("view", "crop"),
            size=message.get("size"),
            take=take,
        )


@dataclass(frozen=True)
class CharacterInfo:
    """What the runtime read from a portrait.

    Attributes:
        id: the client's name for the character; it stays through restarts of the runtime.
        params: [k] float32, the photo's own params, p_base, in standard deviations.
        landmarks: [68, 2] float32, photo pixels.
        box: the face box (left, top, right, bottom), photo pixels.
        square: the aligned crop, photo pixels.
        photo_size: (width, height).
        head_angles: [3] float32, the photo's own yaw, pitch and roll, degrees.
    """

    id: str
    params: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    box: Box
    square: CropSquare
    photo_size: tuple[int, int]
    head_angles: NDArray[np.float32]

    def message(self) -> Message:
        """Return the fields as JSON values."""
        return {
            "character": self.id,
            "params": numbers(self.params),
            "landmarks": [numbers(point) for point in self.landmarks],
            "box": numbers(self.box),
            "square": numbers((self.square.x, self.square.y, self.square.side)),
            "photo_size": [int(side) for side in self.photo_size],
            "head_angles": numbers(self.head_angles),
        }

    @staticmethod
    def of_message(message: Mapping[str, Any]) -> "CharacterInfo":
        """Return the information in a reply to `create_character`."""
        left, top, right, bottom = message["box"]
        width, height = message["photo_size"]
        return CharacterInfo(
            id=message["character"],
            params=np.array(message["params"], np.float32),
            landmarks=np.array(message["landmarks"], np.float32),
            box=(left, top, right, bottom),
            square=CropSquare(*message["square"]),
            photo_size=(width, height),
            head_angles=np.array(message["head_angles"], np.float32),
        )


@dataclass(frozen=True)
class Frame:
    """One rendered frame.

    Attributes:
        seq: the sequence number of the request that it answers.
        character: the character's id.
        pixels: [H, W, 4] uint8 RGBA, rows top-down; the caller's own copy.
        ms: how long the runtime rendered, milliseconds.
    """

    seq: int
    character: str
    pixels: NDArray[np.uint8]
    ms: float


def _plain_take(take: TakeFrame) -> TakeFrame:
    return TakeFrame(
        pose_latent=finite_numbers(take.pose_latent, "pose_latent"),
        params=None if take.params is None else finite_numbers(take.params, "take params"),
        influence=finite_numbers([take.influence], "influence")[0],
        driven_params=None if take.driven_params is None else finite_numbers(take.driven_params, "driven params"),
    )


def numbers(values: Numbers) -> list[float]:
    """Return the values as JSON numbers; a float32 comes back bit for bit."""
    return [float(value) for value in values]


def finite_numbers(values: Any, name: str) -> tuple[float, ...]:
    """Return the values of a message's list as floats.

    Raises:
        RuntimeRequestError: "bad_params" when it is no list of finite numbers.
    """
    if not isinstance(values, list | tuple | np.ndarray):
        raise RuntimeRequestError("bad_params", f"{name} is no list of numbers")
    try:
        floats = tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise RuntimeRequestError("bad_params", f"{name} is no list of numbers") from error
    for index, value in enumerate(floats):
        # Beyond float32 a finite JSON number would become an infinity in the engine.
        if not math.isfinite(value) or abs(value) > 1e30:
            raise RuntimeRequestError("bad_params", f"{name}[{index}] is {value}, not a finite number")
    return floats


def text(message: Mapping[str, Any], name: str) -> str:
    """Return a message's field that must be a non-empty string.

    Raises:
        RuntimeRequestError: "bad_request".
    """
    value = message.get(name)
    if not isinstance(value, str) or not value:
        raise RuntimeRequestError("bad_request", f"{name} is missing or no text")
    return value


def encode(message: Mapping[str, Any]) -> bytes:
    """Return a message as the bytes that go over the connection."""
    return json.dumps(message, separators=(",", ":")).encode()


def decode(data: bytes) -> Message:
    """Return the message in received bytes.

    Raises:
        RuntimeRequestError: "bad_request" when they are no JSON object.
    """
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RuntimeRequestError("bad_request", f"not a JSON message: {error}") from error
    if not isinstance(message, dict):
        raise RuntimeRequestError("bad_request", "not a JSON object")
    return message


def error_reply(seq: int | None, error: RuntimeRequestError) -> Message:
    """Return the reply that says why request `seq` failed; None when not even the number could be read."""
    return {"reply": seq, "ok": False, "error": {"code": error.code, "message": error.message}}


def send_at_once(connection: Connection) -> None:
    """Turn Nagle's algorithm off: it would hold a second small message back for up to 40 ms."""
    borrowed = socket.socket(fileno=connection.fileno())
    try:
        borrowed.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    finally:
        borrowed.detach()


def hang_up(connection: Connection) -> None:
    """End a connection in both directions, which also wakes a thread that waits in it (closing would not)."""
    if connection.closed:
        return
    borrowed = socket.socket(fileno=connection.fileno())
    try:
        borrowed.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # The other side was faster.
    finally:
        borrowed.detach()
