# SPDX-License-Identifier: GPL-3.0-or-later
"""Who a head is: its shape, skin, hair, eyes and clothes, drawn at random and split into train and test people."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from training.synth import looks
from training.synth.facekit import FaceKit
from training.synth.looks import Beard, Colour, Complexion, Makeup
from training.synth.wear import Glasses, Headgear, sample_glasses, sample_headgear

Split = Literal["train", "test"]

ETHNICITIES = ("caucasian", "asian", "african")

# 1.0 of the modifiers' range looks caricatured.
AMPLITUDE = 0.75
_SPREAD = {
    "head": 0.3,
    "forehead": 0.35,
    "eyebrows": 0.35,
    "neck": 0.25,
    "eyes": 0.3,
    "nose": 0.35,
    "mouth": 0.32,
    "ears": 0.3,
    "chin": 0.35,
    "cheek": 0.35,
}
# The base mesh is no average face: its brows lie at 0.18 of the outer eye corners' distance above the eyes where
# anthropometry says about 0.25, its mouth is narrow and its lips are full.
_MIDDLE = {
    "eyebrows-trans-up": 0.3,
    "mouth-scale-horiz-incr": 0.3,
    "mouth-upperlip-height-incr": -0.3,
    "mouth-lowerlip-height-incr": -0.25,
}
# Its inner ends lie 5 % of that distance too low, its outer thirds as much too high: what it takes to level them.
_OUTER_ENDS, _INNER_ENDS = -0.6, -0.7
_BROW_TARGETS = tuple(
    f"eyebrows-{side}-{part}" for side in ("left", "right") for part in ("up", "inner-up", "extern-up")
)

# Test people wear these and train people never do, so that a score is on unseen appearance as well.
HELD_OUT = {
    "skin_middleage_lightskinned_male2",
    "skin_young_lightskinned_female3",
    "skin_old_darkskinned_male",
    "short03",
    "braid01",
}
_SKINS = {
    ("female", "light"): (
        "skin_young_lightskinned_female2",
        "skin_young_lightskinned_female3",
        "skin_middleage_lightskinned_female2",
    ),
    ("male", "light"): (
        "skin_young_lightskinned_male",
        "skin_young_lightskinned_male2",
        "skin_young_lightskinned_male3",
        "skin_middleage_lightskinned_male",
        "skin_middleage_lightskinned_male2",
        "skin_old_lightskinned_male2",
    ),
    ("female", "dark"): ("skin_middleage_darkskinned_female", "skin_old_darkskinned_female"),
    ("male", "dark"): (
        "skin_young_darkskinned_male",
        "skin_middleage_darkskinned_male",
        "skin_old_darkskinned_male",
    ),
}
_HAIR = {
    "male": (
        "short01",
        "short02",
        "short03",
        "short04",
        "short01",
        "short02",
        "short04",
        "afro01",
        "braid01",
    ),
    "female": (
        "bob02",
        "long01",
        "long01",
        "ponytail01",
        "ponytail01",
        "braid01",
        "short02",
        "short04",
        "afro01",
        "short03",
    ),
}
_FRINGED_HAIR = ("bob02", "braid01", "short03", "bob01")
_HAIR_COLOURS: tuple[Colour, ...] = (
    (0.012, 0.010, 0.009),
    (0.030, 0.018, 0.010),
    (0.070, 0.040, 0.020),
    (0.250, 0.160, 0.070),
    (0.160, 0.050, 0.015),
    (0.300, 0.290, 0.280),
)


@dataclass(frozen=True)
class Strands:
    """Hair, brows or lashes: their proxy, texture, linear colour, how much of the texture's lightness shows."""

    proxy: str
    texture: str
    colour: Colour
    contrast: float
    shine: float = 0.0
    # Rest-space height below which a fringe is cut away, decimetres; 0 for none.
    fringe: float = 0.0
    # Multiplies the coverage: thin to bushy.
    density: float = 1.0
    # Tousled hair: how far tufts stand off, decimetres, and how many to a decimetre.
    tousle: float = 0.0
    tufts: float = 4.0


@dataclass(frozen=True)
class Shirt:
    """Clothes: torso faces pushed out along their normals, cut at a neckline, plain or striped."""

    offset: float
    colour: Colour
    neck_height: float
    neck_depth: float
    neck_narrowness: float
    stripe_slant: float
    stripe_gain: float
    striped: bool


@dataclass(frozen=True)
class Person:
    """One identity: morph weights and appearance."""

    morphs: dict[str, float]
    ethnicity: tuple[float, float, float]
    skin: str = "skin_young_lightskinned_male"
    skin_colour: Colour = (0.6, 0.22, 0.14)
    # Brings the texture to that colour; the variation in it keeps this share of its colour.
    skin_tint: Colour = (1.0, 1.0, 1.0)
    skin_variation: float = 1.0
    skin_shine: float = 0.08
    skin_gloss: float = 14.0
    complexion: Complexion = field(default_factory=Complexion)
    makeup: Makeup = field(default_factory=Makeup)
    beard: Beard | None = None
    scalp: float = 0.0
    scalp_colour: Colour = (0.02, 0.015, 0.01)
    hair: Strands | None = None
    brows: Strands | None = None
    lashes: Strands | None = None
    eyes: str = "eyes_high"
    iris: str = "eye_brown"
    teeth: str = "teeth_base"
    teeth_tint: Colour = (0.8, 0.77, 0.7)
    shirt: Shirt | None = None
    headgear: Headgear | None = None
    glasses: Glasses | None = None
    tags: dict[str, float] = field(default_factory=dict)


def macro_morphs(
    male: float, age: float, ethnicity: tuple[float, float, float], weight: float = 0.5, muscle: float = 0.5
) -> dict[str, float]:
    """Return the macro targets of a body.

    Args:
        male: 0 female … 1 male.
        age: 0.1875 is a ten-year-old, 0.5 is twenty-five, 1 is ninety.
        ethnicity: shares of `ETHNICITIES`, summing to 1.
        weight, muscle: 0 … 1, 0.5 is average.
    """
    if age < 0.5:
        young = max(0.0, (age - 0.1875) * 3.2)
        ages = {"child": 1 - young, "young": young, "old": 0.0}
    else:
        ages = {"child": 0.0, "young": 2 - 2 * age, "old": 2 * age - 1}

    def thirds(value: float, name: str) -> dict[str, float]:
        return {
            f"min{name}": max(0.0, 1 - 2 * value),
            f"average{name}": 1 - abs(2 * value - 1),
            f"max{name}": max(0.0, 2 * value - 1),
        }

    morphs: dict[str, float] = {}
    for sex, sex_share in (("female", 1 - male), ("male", male)):
        for stage, stage_share in ages.items():
            for people, share in zip(ETHNICITIES, ethnicity, strict=True):
                morphs[f"{people}-{sex}-{stage}"] = sex_share * stage_share * share
            for muscle_name, muscle_share in thirds(muscle, "muscle").items():
                for weight_name, weight_share in thirds(weight, "weight").items():
                    name = f"universal-{sex}-{stage}-{muscle_name}-{weight_name}"
                    morphs[name] = sex_share * stage_share * muscle_share * weight_share
    return morphs


def mean_person() -> Person:
    """Return the canonical person: everybody's average, on whom pose latents are defined."""
    third = (1 / 3, 1 / 3, 1 / 3)
    return Person(morphs=macro_morphs(0.5, 0.55, third), ethnicity=third)


def brow_morphs(ethnicity: tuple[float, float, float], raised: float, level: float = 0.0) -> dict[str, float]:
    """Return the morphs that raise the brows of the base mesh, which lie low, and level them, for they frown.

    Args:
        raised: 0.65 is about average; level: 1 is.
    """
    weights = dict.fromkeys(_BROW_TARGETS, raised)
    for side in ("left", "right"):
        weights[f"eyebrows-{side}-extern-up"] += _OUTER_ENDS * level
        weights[f"eyebrows-{side}-down"] = _INNER_ENDS * level
    shares = zip(ETHNICITIES, ethnicity, strict=True)
    return {f"{people}/{target}": w * share for people, share in shares for target, w in weights.items()}


def sample_shape(kit: FaceKit, rng: np.random.Generator) -> tuple[dict[str, float], dict[str, float]]:
    """Return morph weights of a random head and the tags (male, age, ethnicity shares) they were drawn from."""
    male = float(np.clip(rng.normal(0.07, 0.09) if rng.random() < 0.5 else rng.normal(0.93, 0.09), 0, 1))
    age = float(rng.uniform(0.42, 0.9) if rng.random() > 0.14 else rng.uniform(0.19, 0.42))
    shares = rng.dirichlet([0.45] * 3)
    ethnicity = (float(shares[0]), float(shares[1]), float(shares[2]))
    morphs = macro_morphs(
        male,
        age,
        ethnicity,
        weight=float(np.clip(rng.normal(0.5, 0.16), 0.08, 0.95)),
        muscle=float(np.clip(rng.normal(0.5, 0.15), 0.1, 0.9)),
    )

    def add(modifier: dict[str, str | None], value: float) -> None:
        target = modifier["pos"] if value > 0 else modifier["neg"]
        if target:
            morphs[target] = morphs.get(target, 0.0) + abs(value)

    shared: dict[str, float] = {}
    for modifier in kit.modifiers:
        positive = modifier["pos"] or ""
        group = modifier["group"] or ""
        if modifier["neg"] is None and group == "head":
            if rng.random() < 0.22:
                add(modifier, rng.uniform(0.1, 0.7) * AMPLITUDE)
            continue
        sided = positive[:2] in ("l-", "r-")
        stem = positive[2:] if sided else positive
        if stem not in shared:
            spread = _SPREAD.get(group, 0.2) * AMPLITUDE
            shared[stem] = float(np.clip(rng.normal(_MIDDLE.get(stem, 0.0), spread), -0.9, 0.9))
        add(modifier, shared[stem] + (rng.normal(0, 0.04) if sided else 0.0))
    raised = float(np.clip(rng.normal(0.65, 0.3), 0.0, 1.4))
    morphs |= brow_morphs(ethnicity, raised, float(np.clip(rng.normal(1.0, 1.0), -1.5, 3.5)))
    for name in kit.asymmetries:
        value = rng.normal(0, 0.18 * AMPLITUDE)
        morphs[name + ("-l" if value > 0 else "-r")] = min(abs(float(value)), 0.6)
    tags = {"male": male, "age": age} | dict(zip(ETHNICITIES, ethnicity, strict=True))
    return {name: amount for name, amount in morphs.items() if abs(amount) > 1e-4}, tags


def sample_person(kit: FaceKit, rng: np.random.Generator, split: Split) -> Person:
    """Return a random person; test people wear skins and hair that no train person has."""
    morphs, tags = sample_shape(kit, rng)
    female = tags["male"] < 0.5
    sex = "female" if female else "male"
    ethnicity = (tags["caucasian"], tags["asian"], tags["african"])
    darkness = looks.skin_darkness(rng, ethnicity)
    dark = darkness > 0.62
    textures = kit.textures()

    skins = _SKINS[sex, "dark" if dark else "light"]
    skin = _pick(rng, [name for name in skins if name in textures] or sorted(_all_skins() & textures), split)
    skin_colour = looks.skin_colour(rng, darkness)
    tint = skin_colour / np.maximum(kit.face_colour(skin), 0.003)

    greying = 0.02 + 0.75 * max(0.0, tags["age"] - 0.7)
    light_haired = tags["caucasian"] > 0.5
    shares = np.array([0.2, 0.25, 0.22, 0.2, 0.06, greying] if light_haired else [0.65, 0.2, 0.08, 0.02, 0.01, greying])
    base = _HAIR_COLOURS[int(rng.choice(len(shares), p=shares / shares.sum()))]
    warmth = rng.normal(0.05, 0.12)
    colour = np.array(base) * np.exp(rng.normal(0, 0.2) + np.array([warmth, 0.0, -warmth]))

    irises = [
        "brown",
        "brown",
        "brownlight",
        "blue",
        "bluegreen",
        "deepblue",
        "green",
        "grey",
        "ice",
        "lightblue",
    ]
    if tags["caucasian"] < 0.6 or dark:
        irises = ["brown", "brown", "brown", "brownlight"]
    irises = [f"eye_{name}" for name in irises if f"eye_{name}" in textures]
    yellow = rng.uniform(0.85, 1.1)
    # Brows are mostly darker than the hair.
    brow_colour = colour * np.exp(rng.normal(-0.4, 0.35))
    hair = _sample_hair(kit, rng, sex, _colour(colour), split)
    shaved = hair is None and not female
    return Person(
        morphs=morphs,
        ethnicity=ethnicity,
        skin=skin,
        skin_colour=_colour(skin_colour),
        skin_tint=_colour(tint),
        skin_variation=float(rng.uniform(0.35, 0.8)),
        skin_shine=float(rng.uniform(0.01, 0.14) if rng.random() < 0.75 else rng.uniform(0.14, 0.32)),
        skin_gloss=float(rng.uniform(8, 40)),
        complexion=looks.sample_complexion(rng, darkness),
        makeup=looks.sample_makeup(rng, tags),
        beard=looks.sample_beard(rng, tags, colour),
        scalp=float(rng.choice([0.0, rng.uniform(0.1, 0.9)]) if shaved else rng.uniform(0.5, 1.0)),
        scalp_colour=_colour(colour * np.exp(rng.normal(0.1, 0.2))),
        hair=hair,
        brows=sample_brows(kit, rng, _colour(np.clip(brow_colour, 0.004, 0.25))),
        lashes=_sample_strands(
            kit,
            rng,
            "eyelashes",
            (0.01, 0.01, 0.01),
            0.2,
            float(rng.uniform(0.5, 1.2) if female and rng.random() < 0.6 else rng.uniform(0.1, 0.6)),
        ),
        eyes="eyes_high" if "eyes_high" in kit.proxies else _of_kind(kit, "eyes")[0],
        iris=str(rng.choice(irises)),
        teeth=str(rng.choice(_of_kind(kit, "teeth"))),
        teeth_tint=(
            float(yellow),
            float(yellow * rng.uniform(0.93, 1.0)),
            float(yellow * rng.uniform(0.8, 0.97)),
        ),
        shirt=_sample_shirt(rng),
        headgear=sample_headgear(rng),
        glasses=sample_glasses(rng),
        tags=tags,
    )


def _all_skins() -> set[str]:
    return {name for names in _SKINS.values() for name in names}


def _colour(values: np.ndarray) -> Colour:
    return float(values[0]), float(values[1]), float(values[2])


def _of_kind(kit: FaceKit, kind: str) -> list[str]:
    return sorted(name for name, proxy in kit.proxies.items() if proxy.kind == kind)


def _pick(rng: np.random.Generator, names: list[str], split: Split) -> str:
    """Return one of the names; held-out ones go to test people only, and those get nothing else where they can."""
    allowed = [name for name in names if (name in HELD_OUT) == (split == "test")]
    return str(rng.choice(allowed or names))


def _sample_hair(kit: FaceKit, rng: np.random.Generator, sex: str, colour: Colour, split: Split) -> Strands | None:
    if rng.random() < (0.03 if sex == "female" else 0.14):
        return None
    styles = [name for name in _HAIR[sex] if name in kit.proxies] or _of_kind(kit, "hair")
    if not styles:
        return None
    proxy = _pick(rng, styles, split)
    texture = kit_hair_texture(kit, proxy)
    fringe = float(rng.uniform(7.42, 7.68)) if proxy in _FRINGED_HAIR and rng.random() < 0.85 else 0.0
    tousled = rng.random() < 0.6
    return Strands(
        proxy,
        texture,
        colour,
        contrast=float(rng.uniform(0.5, 0.95)),
        shine=float(rng.uniform(0.0, 0.12)),
        fringe=fringe,
        density=float(rng.uniform(0.85, 1.3)),
        tousle=float(rng.uniform(0.01, 0.09)) if tousled else 0.0,
        tufts=float(np.exp(rng.uniform(np.log(1.5), np.log(9.0)))),
    )


def kit_hair_texture(kit: FaceKit, proxy: str) -> str:
    """Return the texture of a hair proxy; a kit may share the procedural curls among several."""
    own = f"hair_{proxy}"
    if own in kit.textures():
        return own
    return (
        "hair_proc_curly"
        if "hair_proc_curly" in kit.textures()
        else sorted(n for n in kit.textures() if n.startswith("hair_"))[0]
    )


def _sample_strands(
    kit: FaceKit, rng: np.random.Generator, kind: str, colour: Colour, contrast: float, density: float
) -> Strands | None:
    names = _of_kind(kit, kind)
    if not names:
        return None
    name = str(rng.choice(names))
    return Strands(name, name, colour, contrast, density=density)


def sample_brows(kit: FaceKit, rng: np.random.Generator, colour: Colour = (0.02, 0.015, 0.01)) -> Strands | None:
    """Return brows, of every thickness; painted ones are dark and sharp."""
    return _sample_strands(kit, rng, "eyebrows", colour, 0.4, float(np.exp(rng.normal(0.25, 0.45))))


def _sample_shirt(rng: np.random.Generator) -> Shirt:
    # Black, white, grey and blue before the rest.
    value = rng.choice([0.015, 0.04, 0.12, 0.3, 0.65], p=[0.28, 0.18, 0.18, 0.14, 0.22])
    hue = rng.random(3) if rng.random() < 0.6 else np.array([0.35, 0.5, 1.0])
    colour = value * np.exp(rng.normal(0, 0.2)) * (1.0 + rng.uniform(0.0, 1.0) ** 2 * (hue / hue.mean() - 1.0))
    return Shirt(
        offset=float(rng.uniform(0.03, 0.09)),
        colour=_colour(colour),
        neck_height=float(rng.uniform(5.7, 6.25)),
        neck_depth=float(rng.uniform(0, 0.7)),
        neck_narrowness=float(rng.uniform(1, 8)),
        stripe_slant=float(rng.choice([0.0, 0.0, 8.0, 20.0])),
        stripe_gain=float(rng.uniform(0.3, 1.6)),
        striped=bool(rng.random() < 0.35),
    )
