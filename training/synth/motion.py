# SPDX-License-Identifier: GPL-3.0-or-later
"""What a head does: its angles, its expression and its gaze, and how often people do which.

An expression is built from controls (ARKit names, 0 to 1) plus a free remainder of pose units and expression
targets; both are known exactly, which is what the controls are later fitted from.
"""

from dataclasses import dataclass, field

import numpy as np

# A closed lid overshoots, or a sliver of the eyeball stays visible.
LID_OVERSHOOT = 0.2
# How far an eye looks at a control's 1, degrees: as far as lids that follow but little still show its iris.
GAZE_ASIDE, GAZE_UP, GAZE_DOWN = 28.0, 12.0, 15.0
# Degrees downward at which the lid that follows would be shut, and upward at which it would be opened wide.
_GAZE_THAT_SHUTS, _GAZE_THAT_WIDENS = 70.0, 50.0


@dataclass(frozen=True)
class ControlPose:
    """How one control at 1 moves the kit: weights of pose units and of expression targets, and an eye's gaze.

    Attributes:
        gaze: (yaw, pitch) in degrees by eye, "left" or "right", signed as the head's.
    """

    units: dict[str, float] = field(default_factory=dict)
    targets: dict[str, float] = field(default_factory=dict)
    gaze: dict[str, tuple[float, float]] = field(default_factory=dict)


# The kit's brow targets are about half of what brows can do.
CONTROL_POSES: dict[str, ControlPose] = {
    "eyeBlinkLeft": ControlPose(targets={"eye-left-closure": 1.0}),
    "eyeBlinkRight": ControlPose(targets={"eye-right-closure": 1.0}),
    "eyeWideLeft": ControlPose(targets={"eye-left-opened-up": 1.0}),
    "eyeWideRight": ControlPose(targets={"eye-right-opened-up": 1.0}),
    # The kit's slit is mostly the upper lid's, which is half a blink; who squints raises the lower one.
    "eyeSquintLeft": ControlPose(units={"LeftLowerLidUp": 0.8, "LeftCheekUp": 0.7}, targets={"eye-left-slit": 0.3}),
    "eyeSquintRight": ControlPose(units={"RightLowerLidUp": 0.8, "RightCheekUp": 0.7}, targets={"eye-right-slit": 0.3}),
    "browInnerUp": ControlPose(
        targets={
            "eyebrows-left-inner-up": 2.0,
            "eyebrows-right-inner-up": 2.0,
            "eyebrows-left-up": 0.8,
            "eyebrows-right-up": 0.8,
        }
    ),
    "browDownLeft": ControlPose(targets={"eyebrows-left-down": 1.5}),
    "browDownRight": ControlPose(targets={"eyebrows-right-down": 1.5}),
    "browOuterUpLeft": ControlPose(targets={"eyebrows-left-extern-up": 1.6, "eyebrows-left-up": 1.0}),
    "browOuterUpRight": ControlPose(targets={"eyebrows-right-extern-up": 1.6, "eyebrows-right-up": 1.0}),
    # Dropped alone, the kit's jaw draws the corners together and the lower lip to a point.
    "jawOpen": ControlPose(
        units={
            "JawDropStretched": 0.95,
            "JawDrop": 0.3,
            "lowerLipDown": 0.3,
            "MouthLeftPlatysma": 0.45,
            "MouthRightPlatysma": 0.45,
        }
    ),
    "jawLeft": ControlPose(units={"ChinLeft": 1.0}),
    "jawRight": ControlPose(units={"ChinRight": 1.0}),
    # The rig's bones at the corners take the middle of both lips up with them, to the nose; its targets move the
    # corners and nothing else, and leave a thin, curled line. Lips stretch; the targets add the folds of the cheek.
    "mouthSmileLeft": ControlPose(
        units={"LeftCheekUp": 0.5},
        targets={"mouth-left-aside": 0.65, "mouth-left-up": 0.5, "mouth-left-corner-puller": 0.35},
    ),
    "mouthSmileRight": ControlPose(
        units={"RightCheekUp": 0.5},
        targets={"mouth-right-aside": 0.65, "mouth-right-up": 0.5, "mouth-right-corner-puller": 0.35},
    ),
    "mouthFrownLeft": ControlPose(units={"MouthLeftPullDown": 1.0}, targets={"mouth-left-depression": 0.5}),
    "mouthFrownRight": ControlPose(units={"MouthRightPullDown": 1.0}, targets={"mouth-right-depression": 0.5}),
    "mouthStretchLeft": ControlPose(targets={"mouth-left-aside": 0.75, "mouth-left-retraction": 0.2}),
    "mouthStretchRight": ControlPose(targets={"mouth-right-aside": 0.75, "mouth-right-retraction": 0.2}),
    "mouthLeft": ControlPose(units={"MouthMoveLeft": 1.0}),
    "mouthRight": ControlPose(units={"MouthMoveRight": 1.0}),
    "mouthPucker": ControlPose(units={"LipsKiss": 1.0}, targets={"mouth-aside": -0.45}),
    "mouthFunnel": ControlPose(
        units={"LipsKiss": 0.6, "JawDrop": 0.25, "UpperLipUp": 0.5, "lowerLipDown": 0.4}, targets={"mouth-aside": -0.3}
    ),
    "mouthUpperUp": ControlPose(units={"UpperLipUp": 1.0}),
    "mouthLowerDown": ControlPose(units={"lowerLipDown": 1.0}),
    # The kit's "mouth-compression" pulls the corners up into a smile, its "mouth-elevation" bares the upper teeth.
    "mouthPress": ControlPose(
        units={"MouthLeftPullDown": 0.7, "MouthRightPullDown": 0.7, "lowerLipUp": 0.3},
        targets={"mouth-retraction": 0.7},
    ),
    "mouthShrugLower": ControlPose(units={"lowerLipUp": 1.2}),
    # The kit's wrinkled nose is a frown, and moves no wing of the nose: a sneer lifts them, and bares the upper teeth.
    "noseSneer": ControlPose(
        units={"NoseWrinkler": 0.2},
        targets={"mouth-elevation": 0.7, "nose-left-elevation": 0.5, "nose-right-elevation": 0.5},
    ),
    # The subject's left is the picture's right, where a positive yaw looks.
    "eyeLookInLeft": ControlPose(gaze={"left": (-GAZE_ASIDE, 0.0)}),
    "eyeLookInRight": ControlPose(gaze={"right": (GAZE_ASIDE, 0.0)}),
    "eyeLookOutLeft": ControlPose(gaze={"left": (GAZE_ASIDE, 0.0)}),
    "eyeLookOutRight": ControlPose(gaze={"right": (-GAZE_ASIDE, 0.0)}),
    "eyeLookUpLeft": ControlPose(gaze={"left": (0.0, GAZE_UP)}),
    "eyeLookUpRight": ControlPose(gaze={"right": (0.0, GAZE_UP)}),
    "eyeLookDownLeft": ControlPose(gaze={"left": (0.0, -GAZE_DOWN)}),
    "eyeLookDownRight": ControlPose(gaze={"right": (0.0, -GAZE_DOWN)}),
}
# What 68 landmarks cannot say: these want a landmark scheme with irises.
GAZE_CONTROLS = tuple(name for name, pose in CONTROL_POSES.items() if pose.gaze)
# Both eyes to the subject's left, to the right, up and down.
GAZES_TOGETHER = (
    ("eyeLookOutLeft", "eyeLookInRight"),
    ("eyeLookInLeft", "eyeLookOutRight"),
    ("eyeLookUpLeft", "eyeLookUpRight"),
    ("eyeLookDownLeft", "eyeLookDownRight"),
)

# Preset parts that move the lids, the eyes or the tongue are left to the samplers of those.
_PRESET_PARTS_LEFT_OUT = ("Lid", "Eye", "Tongue")


@dataclass(frozen=True)
class Motion:
    """One moment of a head.

    Attributes:
        yaw, pitch, roll: degrees, as the head controls.
        body_yaw, body_roll: degrees of the torso.
        gaze: (yaw, pitch) of both eyes in the head, degrees, signed as the head's; gaze controls add to it.
        controls: values by control name.
        units, targets: what comes on top, in the kit's own names.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    body_yaw: float = 0.0
    body_roll: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    controls: dict[str, float] = field(default_factory=dict)
    units: dict[str, float] = field(default_factory=dict)
    targets: dict[str, float] = field(default_factory=dict)

    def eye_gaze(self, side: str) -> tuple[float, float]:
        """Return (yaw, pitch) of the eye "left" or "right" in the head, degrees."""
        yaw, pitch = self.gaze
        for name, value in self.controls.items():
            turn = CONTROL_POSES[name].gaze.get(side)
            if turn:
                yaw, pitch = yaw + value * turn[0], pitch + value * turn[1]
        return yaw, pitch

    def kit_weights(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return the weights of pose units and of expression targets (without people's prefixes)."""
        units, targets = dict(self.units), dict(self.targets)
        for name, value in self.controls.items():
            pose = CONTROL_POSES[name]
            for unit, weight in pose.units.items():
                units[unit] = units.get(unit, 0.0) + value * weight
            for target, weight in pose.targets.items():
                targets[target] = targets.get(target, 0.0) + value * weight
        for side in ("left", "right"):
            # The lids follow the gaze.
            up = self.eye_gaze(side)[1]
            lowered, raised = max(0.0, -up) / _GAZE_THAT_SHUTS, max(0.0, up) / _GAZE_THAT_WIDENS
            if raised:
                targets[f"eye-{side}-opened-up"] = targets.get(f"eye-{side}-opened-up", 0.0) + min(raised, 0.6)
            closure = min(targets.get(f"eye-{side}-closure", 0.0), 1.0)
            closure += lowered * (1.0 - closure)
            targets[f"eye-{side}-closure"] = closure * (1.0 + LID_OVERSHOOT * closure)
            # A closing lid undoes a widened one.
            if f"eye-{side}-opened-up" in targets:
                targets[f"eye-{side}-opened-up"] *= max(0.0, 1.0 - closure)
            if f"eye-{side}-slit" in targets:
                targets[f"eye-{side}-slit"] *= max(0.0, 1.0 - closure)
        return units, targets


def sample_head_angles(rng: np.random.Generator) -> tuple[float, float, float]:
    """Return a head pose for a single picture: yaw, pitch, roll with sd 22°, 10°, 8°."""
    return (
        float(np.clip(rng.normal(0, 22), -60, 60)),
        float(np.clip(rng.normal(0, 10), -28, 28)),
        float(np.clip(rng.normal(0, 8), -30, 30)),
    )


def sample_expression(
    rng: np.random.Generator, presets: dict[str, dict[str, float]], eyes_apart: float = 0.08
) -> Motion:
    """Return an expression with gaze, facing the front.

    Args:
        presets: the kit's expression presets, pose-unit weights by name.
        eyes_apart: how many look with one eye alone, or with each its own way, as people do not but animators may.
    """
    controls: dict[str, float] = {}
    units: dict[str, float] = {}
    targets: dict[str, float] = {}

    def maybe(chance: float, name: str, a: float = 1.2, b: float = 2.0, scale: float = 1.0) -> None:
        if rng.random() < chance:
            controls[name] = controls.get(name, 0.0) + scale * float(rng.beta(a, b))

    def pair(chance: float, stem: str, a: float = 1.2, b: float = 2.0) -> None:
        """Both sides about equally, or, one time in four, one side alone."""
        if rng.random() >= chance:
            return
        value = float(rng.beta(a, b))
        alone = rng.random()
        for side, spared in (("Left", alone < 0.125), ("Right", alone > 0.875)):
            if not spared:
                controls[stem + side] = float(np.clip(value * rng.uniform(0.85, 1.15), 0, 1))

    if rng.random() < 0.35:
        _smile_for_the_camera(rng, controls, units, targets)
    else:
        if presets and rng.random() < 0.3:
            chosen = presets[str(rng.choice(sorted(presets)))]
            strength = rng.uniform(0.4, 1.0)
            for name, weight in chosen.items():
                if not any(part in name for part in _PRESET_PARTS_LEFT_OUT):
                    units[name] = strength * weight
        maybe(0.55, "jawOpen", 1.0, 2.4, scale=0.97)
        pair(0.35, "mouthSmile")
        pair(0.1, "mouthFrown")
        pair(0.12, "mouthStretch")
        maybe(0.17, "mouthPucker", 1.2, 1.6)
        maybe(0.08, "mouthFunnel", 1.2, 1.6)
        maybe(0.1, "mouthUpperUp")
        maybe(0.1, "mouthLowerDown")
        maybe(0.1, "mouthPress", scale=0.8)
        maybe(0.08, "mouthShrugLower")
        if rng.random() < 0.16:
            maybe(1.0, str(rng.choice(["mouthLeft", "mouthRight"])), scale=0.8)
        if rng.random() < 0.12:
            maybe(1.0, str(rng.choice(["jawLeft", "jawRight"])))
        maybe(0.12, "noseSneer", scale=0.8)
        if rng.random() < 0.25:
            _draw_corners(targets, float(rng.beta(1.2, 2.0)))
        if rng.random() < 0.15:
            targets["mouth-parling"] = 0.8 * float(rng.beta(1.2, 2.0))
        if rng.random() < 0.1:
            units["CheeksPump"] = float(rng.beta(1.2, 2.0))
    pair(0.28, "browOuterUp", 1.2, 1.8)
    pair(0.16, "browDown", 1.2, 1.8)
    maybe(0.28, "browInnerUp", 1.2, 1.8)
    lids = _sample_lids(rng)
    controls.update({name: max(value, controls.get(name, 0.0)) for name, value in lids.items()})
    controls = {name: min(value, 1.0) for name, value in controls.items()}
    gaze = (float(np.clip(rng.normal(0, 10), -28, 28)), float(np.clip(rng.normal(0, 6), -18, 15)))
    # Of a generator of its own, so that a seed's people and poses stay what they were before eyes could part.
    gaze, apart = _sample_far_gaze(rng.spawn(1)[0], gaze, eyes_apart)
    return Motion(gaze=gaze, controls=controls | apart, units=units, targets=targets)


def _sample_far_gaze(
    rng: np.random.Generator, gaze: tuple[float, float], eyes_apart: float
) -> tuple[tuple[float, float], dict[str, float]]:
    """Return the gaze of both eyes, mostly as given, one time in six as far as eyes go; and gaze controls of single
    ones where they part.
    """
    if rng.random() < eyes_apart:
        alone = rng.random()
        apart: dict[str, float] = {}
        for side, spared in (("Left", alone < 0.25), ("Right", 0.25 <= alone < 0.5)):
            if spared:
                continue
            for ways in (("eyeLookIn", "eyeLookOut"), ("eyeLookUp", "eyeLookDown")):
                if rng.random() < 0.75:
                    apart[str(rng.choice(ways)) + side] = float(rng.random())
        return (0.0, 0.0), apart
    if rng.random() < 1 / 6:
        return (float(rng.uniform(-30, 30)), float(rng.uniform(-24, 22))), {}
    return gaze, {}


def _smile_for_the_camera(
    rng: np.random.Generator, controls: dict[str, float], units: dict[str, float], targets: dict[str, float]
) -> None:
    """Add what most people show a camera: a smile, mostly with the upper teeth, up to a laugh with narrow eyes."""
    smile = float(rng.uniform(0.35, 1.0))
    width = smile * float(rng.uniform(0.5, 1.4))
    for side in ("Left", "Right"):
        controls["mouthSmile" + side] = float(np.clip(smile * rng.normal(0.75, 0.15), 0, 1))
        if rng.random() < 0.55:
            controls["eyeSquint" + side] = smile * float(rng.uniform(0.1, 0.7))
    # Which way the lips part; more of the upper lip's own lift would show gums and push teeth through.
    parted = rng.random()
    if parted < 0.4:
        _draw_corners(targets, width)
        targets["mouth-parling"] = smile * float(rng.uniform(0.8, 1.3))
        units["UpperLipUp"] = smile * float(rng.uniform(0.35, 0.7))
    elif parted < 0.6:
        targets["mouth-retraction"] = 0.4 * width
        targets["mouth-aside"] = 0.5 * width
        units["UpperLipUp"] = smile * float(rng.uniform(0.5, 0.8))
        units["lowerLipDown"] = smile * float(rng.uniform(0.2, 0.5))
    elif parted < 0.75:
        _draw_corners(targets, width)
        targets["mouth-part-later"] = smile * float(rng.uniform(0.4, 0.8))
    else:  # lips closed
        _draw_corners(targets, 0.8 * width)
    if parted < 0.75 and rng.random() < 0.45:
        controls["jawOpen"] = 0.97 * smile * float(rng.beta(1.2, 4.0))
    units["NasolabialDeepener"] = smile * float(rng.uniform(0.0, 0.8))


def _draw_corners(targets: dict[str, float], amount: float) -> None:
    """Add a smile of both corners beside what controls make of them."""
    for target, share in (("mouth-aside", 0.4), ("mouth-up", 0.3), ("mouth-corner-puller", 0.3)):
        targets[target] = targets.get(target, 0.0) + share * amount


def _sample_lids(rng: np.random.Generator) -> dict[str, float]:
    relaxed = float(np.clip(rng.normal(0.06, 0.1), 0.0, 0.35))
    kind = rng.random()
    if kind < 0.08:
        left = right = 1.0
    elif kind < 0.2:
        left = right = float(rng.random())
    elif kind < 0.26:
        left, right = (1.0, relaxed) if rng.random() < 0.5 else (relaxed, 1.0)
    else:
        left = right = relaxed
    lids = {"eyeBlinkLeft": left, "eyeBlinkRight": right}
    if max(left, right) < 0.3:
        if rng.random() < 0.12:
            wide = float(rng.beta(1.2, 1.5))
            lids |= {"eyeWideLeft": wide, "eyeWideRight": wide}
        elif rng.random() < 0.15:
            squint = float(rng.beta(1.2, 1.5))
            lids |= {"eyeSquintLeft": squint, "eyeSquintRight": squint}
    return lids
