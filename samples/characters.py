"""The drawn heads of the sample clips: what a character looks like in each mood, and how it is animated."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from pictures import FPS, HEIGHT, SUPERSAMPLING, WIDTH, Colour, Frames, gradient, shade
from PIL import Image, ImageDraw


@dataclass(frozen=True)
class Character:
    """A drawn head. Angles in degrees, lengths in units of the head's half width.

    brow_tilt: positive draws the inner ends down (anger), negative up (sadness); mouth_curve: positive
    smiles; eye_open: 1 is relaxed; shake: how far the head trembles.
    """

    background: tuple[Colour, Colour]
    skin: Colour
    hair: Colour
    shirt: Colour
    long_hair: bool
    brow_tilt: float
    brow_raise: float
    mouth_curve: float
    eye_open: float
    sway: float
    shake: float = 0.0
    tear: bool = False
    head_drop: float = 0.0
    torch: bool = False


def drawn(character: Character) -> Callable[[np.ndarray], Frames]:
    """An animated head that speaks: the mouth follows the sound, the eyes blink, the head moves."""

    def frames(opening: np.ndarray) -> Frames:
        for index, mouth in enumerate(opening):
            yield draw_character(character, index / FPS, float(mouth))

    return frames


def draw_character(character: Character, time: float, mouth: float) -> np.ndarray:
    width, height = WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING
    image = gradient(width, height, *character.background)
    draw = ImageDraw.Draw(image)
    unit = 0.21 * width  # half the width of the head
    x = width / 2 + unit * (character.sway * math.sin(1.9 * time) + character.shake * math.sin(31 * time))
    y = height * 0.47 + unit * (0.4 * character.sway * math.sin(2.7 * time) + character.head_drop)
    line = {"width": max(2, round(unit * 0.07))}
    if character.torch:
        image.paste(torch_light(image, x, y, unit, time))
        draw = ImageDraw.Draw(image)

    def oval(cx: float, cy: float, rx: float, ry: float, fill: Colour, **kw: object) -> None:
        draw.ellipse(
            (x + unit * (cx - rx), y + unit * (cy - ry), x + unit * (cx + rx), y + unit * (cy + ry)),
            fill,
            **kw,
        )

    def points(*pairs: tuple[float, float]) -> list[tuple[float, float]]:
        return [(x + unit * px, y + unit * py) for px, py in pairs]

    dark, shadow = shade(character.skin, 0.45), shade(character.skin, 0.86)
    if character.long_hair:
        oval(0, 0.1, 1.13, 1.35, character.hair)
        draw.rectangle((*points((-1.13, 0.1))[0], *points((1.13, 1.7))[0]), character.hair)
    draw.rounded_rectangle(
        (width / 2 - 1.55 * unit, y + 1.45 * unit, width / 2 + 1.55 * unit, height * 1.3),
        unit * 0.6,
        character.shirt,
    )
    draw.rectangle((*points((-0.34, 0.9))[0], *points((0.34, 1.5))[0]), shadow)
    oval(0, 1.5, 0.34, 0.2, shadow)
    oval(-1.0, 0.1, 0.16, 0.24, shadow)
    oval(1.0, 0.1, 0.16, 0.24, shadow)
    oval(0, 0, 1.0, 1.2, character.skin)
    hair = points(
        *[(1.07 * math.cos(a), -0.1 + 1.24 * math.sin(a)) for a in np.linspace(math.pi, 2 * math.pi, 40)]
    )
    fringe = points(
        *[(1.07 * (1 - 2 * t), -0.1 - 0.56 * math.sin(math.pi * t) ** 0.45) for t in np.linspace(0, 1, 30)]
    )
    draw.polygon(hair + fringe, character.hair)

    blink = 0.08 if time % 2.3 > 2.18 else 1.0
    opened = 0.21 * character.eye_open * blink
    for side in (-1, 1):
        oval(side * 0.4, -0.02, 0.22, opened, (252, 252, 248))
        if blink == 1.0:
            pupil = min(0.12, opened * 0.8)
            oval(
                side * 0.4 + 0.03 * math.sin(1.3 * time),
                0.0 + 0.03 * character.head_drop,
                pupil,
                pupil,
                (46, 34, 28),
            )
            oval(side * 0.4 + 0.04, -0.05, 0.035, 0.035, (255, 255, 255))
        draw.arc(
            (*points((side * 0.4 - 0.24, -0.02 - opened - 0.03))[0], *points((side * 0.4 + 0.24, 0.2))[0]),
            190,
            350,
            dark,
            **line,
        )
        tilt = math.tan(math.radians(character.brow_tilt)) * 0.25
        brow = -0.36 - character.brow_raise - 0.04 * mouth
        draw.line(
            points((side * 0.16, brow + tilt), (side * 0.42, brow - 0.05), (side * 0.66, brow - tilt)),
            shade(character.hair, 0.8),
            width=round(unit * 0.11),
            joint="curve",
        )
    draw.arc((*points((-0.13, 0.2))[0], *points((0.13, 0.42))[0]), 20, 160, dark, **line)
    if character.mouth_curve > 0:
        oval(-0.62, 0.38, 0.15, 0.1, shade(character.skin, 0.93))
        oval(0.62, 0.38, 0.15, 0.1, shade(character.skin, 0.93))
    draw_mouth(draw, points, character.mouth_curve, mouth, dark, round(unit * 0.06))
    if character.tear:
        fall = (time * 0.55) % 1.0
        tear = points((-0.42, 0.24 + 0.62 * fall))[0]
        size = unit * 0.065
        draw.polygon(
            [(tear[0], tear[1] - 2.2 * size), (tear[0] - size, tear[1]), (tear[0] + size, tear[1])],
            (150, 200, 240),
        )
        draw.ellipse((tear[0] - size, tear[1] - size, tear[0] + size, tear[1] + size), (150, 200, 240))
    return np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))


def draw_mouth(
    draw: ImageDraw.ImageDraw,
    points: Callable,
    curve: float,
    opening: float,
    outline: Colour,
    thickness: int,
) -> None:
    """Two arcs between the corners: the upper one has the mood's curve, the lower opens with the sound."""
    t = np.linspace(-1, 1, 25)
    arch = 1 - t**2
    upper = 0.66 + curve * (0.9 * arch - 0.5) * 0.36
    lower = upper + (0.03 + 0.3 * opening) * np.sqrt(arch)
    edge = points(*zip(0.42 * t, upper, strict=True)) + points(*zip(0.42 * t[::-1], lower[::-1], strict=True))
    draw.polygon(edge, (120, 40, 46))
    if opening > 0.35:
        teeth = upper + 0.07 * arch
        draw.polygon(
            points(*zip(0.36 * t, upper, strict=True))
            + points(*zip(0.36 * t[::-1], teeth[::-1], strict=True)),
            (250, 248, 240),
        )
    draw.line([*edge, edge[0]], outline, width=thickness, joint="curve")


def torch_light(image: Image.Image, x: float, y: float, unit: float, time: float) -> Image.Image:
    """The light of a trembling torch behind the head."""
    pixels = np.asarray(image).astype(float)
    rows, columns = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]]
    flicker = 1 + 0.12 * math.sin(17 * time) * math.sin(7 * time)
    distance = np.hypot(columns - x, rows - y) / (unit * 2.1 * flicker)
    light = np.exp(-(distance**2))[..., None] * np.array([120, 105, 70])
    return Image.fromarray(np.clip(pixels + light, 0, 255).astype(np.uint8))


ANGRY = Character(
    background=((150, 58, 50), (70, 26, 34)),
    skin=(226, 168, 132),
    hair=(58, 40, 34),
    shirt=(44, 48, 60),
    long_hair=False,
    brow_tilt=32,
    brow_raise=-0.06,
    mouth_curve=-0.9,
    eye_open=0.8,
    sway=0.07,
    shake=0.02,
)
SAD = Character(
    background=((96, 116, 146), (52, 64, 92)),
    skin=(236, 196, 166),
    hair=(30, 28, 34),
    shirt=(92, 104, 128),
    long_hair=False,
    brow_tilt=-26,
    brow_raise=0.02,
    mouth_curve=-0.75,
    eye_open=0.62,
    sway=0.03,
    tear=True,
    head_drop=0.08,
)
JOYFUL = Character(
    background=((255, 214, 120), (250, 150, 110)),
    skin=(244, 206, 172),
    hair=(36, 28, 30),
    shirt=(60, 140, 150),
    long_hair=True,
    brow_tilt=-6,
    brow_raise=0.06,
    mouth_curve=1.0,
    eye_open=0.95,
    sway=0.1,
)
AFRAID = replace(
    JOYFUL,
    background=((22, 26, 44), (10, 12, 22)),
    skin=(196, 150, 122),
    hair=(70, 42, 30),
    shirt=(70, 60, 96),
    brow_tilt=-20,
    brow_raise=0.14,
    mouth_curve=-0.35,
    eye_open=1.3,
    sway=0.05,
    shake=0.016,
    torch=True,
)
TIRED = replace(
    SAD,
    background=((186, 178, 164), (128, 120, 112)),
    skin=(168, 116, 84),
    hair=(40, 34, 32),
    shirt=(110, 84, 70),
    brow_tilt=-14,
    mouth_curve=-0.45,
    eye_open=0.42,
    tear=False,
    sway=0.02,
)
