"""What a text shows of itself: its words, and the ways in which a language model fails."""

import re
from collections import defaultdict
from functools import cache

from emo.answers import declines
from emo.extraction.cues import cues_of
from emo.media.transcript import guess_language

_HAN = r"\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+(?:['’-][^\W_{_HAN}]+)*")
_SENTENCE = re.compile(r"[^.!?。！？\n]+")


def words_of(text: str) -> list[str]:
    """The words of a text, lower case, without punctuation; each Chinese character is one."""
    return _WORD.findall(text.lower())


_RUN = 4  # words
# Of 166 human-checked English descriptions (OV-MERD), 98 in 100 repeat less than 0.15 of their runs of four
# words; a loop repeats nearly all of them.
_LEAST_RUNS = 16
_SAME_SENTENCES = 3
_LEAST_SENTENCE = 3  # words; "Yes. Yes. Yes." may be quoted speech


def is_repetitive(text: str, repeated: float) -> bool:
    """Whether more than a share of its runs of four words were there before, or a sentence stands thrice."""
    sentences: dict[tuple[str, ...], int] = defaultdict(int)
    for sentence in _SENTENCE.findall(text):
        words = tuple(words_of(sentence))
        if len(words) >= _LEAST_SENTENCE:
            sentences[words] += 1
    if max(sentences.values(), default=0) >= _SAME_SENTENCES:
        return True
    words = tuple(words_of(text))
    runs = [words[start : start + _RUN] for start in range(len(words) - _RUN + 1)]
    return len(runs) >= _LEAST_RUNS and 1 - len(set(runs)) / len(runs) > repeated


def is_refusal(text: str) -> bool:
    """Whether the expert declines to answer, or says that it was given nothing to look at.

    A part that declines is enough, also beside a description: a model trained on it would decline too.
    """
    return declines(text)


# Words that nearly every English text holds and hardly any text of another language in Latin script.
_ENGLISH = frozenset(
    [
        "the",
        "of",
        "and",
        "with",
        "that",
        "this",
        "are",
        "by",
        "to",
        "its",
        "their",
        "which",
        "from",
        "his",
        "her",
    ]
)
_ENGLISH_SHARE = 0.05
# A shorter text, such as a list of labels, may hold none of them.
_SURE_LANGUAGE = 12
_FOREIGN_LETTERS = 0.1
_LATIN = re.compile(r"[A-Za-z]")
_EAST_ASIAN = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")


def is_other_language(text: str, language: str) -> bool:
    """Whether a text is in another language than this (ISO 639-1), or mixes scripts.

    A short text whose language cannot be told counts as the wanted one if its script fits.
    """
    letters = sum(map(str.isalpha, text))
    if not letters:
        return False
    east_asian = len(_EAST_ASIAN.findall(text)) / letters
    if language not in ("zh", "ja", "ko"):
        if east_asian > _FOREIGN_LETTERS:
            return True
        if language == "en" and len(_LATIN.findall(text)) < 0.9 * letters:
            return True
    guess = guess_language(text)
    if guess is not None:
        return guess != language
    if language in ("zh", "ja", "ko"):
        return east_asian < 0.5
    words = words_of(text)
    found = [word for word in words if word in _ENGLISH]
    is_english = len(found) >= _ENGLISH_SHARE * len(words)
    return (language == "en") != is_english and len(words) >= _SURE_LANGUAGE


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NO_THIRD_PERSON = _set("i you we it me us everyone")
_BODY_AND_VOICE = _set(
    "persons child children kid kids teenager adult adults men women boys girls ladies gentlemen individual "
    "individuals subject protagonist actor actress narrator singer host interviewee his her hers their "
    "theirs himself herself themselves face facial voice gaze eyes mouth smiles smiling"
)
_DENIED = _set("no without nobody none neither nor any not")
_DENIED_WITHIN = 3  # words before
_CHINESE_PERSON = re.compile(
    r"(?<!没有)(?<!无)(?<!没)(?<!任何)(?:人物|主角|男|女|孩|他|她|说话者|说话人|讲话人|演员|某人|一个人|面部|脸|表情|声音|嗓音|目光|眼神)"
)


@cache
def _persons() -> frozenset[str]:
    return (cues_of("english").persons - _NO_THIRD_PERSON) | _BODY_AND_VOICE


def mentions_person(text: str) -> bool:
    """Whether a person, or a person's face or voice, is spoken of; "no face was found" does not count."""
    words = words_of(text.replace("’", "'"))
    for at, word in enumerate(words):
        if word.removesuffix("'s") in _persons() and _DENIED.isdisjoint(
            words[max(0, at - _DENIED_WITHIN) : at]
        ):
            return True
    return _CHINESE_PERSON.search(text) is not None
