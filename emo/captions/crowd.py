"""What the experts say of a clip, against which a caption is held."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import mean

from emo import vocabulary
from emo.captions.gold import NEGATIVE, NEUTRAL, POSITIVE


def polarity(labels: Iterable[str], margin: float) -> str | None:
    """The polarity of a label set by the mean valence of its words; None where none of them is known."""
    known = [value for label in labels if (value := vocabulary.valence(label)) is not None]
    if not known:
        return None
    value = mean(known)
    return POSITIVE if value > margin else NEGATIVE if value < -margin else NEUTRAL


def contradicts(labels: Iterable[str], gold: str | None, margin: float) -> bool:
    """Whether the labels are positive where the gold is negative, or the other way round.

    Neutral, mixed and unknown contradict nothing: a clip whose polarity is neutral may hold a smile.
    """
    return {polarity(labels, margin), gold} == {POSITIVE, NEGATIVE}


# Of an expert's answers on a clip, the share that must name a family for the expert to vote for it.
_FAMILY_SHARE = 1 / 3


class Crowd:
    """What the experts say of each clip, as families of emotions: words agree too rarely to be compared.

    An expert has one voice per clip, whatever number of captions and votes it gave. (Of two samplings of one
    model the words agree to 0.19, the sectors of an emotion wheel to 0.62, Jaccard, on OV-MERD.)
    """

    def __init__(
        self,
        answers: Iterable[tuple[str, str, Sequence[str]]],
    ) -> None:
        """answers: video_id, expert and labels of each."""
        named: dict[tuple[str, str], list[frozenset[str]]] = defaultdict(list)
        for video_id, expert, labels in answers:
            if labels:
                named[video_id, expert].append(families(labels))
        self._voices: dict[str, dict[str, frozenset[str]]] = defaultdict(dict)
        for (video_id, expert), sets in named.items():
            self._voices[video_id][expert] = _voice(sets)

    def agreement(self, video_id: str, expert: str, labels: Sequence[str], least: int) -> float | None:
        """The share of the other experts that name a family of these labels; None with fewer than `least`
        of them, or without labels.
        """
        own = families(labels)
        others = [voice for name, voice in self._voices[video_id].items() if name != expert]
        if not own or len(others) < least:
            return None
        return sum(not own.isdisjoint(voice) for voice in others) / len(others)


def families(labels: Iterable[str]) -> frozenset[str]:
    """The families of a label set; a word that the vocabulary does not know is a family of its own."""
    return frozenset(vocabulary.family_of(label) or vocabulary.normalise(label) for label in labels)


def _voice(sets: Sequence[frozenset[str]]) -> frozenset[str]:
    named = {family for each in sets for family in each}
    return frozenset(
        family for family in named if sum(family in each for each in sets) >= _FAMILY_SHARE * len(sets)
    )
