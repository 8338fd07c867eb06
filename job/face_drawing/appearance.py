"""Draw the person and the photograph: everything that varies independently of the emotion.

An `Identity` is drawn once per subject, a `Shot` once per image. Only this module depends on the domain.
"""

from dataclasses import dataclass

import numpy as np

from job.vocabulary import SOURCE

Colour = tuple[float, float, float]

SKIN = np.array(
    [(250, 222, 203), (238, 200, 172), (222, 178, 142), (196, 146, 108), (156, 106, 74), (108, 72, 52)], float
)
HAIR = np.array(
    [(28, 22, 20), (48, 33, 26), (82, 54, 36), (118, 78, 46), (186, 148, 92), (150, 146, 142), (126, 58, 34)], float
)
HAIR_SHARE = {True: (0.25, 0.28, 0.2, 0.08, 0.04, 0.13, 0.02), False: (0.14, 0.18, 0.2, 0.16, 0.2, 0.04, 0.08)}
IRIS = np.array([(58, 36, 22), (84, 56, 30), (92, 110, 60), (70, 104, 140), (96, 116, 128)], float)
LIPSTICK = np.array([(176, 24, 44), (196, 52, 84), (140, 24, 56), (206, 88, 92), (120, 30, 60)], float)
EYE_SHADOW = np.array([(72, 48, 44), (110, 70, 96), (66, 76, 110), (120, 84, 60), (60, 60, 66)], float)
CLOTHES = np.array([(44, 52, 74), (96, 36, 40), (52, 70, 58), (170, 168, 160), (60, 56, 58), (124, 104, 84)], float)
WALLS = np.array(
    [(176, 180, 184), (116, 126, 136), (150, 134, 116), (90, 104, 96), (206, 200, 190), (70, 72, 84)], float
)

GARDEN = np.array(
    [(52, 88, 44), (136, 164, 84), (128, 170, 206), (206, 184, 120), (176, 84, 96), (236, 232, 220)], float
)


@dataclass(frozen=True)
class Identity:
    """Proportions in face units (see geometry), colours in RGB, opacities in [0, 1]."""

    face_width: float
    cheek: float
    jaw: float
    chin: float
    chin_y: float
    eye_x: float
    eye_y: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    iris_radius: float
    brow_y: float
    brow_arch: float
    brow_weight: float
    nose_width: float
    nose_y: float
    mouth_width: float
    mouth_y: float
    upper_lip: float
    lower_lip: float
    age: float
    furrow: float
    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour
    clothes: Colour
    hair_style: str
    hair_volume: float
    parting: float
    stubble: float
    moustache: float
    beard: float
    lipstick: float
    eye_shadow: float
    shadow: Colour
    lashes: float
    blush: float
    roughness: float


@dataclass(frozen=True)
class Shot:
    """Pose in radians, light, background and camera of one image."""

    yaw: float
    pitch: float
    roll: float
    zoom: float
    shift: tuple[float, float]
    gaze: tuple[float, float]
    light: float
    side_light: float
    top_light: float
    contrast: float
    cast: Colour
    wall: Colour
    garden: Colour
    wall_light: float
    clutter: float
    dapple: float
    grain: float
    defocus: float
    at: np.ndarray  # [9, 2] in [0, 1): positions of the noise windows in their tiles


def draw_identity(domain: str, rng: np.random.Generator) -> Identity:
    """Draw a person. Values that differ between the domains depend on `man`; all others have one distribution."""
    man = domain == SOURCE
    u, z = rng.uniform, rng.standard_normal

    def near(mean: float, spread: float) -> float:
        return float(mean + spread * np.clip(z(), -2, 2))

    tone = u(0, len(SKIN) - 1.01)
    skin = SKIN[int(tone)] * (1 - tone % 1) + SKIN[int(tone) + 1] * (tone % 1) + 3 * z(3)
    share = np.array(HAIR_SHARE[man]) * (
        1,
        1,
        1,
        *(np.array((0.7, 0.1, 1.0, 0.1)) ** max(0.0, tone - 1.5)),
    )  # light hair is rarer with dark skin
    hair = HAIR[rng.choice(len(HAIR), p=share / share.sum())] * u(0.8, 1.2)
    bare_lips = skin * (0.86, 0.66, 0.66) if not man else skin * (0.86, 0.74, 0.72)
    lipstick = 0.0 if man else float(rng.choice((0.15, 0.55, 0.9), p=(0.25, 0.35, 0.4)))
    lips = bare_lips * (1 - lipstick) + LIPSTICK[rng.integers(len(LIPSTICK))] * lipstick
    styles = ("crop", "quiff", "receding", "curly") if man else ("long", "bob", "fringe", "tied")
    shares = (0.4, 0.25, 0.2, 0.15) if man else (0.42, 0.25, 0.18, 0.15)
    growth = rng.choice(4, p=(0.2, 0.35, 0.2, 0.25)) if man else 0  # shaved, stubble, moustache, full beard
    return Identity(
        face_width=near(1.0 if man else 0.95, 0.03),
        cheek=near(0.97, 0.03),
        jaw=near(1.03 if man else 0.9, 0.04),
        chin=near(1.15 if man else 0.85, 0.08),
        chin_y=near(1.03 if man else 0.98, 0.03),
        eye_x=near(0.325, 0.015),
        eye_y=near(-0.09, 0.01),
        eye_width=near(0.15, 0.008),
        eye_height=near(0.074, 0.004),
        eye_tilt=near(0.012, 0.012),
        iris_radius=near(0.071, 0.003),
        brow_y=near(-0.278, 0.01),
        brow_arch=near(0.034 if man else 0.044, 0.01),
        brow_weight=near(0.055 if man else 0.045, 0.006),
        nose_width=near(0.165 if man else 0.15, 0.012),
        nose_y=near(0.28, 0.02),
        mouth_width=near(0.27, 0.018),
        mouth_y=near(0.57, 0.012),
        upper_lip=near(0.05, 0.008),
        lower_lip=near(0.069, 0.008),
        age=float(u(0, 1) ** 1.5),
        furrow=float(u(0.8, 1.2) if man else u(0.65, 1.05)),
        skin=_colour(skin),
        hair=_colour(hair),
        iris=_colour(IRIS[rng.integers(len(IRIS))] * u(0.85, 1.15)),
        lips=_colour(lips),
        clothes=_colour(CLOTHES[rng.integers(len(CLOTHES))] * u(0.7, 1.2)),
        hair_style=str(rng.choice(styles, p=shares)),
        hair_volume=float(u(0.05, 0.12) if man else u(0.08, 0.17)),
        parting=float(u(-0.3, 0.3)),
        stubble=float(u(0.25, 0.6)) if growth in (1, 2) else 0.0,
        moustache=float(u(0.75, 1.0)) if growth >= 2 else 0.0,
        beard=float(u(0.7, 1.0)) if growth == 3 else 0.0,
        lipstick=lipstick,
        eye_shadow=0.0 if man else float(rng.choice((0.1, 0.45, 0.75), p=(0.3, 0.4, 0.3))),
        shadow=_colour(EYE_SHADOW[rng.integers(len(EYE_SHADOW))]),
        lashes=0.15 if man else float(u(0.35, 0.8)),
        blush=0.0 if man else float(u(0.0, 0.4)),
        roughness=float(u(0.5, 1.0) if man else u(0.1, 0.35)),
    )


def draw_shot(domain: str, rng: np.random.Generator) -> Shot:
    """Draw a photograph. Pose, framing and gaze have one distribution; light, background, contrast and grain differ."""
    man = domain == SOURCE
    u, z = rng.uniform, rng.standard_normal
    warm = u(0.0, 0.14) if man else u(-0.07, 0.03)  # lamps, or daylight
    return Shot(
        yaw=float(np.clip(0.1 * z(), -0.25, 0.25)),
        pitch=float(np.clip(0.05 * z(), -0.12, 0.12)),
        roll=float(np.clip(0.04 * z(), -0.1, 0.1)),
        zoom=float(u(0.96, 1.05)),
        shift=(float(u(-0.03, 0.03)), float(u(-0.03, 0.03))),
        gaze=(float(u(-0.03, 0.03)), float(u(-0.01, 0.015))),
        light=float(u(0.72, 1.0) if man else u(0.98, 1.22)),
        side_light=float(u(-0.4, 0.4) if man else u(-0.2, 0.2)),
        top_light=float(u(0.0, 0.25) if man else u(-0.05, 0.12)),
        contrast=float(u(0.9, 1.2) if man else u(0.65, 0.95)),
        cast=(1 + float(warm), 1.0, 1 - float(warm)),
        wall=_colour(WALLS[rng.integers(len(WALLS))] * u(0.7, 1.15)),
        garden=_colour(GARDEN[rng.integers(len(GARDEN))] * u(0.7, 1.15)),
        wall_light=float(u(-0.4, 0.4)),
        clutter=float(u(0.0, 0.15) if man else u(0.5, 1.0)),  # a plain wall, or out of doors
        dapple=float(u(0.0, 0.04) if man else u(0.1, 0.3)),
        grain=float(u(2, 6) if man else u(1, 4)),
        defocus=float(u(0.0, 0.45)),
        at=rng.random((9, 2)),
    )


def _colour(rgb: np.ndarray) -> Colour:
    return tuple(float(c) for c in np.clip(rgb, 8, 250))
