"""The sound of a clip as it stands in the clips table, as numbers."""

import io
from typing import TYPE_CHECKING

from emo.errors import RowError

if TYPE_CHECKING:
    import numpy as np

AUDIO_HZ = 16_000


def wav_of(wave: "np.ndarray", rate: int) -> bytes:
    """A wave of floats as the bytes of a WAV file of 16 bits."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def read_wave(sound: bytes) -> "np.ndarray":
    """FLAC to float32 [samples] at 16 kHz.

    Raises RowError `bad_audio` where it cannot be decoded, is empty, or has another rate or more channels.
    """
    import soundfile

    try:
        wave, rate = soundfile.read(io.BytesIO(sound), dtype="float32")
    except soundfile.LibsndfileError as error:
        raise RowError("bad_audio", f"the sound cannot be decoded: {error}") from error
    if rate != AUDIO_HZ or wave.ndim != 1:
        raise RowError("bad_audio", f"expected 16 kHz mono, got {rate} Hz and shape {wave.shape}")
    if not len(wave):
        raise RowError("bad_audio", "the sound has no samples")
    return wave
