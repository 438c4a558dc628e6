"""From a stored picture to the displayed one: the shape of its pixels, its turn, the bound on its size."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

# Anamorphic film has pixels of 2:1, the narrowest broadcast ones are of 1:2.
_WIDEST_PIXEL = 5


@dataclass(frozen=True)
class Geometry:
    """width, height: as displayed; scaled_width, scaled_height: within the bound, before the turn.

    turn: what makes the stored picture upright.
    """

    width: int
    height: int
    scaled_width: int
    scaled_height: int
    turn: "Turn"


@dataclass(frozen=True)
class Turn:
    """How a stored picture is shown: first mirrored, left for right, then turned.

    turns: quarter turns against the clock.
    """

    turns: int = 0
    mirrored: bool = False


def turn_of(frame: Any) -> Turn:
    """What the display matrix of a frame of PyAV asks for; of a slanted one the nearest quarter turn.

    Cameras that look at the one who holds them write a matrix that mirrors.
    """
    matrix = next((part for part in frame.side_data if part.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return Turn()
    across, down, _, over, under = np.frombuffer(bytes(matrix), np.int32)[:5].astype(float)
    if not (across or down):
        return Turn()
    mirrored = across * under - down * over < 0
    if mirrored:
        across, down = -across, -down
    # The matrix turns with the clock, since its second axis points down.
    return Turn(round(-np.degrees(np.arctan2(down, across)) / 90) % 4, bool(mirrored))


def is_plausible(pixel_aspect: Fraction | None) -> bool:
    """Whether a pixel may have this shape; what is wider or narrower stands in broken headers."""
    return not pixel_aspect or 1 / _WIDEST_PIXEL <= pixel_aspect <= _WIDEST_PIXEL


def geometry(
    stored_width: int, stored_height: int, pixel_aspect: Fraction | None, turn: Turn, longest_side: int
) -> Geometry:
    """How a stored picture becomes the displayed one: pixel aspect first, then the turn, then the bound.

    A pixel that is not square changes the width, as players do it; one of a nonsense shape counts as square.
    """
    if not is_plausible(pixel_aspect):
        pixel_aspect = None
    width = max(1, round(stored_width * (pixel_aspect or 1)))
    height = stored_height
    scale = min(1.0, longest_side / max(width, height))
    upright = (height, width) if turn.turns % 2 else (width, height)
    return Geometry(*upright, max(1, round(width * scale)), max(1, round(height * scale)), turn)


def pixels(frame: Any, shape: Geometry, reformatter: Any) -> np.ndarray:
    """A frame of PyAV as BGR within the bound: scaled height × scaled width × 3, uint8.

    The matrix and range that the file names are used; a file that names none counts as BT.601, limited
    range, as in FFmpeg. HDR is not tone-mapped.
    """
    scaled = reformatter.reformat(
        frame, shape.scaled_width, shape.scaled_height, "bgr24", interpolation="BICUBIC", threads=1
    )
    return scaled.to_ndarray()


def upright(stored: np.ndarray, turn: Turn) -> np.ndarray:
    """Show height × width × 3 as the display matrix asks for."""
    shown = np.fliplr(stored) if turn.mirrored else stored
    return np.rot90(shown, turn.turns) if turn.turns else shown


def jpeg(bgr: np.ndarray, quality: int) -> bytes:
    """Encode BGR (height × width × 3, uint8) as JPEG."""
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(bgr), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError("JPEG encoding failed")
    return data.tobytes()
