"""What is made of each clip: which clues are asked for, and which captions are put together from them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from emo import experts
from emo.aus.peaks import Peaks
from emo.captions.captioners import senses_of
from emo.captions.merr.clues import text_of
from emo.captions.merr.settings import Merr
from emo.captions.plan import Captioner, Plan, PlannedClip, Variant
from emo.captions.prompts import LABEL, CaptionPrompt
from emo.captions.windows import Window
from emo.config import Config
from emo.errors import InputError
from emo.experts.aus import AusSettings
from emo.experts.prompts import prompt_sha
from emo.experts.protocol import AUDIO, FRAMES
from emo.marks import deciding

# What stands as the expert of the captions: no expert alone has written them.
EXPERT = "merr"
SCENE, TONE = "clue-scene", "clue-tone"
CLUES = (SCENE, TONE)
COARSE, FINE, WITH_GOLD, BY_RULES = "coarse", "fine", "fine-with-label", "fine-by-rules"


@dataclass(frozen=True)
class MerrPrompt(CaptionPrompt):
    """made_by: the texts and settings that decide the caption; one made otherwise is made anew."""

    made_by: str = ""

    @property
    def sha(self) -> str:
        return prompt_sha(self.text, self.made_by)


def settings_in(config: Config) -> Merr:
    """The section; raises AssertionError where it is not set."""
    assert config.caption.merr is not None
    return config.caption.merr


def peaks_of(config: Config) -> Peaks:
    """Where the peak frames are; raises InputError where the expert that is named has no action units."""
    settings = config.expert(settings_in(config).faces)
    if not isinstance(settings, AusSettings):
        raise InputError(
            f"caption.merr.faces: {settings.name} is of kind {settings.kind}; expected one of kind aus"
        )
    return Peaks(settings.tables, settings.rules, settings.least_confidence)


def clue_captioners(config: Config) -> list[Captioner]:
    """The experts of scene and voice, and what they are asked; raises InputError where a sense is missing."""
    merr, found = settings_in(config), []
    for key, name, clue, sense in (
        ("scene", merr.scene, SCENE, FRAMES),
        ("tone", merr.tone, TONE, AUDIO),
    ):
        settings = config.expert(name)
        if sense not in senses_of(settings):
            raise InputError(f"caption.merr.{key}: {name} does not perceive {sense}")
        prompt = CaptionPrompt(clue, text_of(clue.removeprefix("clue-")), sense)
        found.append(Captioner(name, (prompt,), 1))
    return found


def prompts_of(merr: Merr) -> tuple[MerrPrompt, ...]:
    """The captions that are made of every clip."""
    coarse = MerrPrompt(COARSE, text_of("coarse-question"), made_by=text_of("coarse"))
    if (model := merr.text_model) is None:
        return (coarse,)
    question = text_of("fine-question")
    asked = deciding(model.model_dump(mode="json"), type(model))
    made_by = "\n".join([text_of("fine"), text_of("label"), text_of("coarse"), json.dumps(asked)])
    name = {"none": FINE, "rules": BY_RULES, "gold": WITH_GOLD}[merr.label]
    # The line that shows the gold is no part of the question that a model is trained on.
    shown = f"{question}\n{LABEL}" if merr.label == "gold" else question
    return coarse, MerrPrompt(name, shown, made_by=made_by)


def merr_plan(merr: Merr, clips: Sequence[PlannedClip]) -> Plan:
    """One caption of each kind for each clip with pictures; raises InputError where there is none."""
    seen = [clip for clip in clips if clip.frames]
    if not seen:
        raise InputError(f"none of {len(clips)} clips has pictures; captions of MERR's kind are of a face")
    captioner = Captioner(EXPERT, prompts_of(merr), 1)
    variants = tuple(
        Variant(clip.video_id, captioner, prompt, Window(), 0, clip.gold if prompt.shows_gold else None)
        for clip in seen
        for prompt in captioner.prompts
        if clip.gold or not prompt.shows_gold
    )
    unknown = sum(clip.gold is None for clip in seen) if merr.label == "gold" else 0
    return Plan(
        *((captioner,), (Window(),), len(seen), 1, len(variants), len(variants), None, variants, unknown),
        without_frames=len(clips) - len(seen),
    )


def clue_variants(config: Config, video_ids: Sequence[str]) -> list[Variant]:
    """The clues of these clips."""
    return [
        Variant(video_id, captioner, captioner.prompts[0], Window(), 0, None)
        for captioner in clue_captioners(config)
        for video_id in video_ids
    ]


def check_names(config: Config) -> None:
    """Raise InputError where an expert is called as the captions are."""
    if any(expert.name == EXPERT for expert in config.experts):
        raise InputError(f"an expert is named {EXPERT}, as captions of caption.merr are; name it otherwise")


def missing(config: Config) -> list[str]:
    """What keeps the tables of action units from being read, one line each."""
    settings = config.expert(settings_in(config).faces)
    return experts.expert_class(settings.kind).missing(settings)
