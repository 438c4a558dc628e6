"""What the middle frames of a piece show: how many faces, and how much light."""

import statistics
from collections.abc import Sequence

import cv2
import numpy as np

from emo.media.faces import NetworkFinder


def light(pictures: Sequence[np.ndarray]) -> float:
    """How bright pictures (height x width x 3, uint8, RGB) are: 0 black, 1 white."""
    return float(np.mean([picture.mean() / 255 for picture in pictures]))


def people(pictures: Sequence[np.ndarray], faces: NetworkFinder) -> int:
    """How many faces there are: the median over the pictures, since one of them may be blurred."""
    return statistics.median_low(faces.count(picture) for picture in pictures)


def decoded(jpeg: bytes) -> np.ndarray:
    """A JPEG as height x width x 3, uint8, RGB."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
