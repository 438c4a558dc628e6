"""What the decoder process is asked of a recording: small values that are sent to it and called there."""

from dataclasses import dataclass

from emo.media.decoded import DecodedClip, DecodeSettings
from emo.media.partial import File
from emo.media.transcript import Cues, SidecarFile, cues_of


@dataclass(frozen=True)
class Piece:
    """The clip of a part of a local file, in seconds from its first frame; end_s: None: its end."""

    path: File
    start_s: float
    end_s: float | None

    def __call__(self, settings: DecodeSettings) -> DecodedClip:
        # Here, because whoever sends it loads no decoder.
        from emo.media.recording import opened

        return opened(self.path).piece(self.start_s, self.end_s, settings)


@dataclass(frozen=True)
class CuesBeside:
    """The cues of a sidecar."""

    sidecar: SidecarFile

    def __call__(self, settings: DecodeSettings) -> Cues:
        return cues_of(self.sidecar)


@dataclass(frozen=True)
class Close:
    """Let go of the file that is open, which may be deleted next."""

    def __call__(self, settings: DecodeSettings) -> None:
        from emo.media.recording import close_all

        close_all()
