# SPDX-License-Identifier: GPL-3.0-or-later
"""`lpmm landmarks`: the 68 landmarks, params and head pose of the main face of each picture, as JSON."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lpmm_runtime.bundle import load_bundle
from lpmm_runtime.cli import arguments
from lpmm_runtime.errors import BoxError, NoFaceError, OutputError, PhotoError
from lpmm_runtime.json_files import finite_number, read_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lpmm_runtime.bundle import Bundle
    from lpmm_runtime.face_finding import FaceReading

Box = tuple[float, float, float, float]

DESCRIPTION = """Read faces. Writes {path: {box, landmarks, params, pose}} as JSON, and null where no face is found.
box is [left, top, right, bottom] and landmarks are 68 × [x, y], both in image pixels, the centre of the first
pixel being (0, 0); params are in standard deviations, the LP-regressor's; pose is yaw, pitch and roll in degrees. A
bundle that looks at eyes and mouth a second time, from close by, says their landmarks more exactly than its params do.
One that reads irises adds them as irises, 2 × [x, y], the picture's left one first."""

# Inside, the centre of the first pixel is (0.5, 0.5); labelled data sets put it at (0, 0).
HALF_PIXEL = 0.5


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the sub-command."""
    parser = subparsers.add_parser("landmarks", help="read landmarks and params", description=DESCRIPTION)
    parser.add_argument("images", type=Path, nargs="+", metavar="IMG", help="pictures")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where to write (default: standard output)")
    parser.add_argument(
        "--boxes",
        type=Path,
        metavar="FILE",
        help="JSON {path: [left, top, right, bottom]}: face boxes as a detector gives them, forehead "
        "to chin; a picture that is not listed is searched",
    )
    arguments.add_bundle(parser)
    arguments.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Read every picture; a picture that cannot be read is said on stderr and makes the status 1."""
    boxes = _read_boxes(args.boxes) if args.boxes else {}
    bundle = load_bundle(args.bundle)

    from tqdm import tqdm

    from lpmm_runtime.face_finding import read_face
    from lpmm_runtime.onnx_sessions import OnnxSessions
    from lpmm_runtime.portrait import read_image
    from lpmm_runtime.second_look import second_look

    sessions = OnnxSessions(bundle, args.device, args.threads)
    answers: dict[str, Any] = {}
    faults = []
    for path in tqdm(args.images, unit="picture", delay=1, leave=False):
        try:
            photo = read_image(path)
            reading = read_face(sessions, photo, _box_of(boxes, path), str(path))
            closer = second_look(sessions, photo, reading.square, reading.landmarks)
            answers[str(path)] = _answer(bundle, reading, reading.landmarks if closer is None else closer)
        except NoFaceError:
            answers[str(path)] = None
        except (PhotoError, BoxError) as error:
            faults.append(str(error))
    _write(answers, args.json)
    for fault in faults:
        print(f"lpmm landmarks: error: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _answer(bundle: "Bundle", reading: "FaceReading", landmarks: "NDArray[np.float32]") -> dict[str, Any]:
    yaw, pitch, roll = bundle.rig.controls.head_angles(reading.params).tolist()
    answer = {
        "box": [round(edge - HALF_PIXEL, 3) for edge in reading.box],
        "landmarks": _in_pixels(landmarks),
        "params": [round(float(value), 6) for value in reading.params],
        "pose": {"yaw": round(yaw, 3), "pitch": round(pitch, 3), "roll": round(roll, 3)},
    }
    if reading.irises is not None:
        answer["irises"] = _in_pixels(reading.irises)
    return answer


def _in_pixels(points: "NDArray[np.float32]") -> list[list[float]]:
    return [[round(float(x) - HALF_PIXEL, 3), round(float(y) - HALF_PIXEL, 3)] for x, y in points]


def _read_boxes(path: Path) -> dict[str, Box]:
    data = read_json(path, "boxes", BoxError)
    if not isinstance(data, dict):
        raise BoxError(f"{path}: not boxes: wanted {{path: [left, top, right, bottom]}}")
    boxes = {}
    for name, box in data.items():
        edges = [finite_number(edge) for edge in box] if isinstance(box, list) else []
        numbers = [edge + HALF_PIXEL for edge in edges if edge is not None]
        if len(edges) != 4 or len(numbers) != 4:
            raise BoxError(f"{path}: the box of {name!r} is not [left, top, right, bottom]")
        boxes[name] = (numbers[0], numbers[1], numbers[2], numbers[3])
    return boxes


def _box_of(boxes: dict[str, Box], path: Path) -> Box | None:
    """Return the box listed for a picture: by the path as given, by the same file, or by its bare name."""
    if str(path) in boxes:
        return boxes[str(path)]
    resolved = path.resolve()
    for name, box in boxes.items():
        if Path(name).resolve() == resolved:
            return box
    return boxes.get(path.name)


def _write(answers: dict[str, Any], out: Path | None) -> None:
    text = json.dumps(answers, ensure_ascii=False) + "\n"
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror or error}") from error
