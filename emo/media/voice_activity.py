"""Where in a sound somebody speaks: the detector of Silero (MIT), whose weights come with its package.

It was trained on speech in many languages over music and noise, so music alone is not taken for a voice and
a voice over music is. It is asked at one level of the sound: how loud a clip was made says nothing about who
speaks.
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from emo.media.wave import AUDIO_HZ

WINDOW = 512  # samples: 32 ms, the only size that the detector takes at 16 kHz
# Windows of a stretch of a long sound, 16 s, and of what it is given before, 2 s.
_STRETCH, _BEFORE = 500, 62
_PEAK = 0.5  # what the loudest sample is brought to


class SpeechFinder:
    """The detector, loaded once; its answers hold no state from one sound to the next."""

    def __init__(self) -> None:
        # The import of the package sets the threads of the whole process to 1.
        with _one_thread(), warnings.catch_warnings():
            # The package loads TorchScript, which this PyTorch still runs and warns of.
            warnings.simplefilter("ignore")
            from silero_vad import load_silero_vad

            self._model: Any = load_silero_vad()

    def probabilities(self, wave: np.ndarray) -> np.ndarray:
        """How likely each 32 ms of a sound holds speech, 0 to 1: float [windows], the last one filled up.

        wave: float [samples] at 16 kHz, not silent.
        """
        import torch

        peak = float(np.max(np.abs(wave)))
        filled = np.pad(wave * (_PEAK / peak), (0, -len(wave) % WINDOW)).astype(np.float32)
        self._model.reset_states()
        with _one_thread(), torch.inference_mode():
            answers = [
                float(self._model(torch.from_numpy(window), AUDIO_HZ))
                for window in filled.reshape(-1, WINDOW)
            ]
        return np.array(answers)

    def of_recording(self, wave: np.ndarray) -> np.ndarray:
        """As `probabilities`, of minutes of sound: stretches of it go through the detector side by side.

        Each stretch is given what comes before it, so that the detector knows what goes on; the first one is
        given itself backwards, since noise that begins at once sounds like speech. The level is that of the
        loud parts, since one bang in minutes would make all speech quiet.
        """
        import torch

        loud = float(np.quantile(np.abs(wave), 0.999)) if len(wave) else 0.0
        if loud == 0.0:
            return np.zeros(-(-len(wave) // WINDOW))
        level = np.clip(wave * (_PEAK / loud), -1.0, 1.0)
        windows = np.pad(level, (0, -len(wave) % WINDOW)).astype(np.float32).reshape(-1, WINDOW)
        rows = -(-len(windows) // _STRETCH)
        filled = np.zeros((_BEFORE + rows * _STRETCH, WINDOW), np.float32)
        filled[_BEFORE : _BEFORE + len(windows)] = windows
        backwards = windows[:_BEFORE][::-1, ::-1]
        filled[_BEFORE - len(backwards) : _BEFORE] = backwards
        starts = np.arange(rows) * _STRETCH
        self._model.reset_states()
        answers = []
        with _one_thread(), torch.inference_mode():
            for step in range(_BEFORE + _STRETCH):
                batch = torch.from_numpy(filled[starts + step])
                answers.append(self._model(batch, AUDIO_HZ).numpy()[:, 0])
        self._model.reset_states()
        return np.stack(answers[_BEFORE:], axis=1).reshape(-1)[: len(windows)]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """So small a window gains nothing from a second thread, and waits for it where the machine is busy."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
