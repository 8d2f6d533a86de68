# SPDX-License-Identifier: GPL-3.0-or-later
"""The expressions and mouth shapes that ship with a bundle, written in control space."""

PRESETS: dict[str, dict[str, float]] = {
    "Smile": {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "eyeSquintLeft": 0.25, "eyeSquintRight": 0.25},
    "Laugh": {
        "mouthSmileLeft": 1.0,
        "mouthSmileRight": 1.0,
        "jawOpen": 0.45,
        "eyeSquintLeft": 0.5,
        "eyeSquintRight": 0.5,
    },
    "Surprised": {
        "browInnerUp": 0.8,
        "browOuterUpLeft": 0.8,
        "browOuterUpRight": 0.8,
        "eyeWideLeft": 0.7,
        "eyeWideRight": 0.7,
        "jawOpen": 0.5,
    },
    "Angry": {
        "browDownLeft": 0.9,
        "browDownRight": 0.9,
        "noseSneer": 0.4,
        "mouthFrownLeft": 0.5,
        "mouthFrownRight": 0.5,
        "mouthPress": 0.4,
    },
    "Sad": {
        "browInnerUp": 0.8,
        "mouthFrownLeft": 0.8,
        "mouthFrownRight": 0.8,
        "eyeBlinkLeft": 0.2,
        "eyeBlinkRight": 0.2,
    },
    "Wink": {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.6, "browDownLeft": 0.2},
    "Kiss": {"mouthPucker": 1.0},
    "Asleep": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0, "jawOpen": 0.08},
    "Viseme AA": {"jawOpen": 0.7},
    "Viseme EE": {"mouthStretchLeft": 0.6, "mouthStretchRight": 0.6, "jawOpen": 0.15},
    "Viseme OO": {"mouthPucker": 0.7, "jawOpen": 0.15},
    "Viseme OH": {"mouthFunnel": 0.8, "jawOpen": 0.3},
    "Viseme MBP": {"mouthPress": 0.6},
}
