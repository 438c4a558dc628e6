"""The pieces of one recording: looked at in the sandbox, decided here."""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from emo.errors import RowError
from emo.media.decoded import DecodeSettings
from emo.media.partial import File
from emo.media.sandbox import Answer, Decoder
from emo.media.tasks import CuesBeside
from emo.media.transcript import SidecarFile
from emo.media.voice_activity import SpeechFinder
from emo.media.wave import AUDIO_HZ, read_wave
from emo.split import fixed, speech, subtitles
from emo.split.diarise import turns_of
from emo.split.music import is_music
from emo.split.segment import Segment, at_cuts, reason_to_leave_out
from emo.split.settings import Diarise, Split
from emo.split.tasks import CuesIn, CutsIn, Known, Look, MiddleFrames, SoundOf
from emo.split.turns import Turn, changes, named

# Windows of sound that are held at once: 160 s. Of damaged sound as little as 10 s is given up.
_CHUNK, _SMALLEST = 5_000, 312
_CHUNK_S = _CHUNK * speech.WINDOW_S
# In so small a share of a piece the detector hears speech where there is none.
_NOBODY_SPEAKS = 0.05
# What may be wrong with one piece and not with another.
_OF_A_PIECE = frozenset({"damaged", "truncated", "out_of_range", "no_video_stream"})
# What a header promises is off by this much in sound files.
_MISSING_S = 2.0


@dataclass(frozen=True)
class Missing:
    """A stretch that cannot be read, and why."""

    start_s: float
    end_s: float
    why: RowError


@dataclass(frozen=True)
class Pieces:
    """The pieces of a recording, in time; by: what found them; language: as a subtitle track names it; voice:
    how likely each 32 ms holds speech, where that was looked at.
    """

    by: str
    segments: Sequence[Segment]
    language: str | None = None
    missing: Sequence[Missing] = ()
    voice: np.ndarray | None = None


class Finder:
    """Finds pieces, recording after recording; the decoder process and the detector are loaded once."""

    def __init__(self, settings: Split, decoder: Decoder) -> None:
        self._settings = settings
        self.decoder = decoder
        self._speech: SpeechFinder | None = None
        self._faces: Any = None

    def find(self, path: File, sidecar: SidecarFile | None) -> Pieces:
        """The pieces of a local file. Raises RowError where it cannot be opened."""
        settings = self._settings
        known = self.decoder.run(Look(path))
        found = self._by(settings.by or "auto", path, sidecar, known)
        segments = list(found.segments)
        if settings.at_shots and known.pictures and found.by != "shots":
            segments = list(at_cuts(segments, self.decoder.run(CutsIn(path))))
        if settings.diarise is not None and known.sound:
            turns = self._turns(settings.diarise, path, known)
            if settings.diarise.at_turns:
                segments = list(at_cuts(segments, changes(turns, settings.shortest_s)))
            segments = named(segments, turns)
        asked = settings.least_speech is not None or settings.without_music
        if known.sound and (asked or found.voice is not None):
            voice = found.voice if found.voice is not None else self._voice(path, known)[0]
            segments = [
                replace(one, speech_share=speech.share(voice, one.start_s, one.end_s)) for one in segments
            ]
        segments = [self._looked_at(path, known, one) for one in segments]
        missing = list(found.missing)
        promised_s = known.promised_s or 0.0
        if promised_s - known.length_s > max(_MISSING_S, 0.01 * known.length_s):
            why = f"the recording promises {promised_s:.1f} s and can be read to {known.length_s:.1f} s"
            missing.append(Missing(known.length_s, promised_s, RowError("truncated", why)))
        return replace(found, segments=segments, missing=missing)

    def _by(self, by: str, path: File, sidecar: SidecarFile | None, known: Known) -> Pieces:
        settings, length_s = self._settings, known.length_s
        if by == "fixed":
            return Pieces(by, list(fixed.windows(length_s, settings.window_s, settings.step_s)))
        if by in ("auto", "subtitles"):
            cues, language = self._cues(path, sidecar)
            found = subtitles.utterances(cues, settings.pause_s, settings.longest_s, length_s)
            if found or by == "subtitles":
                return Pieces("subtitles", found, language)
        if by in ("auto", "speech"):
            voice, missing = self._voice(path, known)
            spoken = speech.stretches(voice, settings.silence_s, settings.longest_s)
            if spoken or by == "speech":
                return Pieces("speech", spoken, missing=missing, voice=voice)
        if not known.pictures:
            return Pieces("shots", [])
        borders = [0.0, *self.decoder.run(CutsIn(path)), length_s]
        shots = [
            part
            for begin, end in pairwise(borders)
            if end > begin
            for part in fixed.even(begin, end, settings.longest_s)
        ]
        return Pieces("shots", shots)

    def _cues(self, path: File, sidecar: SidecarFile | None) -> tuple[Sequence[subtitles.Cue], str | None]:
        if sidecar is not None:
            try:
                read = self.decoder.run(CuesBeside(sidecar))
            except RowError:
                # By subtitles nothing else will do. Else the clips get a note that says what is wrong.
                if self._settings.by == "subtitles":
                    raise
            else:
                if read.cues:
                    return read.cues, sidecar.language
        return self.decoder.run(CuesIn(path))

    def _looked_at(self, path: File, known: Known, one: Segment) -> Segment:
        """A piece with what the filters ask of its sound and pictures; not where it is left out anyway."""
        settings = self._settings
        if reason_to_leave_out(one, settings):
            return one
        if settings.without_music and one.speech_share is not None and one.speech_share <= _NOBODY_SPEAKS:
            sound = self._asked(SoundOf(path, one.start_s, one.end_s))
            one = replace(one, music=is_music(read_wave(sound)) if sound else False)
        if not known.pictures or not (settings.counts_people or settings.least_light is not None):
            return one
        frames = self._asked(MiddleFrames(path, one.start_s, one.end_s))
        if not frames:
            return one
        # Here, because who only lists the steps loads no OpenCV.
        from emo.media.faces import NetworkFinder
        from emo.split import seen

        pictures = [seen.decoded(jpeg) for jpeg in frames]
        if settings.counts_people:
            self._faces = self._faces or NetworkFinder()
            one = replace(one, people=seen.people(pictures, self._faces))
        return replace(one, light=seen.light(pictures))

    def _asked(self, task: Callable[[DecodeSettings], Answer]) -> Answer | None:
        """What a look at a piece gives; None of one that is damaged, which its clip will say."""
        try:
            return self.decoder.run(task)
        except RowError as error:
            if error.code not in _OF_A_PIECE:
                raise
            return None

    def _turns(self, settings: Diarise, path: File, known: Known) -> list[Turn]:
        """Who speaks when; of a stretch that cannot be decoded the sound is silence."""
        # Here, because who only lists the steps writes no sound.
        import soundfile

        with tempfile.TemporaryDirectory(prefix="emo-") as folder:
            sound = Path(folder) / "sound.wav"
            with soundfile.SoundFile(sound, "w", AUDIO_HZ, 1, "PCM_16") as written:
                for start_s in np.arange(0.0, known.length_s, _CHUNK_S).tolist():
                    end_s = min(start_s + _CHUNK_S, known.length_s)
                    heard = self._asked(SoundOf(path, start_s, end_s))
                    wave = read_wave(heard) if heard else np.zeros(0, np.float32)
                    length = round((end_s - start_s) * AUDIO_HZ)
                    written.write(np.pad(wave[:length], (0, max(0, length - len(wave)))))
            return turns_of(settings, sound)

    def _voice(self, path: File, known: Known) -> tuple[np.ndarray, list[Missing]]:
        """How likely each 32 ms of the recording holds speech, and what of its sound cannot be decoded."""
        windows = math.ceil(known.length_s / speech.WINDOW_S) if known.sound else 0
        voice = np.zeros(windows)
        missing: list[Missing] = []
        for first in range(0, windows, _CHUNK):
            self._hear(path, voice, first, min(first + _CHUNK, windows), missing)
        return voice, missing

    def _hear(self, path: File, voice: np.ndarray, first: int, end: int, missing: list[Missing]) -> None:
        """Fill in some windows; of a stretch that cannot be decoded the parts that can."""
        self._speech = self._speech or SpeechFinder()
        start_s, end_s = first * speech.WINDOW_S, end * speech.WINDOW_S
        try:
            sound = self.decoder.run(SoundOf(path, start_s, end_s))
        except RowError as error:
            if error.code != "damaged":
                raise
            if end - first > _SMALLEST:
                middle = (first + end) // 2
                self._hear(path, voice, first, middle, missing)
                self._hear(path, voice, middle, end, missing)
            elif missing and missing[-1].end_s == start_s:
                missing[-1] = replace(missing[-1], end_s=end_s)
            else:
                missing.append(Missing(start_s, end_s, error))
            return
        if sound:
            heard = self._speech.of_recording(read_wave(sound))[: end - first]
            voice[first : first + len(heard)] = heard
