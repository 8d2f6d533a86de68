# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures 5 to 8: the same params on several identities, drive plus edit, interpolation, and base poses."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lpmm_runtime.engine import Character
from lpmm_runtime.portrait import as_bytes, portrait_crop
from training.evaluation import page
from training.evaluation.measures import interocular, second_difference
from training.evaluation.page import Cell
from training.evaluation.subjects import READ_SIDE
from training.paper.item import Item, Pixels, Table, grid, landmark_tile, mean, said
from training.paper.studio import Studio

Array = NDArray[np.float32]
Values = Mapping[str, float]

# What is posed, by what a caption calls it; channels that a bundle lacks count as 0.
POSES: dict[str, Values] = {
    "turned, smiling": {"headYaw": 22.0, "mouthSmileLeft": 0.9, "mouthSmileRight": 0.9},
    "surprised": {"browInnerUp": 1.0, "browOuterUpLeft": 1.0, "browOuterUpRight": 1.0, "jawOpen": 0.6},
    "wink, tilted": {"headRoll": 14.0, "eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.6},
    "down, pouting": {"headPitch": -12.0, "headYaw": -14.0, "mouthPucker": 1.0},
}
EDITS: dict[str, Values] = {
    "+ surprised": POSES["surprised"],
    "+ eyes shut": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    "+ yaw 15": {"headYaw": 15.0},
}
_INFLUENCES = (0.0, 0.25, 0.5, 0.75, 1.0)
_SCALES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_FINE_STEPS = 11
_ANGLES = ("yaw", "pitch", "roll")
_MOST = 5


def photo_tile(character: Character) -> Pixels:
    """Return a portrait's own crop."""
    return as_bytes(np.clip(portrait_crop(character.photo, character.square, READ_SIDE), 0.0, 1.0))


def fig5(studio: Studio) -> Item:
    """Return Fig. 5: the same params on several identities, without a driving image."""
    people = studio.characters[:_MOST]
    head = [("mean", landmark_tile(studio.rig.model.landmarks(np.zeros(studio.rig.k, np.float32))))]
    rows = [head + [(character.name, photo_tile(character)) for character in people]]
    table: list[list[Cell]] = []
    figures: dict[str, Any] = {}
    for name, values in POSES.items():
        params = studio.params(values)
        frames = [studio.draw(character, params) for character in people]
        rows.append([(name, landmark_tile(studio.rig.model.landmarks(params)))] + [("", frame) for frame in frames])
        measured = [studio.measures(frame) for frame in frames]
        known = [entry for entry in measured if entry]
        figures[name] = {character.name: entry for character, entry in zip(people, measured, strict=True)}
        middle = {key: mean([entry[key] for entry in known]) for key in _ANGLES}
        spread = {key: float(np.std([entry[key] for entry in known])) if known else None for key in _ANGLES}
        table.append([name, *(f"{said(middle[key], 1)} ± {said(spread[key], 1)}" for key in _ANGLES)])
    text = [
        "Params alone pose the faces, v̂ = v̄ + D(p): the first column draws what they say as landmarks, the others what "
        f"G makes of them for {len(people)} identities. The table gives head angles as read back from the frames, mean "
        "± standard deviation over the identities: the smaller the deviation, the more alike one pose looks on all."
    ]
    caption = "Figure 5. The same params on several identities, without a driving image."
    return Item(
        "fig5",
        "Figure 5. The same params on several identities",
        text,
        [Table("Head angles read back, degrees.", ("params", *_ANGLES), table)],
        [(caption, grid(rows))],
        figures,
    )


def fig6(studio: Studio) -> Item:
    """Return Fig. 6: the pose of a driving image, edits on top, and the drive's influence between."""
    rows, strip, figures = [], [], {}
    table: list[list[Cell]] = []
    for number, driver in enumerate(studio.drivers):
        others = [character for character in studio.characters if character.name != driver.name] or studio.characters
        person = others[number % len(others)]
        plain = studio.drive(person, driver, {})
        by_params = studio.draw(person, driver.params)
        edited = {name: studio.drive(person, driver, edit) for name, edit in EDITS.items()}
        rows.append([("driving image", photo_tile(driver)), ("identity", photo_tile(person)), ("driven (a)", plain)])
        rows[-1].append(("by p = F(I)", by_params))
        rows[-1] += [(f"{name} (b)" if not number else name, frame) for name, frame in edited.items()]
        frames = {value: studio.drive(person, driver, {}, value) for value in _INFLUENCES}
        strip.append([("driving image", photo_tile(driver))])
        strip[-1] += [(f"influence {value:g}", frame) for value, frame in frames.items()]
        measured = {"driving image": studio.measures(photo_tile(driver)), "driven": studio.measures(plain)}
        measured["by p = F(I)"] = studio.measures(by_params)
        measured |= {name: studio.measures(frame) for name, frame in edited.items()}
        measured |= {f"influence {value:g}": studio.measures(frame) for value, frame in frames.items()}
        figures[f"{driver.name} → {person.name}"] = measured
        for name, entry in measured.items():
            if not name.startswith("influence"):
                keys = (*_ANGLES, "eye_left", "eye_right", "mouth")
                table.append([f"{driver.name} → {person.name}: {name}", *((entry or {}).get(key) for key in keys)])
    text = [
        "(a) The latent of the driving image's own pose encoder, v = E(I), drives the portrait; beside it the other "
        "route: the driving image's params alone, v̂ = v̄ + D(F(I)). (b) Edits are added to the latent: v̂ = v + "
        "D(p + edit) − D(p), p = F(I). The second picture mixes the drive with the portrait's own "
        "pose by its influence. The table gives what is read back: degrees, heights of the eyes over their widths, the "
        "mouth's gap in distances of the outer eye corners."
    ]
    header = ("", *_ANGLES, "left eye", "right eye", "mouth")
    pictures = [
        ("Figure 6. Drive (a) plus edit (b).", grid(rows)),
        ("Figure 6, continued. The drive's influence from 0 to 1.", grid(strip)),
    ]
    title = "Figure 6. A driving image plus edits"
    return Item("fig6", title, text, [Table("Read back.", header, table)], pictures, figures)


def fig7(studio: Studio) -> Item:
    """Return Fig. 7: interpolation by a scalar on p, from p_zero."""
    rows: list[list[tuple[str, Pixels]]] = []
    figures: dict[str, Any] = {}
    table: list[list[Cell]] = []
    for number, (name, values) in enumerate(POSES.items()):
        character = studio.characters[number % len(studio.characters)]
        params = studio.params(values)
        rows.append([(f"{name}: {s:g} p", studio.draw(character, np.float32(s) * params)) for s in _SCALES])
        reads = [
            studio.read(studio.draw(character, np.float32(s) * params)) for s in np.linspace(0.0, 1.0, _FINE_STEPS)
        ]
        if any(read is None for read in reads):
            table.append([name, None, None, None])
            figures[name] = None
            continue
        points = np.stack([read.landmarks for read in reads if read is not None])
        scale = 100.0 / float(interocular(points[0]))
        steps = scale * np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(axis=-1)
        bends = scale * np.linalg.norm(second_difference(points), axis=-1).mean(axis=-1)
        figures[name] = {"step": steps.tolist(), "second_difference": bends.tolist()}
        table.append([name, float(steps.mean()), float(steps.max()), float(bends.mean())])
    text = [
        "p is scaled from 0 (p_zero) to 1: no second pose vector is needed. The table steps through each row in "
        f"{_FINE_STEPS - 1} parts and gives how far landmarks move a step, and by how much that changes from step to "
        "step (a steady motion has none; the reader's own noise is in both), in percent of the distance of the outer "
        "eye corners."
    ]
    header = ("pose", "mean step %", "largest step %", "mean change of step %")
    caption = "Figure 7. Interpolation by scaling p."
    title = "Figure 7. Interpolation by scaling p"
    return Item("fig7", title, text, [Table("Evenness.", header, table)], [(caption, grid(rows))], figures)


def fig8(studio: Studio) -> Item:
    """Return Fig. 8: base poses, p_zero against v̄ and the zero latent."""
    rig = studio.rig
    zero = np.zeros(rig.k, np.float32)
    rows, figures = [], {}
    found: dict[str, list[dict[str, Any]]] = {}
    for character in studio.characters[:_MOST]:
        frames = {
            "p_zero": studio.draw(character, zero),
            "v̄": studio.draw_latent(character, rig.mean_pose_latent),
            "v_zero": studio.draw_latent(character, np.zeros_like(rig.mean_pose_latent)),
        }
        captions = ("p_zero", "v mean", "v zero")  # the font has no macron
        rows.append([(character.name, photo_tile(character)), *zip(captions, frames.values(), strict=True)])
        measured = {name: studio.measures(frame) for name, frame in frames.items()}
        figures[character.name] = measured
        for name, entry in measured.items():
            if entry:
                found.setdefault(name, []).append(entry)
    table: list[list[Cell]] = []
    for name, entries in found.items():
        off = [mean([abs(entry[key]) for entry in entries]) for key in _ANGLES]
        table.append([name, *off, mean([entry["mouth"] for entry in entries])])
    text = [
        "The face that params of 0 give, v̂ = v̄ + D(0), beside those of the mean latent v̄ of the training set and of "
        "the zero latent. "
        + "; ".join(
            f"{row[0]}: {_degrees(row[1])} of yaw, {_degrees(row[2])} of pitch, {_degrees(row[3])} of roll, "
            f"the mouth open by {page.shown(row[4])}"
            for row in table
        )
        + ", as read back: means over the identities of absolute angles, and of the lips' gap in distances of the "
        "outer eye corners. What the average face of the training data does, p_zero does too."
    ]
    if float(np.abs(rig.mean_pose_latent).max()) < 1e-6:
        text.append("In this bundle v̄ is 0, so that the last two are one.")
    caption = "Figure 8. Base poses: the portrait, p_zero, v̄ and the zero latent."
    header = ("base", "|yaw| °", "|pitch| °", "|roll| °", "mouth's gap")
    title = "Figure 8. Base poses"
    return Item("fig8", title, text, [Table("Off the front.", header, table)], [(caption, grid(rows))], figures)


def _degrees(value: Cell) -> str:
    return f"{value:.1f}°" if isinstance(value, float) else "–"
