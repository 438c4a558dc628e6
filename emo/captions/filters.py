"""What is left out of the captions, and by which filter. Every filter judges on its own and can be switched.

The set follows MER-Caption+ (Lian et al., AffectGPT, ICML 2025): both tails of the length are dropped, and a
model-based crowd must agree with the emotions of the caption. The other filters are for what language models
do when they fail: refuse, repeat, fall into another language, describe the scene only.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from emo.captions.crowd import Crowd, contradicts
from emo.captions.duplicates import near_duplicates
from emo.captions.rules import FILTERS, Rules
from emo.captions.texts import is_other_language, is_refusal, is_repetitive, mentions_person, words_of


@dataclass(frozen=True)
class Candidate:
    """One caption before it is judged. id: unique; prompt: its name; labels: extracted from the text; media:
    whether any went along; cut_off: whether the expert stopped for lack of tokens; planned: whether the
    configuration asks for its like.
    """

    id: str
    video_id: str
    expert: str
    prompt: str
    text: str
    labels: tuple[str, ...] = ()
    media: bool = True
    cut_off: bool = False
    planned: bool = True


@dataclass(frozen=True)
class Verdict:
    """failed: the filters, in the order of FILTERS; quality: the share of the crowd that agrees with the
    caption, None where there is no crowd or the caption names no emotion.
    """

    failed: tuple[str, ...] = ()
    quality: float | None = None


@dataclass(frozen=True)
class Evidence:
    """What is known of the clips beside their captions.

    gold: video_id -> polarity, None where no gold was given; opinions: video_id -> expert -> the label sets
    that it gave, each of one answer.
    """

    gold: Mapping[str, str] | None = None
    opinions: Mapping[str, Mapping[str, Sequence[Sequence[str]]]] = field(default_factory=dict)


def judge(candidates: Sequence[Candidate], evidence: Evidence, rules: Rules) -> dict[str, Verdict]:
    """The verdict on each caption by its id; the order of the captions decides nothing.

    Near-duplicates are looked for among those that pass every other filter, so that a bad caption never
    takes the place of a good one.
    """
    short, long = _tails(candidates, rules)
    crowd = Crowd(_answers(candidates, evidence))
    verdicts: dict[str, Verdict] = {}
    for caption in candidates:
        words = words_of(caption.text)
        quality = crowd.agreement(caption.video_id, caption.expert, caption.labels, rules.crowd_least)
        gold = evidence.gold.get(caption.video_id) if evidence.gold is not None else None
        found = {
            "not_planned": not caption.planned,
            "cut_off": caption.cut_off,
            "no_media": not caption.media,
            "too_short": len(words) < rules.shortest or caption.id in short,
            "too_long": len(words) > rules.longest or caption.id in long,
            "repetition": is_repetitive(caption.text, rules.repeated),
            "refusal": is_refusal(caption.text),
            "language": rules.language is not None and is_other_language(caption.text, rules.language),
            "no_person": not mentions_person(caption.text),
            "contradiction": contradicts(caption.labels, gold, rules.margin),
            "crowd": quality is not None and quality < rules.crowd_share,
        }
        failed = tuple(name for name in FILTERS if name in rules.on and found.get(name))
        verdicts[caption.id] = Verdict(failed, quality)
    if "near_duplicate" in rules.on:
        passed = [caption for caption in candidates if not verdicts[caption.id].failed]
        for id_ in _duplicates(passed, verdicts, rules):
            verdicts[id_] = Verdict(("near_duplicate",), verdicts[id_].quality)
    return verdicts


def inapplicable(rules: Rules, evidence: Evidence, experts: Collection[str]) -> dict[str, str]:
    """The filters that are on and have nothing to judge by -> why."""
    reasons = {}
    if evidence.gold is None:
        reasons["contradiction"] = "no gold was given"
    voters = {expert for opinions in evidence.opinions.values() for expert in opinions} | set(experts)
    if len(voters) <= rules.crowd_least:
        reasons["crowd"] = f"{len(voters)} experts; it takes {rules.crowd_least} beside the caption's own"
    if rules.language is None:
        reasons["language"] = "any language is allowed"
    return {name: reason for name, reason in reasons.items() if name in rules.on}


def _answers(candidates: Iterable[Candidate], evidence: Evidence) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Who said what of which clip: the captions themselves, and the votes."""
    for video_id, of_clip in evidence.opinions.items():
        for expert, label_sets in of_clip.items():
            for labels in label_sets:
                yield video_id, expert, labels
    for caption in candidates:
        yield caption.video_id, caption.expert, caption.labels


def _tails(candidates: Iterable[Candidate], rules: Rules) -> tuple[set[str], set[str]]:
    """The captions in the short and in the long tail; by prompt, since prompts ask for different lengths."""
    lengths: dict[str, dict[str, int]] = defaultdict(dict)
    for caption in candidates:
        lengths[caption.prompt][caption.id] = len(words_of(caption.text))
    short: set[str] = set()
    long: set[str] = set()
    for of_prompt in lengths.values():
        if len(of_prompt) >= rules.tail_least and rules.tail > 0:
            values = np.array(list(of_prompt.values()))
            # Of captions themselves, so that a tail never holds more than its share.
            low = np.quantile(values, rules.tail, method="lower")
            high = np.quantile(values, 1 - rules.tail, method="higher")
            short.update(id_ for id_, length in of_prompt.items() if length < low)
            long.update(id_ for id_, length in of_prompt.items() if length > high)
    return short, long


def _duplicates(passed: Sequence[Candidate], verdicts: Mapping[str, Verdict], rules: Rules) -> set[str]:
    """The near-duplicates among these; of two the one with which the crowd agrees more stays."""

    def worse(caption: Candidate) -> tuple[float, str]:
        quality = verdicts[caption.id].quality
        return (-1.0 if quality is None else -quality - 1.0, caption.id)

    groups: dict[str, list[Candidate]] = defaultdict(list)
    for caption in sorted(passed, key=worse):
        groups[caption.video_id if rules.duplicates_among == "clip" else ""].append(caption)
    return {
        group[place].id
        for group in groups.values()
        for place in near_duplicates([words_of(caption.text) for caption in group], rules.duplicate)
    }
