"""Any checkpoint of transformers that has a chat template and takes pictures, videos or sound."""

from functools import partial
from pathlib import Path
from typing import Literal

from emo.engines.models import missing_model, resolve_model
from emo.errors import InputError
from emo.experts.in_process import ChatExpert, FramesSettings, InProcessSettings, Question


class HfSettings(FramesSettings):
    """A model of any family of transformers that has a chat template."""

    frames_as: Literal["auto", "video", "image", "off"] = "auto"
    """How frames are shown: as a `video` with its times, as `image`s with their times in words, or not at
    all (`off`). `auto` is the first of these that the checkpoint takes.
    """
    sound: bool = True
    """Whether the sound goes along where the checkpoint takes it."""


class HfExpert(ChatExpert):
    """Asks a model of any family, with its processor as it is and its own `generate`.

    The families that have a kind of their own are faster by that.
    """

    Settings = HfSettings
    settings: HfSettings
    prompts = "openai"

    def __init__(self, settings: HfSettings) -> None:
        from emo.engines.any_class import model_class
        from emo.engines.generate import GenerateEngine
        from emo.experts.hf_chat import any_chat

        self.settings = settings
        question = Question(settings, self.prompts)
        folder = resolve_model(settings.model, settings.revision, settings.trust_remote_code)
        cls = model_class(folder, settings.trust_remote_code)
        if settings.served:
            wanted = any_chat(folder, settings, question, cls).wanted
            self.engine = self._vllm(settings.served, question, wanted)
            self.card = self._card(question, wanted)
            return
        preprocessor = partial(any_chat, settings=settings, question=question, cls=cls)
        self.engine = GenerateEngine(settings, folder, preprocessor, cls)
        self.card = self._card(question, self.engine.preprocessor.wanted)

    @classmethod
    def _missing_model(cls, settings: InProcessSettings) -> list[str]:
        from emo.engines.any_class import brings_code, class_name
        from emo.engines.models import read_config
        from emo.engines.own_code import lacking

        lines = missing_model(settings, None)
        folder = Path(settings.model).expanduser()
        if (folder / "config.json").exists():
            try:
                if brings_code(class_name(folder, settings.trust_remote_code)):
                    lines += lacking(folder, read_config(folder))
            except InputError as error:
                lines.append(str(error))
        return lines
