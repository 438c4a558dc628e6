"""The names of the filters and where they draw their lines; imports nothing, the configuration needs it."""

from dataclasses import dataclass

# Filter -> what it leaves out, in the order in which a summary tells of them.
FILTERS = {
    "not_planned": "of an expert, prompt or window that is configured no more",
    "cut_off": "the expert ran out of tokens before the end",
    "no_media": "the expert saw no frame and heard no sound: nothing to train with",
    "too_short": "the short tail of the lengths",
    "too_long": "the long tail of the lengths",
    "repetition": "the same words over and over",
    "refusal": "the expert declined, or says that it was given nothing",
    "language": "another language than asked for",
    "no_person": "no person is mentioned",
    "contradiction": "its emotions have the opposite polarity of the gold",
    "crowd": "too few of the other experts agree with its emotions",
    "near_duplicate": "almost the words of another caption",
}


@dataclass(frozen=True)
class Rules:
    """Where the filters draw their lines; words: a Chinese character counts as one.

    on: the filters that are used. tail_least: captions that a prompt needs before its tails are looked at.
    tail: the share at each end of a prompt's lengths (in words) that is left out; shortest, longest: words of
    a caption, whatever the tail is. repeated: of the runs of four words at most this share may have been
    there before. language: a code such as `en`, None: any. margin: mean valence beyond which a caption is
    positive or negative. crowd_least: other experts with an opinion, without which there is no crowd;
    crowd_share: this share of them must agree. duplicate: Jaccard similarity of runs of three words from
    which two captions are near-duplicates; duplicates_among: the captions of one `clip`, or `all`.
    """

    on: frozenset[str] = frozenset(FILTERS)
    tail: float = 0.02
    tail_least: int = 50
    shortest: int = 10
    longest: int = 400
    repeated: float = 0.3
    language: str | None = "en"
    margin: float = 0.1
    crowd_least: int = 2
    crowd_share: float = 0.5
    duplicate: float = 0.8
    duplicates_among: str = "clip"
