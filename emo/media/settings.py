"""The section `ingest` of the configuration."""

from typing import Literal

from pydantic import Field, model_validator

from emo.marks import NoResult
from emo.media.speech import SpeechSettings
from emo.section import Section, Workers


class Ingest(Section):
    """How clips are read from their files: frames, sound, transcript."""

    frames: int = Field(8, ge=1, le=1024)
    """The number of frames that are taken of a clip, at even distances."""
    longest_side: int = Field(448, ge=16, le=4096)
    """The longer side of a stored frame, in pixels. A larger frame is scaled down to it."""
    jpeg_quality: int = Field(92, ge=1, le=100)
    """The quality of stored frames as JPEG, from 1 to 100."""
    reader: Literal["pyav", "decord"] = "pyav"
    """The library that reads the frames. `pyav` is the fastest for every codec. With `decord`, decord reads
    the whole files that it reads right, where it can be installed, and PyAV reads all others.
    """
    loop_filter: bool = True
    """Whether the decoder smooths the edges of blocks. Without it a clip of H.264 takes a tenth less time.
    Its frames then differ by 36 to 50 dB, those of VP8 by 28.
    """
    audio: bool = True
    """Whether the sound of a clip is kept."""
    max_audio_s: float = Field(600.0, gt=0)
    """The most seconds of sound that are kept of a clip, from its beginning."""
    deadline_s: NoResult[float] = Field(120.0, gt=0)
    """The seconds that the decoder may take for one clip. A clip that takes longer fails."""
    memory_mib: NoResult[int] = Field(3072, ge=256)
    """The memory that the decoder may take for one clip. A clip that needs more fails."""
    workers: NoResult[Workers] = "auto"
    """The number of decoders that work at once. `auto` is one for each CPU of the cluster."""
    shard_rows: NoResult[int] = Field(50, ge=1, le=1000)
    """The most clips of one committed file."""
    carry: NoResult[tuple[str, ...]] = ()
    """The columns of a manifest that stay with its clips, such as `[gender]`. `emo evaluate --by gender` then
    scores each group. What such a column tells of people is kept only where it is named here.
    """
    transcribe: SpeechSettings | None = None
    """A Whisper model that writes down what is said in clips without a transcript. `null` leaves them
    without one.
    """
    transcribe_gpus: NoResult[float] = Field(0.25, gt=0, le=1)
    """The share of a GPU that each copy of the Whisper model takes."""

    @model_validator(mode="after")
    def _filters(self) -> "Ingest":
        if self.reader == "decord" and not self.loop_filter:
            raise ValueError("decord cannot leave out the loop filter; expected reader: pyav")
        return self
