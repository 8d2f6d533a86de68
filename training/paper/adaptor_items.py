# SPDX-License-Identifier: GPL-3.0-or-later
"""Figure 9 and the ablation: the LP-adaptor beside a StyleRig-style rig, and beside itself trained otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lpmm_runtime.engine import Character
from lpmm_runtime.presets import Preset
from training import adaptor
from training.adaptor import Readings, open_faces
from training.evaluation.control_effects import leakage
from training.evaluation.control_scores import eyes, head_angles
from training.evaluation.control_summary import head_summary
from training.evaluation.measures import interocular
from training.evaluation.page import Cell
from training.evaluation.subjects import READ_SIDE, Subject
from training.lp_regressor import FaceData
from training.paper.adaptor_training import (
    FULL,
    Budget,
    Mapping3dmm,
    SmallTrainings,
    morph_values,
    offsets,
    true_params,
)
from training.paper.bundle_head import BundleHead
from training.paper.item import Item, Table, grid, mean, said
from training.paper.pose_items import photo_tile
from training.paper.studio import HeldOut, Studio
from training.paper.torch_graph import UnknownOperatorError

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]

TITLES = {"fig9": "Figure 9. Beside a StyleRig-style rig", "ablation": "Ablation of the LP-adaptor's losses"}
NO_TRAINING = "Needs faces to train on: give --data RUN/data or --kit KIT."
NO_MOTION = "Frames of videos do not say how heads move: give a run's faces."
SHIPPED, MORPH = "LPMM, as shipped", "StyleRig-style"
SAME = "LPMM, same training"
_EDITS: dict[str, Mapping[str, float]] = {
    "yaw 25": {"headYaw": 25.0},
    "roll 15": {"headRoll": 15.0},
    "wink": {"eyeBlinkLeft": 1.0},
    "smile, one side": {"mouthSmileLeft": 1.0},
}
_PEOPLE = 2
_COMPARED_SIDE = 256


@dataclass(eq=False)
class RiggedSubject(Subject):
    """A character under another rig than the bundle's: `latent_of` says the pose latent of control values."""

    latent_of: Callable[[Mapping[str, float]], Array]

    def crop(self, controls: Mapping[str, float], preset: Preset | None = None) -> Pixels:
        """Return the crop's frame as `Subject.crop` does; presets are the bundle's own rig's alone."""
        latent = self.latent_of(controls)
        rest = self.character.params
        frame = self.engine.render(self.character, rest, view="crop", size=READ_SIDE, pose_latent=latent, influence=1.0)
        return np.ascontiguousarray(frame[..., :3])


def make(wanted: Sequence[str], studio: Studio, folder: Path | None, budget: Budget) -> Iterator[Item]:
    """Yield the items, after the small trainings that they share."""
    if folder is None or studio.held_out is None:
        yield from (Item(key, TITLES[key], missing=[NO_TRAINING]) for key in wanted)
        return
    if not studio.held_out.motion_known:
        yield from (Item(key, TITLES[key], missing=[NO_MOTION]) for key in wanted)
        return
    sessions = studio.engine.sessions
    try:
        head, arrays = BundleHead(sessions), open_faces(folder)
    except (UnknownOperatorError, FileNotFoundError) as error:
        yield from (Item(key, TITLES[key], missing=[str(error)]) for key in wanted)
        return
    trainings = SmallTrainings(sessions, head, arrays, budget)
    networks = trainings.lpmm()
    named = {name: partial(offsets, network) for name, network in networks.items()}
    if "fig9" in wanted:
        morph = trainings.morph()
        yield fig9(studio, trainings, named[FULL], morph)
    if "ablation" in wanted:
        yield ablation(studio, trainings, named)


def _budget_text(trainings: SmallTrainings) -> str:
    budget = trainings.budget
    return (
        f"{budget.warm_up_steps} steps of latent regression, then {budget.steps} of Eq. 2 with {budget.batch} pictures "
        f"each, on {trainings.face_count} synthetic faces; all else frozen"
    )


def fig9(studio: Studio, trainings: SmallTrainings, same: Callable[[Array], Array], morph: Mapping3dmm) -> Item:
    """Return Fig. 9: yaw, in-plane roll, winks and one-sided smiles under three rigs."""
    scores: dict[str, dict[str, Any]] = {MORPH: {}, SAME: {}, SHIPPED: {}}
    rows: list[list[tuple[str, Pixels]]] = []
    for character in studio.characters:
        subjects = _subjects(studio, character, same, morph)
        for name, subject in subjects.items():
            scores[name][character.name] = _commanded(subject)
        if len(rows) < _PEOPLE * len(_EDITS):
            for edit, values in _EDITS.items():
                frames = [(name if edit == "yaw 25" else "", rig.crop(values)) for name, rig in subjects.items()]
                rows.append([(f"{character.name}: {edit}", photo_tile(character)), *frames])
    table: list[list[Cell]] = []
    summary = {name: _summary(list(by_name.values())) for name, by_name in scores.items()}
    for name, entry in summary.items():
        table.append([name, *entry.values()])
    held_out, told = _held_out_scores(studio, trainings, {MORPH: None, SAME: same, SHIPPED: _shipped(studio)}, morph)
    groups = list(held_out["off"][SAME])
    text = [
        "The baseline is the same perceptron from 3DMM-like parameters (head angles and the expression values of the "
        "synthetic generator, which it is given exactly) into the same latents, trained the same way as the LPMM's "
        f"beside it: {_budget_text(trainings)}. The LPMM's is given the params of the same faces' true landmarks. The "
        "shipped LP-adaptor had another, longer training.",
        "Commands are given to each rig in its own parameters on top of the portrait's, and read back; the LPMM's "
        "controls are the bundle's, which were fitted with the shipped adaptor. "
        + " ".join(
            f"{name}: yaw comes out at {said(entry['yaw gain'])} and in-plane roll at {said(entry['roll gain'])} of "
            f"what was asked; a wink leaves {said(entry['wink: eye'])} of the eye's height and "
            f"{said(entry['wink: other'])} of the other's; a one-sided smile lifts its corner by "
            f"{said(entry['smile: corner'], 1)} % of the eyes' distance and the other by "
            f"{said(entry['smile: other'], 1)} %."
            for name, entry in summary.items()
        ),
    ]
    header = ("rig", *next(iter(summary.values())))
    count = held_out["faces"]
    tables = [
        Table("Commanded and read back, means over the portraits.", header, table),
        Table(
            "Held-out faces told exactly to each rig (LPMM: the params of their true landmarks; StyleRig-style: the "
            "generator's values): distance of the landmarks read in G(v̂) from those read in G(E(I)), percent of the "
            "outer eye corners' distance.",
            ("rig", *(f"{group} ({count[group]})" for group in groups)),
            [[name, *(held_out["off"][name][group] for group in groups)] for name in held_out["off"]],
        ),
    ]
    figures = {"commanded": summary, "by_portrait": scores, "held_out": held_out, "budget": vars(trainings.budget)}
    caption = "Figure 9. Portrait, StyleRig-style rig, LPMM with the same short training, LPMM as shipped."
    again = "Figure 9, continued. One held-out face of each kind, G(E(I)), and G(v̂) of what each rig is told of it."
    return Item("fig9", TITLES["fig9"], text, tables, [(caption, grid(rows)), (again, told)], figures)


def ablation(studio: Studio, trainings: SmallTrainings, named: Mapping[str, Callable[[Array], Array]]) -> Item:
    """Return the ablation: each training's distance from G(E(I)), and its base pose."""
    variants: dict[str, Callable[[Array], Array] | None] = {**named, SHIPPED: _shipped(studio)}
    scores, told = _held_out_scores(studio, trainings, variants, None)
    average = trainings.average_pose()
    zero = np.zeros((1, studio.rig.k), np.float32)
    rows: list[list[Cell]] = []
    bases = []
    for name, answer in variants.items():
        assert answer is not None
        bar = studio.rig.mean_pose_latent if name == SHIPPED else trainings.mean
        frames = [studio.draw_latent(character, bar + answer(zero)[0]) for character in studio.characters[:3]]
        bases.append([(name, frames[0]), *(("", frame) for frame in frames[1:])])
        read = [entry for entry in (studio.measures(frame) for frame in frames) if entry]
        off = mean([max(abs(entry["yaw"]), abs(entry["roll"])) for entry in read])
        residual = float(np.abs(answer(average)).mean())
        scores.setdefault("base", {})[name] = {"residual": residual, "turned": off}
        rows.append([name, scores["rgb"][name], scores["off"][name]["all"], scores["latent"][name], residual, off])
    text = [
        f"The same perceptron, trained with one part changed: {_budget_text(trainings)}, from the params of their true "
        "landmarks; latent regression alone spends all its steps on the latents. On held-out faces, p = F(I), G(v̂) is "
        "compared with G(E(I)) on one identity: the mean difference of the pictures (of 255), the distance of the "
        "landmarks read in both (percent of the outer eye corners' distance), and the latents themselves (in standard "
        "deviations of E's). The base pose is judged by ‖D(F(G(v̄)))‖₁ / w, which Eq. 4 asks to be 0, and by how far "
        "the face of p_zero is turned or tilted, in degrees.",
        "The shipped LP-adaptor had another, longer training, and its own v̄; it stands beside for orientation.",
    ]
    header = ("training", "picture", "landmarks %", "latent", "base residual", "p_zero turned °")
    pictures = [
        ("Ablation. Driving face, G(E(I)), and G(v̂) of each training.", told),
        ("Ablation. The base pose p_zero of each training.", grid(bases)),
    ]
    figures = {**scores, "budget": vars(trainings.budget)}
    return Item("ablation", TITLES["ablation"], text, [Table("Held-out faces.", header, rows)], pictures, figures)


def _shipped(studio: Studio) -> Callable[[Array], Array]:
    sessions = studio.engine.sessions
    return lambda params: sessions.run("lp_adaptor", {"params": params})["pose_offset"]


def _subjects(
    studio: Studio, character: Character, same: Callable[[Array], Array], morph: Mapping3dmm
) -> dict[str, Subject]:
    start = dict(zip(("headYaw", "headPitch", "headRoll"), character.head_angles, strict=True))
    morph_rest, same_rest = morph.offset_of(start), same(character.params[None])[0]

    def by_morph(values: Mapping[str, float]) -> Array:
        moved = {name: start.get(name, 0.0) + values.get(name, 0.0) for name in (*start, *values)}
        return character.pose_latent + morph.offset_of(moved) - morph_rest

    def by_same(values: Mapping[str, float]) -> Array:
        return character.pose_latent + same(studio.params(values, character.params)[None])[0] - same_rest

    about = (character.name, False, studio.engine, character, studio.reader)
    return {MORPH: RiggedSubject(*about, by_morph), SAME: RiggedSubject(*about, by_same), SHIPPED: Subject(*about)}


def _commanded(subject: Subject) -> dict[str, Any] | None:
    """Return what a rig makes of commands, read back; None where no face is read at rest."""
    rest = subject.rest_read
    if rest is None:
        return None
    heads = head_summary(head_angles(subject, rest), {})
    winks = list(eyes(subject, rest)["wink"].values())
    smiles = {}
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if f"mouthSmile{side}" not in subject.engine.bundle.rig.control_names:
            continue
        moved = subject.read(subject.crop({f"mouthSmile{side}": 1.0}))
        if moved is not None:
            lifts = [leakage(f"mouthSmile{end}", rest.landmarks, moved.landmarks)["along"] for end in (side, other)]
            smiles[side] = dict(zip(("corner", "other"), lifts, strict=True))
    return {"head": heads, "winks": winks, "smiles": smiles}


def _summary(subjects: list[dict[str, Any] | None]) -> dict[str, float | None]:
    known = [subject for subject in subjects if subject is not None]
    entry: dict[str, float | None] = {}
    for axis, control in (("yaw", "headYaw"), ("roll", "headRoll")):
        heads = [subject["head"].get(control) for subject in known]
        entry[f"{axis} gain"] = mean([head["gain"] for head in heads if head])
        entry[f"{axis} error °"] = mean([head["error"]["median"] for head in heads if head])
    winks = [wink for subject in known for wink in subject["winks"]]
    entry["wink: eye"] = mean([wink["closed"] for wink in winks])
    entry["wink: other"] = mean([wink["other"] for wink in winks])
    smiles = [smile for subject in known for smile in subject["smiles"].values()]
    entry["smile: corner"] = mean([smile["corner"] for smile in smiles])
    entry["smile: other"] = mean([smile["other"] for smile in smiles])
    return entry


def groups_of(held_out: HeldOut) -> dict[str, NDArray[np.int64]]:
    """Return rows of held-out faces by what they show: yaw, in-plane roll, winks, asymmetric mouths."""
    control, angles = held_out.control, np.abs(held_out.angles)
    left, right = control("eyeBlinkLeft"), control("eyeBlinkRight")
    lopsided = sum(
        np.abs(control(f"{stem}Left") - control(f"{stem}Right"))
        for stem in ("mouthSmile", "mouthFrown", "mouthStretch", "mouth", "jaw")
    )
    return {
        "yaw": np.flatnonzero(angles[:, 0] > 20),
        "in-plane roll": np.flatnonzero(angles[:, 2] > 10),
        "winks": np.flatnonzero(np.abs(left - right) > 0.6),
        "asymmetric mouths": np.flatnonzero(np.asarray(lopsided) > 0.4),
    }


def _held_out_scores(
    studio: Studio,
    trainings: SmallTrainings,
    variants: Mapping[str, Callable[[Array], Array] | None],
    morph: Mapping3dmm | None,
) -> tuple[dict[str, Any], Pixels]:
    """Return by variant how far G(v̂) is from G(E(I)) on held-out faces; None stands for `morph`.

    Beside `morph`, which knows its values exactly, adaptors get the params of the true landmarks, else p = F(I).

    Keys: `faces` by group; `off` by variant and group, `rgb`, `latent` by variant. The picture is a contact sheet.
    """
    held_out = studio.held_out
    assert held_out is not None
    each = max(1, trainings.budget.compared // 5)
    by_group = {name: rows[:each] for name, rows in groups_of(held_out).items()}
    by_group["others"] = np.arange(len(held_out.faces.images))[-each:]
    chosen = np.unique(np.concatenate(list(by_group.values())))
    arrays = {name: values[chosen] for name, values in held_out.arrays.items()}
    faces = FaceData(arrays, trainings.head.image_size)
    known: Readings = adaptor.read_faces(trainings.sessions, trainings.head, faces, len(chosen), "cpu")
    params = known.params if morph is None else true_params(studio.rig.model, arrays, len(chosen))
    person = studio.characters[0]
    truth = [studio.draw_latent(person, latent, _COMPARED_SIDE) for latent in known.latents]
    seen = [studio.read(frame) for frame in truth]
    spread = np.maximum(known.latents.std(axis=0), 1e-6)
    result: dict[str, Any] = {"off": {}, "rgb": {}, "latent": {}}
    kinds = {name: rows for name, rows in by_group.items() if len(rows)}
    shown = np.searchsorted(chosen, [rows[0] for rows in kinds.values()])
    crops = faces.batch(shown, np.random.default_rng(0), train=False).images
    tiles = [
        [(name, _bytes(crops[place])), ("" if place else "G(E(I))", truth[row])]
        for place, (name, row) in enumerate(zip(kinds, shown, strict=True))
    ]
    for name, answer in variants.items():
        if answer is None:
            assert morph is not None
            latents = trainings.mean + morph.offsets(morph_values(arrays, len(chosen)))
        else:
            bar = studio.rig.mean_pose_latent if name == SHIPPED else trainings.mean
            latents = bar + answer(params)
        frames = [studio.draw_latent(person, latent, _COMPARED_SIDE) for latent in latents]
        off: dict[int, float] = {}
        for row, (frame, before) in enumerate(zip(frames, seen, strict=True)):
            after = studio.read(frame)
            if before is not None and after is not None:
                distance = np.linalg.norm(after.landmarks - before.landmarks, axis=-1).mean()
                off[int(chosen[row])] = float(100 * distance / interocular(before.landmarks))
        result["off"][name] = {"all": mean(list(off.values()))}
        for group, rows in by_group.items():
            result["off"][name][group] = mean([off[int(row)] for row in rows if int(row) in off])
        result["rgb"][name] = mean(
            [float(np.abs(a.astype(int) - b).mean()) for a, b in zip(frames, truth, strict=True)]
        )
        result["latent"][name] = float((np.abs(latents - known.latents) / spread).mean())
        for place, row in enumerate(shown):
            tiles[place].append((name if not place else "", frames[row]))
    result["faces"] = {"all": len(chosen)} | {group: len(rows) for group, rows in by_group.items()}
    return result, grid(tiles)


def _bytes(crop: torch.Tensor) -> Pixels:
    return np.ascontiguousarray((255 * crop.permute(1, 2, 0)).round().clamp(0, 255).to(torch.uint8).numpy())
