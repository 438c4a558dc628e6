"""The expert kind `classifier`: small published classifiers of faces, pictures, voices or words.

Any classifier of transformers will do: image classification on the face of each frame or on the whole frame,
audio classification on the sound, text classification on the transcript. Its answer is a description for
people and labels with strengths for the co-judgment; no extractor reads the description. A class that the
model holds for unlikely is no label, and a missing face, sound or transcript gives none at all.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from emo.engines.classification import (
    ClassAnswer,
    Classifier,
    ClassifierSettings,
    Medium,
    check_labels,
)
from emo.engines.model_cards import described, licence_of
from emo.engines.models import NamedModel, memory_gib, missing_classifier
from emo.errors import RowError
from emo.experts import measuring, protocol
from emo.experts.media import audio_wave
from emo.experts.protocol import AUDIO, FRAMES, TRANSCRIPT, Card, Clip, Description, Expert, Resources
from emo.experts.trained_on import trained_on
from emo.media.transcript import guess_language
from emo.media.wave import AUDIO_HZ

if TYPE_CHECKING:
    import numpy as np

Sense = Literal["face", "frames", "audio", "transcript"]

_MEDIA: Mapping[str, tuple[Medium, str]] = {
    "face": ("image", FRAMES),
    "frames": ("image", FRAMES),
    "audio": ("audio", AUDIO),
    "transcript": ("text", TRANSCRIPT),
}
_SUBJECT = {
    "face": "The face was classified",
    "frames": "The picture was classified",
    "audio": "The voice was classified",
    "transcript": "The words were classified",
}
# What published checkpoints call their classes, where it is no English word.
_SHORT = {
    "ang": "angry",
    "cal": "calm",
    "dis": "disgusted",
    "exc": "excited",
    "fea": "fearful",
    "fru": "frustrated",
    "hap": "happy",
    "neu": "neutral",
    "sur": "surprised",
}
NEUTRAL = "neutral"
# A face is cut out with this much of its side around it: the detector's box ends at brows and chin.
_MARGIN = 0.15
# A sound is heard in windows of this many seconds, the longest that such models were trained on; the
# probabilities of the windows are averaged by their length.
_WINDOW_S = 10.0
_SHORTEST_S = 0.1


class ClassifierExpertSettings(ClassifierSettings, measuring.Settings):
    """Settings of one classifier."""

    sees: Sense
    """What the classifier is given: `face` is the largest face of each frame, `frames` the whole frames,
    `audio` the sound, `transcript` the words.
    """
    labels: dict[str, str | None] = Field({})
    """The word for each class of the checkpoint, such as `{LABEL_0: sad}`. A class with `null` gives no
    label. A class that is not named here keeps its own name.
    """
    at_least: float = Field(0.15, gt=0, le=1)
    """The probability from which a class becomes a label of the clip."""
    most: int = Field(3, ge=1)
    """The most labels that one clip gets from this expert."""
    max_frames: int = Field(3, ge=1)
    """The most frames of a clip that are looked at, one of each equal part of the clip."""
    smallest_face: float = Field(0.1, gt=0, le=1)
    """The side of the smallest face that is looked for, as a share of the frame's shorter side."""
    keep_vectors: bool = False
    """Whether the vectors from which the last layer makes the scores are kept in `descriptions`, for `emo
    together`: a few kilobytes a clip.
    """
    languages: tuple[str, ...] | None = None
    """The languages that a classifier of words reads, such as `[en]`. A transcript in another language gives
    no label. `null` is any language.
    """


class ClassifierExpert(Expert):
    """Gives a clip to one classifier and says what it holds for likely."""

    Settings: ClassVar[type[protocol.Settings]] = ClassifierExpertSettings

    def __init__(self, settings: ClassifierExpertSettings) -> None:
        medium, self._modality = _MEDIA[settings.sees]
        self._settings = settings
        self._classifier = Classifier(settings, medium, settings.keep_vectors)
        self._words = words_of(self._classifier.classes, settings.labels)
        if settings.sees == "face":
            from emo.media.faces import FaceFinder, NetworkFinder

            self._faces = FaceFinder(settings.smallest_face)
            self._second = NetworkFinder(settings.smallest_face)
        about = described(self._classifier.folder)
        self.card = Card(
            name=settings.name,
            modalities=(self._modality,),
            model=settings.model,
            revision=self._classifier.revision,
            licence=licence_of(self._classifier.folder),
            trained_on=trained_on(settings.model, card=about),
            memory_gib=round(memory_gib(self._classifier.folder, settings.pickled_weights), 3),
            engine=self._classifier.name,
        )

    @classmethod
    def resources(cls, settings: ClassifierExpertSettings) -> Resources:
        return Resources(cpus=1.0, gpus=settings.gpus if settings.device == "cuda" else 0.0)

    @classmethod
    def reads_transcript(cls, settings: ClassifierExpertSettings) -> bool:
        """It gives labels itself, so there is no text that words could be merged into."""
        return True

    @classmethod
    def missing(cls, settings: ClassifierExpertSettings) -> list[str]:
        return missing_classifier(settings, _MEDIA[settings.sees][0], settings.labels)

    @classmethod
    def models(cls, settings: ClassifierExpertSettings) -> list[NamedModel]:
        return [NamedModel("model", settings.model, settings.revision, pickled=settings.pickled_weights)]

    def describe(self, clips: Sequence[Clip]) -> list[list[Description] | RowError]:
        asked: list[_Asked | Description | RowError] = [self._ask(clip) for clip in clips]
        inputs = [one for asks in asked if isinstance(asks, _Asked) for one in asks.inputs]
        answers = iter(self._classifier.answers(inputs))
        results: list[list[Description] | RowError] = []
        for asks in asked:
            if isinstance(asks, RowError):
                results.append(asks)
            elif isinstance(asks, Description):
                results.append([asks])
            else:
                results.append(self._answer(asks, [next(answers) for _ in asks.inputs]))
        return results

    def close(self) -> None:
        self._classifier.close()

    def _ask(self, clip: Clip) -> _Asked | Description | RowError:
        """What of the clip the classifier is given, or what is to be said without asking it."""
        try:
            if self._modality == FRAMES:
                return self._pictures(clip)
            return self._sound(clip) if self._modality == AUDIO else self._text(clip)
        except RowError as error:
            return error

    def _pictures(self, clip: Clip) -> _Asked | Description:
        if not clip.frames:
            return _nothing("There are no frames to look at.", FRAMES)
        places = inner(len(clip.frames), self._settings.max_frames)
        pictures = [_picture(clip.frames[place], clip) for place in places]
        if self._settings.sees == "frames":
            return _Asked(pictures, [1.0] * len(pictures), f"in {_count(len(pictures), 'frame')}")
        faces = [face for face in map(self._face, pictures) if face is not None]
        seen = _count(len(pictures), "frame")
        if not faces:
            return _nothing(f"No face was found in {seen}, so there was none to classify.")
        return _Asked(faces, [1.0] * len(faces), f"in {len(faces)} of {seen}")

    def _face(self, picture: np.ndarray) -> np.ndarray | None:
        import cv2

        face = self._faces.largest(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)) or self._second.largest(picture)
        if face is None:
            return None
        margin = round(face.side * _MARGIN)
        top, left = max(0, face.y - margin), max(0, face.x - margin)
        bottom, right = face.y + face.side + margin, face.x + face.side + margin
        return picture[top:bottom, left:right]

    def _sound(self, clip: Clip) -> _Asked | Description:
        if clip.audio is None:
            return _nothing("The clip has no sound track, so there was no voice to hear.", AUDIO)
        wave = audio_wave(clip)
        if not wave.any():
            return _nothing("The sound track is silent, so there was no voice to hear.")
        size = round(_WINDOW_S * AUDIO_HZ)
        windows = [wave[start : start + size] for start in range(0, len(wave), size)]
        # A rest of a few samples is shorter than what the model's first layers span.
        shortest = round(_SHORTEST_S * AUDIO_HZ)
        windows = [window for window in windows if len(window) >= shortest]
        if not windows:
            return _nothing("The sound is too short to hear a voice in it.")
        lengths = [len(window) / AUDIO_HZ for window in windows]
        return _Asked(windows, lengths, f"over {sum(lengths):.1f} seconds")

    def _text(self, clip: Clip) -> _Asked | Description:
        if not clip.transcript or not clip.transcript.strip():
            return _nothing("There is no transcript, so nothing is known of what is said.", TRANSCRIPT)
        reads = self._settings.languages
        language = clip.language or guess_language(clip.transcript)
        if reads is not None and language is not None and language.split("-")[0].lower() not in reads:
            return _nothing(
                f"The transcript is in {language}; this classifier reads {', '.join(reads)}.", TRANSCRIPT
            )
        return _Asked([clip.transcript], [1.0], "")

    def _answer(self, asked: _Asked, found: Sequence[ClassAnswer | RowError]) -> list[Description] | RowError:
        import numpy as np

        failed = [answer for answer in found if isinstance(answer, RowError)]
        if failed:
            return failed[0]
        answers = [one for one in found if not isinstance(one, RowError)]
        shares = np.average(np.stack([one.probabilities for one in answers]), 0, asked.weights)
        vectors = tuple(tuple(one.vector.tolist()) for one in answers if one.vector is not None)
        ranked = likely(self._words, shares)
        labels = kept(ranked, self._settings.at_least, self._settings.most)
        shown = [*labels, *(one for one in ranked if one not in labels)][: self._settings.most]
        words = ", ".join(f"{word} ({share:.2f})" for word, share in shown)
        unsure = "" if labels else ", none of which is likely enough to be a label"
        where = f" {asked.where}" if asked.where else ""
        return [
            Description(
                f"{_SUBJECT[self._settings.sees]}{where} as {words}{unsure}.",
                labels=tuple(labels),
                vectors=vectors or None,
            )
        ]


class _Asked:
    """What of one clip goes through the classifier: inputs, the weight of each, and where they are from."""

    def __init__(self, inputs: list[Any], weights: list[float], where: str) -> None:
        self.inputs, self.weights, self.where = inputs, weights, where


def _nothing(text: str, *degraded: str) -> Description:
    """A description without labels: what was not there does not vote."""
    return Description(text, degraded=degraded, labels=())


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _picture(frame: bytes, clip: Clip) -> np.ndarray:
    """One frame as uint8 RGB [height, width, 3]."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(frame)) as picture:
            return np.array(picture.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise RowError(
            "bad_frames", f"a frame of {clip.video_id} is not a readable image: {error}"
        ) from error


def inner(count: int, wanted: int) -> list[int]:
    """The middle places of `wanted` equal parts of `count`: a clip's ends are where it fades or cuts."""
    wanted = min(count, wanted)
    return [(2 * part + 1) * count // (2 * wanted) for part in range(wanted)]


def words_of(classes: Sequence[str], labels: Mapping[str, str | None]) -> list[str | None]:
    """The word for each class, None for one that gives no label.

    Raises InputError for a class that the checkpoint does not have, and for classes without a name.
    """
    check_labels(classes, labels)
    return [labels[name] if name in labels else _word(name) for name in classes]


def _word(name: str) -> str:
    word = " ".join(name.replace("_", " ").split()).lower()
    return _SHORT.get(word, word)


def likely(words: Sequence[str | None], shares: Iterable[float]) -> list[tuple[str, float]]:
    """Each word with its probability, the likeliest first; classes with one word are added up."""
    total: dict[str, float] = {}
    for word, share in zip(words, shares, strict=True):
        if word is not None:
            total[word] = min(1.0, total.get(word, 0.0) + float(share))
    return sorted(total.items(), key=lambda pair: (-pair[1], pair[0]))


def kept(ranked: Sequence[tuple[str, float]], at_least: float, most: int) -> list[tuple[str, float]]:
    """The labels of a clip: what is likely enough. Neutral means none of the others, so it stands alone."""
    found = [(word, share) for word, share in ranked if share >= at_least][:most]
    if found and found[0][0] == NEUTRAL:
        return found[:1]
    return [(word, share) for word, share in found if word != NEUTRAL]
