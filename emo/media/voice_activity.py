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
# Samples of the window before that the detector gets with each, and windows that are looked at together.
_CONTEXT, _AT_ONCE = 64, 500
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
        self._parts = _parts_of(self._model)

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
        with _one_thread(), torch.inference_mode():
            heard = self._by_parts(filled, starts) if self._parts else self._step_by_step(filled, starts)
        return heard[:, _BEFORE:].reshape(-1)[: len(windows)]

    def _step_by_step(self, filled: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """What the detector says of each stretch, window by window: float [stretches, windows]."""
        import torch

        self._model.reset_states()
        answers = [
            self._model(torch.from_numpy(filled[starts + step]), AUDIO_HZ).numpy()[:, 0]
            for step in range(_BEFORE + _STRETCH)
        ]
        self._model.reset_states()
        return np.stack(answers, axis=1)

    def _by_parts(self, filled: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """The same, three times as fast: only the memory of the detector goes window by window. What it sees
        of each depends on the window alone, and is found for many windows together.
        """
        import torch

        assert self._parts is not None
        see, remember, answer = self._parts
        context = np.zeros((len(filled), _CONTEXT), np.float32)
        context[1:] = filled[:-1, -_CONTEXT:]
        seen = torch.cat(
            [
                see(torch.from_numpy(np.hstack([context[at : at + _AT_ONCE], filled[at : at + _AT_ONCE]])))
                for at in range(0, len(filled), _AT_ONCE)
            ]
        )
        stretches = seen[torch.from_numpy(starts[:, None] + np.arange(_BEFORE + _STRETCH))]
        # A stretch begins as a sound does, with nothing before.
        stretches[:, 0] = see(torch.from_numpy(np.pad(filled[starts], ((0, 0), (_CONTEXT, 0)))))
        hidden = remember(stretches)[0]
        heard: np.ndarray = answer(hidden.reshape(-1, hidden.shape[-1], 1)).reshape(hidden.shape[:2]).numpy()
        return heard


def _parts_of(model: Any) -> tuple[Any, Any, Any] | None:
    """Of the detector for 16 kHz: windows with their context to features, its memory over stretches of these,
    and what it remembers to answers. None where a version of the package is made otherwise.
    """
    import torch

    try:
        inner = model._model
        cell = inner.decoder.rnn
        memory = torch.nn.LSTM(cell.weight_ih.shape[1], cell.weight_hh.shape[1], batch_first=True)
        memory.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
        extract, encode, answer = inner.run_extractors, inner.encoder, inner.decoder.decoder
    except (AttributeError, RuntimeError):
        return None
    return lambda windows: encode(extract(windows)).squeeze(-1), memory.eval(), answer


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
