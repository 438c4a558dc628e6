"""Which captions are made of which clip: experts x prompts x windows x samples, up to a target count.

The target counts what the filters leave. Nobody knows beforehand how much that is: a plan makes so many
captions as it is told to, and the job plans again with more while too few are left.
"""

import hashlib
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from emo.captions.prompts import CaptionPrompt
from emo.captions.windows import Window, frame_places
from emo.errors import InputError

# How often at most an expert is asked the same for the sake of a target.
MOST_SAMPLES = 100


@dataclass(frozen=True)
class Captioner:
    """One expert: how it can be asked.

    prompts: what it is asked, one or more; samples: how often at most it is asked the same, None: as often
    as needed (an expert that always answers the same can be asked once).
    """

    expert: str
    prompts: tuple[CaptionPrompt, ...]
    samples: int | None


@dataclass(frozen=True)
class PlannedClip:
    """What the plan knows of a clip. frames: how many it has; gold: its polarity, None where not known."""

    video_id: str
    frames: int
    gold: str | None = None


@dataclass(frozen=True)
class Variant:
    """One caption to be made."""

    video_id: str
    captioner: Captioner
    prompt: CaptionPrompt
    window: Window
    sample: int
    gold: str | None

    @property
    def prompt_name(self) -> str:
        """As the tables write it: with the polarity that was shown, if one was."""
        return f"{self.prompt.name}:{self.gold}" if self.prompt.shows_gold else self.prompt.name

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """The key of the tables of drafts."""
        return self.video_id, self.captioner.expert, self.prompt_name, self.window.name, self.sample


@dataclass(frozen=True)
class Plan:
    """The captions that are wanted, and the product that they are taken from.

    clips: those with pictures; without_frames: the others, of which no caption is made; samples: how often an
    expert that can is asked the same; product: how many captions there would be of all
    combinations and samples; most: the same with as many samples as are allowed; unknown: clips that prompts
    with the gold must leave out.
    """

    captioners: tuple[Captioner, ...]
    windows: tuple[Window, ...]
    clips: int
    samples: int
    product: int
    most: int
    target: int | None
    variants: tuple[Variant, ...]
    unknown: int
    without_frames: int = 0

    @property
    def exhausted(self) -> bool:
        """Whether there is nothing left that more captions could be made of."""
        return len(self.variants) == self.most

    def figures(self) -> dict[str, Any]:
        """The product as one JSON object."""
        return {
            "clips": self.clips,
            "clips_without_frames": self.without_frames,
            "experts": {one.expert: [prompt.name for prompt in one.prompts] for one in self.captioners},
            "windows": [window.name for window in self.windows],
            "samples": self.samples,
            "possible": self.product,
            "at_most": self.most,
            "target": self.target,
            "captions": len(self.variants),
        }

    def lines(self) -> list[str]:
        """The product, as a person reads it."""
        lines = []
        for captioner in self.captioners:
            samples = self.samples if captioner.samples is None else min(self.samples, captioner.samples)
            prompts = ", ".join(prompt.name for prompt in captioner.prompts)
            lines.append(
                f"{captioner.expert}: {len(captioner.prompts)} prompts ({prompts}) x {len(self.windows)} "
                f"windows ({', '.join(window.name for window in self.windows)}) x {samples} samples"
            )
        count = len(self.variants)
        each = f", {count / self.clips:.1f} per clip" if self.clips else ""
        wanted = "all" if self.target is None else f"the target is {self.target}"
        lines.append(f"{self.clips} clips: {self.product} captions are possible; {wanted}: {count}{each}")
        if self.target is not None:
            lines.append(
                f"the target is what is left to train on: for all else more are made, {self.most} at most"
            )
        if self.without_frames:
            lines.append(
                f"{self.without_frames} clips have sound alone: no caption is made of them, for a window is "
                "a part of the pictures"
            )
        if self.unknown:
            lines.append(f"{self.unknown} clips have no gold: no prompt that shows it is asked about them")
        return lines


def make_plan(
    clips: Sequence[PlannedClip],
    captioners: Sequence[Captioner],
    windows: Sequence[Window],
    samples: int | None,
    target: int | None,
    count: int | None = None,
) -> Plan:
    """Choose the captions; every clip gets as many as any other, give or take one.

    samples: None is 1 without a target, and with one as many as `count` takes; count: how many captions to
    make, where the filters take so many that the target itself is too few. Raises InputError where no
    clip has pictures, and where all combinations and samples stay below the target.
    """
    everything, clips = clips, [clip for clip in clips if clip.frames]
    if everything and not clips:
        raise InputError(
            f"none of {len(everything)} clips has pictures, only sound; captions are made of pictures"
        )
    combinations = [
        (captioner, prompt, window)
        for captioner in captioners
        for prompt in captioner.prompts
        for window in windows
    ]
    asked = [(clip, list(_possible(clip, combinations))) for clip in clips]

    def possible(number: int) -> int:
        return sum(_most(captioner, number) for _, found in asked for captioner, _, _ in found)

    wanted = target if count is None else count
    most = possible(samples if samples is not None else 1 if target is None else MOST_SAMPLES)
    if samples is None:
        samples = 1
        again = possible(2) - possible(1)
        if wanted is not None and again:
            samples = min(MOST_SAMPLES, samples + max(0, math.ceil((wanted - possible(1)) / again)))
    product = possible(samples)
    if target is not None and product < target:
        raise InputError(
            f"caption.target is {target}, and {len(clips)} clips give {product} captions by "
            f"{len(combinations)} combinations of expert, prompt and window; add some of these"
        )
    lists = [list(_in_order(clip, found, samples)) for clip, found in asked]
    chosen = tuple(_evenly([clip.video_id for clip in clips], lists, product if wanted is None else wanted))
    shows_gold = any(prompt.shows_gold for _, prompt, _ in combinations)
    unknown = sum(clip.gold is None for clip in clips) if shows_gold else 0
    return Plan(
        *(tuple(captioners), tuple(windows), len(clips), samples, product, most, target, chosen, unknown),
        without_frames=len(everything) - len(clips),
    )


_Combination = tuple[Captioner, CaptionPrompt, Window]


def _possible(clip: PlannedClip, combinations: Iterable[_Combination]) -> Iterator[_Combination]:
    """The combinations that this clip allows: a window of its own frames, a gold where it is shown."""
    first: dict[tuple[int, ...], Window] = {}
    for captioner, prompt, window in combinations:
        places = tuple(frame_places(window, clip.frames))
        # A short clip has windows with the same frames: they would be the same question.
        if places and first.setdefault(places, window) == window and (clip.gold or not prompt.shows_gold):
            yield captioner, prompt, window


def _most(captioner: Captioner, samples: int) -> int:
    return samples if captioner.samples is None else min(samples, captioner.samples)


def _in_order(clip: PlannedClip, found: list[_Combination], samples: int) -> Iterator[Variant]:
    """All captions of a clip, those that come first being the most different from each other.

    Clips begin at different combinations, so that a target that cuts off the last ones cuts off all alike.
    """
    shift = _hash(clip.video_id) % len(found) if found else 0
    rotated = found[shift:] + found[:shift]
    for sample, (captioner, prompt, window) in itertools.product(range(samples), rotated):
        if sample < _most(captioner, samples):
            gold = clip.gold if prompt.shows_gold else None
            yield Variant(clip.video_id, captioner, prompt, window, sample, gold)


def _evenly(video_ids: Sequence[str], lists: Sequence[list[Variant]], count: int) -> Iterator[Variant]:
    """The first `count` in rounds: the first of every clip, then the second of every clip, and so on."""
    order = sorted(range(len(lists)), key=lambda at: _hash(video_ids[at]))
    rounds = range(max(map(len, lists), default=0))
    in_rounds = (lists[at][place] for place in rounds for at in order if place < len(lists[at]))
    return itertools.islice(in_rounds, count)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def further(plan: Plan, made: int, kept: int, gained: int | None) -> int | None:
    """How many captions to make in all, where `kept` of the `made` ones are left; None for no more.

    gained: what the last addition brought, None where there was none. No more are made where the target is
    reached, where nothing is left to make them of, and where the last addition brought nothing at all.
    """
    if plan.target is None or kept >= plan.target or plan.exhausted or (gained is not None and gained <= 0):
        return None
    # By the share that is left so far, but not below one in ten: a bad beginning must not ask for millions.
    share = max(kept / made, 0.1) if made else 1.0
    return min(plan.most, max(made, len(plan.variants)) + math.ceil((plan.target - kept) / share))
