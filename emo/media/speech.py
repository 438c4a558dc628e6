"""What is said in a clip that comes without words: Whisper (Radford et al. 2022, arXiv 2212.04356).

Whisper writes words for music and silence too. As in the published decoder, a window counts as without speech
where the model itself says so and is unsure of what it wrote; and it is decoded greedily, once, because the
published second tries draw random numbers, which would make a text depend on its neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from emo.errors import InputError, RowError
from emo.marks import NoResult
from emo.media.wave import AUDIO_HZ, read_wave
from emo.section import Section

if TYPE_CHECKING:
    import numpy as np

SOURCE = "speech"  # what the `transcript_source` of such a transcript says

_NO_SPEECH = 0.6
_UNSURE = -1.0  # mean logarithm of a token's probability
_ARCHITECTURE = "WhisperForConditionalGeneration"


class SpeechSettings(Section):
    """A Whisper model that writes down what is said."""

    model: str = "openai/whisper-large-v3"
    """The checkpoint: a local folder, an `s3://` folder, or a hub id."""
    revision: str | None = None
    """The commit, branch or tag of a hub id."""
    device: NoResult[Literal["cuda", "cpu"]] = "cuda"
    """Where the model runs."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """The type of the weights. `auto` is float16 on CUDA and float32 on a CPU."""
    batch: NoResult[int] = Field(16, ge=1, le=1024)
    """The number of clips that go through the model together."""
    language: str | None = None
    """The language of all clips, as a code such as `en`. With `null` each clip says, or sounds like, its
    own.
    """


@dataclass(frozen=True)
class Speech:
    """text: what was said, empty where nobody speaks; language: a code such as `en`, None with empty text."""

    text: str
    language: str | None


class Transcriber:
    """A loaded Whisper. Raises InputError where the checkpoint is not one, or not complete.

    name: the model with its revision.
    """

    def __init__(self, settings: SpeechSettings) -> None:
        import torch
        from transformers import WhisperForConditionalGeneration, WhisperProcessor

        from emo.engines.models import architecture, load_whole, resolve_model, revision_of
        from emo.engines.settings import weights_dtype

        if settings.device == "cuda" and not torch.cuda.is_available():
            raise InputError("device is 'cuda', but torch sees no CUDA device; set device to 'cpu'")
        folder = resolve_model(settings.model, settings.revision)
        architecture(folder, [_ARCHITECTURE])
        dtype = weights_dtype(settings.dtype, settings.device, "float16")
        model = load_whole(WhisperForConditionalGeneration, folder, dtype=getattr(torch, dtype))
        self._settings = settings
        self._model: Any = model.to(settings.device).eval()
        self._processor: Any = WhisperProcessor.from_pretrained(folder)
        generation = self._model.generation_config
        self._multilingual = bool(getattr(generation, "is_multilingual", True))
        known = getattr(generation, "lang_to_id", None) or {}
        self._languages = {token.strip("<|>"): number for token, number in known.items()}
        if self._multilingual and not self._languages:
            raise InputError(f"{folder}: generation_config.json names no languages (lang_to_id)")
        if settings.language is not None:
            self._check_language(settings.language)
        self.name = f"{settings.model}@{revision_of(folder)}"

    @classmethod
    def missing(cls, settings: SpeechSettings) -> list[str]:
        """What is not there that this needs to run, one line each; loads nothing."""
        from emo.engines.models import missing_model
        from emo.engines.settings import ModelSettings

        shared = {name: getattr(settings, name) for name in ("model", "revision", "device", "dtype")}
        return missing_model(ModelSettings.model_validate(shared), [_ARCHITECTURE])

    def transcribe(self, sounds: Sequence[bytes], languages: Sequence[str | None]) -> list[Speech | RowError]:
        """What is said in each sound; aligned with `sounds`.

        sounds: FLAC, 16 kHz mono; languages: codes where they are known; one that the model does not know is
        listened for like none. A row that cannot be used is a RowError with `bad_audio` or `out_of_memory`.
        """
        results: dict[int, Speech | RowError] = {}
        waves: dict[int, np.ndarray] = {}
        for place, sound in enumerate(sounds):
            try:
                waves[place] = read_wave(sound)
            except RowError as error:
                results[place] = error
        window = self._processor.feature_extractor.n_samples
        short = [place for place, wave in waves.items() if len(wave) <= window]
        batches = [short[at : at + self._settings.batch] for at in range(0, len(short), self._settings.batch)]
        # Each of the long ones takes its own number of windows, one after the other.
        batches += [[place] for place, wave in waves.items() if len(wave) > window]
        for batch in batches:
            results |= self._batch(batch, waves, languages)
        return [results[place] for place in range(len(sounds))]

    def close(self) -> None:
        """Give the memory back."""
        import torch

        self._model = None
        if self._settings.device == "cuda":
            torch.cuda.empty_cache()

    def _batch(
        self, places: list[int], waves: dict[int, "np.ndarray"], languages: Sequence[str | None]
    ) -> dict[int, Speech | RowError]:
        """One batch; where it does not fit the memory, each half of it alone."""
        import torch

        try:
            speeches = self._listen(
                [waves[place] for place in places], [languages[place] for place in places]
            )
            return dict(zip(places, speeches, strict=True))
        except torch.OutOfMemoryError:
            pass  # retried below, where the exception holds no tensors any more
        if self._settings.device == "cuda":
            torch.cuda.empty_cache()
        if len(places) == 1:
            seconds = len(waves[places[0]]) / AUDIO_HZ
            message = f"a sound of {seconds:.0f} s does not fit the memory of {self._settings.device}"
            return {places[0]: RowError("out_of_memory", message)}
        half = len(places) // 2
        return self._batch(places[:half], waves, languages) | self._batch(places[half:], waves, languages)

    def _listen(self, waves: list["np.ndarray"], languages: list[str | None]) -> list[Speech]:
        import torch

        long = len(waves) == 1 and len(waves[0]) > self._processor.feature_extractor.n_samples
        features = self._processor.feature_extractor(
            waves,
            sampling_rate=AUDIO_HZ,
            return_tensors="pt",
            truncation=False,
            padding="longest" if long else "max_length",
        )["input_features"].to(self._model.device, self._model.dtype)
        with torch.inference_mode():
            spoken = self._spoken(features, languages)
            prompt = {"language": [f"<|{code}|>" for code in spoken], "task": "transcribe"}
            written = self._model.generate(
                features,
                return_timestamps=long,
                temperature=0.0,
                num_beams=1,
                condition_on_prev_tokens=False,
                no_speech_threshold=_NO_SPEECH,
                logprob_threshold=_UNSURE,
                return_dict_in_generate=False,
                **(prompt if self._multilingual else {}),
            )
        texts = self._processor.tokenizer.batch_decode(written, skip_special_tokens=True)
        return [
            Speech(text.strip(), code if text.strip() else None)
            for text, code in zip(texts, spoken, strict=True)
        ]

    def _spoken(self, features: Any, languages: list[str | None]) -> list[str]:
        """The language of each row: of the settings, of the clip, or what its first window sounds like."""
        if not self._multilingual:
            return ["en"] * len(languages)
        wanted = [self._settings.language or language for language in languages]
        if all(language in self._languages for language in wanted):
            return [str(language) for language in wanted]
        frames = self._processor.feature_extractor.nb_max_frames
        heard = self._model.detect_language(features, num_segment_frames=frames).tolist()
        codes = {number: code for code, number in self._languages.items()}
        return [
            str(language) if language in self._languages else codes[number]
            for language, number in zip(wanted, heard, strict=True)
        ]

    def _check_language(self, language: str) -> None:
        known = sorted(self._languages) if self._multilingual else ["en"]
        if language not in known:
            raise InputError(
                f"language {language!r}: {self._settings.model} knows {', '.join(known)}; leave it out to "
                "have it heard"
            )
