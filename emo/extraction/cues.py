"""How a language ascribes an emotion to somebody, denies it, or gives it to somebody else.

The tables, `english.yaml` and `chinese.yaml`, are closed classes of words (verbs of feeling and showing,
negators, other people); they know nothing of any data set, and the same rules read every language.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

Words = frozenset[str]


@dataclass(frozen=True)
class Cues:
    """The cue words of one language, in lower case; "before" and "after" are as the text is read.

    A phrase is one word to the rules; the YAML files write its spaces as underscores.

    feeling: verbs and nouns that make somebody's emotion of what stands after them; showing: verbs that let
    an emotion be seen; inferring: the same, but only a negator right before the verb denies the emotion.
    state: nouns after an emotion word that make it one ("a low mood"); scene: nouns for what is around, so
    that a "pleasant conversation" is nobody's feeling.
    fillers: may stand between a cue and the emotion; skipped: may stand between an emotion and its noun.
    joins, commas: stand between the members of one enumeration; commas also part the items of a list.
    either: such words between them make alternatives of them; both: such words part them again.
    negators: deny what follows. unreal: wished, feigned, asked or denied across the bearer, one of persons,
    who may stand between such a word and the emotion. vanished: right after an emotion, it is no more.
    others: somebody else; others_after: words that are somebody else after one of the words that they are
    mapped to ("other person", "her mother"); relatives: lead back to the person before them ("who");
    toward: makes somebody the object of an emotion, not its bearer; articles: may stand before a person.
    hedges: one of several guesses. concluding: what follows is what the text makes of it all.
    list_heads, list_verbs: open an explicit list ("emotional state is ..."); vague: what such a list may
    hold that is no label.
    plain_words: without emotion, and must not be taken apart ("no doubt"; in Chinese 觉得, which lends no 得
    to 得意).
    """

    feeling: Words
    showing: Words
    inferring: Words
    state: Words
    scene: Words
    fillers: Words
    skipped: Words
    joins: Words
    commas: Words
    either: Words
    both: Words
    negators: Words
    unreal: Words
    persons: Words
    others: Words
    others_after: dict[str, Words]
    relatives: Words
    toward: Words
    articles: Words
    vanished: Words
    hedges: Words
    concluding: Words
    list_heads: Words
    list_verbs: Words
    vague: Words
    plain_words: Words

    def words(self) -> set[str]:
        """Every word of every table."""
        found: set[str] = set()
        for table in vars(self).values():
            found.update(table)
        for before in self.others_after.values():
            found.update(before)
        return found


def _words(text: str) -> Words:
    return frozenset(word.replace("_", " ") for word in text.split())


def _table(value: Any) -> Any:
    if isinstance(value, str):
        return _words(value)
    return {who: _words(rule["after"]) for rule in value for who in _words(rule["who"])}


@cache
def cues_of(language: str) -> Cues:
    """The cues of `english` or `chinese`."""
    text = (resources.files(__package__) / f"{language}.yaml").read_text(encoding="utf-8")
    return Cues(**{name: _table(value) for name, value in yaml.safe_load(text).items()})
