"""The words expert: what the transcript says about the speaker's state, in English and Chinese. A baseline.

It counts two things as evidence: an emotion word that the speaker says of themself ("I am so scared"), and a
phrase that people use when they feel something and do not name it ("how dare you"; `phrases.tsv`). What is
denied, wished, asked, told of an earlier time or said of somebody else is no evidence. It hears no irony and
knows no context.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, ClassVar

from emo import vocabulary
from emo.errors import InputError
from emo.experts import measuring, protocol, words_chinese, words_english
from emo.experts.protocol import OWN_LICENCE, TRANSCRIPT, Card, Clip, Description

VERSION = "6"


_LANGUAGES = frozenset(["und", "en", "eng", "english", "zh", "zho", "chi", "cmn", "yue", "chinese"])
_OF_THEMSELF = "says of themself"
_NAMED, _PHRASE = 1.0, 0.7  # how much evidence weighs
_MOST_STATES = 3
_LEAST_SHARE = 0.5  # of the weight of the strongest state

_OTHER_SCRIPT = re.compile(r"[\u0370-\u06ff\u0900-\u0dff\u0e00-\u0eff\u3040-\u30ff\uac00-\ud7af]")
_MARKUP = re.compile(r"<[^<>]{0,200}>|\{\\[^{}]{0,200}\}")
_PARTED = re.compile(r"(?<=[\u4e00-\u9fff]) +(?=[\u4e00-\u9fff])")
_SENTENCE = re.compile(r"[^.!?。\n]+[.!?。\n]*")
_CLAUSE = re.compile(r"[,;:、()\[\]\"“”—–]|\s-\s|\b(?:but|because|although|though|while)\b")


@dataclass(frozen=True)
class Evidence:
    """One thing that was said: `act` is what the speaker does with it, in words that follow "The speaker"."""

    word: str
    quote: str
    act: str
    weight: float


@dataclass(frozen=True)
class Reading:
    """What a transcript holds.

    evidence: in the order of the text; denied: emotions that the speaker denies; not_counted: how many
    emotion words are said of somebody else, asked or wished.
    """

    evidence: tuple[Evidence, ...]
    denied: tuple[str, ...]
    not_counted: int

    def states(self) -> list[str]:
        """The states that the evidence supports, one per cluster, the strongest first, at most three."""
        weights: dict[str, float] = defaultdict(float)
        names: dict[str, str] = {}
        for item in sorted(self.evidence, key=lambda item: -item.weight):
            cluster = vocabulary.cluster_of(item.word) or item.word
            weights[cluster] += item.weight
            names.setdefault(cluster, item.word)
        top = max(weights.values(), default=0.0)
        kept = [cluster for cluster, weight in weights.items() if weight >= _LEAST_SHARE * top]
        return [names[cluster] for cluster in sorted(kept, key=lambda cluster: -weights[cluster])][
            :_MOST_STATES
        ]


class WordsExpert(measuring.MeasuringExpert):
    """Reads the transcript; sees and hears nothing."""

    Settings: ClassVar[type[protocol.Settings]] = measuring.Settings

    def __init__(self, settings: Any) -> None:
        self.card = Card(
            name=settings.name,
            modalities=(TRANSCRIPT,),
            model="word-lists",
            revision=VERSION,
            licence=OWN_LICENCE,
        )
        _phrases()
        vocabulary.longest_form()

    @classmethod
    def reads_transcript(cls, settings: Any) -> bool:
        return True

    def describe_one(self, clip: Clip) -> Description:
        if clip.transcript is None or not clip.transcript.strip():
            return Description(
                "There is no transcript, so nothing is known of what is said.", degraded=(TRANSCRIPT,)
            )
        return Description(describe_transcript(clip.transcript, clip.language))


def normalise(transcript: str) -> str:
    """Lower case, full-width marks as ASCII, markup of subtitle formats taken out.

    A space between two Chinese words is a comma: Chinese subtitles part clauses so.
    """
    text = unicodedata.normalize("NFKC", _MARKUP.sub(" ", transcript)).lower()
    text = _PARTED.sub(",", text)
    return re.sub(r"[^\S\n]+", " ", text.replace("’", "'").replace("‘", "'")).strip()


def read(transcript: str) -> Reading:
    """What the transcript says of the speaker's state, from emotion words and from phrases."""
    text = normalise(transcript)
    found: list[tuple[int, Evidence]] = []
    spans: list[tuple[int, int, str]] = []
    for act, word_of_phrase, pattern in _phrases():
        for match in pattern.finditer(text):
            start, end = match.span()
            if _is_not_meant(act, _sentence_before(text, start)):
                continue
            said = any(word_of_phrase == word and start < last and first < end for first, last, word in spans)
            spans.append((start, end, word_of_phrase))
            if said:
                continue  # what two patterns find was said once
            quote = " ".join(match.group().split()).strip(" .,!?。[]()")
            found.append((start, Evidence(word_of_phrase, quote, act, _PHRASE)))
    denied: list[str] = []
    not_counted = 0
    for place, form, verdict in _named(text):
        if any(start <= place < end for start, end, _ in spans):
            continue  # the phrase has said it: "I'm so sorry", "don't be afraid"
        word = vocabulary.forms()[form]
        if verdict == "self":
            found.append((place, Evidence(word.headword, form, _OF_THEMSELF, _NAMED)))
        elif verdict == "denied" and form in words_english.UNHAPPY_WITHOUT | words_chinese.UNHAPPY_WITHOUT:
            found.append((place, Evidence("unhappy", f"not {form}", _OF_THEMSELF, _PHRASE)))
        elif verdict == "denied":
            denied.append(form)
        else:
            not_counted += 1
    found.sort(key=lambda item: item[0])
    return Reading(tuple(evidence for _, evidence in found), tuple(dict.fromkeys(denied)), not_counted)


def _sentence_before(text: str, place: int) -> str:
    """What stands before a place in its sentence."""
    start = max(text.rfind(mark, 0, place) for mark in ".!?。\n")
    return text[start + 1 : place]


# Acts that tell of the state that the speaker is in: somebody else's is not theirs.
_OWN_ACTS = frozenset(
    (
        "says how they are",
        "says that they will not stop",
        "tells of a success",
        "asks what to do",
        "says that they cannot go on",
        "cannot wait for something",
        "says that it fell short",
        "calls for help",
        "says that it went well in the end",
        "says that it is too much",
        "would rather not be seen like that",
        "would like to be in the place of somebody",
        "says what they like",
        "says that it was their own doing",
        "is in pain",
        "looks ahead",
    )
)
_JUDGING_ACTS = frozenset(("calls something good", "calls something foul", "laughs", "praises somebody"))
_UNLESS_REGRET = "says what should have been otherwise"
_CONDITION = re.compile(r"\b(if|unless|when|whenever|whether|in case|suppose|pretend)\b")
_DENIED_BEFORE = re.compile(r"(\b(not|never|hardly|no)|n't)( \w+)?\s*$|(不|没|没有|不是|不算|不太)$")
_REPORTED = re.compile(
    r"\b(you|he|she|they|who|everyone|people|mom|dad|\w+s) (just |always |never )?"
    r"(say|says|said|think|thinks|thought|tells?|told|asked|called|yelled)\b"
)


def _is_not_meant(act: str, before: str) -> bool:
    """Whether a phrase after `before`, the beginning of its sentence, is not the speaker's own, or not so."""
    if act == _UNLESS_REGRET:
        return False
    if _CONDITION.search(before) or words_chinese.CONDITION.search(before):
        return True
    if act in _JUDGING_ACTS and _DENIED_BEFORE.search(before):
        return True
    if act not in _OWN_ACTS:
        return False
    clause = re.split("[,;:、]", before)[-1]
    return bool(_REPORTED.search(before)) or words_chinese.subject_of(clause) == "other"


def describe_transcript(transcript: str, language: str | None) -> str:
    """The transcript's evidence in words, and the state that it suggests, if any."""
    text = normalise(transcript)
    han, latin, other = (
        len(kind.findall(text)) for kind in (words_chinese.HAN, words_english.LATIN, _OTHER_SCRIPT)
    )
    code = re.split(r"[-_]", language.lower())[0] if language else ""
    if (code and code not in _LANGUAGES) or other > han + latin:
        named = f" ({language})" if code and code not in _LANGUAGES else ""
        return f"The transcript is in a language{named} that was not read: only English and Chinese are."
    if not han and not latin:
        return "The transcript has no words in it."
    reading = read(transcript)
    sentences = [_form(text, han, latin, code)]
    groups: dict[str, list[str]] = defaultdict(list)
    for item in reading.evidence:
        if item.quote not in groups[item.act]:
            groups[item.act].append(item.quote)
    for act, quotes in groups.items():
        sentences.append(f'The speaker {act}: "{" ... ".join(quotes)}".')
    if reading.denied:
        sentences.append(f'The speaker says of themself, only to deny it: "{" ... ".join(reading.denied)}".')
    if reading.not_counted:
        amount = "1 emotion word" if reading.not_counted == 1 else f"{reading.not_counted} emotion words"
        sentences.append(f"Not counted: {amount}, said of somebody else, asked or wished.")
    states = reading.states()
    if not states:
        sentences.append("The words alone show no clear emotion.")
        return " ".join(sentences)
    named_states = states[0] if len(states) == 1 else f"{', '.join(states[:-1])} and {states[-1]}"
    article = "an" if named_states[0] in "aeiou" else "a"
    mean = sum(vocabulary.valence(state) or 0.0 for state in states) / len(states)
    scale = f"mean valence {mean:+.1f} on a scale from -1 to 1"
    sentences.append(f"The words suggest {article} {named_states} state ({scale}).")
    return " ".join(sentences)


def _form(text: str, han: int, latin: int, code: str) -> str:
    parts = []
    if latin:
        words = "1 word" if latin == 1 else f"{latin} words"
        parts.append(f"{words} in English" if code else f"{words} in Latin letters (read as English)")
    if han:
        parts.append(f"{han} Chinese character" + "s" * (han != 1))
    marks = [
        f"{count} {name} mark" + "s" * (count != 1)
        for name, count in (("exclamation", text.count("!")), ("question", text.count("?")))
        if count
    ]
    ending = f", with {' and '.join(marks)}" if marks else ""
    return f"The transcript has {' and '.join(parts)}{ending}."


def _named(text: str) -> Iterator[tuple[int, str, str]]:
    """Each emotion word: its place, its form, and whose it is: `self`, `denied` (of the self) or `other`."""
    for sentence in _SENTENCE.finditer(text):
        start = sentence.start()
        clauses: list[tuple[int, str]] = []
        last = 0
        for cut in _CLAUSE.finditer(sentence.group()):
            clauses.append((start + last, sentence.group()[last : cut.start()]))
            last = cut.end()
        clauses.append((start + last, sentence.group()[last:]))
        asked = sentence.group().rstrip().endswith("?")
        before = ""
        for place, clause in clauses:
            yield from words_english.named(place, clause, asked)
            yield from words_chinese.named(place, clause, before, asked)
            before += clause


@cache
def _phrases() -> tuple[tuple[str, str, re.Pattern[str]], ...]:
    """act, word and pattern of each line of `phrases.tsv`; raises InputError where it is broken."""
    text = (resources.files(__package__) / "phrases.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]
    phrases = []
    for row in rows[1:]:
        if len(row) != 3 or vocabulary.base_form(row[1]) != row[1]:
            raise InputError(f"phrases.tsv: expected act, a word of the vocabulary and a pattern, got {row}")
        phrases.append((row[0], row[1], re.compile(row[2])))
    return tuple(phrases)
