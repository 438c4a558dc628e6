"""The pieces of one recording: looked at in the sandbox, decided here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from emo.errors import RowError
from emo.media.sandbox import Decoder
from emo.media.transcript import SidecarFile
from emo.media.voice_activity import SpeechFinder
from emo.media.wave import read_wave
from emo.split import fixed, speech, subtitles
from emo.split.segment import Segment, at_cuts
from emo.split.settings import Split
from emo.split.tasks import CuesBeside, CuesIn, CutsIn, Known, Look, SoundOf

# Of the sound so much is held at once.
_CHUNK_S = 320.0
# What a header promises is off by this much in sound files.
_MISSING_S = 2.0


@dataclass(frozen=True)
class Pieces:
    """The pieces of a recording, in time; by: what found them; language: as a subtitle track names it;
    missing: from when to when the recording cannot be read, and why.
    """

    by: str
    segments: Sequence[Segment]
    language: str | None = None
    missing: tuple[float, float, str] | None = None


class Finder:
    """Finds pieces, recording after recording; the decoder process and the detector are loaded once."""

    def __init__(self, settings: Split, decoder: Decoder) -> None:
        self._settings = settings
        self.decoder = decoder
        self._speech: SpeechFinder | None = None

    def find(self, path: str, sidecar: SidecarFile | None) -> Pieces:
        """The pieces of a local file. Raises RowError where it cannot be opened."""
        settings = self._settings
        known = self.decoder.run(Look(path))
        found = self._by(settings.by or "auto", path, sidecar, known)
        segments = list(found.segments)
        if settings.at_shots and known.pictures and found.by != "shots":
            segments = list(at_cuts(segments, self.decoder.run(CutsIn(path))))
        if settings.least_speech is not None and known.sound and found.by != "speech":
            voice = self._voice(path, known)
            segments = [
                replace(one, speech_share=speech.share(voice, one.start_s, one.end_s)) for one in segments
            ]
        missing_s = (known.promised_s or 0.0) - known.length_s
        missing = None
        if missing_s > max(_MISSING_S, 0.01 * known.length_s):
            why = f"the recording promises {known.promised_s:.1f} s and can be read to {known.length_s:.1f} s"
            missing = (known.length_s, float(known.promised_s or 0.0), why)
        return replace(found, segments=segments, missing=missing)

    def _by(self, by: str, path: str, sidecar: SidecarFile | None, known: Known) -> Pieces:
        settings, length_s = self._settings, known.length_s
        if by == "fixed":
            return Pieces(by, list(fixed.windows(length_s, settings.window_s, settings.step_s)))
        if by in ("auto", "subtitles"):
            cues, language = self._cues(path, sidecar)
            found = subtitles.utterances(cues, settings.pause_s, settings.longest_s, length_s)
            if found or by == "subtitles":
                return Pieces("subtitles", found, language)
        if by in ("auto", "speech"):
            voice = self._voice(path, known) if known.sound else np.zeros(0)
            spoken = speech.stretches(voice, settings.silence_s, settings.longest_s)
            if spoken or by == "speech":
                shares = [
                    replace(one, speech_share=speech.share(voice, one.start_s, one.end_s)) for one in spoken
                ]
                return Pieces("speech", shares)
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

    def _cues(self, path: str, sidecar: SidecarFile | None) -> tuple[Sequence[subtitles.Cue], str | None]:
        if sidecar is not None:
            read = self.decoder.run(CuesBeside(sidecar))
            if read.cues:
                return read.cues, sidecar.language
        return self.decoder.run(CuesIn(path))

    def _voice(self, path: str, known: Known) -> np.ndarray:
        """How likely each 32 ms of the recording holds speech; a part that cannot be decoded holds none."""
        self._speech = self._speech or SpeechFinder()
        windows = round(_CHUNK_S / speech.WINDOW_S)
        parts = []
        for number in range(math.ceil(known.length_s / _CHUNK_S)):
            start = number * _CHUNK_S
            try:
                sound = self.decoder.run(SoundOf(path, start, min(start + _CHUNK_S, known.length_s)))
            except RowError as error:
                if error.code != "damaged":
                    raise
                sound = None
            heard = self._speech.of_recording(read_wave(sound)) if sound else np.zeros(0)
            parts.append(np.pad(heard[:windows], (0, max(0, windows - len(heard)))))
        return np.concatenate(parts) if parts else np.zeros(0)
