"""What is seen in the sample clips besides the drawn heads: a portrait through a moving camera, and a sea."""

import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from PIL import Image, ImageDraw

FPS = 25
WIDTH, HEIGHT = 480, 360
SUPERSAMPLING = 2  # drawn at twice the size, then reduced: smooth edges

Colour = tuple[int, int, int]
Frames = Iterator[np.ndarray]  # height x width x 3, uint8, RGB


def portrait(width: int, height: int, path: Callable[[float], tuple[float, float, float]]) -> Callable:
    """The portrait seen through a moving camera.

    path: position in the clip (0 to 1) to the centre of the view and its height, in pixels of the picture.
    """

    def frames(opening: np.ndarray) -> Frames:
        from skimage.data import astronaut

        picture = astronaut()
        for index in range(len(opening)):
            centre_x, centre_y, view = path(ease(index / max(1, len(opening) - 1)))
            scale = height / view
            shift = [width / 2 - scale * centre_x, height / 2 - scale * centre_y]
            matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
            yield cv2.warpAffine(
                picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
            )

    return frames


def ease(t: float) -> float:
    """Slow at both ends, as a hand moves a camera."""
    return t * t * (3 - 2 * t)


def between(start: float, end: float, t: float) -> float:
    return start + (end - start) * t


def gradient(width: int, height: int, top: Colour, bottom: Colour) -> Image.Image:
    rows = np.linspace(0, 1, height)[:, None]
    colours = (1 - rows) * np.array(top) + rows * np.array(bottom)
    return Image.fromarray(np.repeat(colours[:, None, :], width, axis=1).astype(np.uint8))


def shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, round(channel * factor)) for channel in colour)
    return red, green, blue


def sea(opening: np.ndarray) -> Frames:
    """A lighthouse by the sea at dusk: a scene without people."""
    for index in range(len(opening)):
        yield draw_sea(index / FPS)


def draw_sea(time: float) -> np.ndarray:
    width, height = WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING
    image = gradient(width, height, (52, 60, 110), (248, 170, 110))
    draw = ImageDraw.Draw(image, "RGBA")
    horizon = height * 0.6
    sun = (width * 0.3, horizon - 30 + 4 * time)
    for radius, alpha in ((120, 30), (90, 45), (62, 255)):
        draw.ellipse(
            (sun[0] - radius, sun[1] - radius, sun[0] + radius, sun[1] + radius), (255, 214, 140, alpha)
        )
    lamp = (width * 0.78, height * 0.27)
    beam = 0.9 * time
    for turn in (0.0, math.pi):
        reach = math.cos(beam + turn) * width
        spread = 18 + 30 * abs(math.cos(beam + turn))
        far = lamp[1] + 0.08 * abs(reach)
        draw.polygon(
            [lamp, (lamp[0] + reach, far - spread), (lamp[0] + reach, far + spread)], (255, 244, 190, 60)
        )
    draw.polygon(
        [
            (width * 0.62, height),
            (width * 0.7, horizon - 6),
            (width * 0.84, horizon - 14),
            (width, horizon + 30),
            (width, height),
        ],
        (44, 42, 58),
    )
    top, foot = 17, 30
    draw.polygon(
        [
            (lamp[0] - top, lamp[1]),
            (lamp[0] + top, lamp[1]),
            (lamp[0] + foot, horizon + 6),
            (lamp[0] - foot, horizon + 6),
        ],
        (236, 232, 224),
    )
    for band in (0.3, 0.65):
        y0 = between(lamp[1], horizon, band)
        y1 = y0 + 0.16 * (horizon - lamp[1])
        w0, w1 = (between(top, foot, (y - lamp[1]) / (horizon + 6 - lamp[1])) for y in (y0, y1))
        draw.polygon(
            [(lamp[0] - w0, y0), (lamp[0] + w0, y0), (lamp[0] + w1, y1), (lamp[0] - w1, y1)], (190, 62, 56)
        )
    draw.rectangle((lamp[0] - 22, lamp[1] - 4, lamp[0] + 22, lamp[1] + 4), (58, 54, 66))
    draw.rectangle((lamp[0] - 12, lamp[1] - 30, lamp[0] + 12, lamp[1] - 4), (255, 240, 180))
    draw.polygon(
        [(lamp[0] - 18, lamp[1] - 30), (lamp[0], lamp[1] - 50), (lamp[0] + 18, lamp[1] - 30)], (58, 54, 66)
    )
    columns = np.linspace(0, width, 121)
    for layer in range(6):
        depth = layer / 5
        base = horizon + (height - horizon) * 0.17 * layer
        swell = base + (2 + 8 * depth) * np.sin(
            columns / (38 + 46 * depth) + (1.2 + 0.5 * depth) * time + 2.1 * layer
        )
        colour = tuple(
            round(between(a, b, depth)) for a, b in zip((196, 138, 116), (30, 44, 78), strict=True)
        )
        draw.polygon([(0, height), *zip(columns, swell, strict=True), (width, height)], (*colour, 235))
    for gull in range(3):
        gx, gy = (
            width * (0.12 + 0.13 * gull) + 34 * time,
            height * (0.2 + 0.05 * gull) + 6 * math.sin(time + gull),
        )
        flap = 7 * math.sin(6 * time + 2 * gull)
        draw.line(
            [(gx - 16, gy - flap), (gx, gy), (gx + 16, gy - flap)], (40, 40, 60), width=4, joint="curve"
        )
    return np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))
