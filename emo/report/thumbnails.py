"""Frames as small images inside the page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

# Tried in turn until the images of one clip fit: frames, longest side in pixels, JPEG quality.
_SIZES = ((6, 360, 74), (6, 280, 68), (6, 220, 60), (4, 200, 55), (3, 160, 45), (1, 120, 40))


@dataclass(frozen=True)
class Thumbnail:
    """uri: a data: URI; width and height in pixels; time in seconds, or None where it is not known."""

    uri: str
    width: int
    height: int
    time: float | None


@dataclass(frozen=True)
class Strip:
    """What can be seen of a clip; broken: frames that are not an image that can be drawn."""

    thumbnails: tuple[Thumbnail, ...]
    broken: int


def contact_strip(frames: Sequence[bytes], times: Sequence[float], max_bytes: int) -> Strip:
    """Frames spread over the clip, as many and as large as fit into max_bytes of the page.

    At least one small frame is shown however small max_bytes is.
    """
    images: list[tuple[Image.Image, float | None]] = []
    broken = 0
    for place in _spread(len(frames), _SIZES[0][0]):
        try:
            with Image.open(io.BytesIO(frames[place])) as image:
                images.append((image.convert("RGB"), times[place] if place < len(times) else None))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            broken += 1
    thumbnails: tuple[Thumbnail, ...] = ()
    for count, side, quality in _SIZES:
        chosen = [images[place] for place in _spread(len(images), count)]
        thumbnails = tuple(_thumbnail(image, time, side, quality) for image, time in chosen)
        if sum(len(thumbnail.uri) for thumbnail in thumbnails) <= max_bytes:
            break
    return Strip(thumbnails, broken)


def _spread(available: int, count: int) -> list[int]:
    """The places at the centres of `count` equal parts; all of them where there are no more."""
    count = min(available, count)
    return [(2 * part + 1) * available // (2 * count) for part in range(count)]


def _thumbnail(image: Image.Image, time: float | None, side: int, quality: int) -> Thumbnail:
    small = image.copy()
    small.thumbnail((side, side))
    data = io.BytesIO()
    small.save(data, "JPEG", quality=quality, optimize=True)
    uri = "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")
    return Thumbnail(uri, small.width, small.height, time)
