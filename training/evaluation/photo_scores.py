# SPDX-License-Identifier: GPL-3.0-or-later
"""Landmark scores on labelled photographs: raw, by region, after a fixed linear calibration, and for a reader beside.

Labels are JSON: {"faces": [{"image": PATH, "box": [left, top, right, bottom], "landmarks": 68 × [x, y]}, …]}, paths
relative to the photographs' folder or the file's, pixels 0-based (the centre of the first pixel is 0).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lpmm_runtime import landmarks68
from lpmm_runtime.crop import face_box
from lpmm_runtime.engine import Engine
from lpmm_runtime.errors import LpmmError, NoFaceError, PhotoError
from lpmm_runtime.face_finding import Box, iou, read_face
from lpmm_runtime.json_files import read_json
from lpmm_runtime.portrait import read_image
from lpmm_runtime.second_look import second_look
from training.evaluation.independent_reader import Reader
from training.evaluation.measures import nme_by_region

Points = NDArray[np.float64]
Pixels = NDArray[np.uint8]

# A face that the search settles on is the labelled one from this overlap of boxes on.
SAME_FACE = 0.35
FOLDS_SEED, FOLD_REPEATS = 7, 10
_RIDGES = np.logspace(-3, 5, 33)
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True, eq=False)
class LabelledPhoto:
    """A photograph uint8 [h, w, 3], a face box, and human labels [68, 2] (pixel centres at +0.5)."""

    name: str
    picture: Pixels
    box: Box
    landmarks: Points


def load_labelled(folder: Path, labels: Path, most: int | None) -> list[LabelledPhoto]:
    """Return the labelled photographs, at most `most`, evenly chosen.

    Raises:
        LpmmError: naming the file that is missing or is not as it should be.
    """
    data = read_json(labels, "landmark labels", PhotoError)
    faces = data.get("faces") if isinstance(data, dict) else None
    if not isinstance(faces, list) or not faces:
        raise PhotoError(f'{labels}: not landmark labels: no "faces" list')
    chosen = range(len(faces))
    if most is not None and len(faces) > most:
        chosen = np.linspace(0, len(faces) - 1, most).round().astype(int).tolist()  # type: ignore[assignment]
    photos = []
    for number in chosen:
        face = faces[number]
        try:
            name, box = str(face["image"]), tuple(float(edge) for edge in face["box"])
            points = np.array(face["landmarks"], np.float64) + 0.5
        except (KeyError, TypeError, ValueError) as error:
            raise PhotoError(f"{labels}: face {number}: needs image, box and landmarks ({error})") from error
        if points.shape != (landmarks68.COUNT, 2) or len(box) != 4:
            raise PhotoError(f"{labels}: face {number}: needs 68 landmarks and a box of four numbers")
        path = next((base / name for base in (folder, labels.parent, folder.parent) if (base / name).is_file()), None)
        photos.append(LabelledPhoto(name, read_image(path or folder / name), box, points))  # type: ignore[arg-type]
    return photos


def score_photos(engine: Engine, photos: list[LabelledPhoto], reader: Reader) -> tuple[dict[str, Any], list[Points]]:
    """Return the scores, and what the runtime read with the box given, [68, 2] a photo, for a contact sheet.

    Keys of the scores: `given_box` (F, re-cropped as the runtime does), `second_look`, `own_search` (the runtime's
    whole path, no box; over the photos whose labelled face it chose), `own_search_found`, and `reader` where the
    reader is independent.
    """
    read: dict[str, list[tuple[int, Points]]] = {}
    found = elsewhere = 0
    for number, photo in enumerate(tqdm(photos, desc="labelled photographs", unit="photo", mininterval=2)):
        reading = read_face(engine.sessions, photo.picture, photo.box, photo.name)
        read.setdefault("given_box", []).append((number, reading.landmarks.astype(np.float64)))
        again = second_look(engine.sessions, photo.picture, reading.square, reading.landmarks)
        if again is not None:
            read.setdefault("second_look", []).append((number, again.astype(np.float64)))
        try:
            own = read_face(engine.sessions, photo.picture, name=photo.name)
            found += 1
            if iou(own.box, photo.box) >= SAME_FACE:
                look = second_look(engine.sessions, photo.picture, own.square, own.landmarks)
                points = own.landmarks if look is None else look
                read.setdefault("own_search", []).append((number, points.astype(np.float64)))
            else:
                elsewhere += 1
        except NoFaceError:
            pass
        if reader.independent:
            seen = reader.read(photo.picture, photo.box)
            # In a group it may take a neighbour's face.
            if seen is not None and iou(face_box(seen.landmarks), photo.box) >= SAME_FACE:
                read.setdefault("reader", []).append((number, seen.landmarks))
    truth = np.stack([photo.landmarks for photo in photos])
    scores: dict[str, Any] = {"photos": len(photos)}
    for name, rows in read.items():
        predicted = np.stack([points for _, points in rows])
        labels = truth[[number for number, _ in rows]]
        scores[name] = {"photos": len(rows), "raw": nme_by_region(predicted, labels)}
        if len(rows) >= 12:
            scores[name]["calibrated"] = calibrated(predicted, labels)
    scores["own_search_found"] = {"a face": found, "another face": elsewhere, "of": len(photos)}
    final = {number: points for number, points in read.get("second_look", read["given_box"])}
    return scores, [final[number] for number in range(len(photos))]


def calibrated(predicted: Points, truth: Points) -> dict[str, dict[str, float]]:
    """Return NME after a fixed map that is fitted on half of the faces and scored on the other half.

    "shift" is one displacement in pixels for all points of all photographs: labels may count pixels from another
    corner. For the others faces are brought into the frame of the *predicted* eyes (a similarity), where one map for
    all faces is fitted: "offset", a fixed displacement of each point; "linear", an affine map of all 136 numbers to all
    136 toward the plain offset (ridge; its strength by leave-one-out within the fitting half alone). Two folds, ten
    random splits; every face is only ever scored by maps that never saw it. "offset_in_sample" is fitted on the scored
    faces.
    """
    origins, turns = _eye_frames(predicted)
    x = ((predicted - origins[:, None]) @ turns.transpose(0, 2, 1)).reshape(len(predicted), -1)
    y = ((truth - origins[:, None]) @ turns.transpose(0, 2, 1)).reshape(len(predicted), -1)

    def back(flat: Points, rows: NDArray[np.int64]) -> Points:
        points = flat.reshape(len(rows), -1, 2)
        return points @ np.linalg.inv(turns[rows]).transpose(0, 2, 1) + origins[rows][:, None]

    everyone = np.arange(len(x))
    scores = {"offset_in_sample": nme_by_region(back(x + (y - x).mean(axis=0), everyone), truth)}
    rng = np.random.default_rng(FOLDS_SEED)
    results: dict[str, list[Points]] = {"shift": [], "offset": [], "linear": []}
    for _ in range(FOLD_REPEATS):
        order = rng.permutation(len(x))
        halves = order[: len(x) // 2], order[len(x) // 2 :]
        out = {name: np.empty_like(predicted) for name in results}
        for fit, score in (halves, halves[::-1]):
            out["shift"][score] = predicted[score] + np.median((truth - predicted)[fit].reshape(-1, 2), axis=0)
            offset = (y[fit] - x[fit]).mean(axis=0)
            out["offset"][score] = back(x[score] + offset, score)
            matrix = _ridge(x[fit] - x[fit].mean(axis=0), (y - x)[fit] - offset)
            out["linear"][score] = back(x[score] + offset + (x[score] - x[fit].mean(axis=0)) @ matrix, score)
        for name, points in out.items():
            results[name].append(points)
    for name, repeats in results.items():
        scores[name] = nme_by_region(np.concatenate(repeats), np.concatenate([truth] * FOLD_REPEATS))
    return scores


def _eye_frames(landmarks: Points) -> tuple[Points, Points]:
    """Return origins [n, 2] and similarities [n, 2, 2] that take the eyes' centres to (∓0.5, 0)."""
    right, left = landmarks[:, 36:42].mean(axis=1), landmarks[:, 42:48].mean(axis=1)
    across = left - right
    length = np.maximum((across**2).sum(axis=-1), 1e-12)
    cosine, sine = across[:, 0] / length, across[:, 1] / length
    turns = np.stack([np.stack([cosine, sine], axis=-1), np.stack([-sine, cosine], axis=-1)], axis=-2)
    return 0.5 * (right + left), turns


def _ridge(x: Points, y: Points) -> Points:
    """Return W of y ≈ x W for centred x [n, a], y [n, b]; the ridge is chosen by leave-one-out."""
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    rotated = u.T @ y
    best, weights = np.inf, np.zeros_like(s)
    for ridge in _RIDGES * float(np.mean(s**2)):
        shrink = s**2 / (s**2 + ridge)
        # The centring takes up one more degree of freedom of each row.
        left_out = (y - (u * shrink) @ rotated) / (1.0 - 1.0 / len(x) - ((u**2) @ shrink))[:, None]
        error = float((left_out**2).mean())
        if error < best:
            best, weights = error, s / (s**2 + ridge)
    return np.asarray(vt.T @ (weights[:, None] * rotated))


def load_portraits(paths: list[Path]) -> list[tuple[str, Pixels]]:
    """Return (name, picture) of picture files, and of those in folders.

    Raises:
        LpmmError: naming what is missing or is no picture.
    """
    portraits = []
    for path in paths:
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES) if path.is_dir() else [path]
        if not files:
            raise LpmmError(f"{path}: holds no pictures")
        portraits += [(file.stem, read_image(file)) for file in files]
    return portraits
