"""Which experts caption, and what each of them can be asked."""

from collections.abc import Sequence

from pydantic import ValidationError

from emo import experts
from emo.captions.plan import Captioner
from emo.captions.prompts import CaptionPrompt, load_caption_prompt
from emo.config import Config
from emo.errors import InputError
from emo.experts.in_process import InProcessExpert
from emo.experts.protocol import AUDIO, FRAMES, Settings


def captioners(config: Config) -> list[Captioner]:
    """The captioning experts and what each can be asked; raises InputError where one fits no prompt."""
    caption = config.caption
    prompts = [load_caption_prompt(name) for name in dict.fromkeys(caption.prompts)]
    names = [prompt.name for prompt in prompts]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"caption.prompts: two files are named {name!r}; the tables tell them by name")
    chosen = caption.experts or tuple(expert.name for expert in config.experts)
    return [_captioner(config.expert(name), prompts) for name in dict.fromkeys(chosen)]


def _captioner(settings: Settings, prompts: Sequence[CaptionPrompt]) -> Captioner:
    cls = experts.expert_class(settings.kind)
    if not takes_prompt(settings):
        # It measures and cannot be asked; its captions are answers to a prompt that asks for the person.
        free = [prompt for prompt in prompts if not prompt.shows_gold and prompt.needs is None][:1]
        if not free:
            raise InputError(
                f"caption: {settings.name} takes no prompt; its captions need one of caption.prompts that "
                "fits any expert as their question, such as person"
            )
        return Captioner(settings.name, tuple(free), 1)
    senses = senses_of(settings)
    fitting = tuple(prompt for prompt in prompts if prompt.needs is None or prompt.needs in senses)
    if not fitting:
        raise InputError(f"caption: no prompt of caption.prompts is about what {settings.name} perceives")
    try:
        cls.Settings(**{**settings.model_dump(), "samples": 2, "first": None})
    except ValidationError:
        return Captioner(settings.name, fitting, 1)
    return Captioner(settings.name, fitting, 1 if getattr(settings, "temperature", None) == 0 else None)


def takes_prompt(settings: Settings) -> bool:
    """Whether the expert of these settings can be asked; one that measures says what it measured."""
    return "prompt" in experts.expert_class(settings.kind).Settings.model_fields


def senses_of(settings: Settings) -> tuple[str, ...]:
    """What an expert perceives, as far as it says so before it is loaded; else everything."""
    cls = experts.expert_class(settings.kind)
    if issubclass(cls, InProcessExpert):
        return cls.family.senses
    return tuple(getattr(settings, "wanted", None) or (FRAMES, AUDIO))
