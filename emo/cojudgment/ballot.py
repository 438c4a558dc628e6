"""The votes of many clips as columns of numbers: who gave which word, form and cluster."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo import vocabulary
from emo.arrays import starts_of
from emo.cojudgment.alternatives import shares_of_labels
from emo.cojudgment.rule import LEAST, worth_of_place
from emo.cojudgment.votes import codes, key_numbers, read_voters
from emo.vocabulary import Entry


@dataclass(frozen=True)
class Marks:
    """Who gave what, each pair once.

    row: int64 per pair, the voter; pairs are sorted by voter and by what it gave; strength: float64 per pair,
    what the mark is worth: by the strength that the voter gave, else by its place in the voter's list; group:
    int64 per pair, what was given, as a number over all (clip, what) that occur, in their order; group_clip,
    group_what: int64 per group; n_what: all `what` are below it.
    """

    row: np.ndarray
    strength: np.ndarray
    group: np.ndarray
    group_clip: np.ndarray
    group_what: np.ndarray
    n_what: int

    def support(self, weight: np.ndarray, least: np.ndarray) -> np.ndarray:
        """Sum of weight (per pair) times strength per group; least: per group, its floor."""
        worth = weight * np.maximum(self.strength, least[self.group])
        return np.bincount(self.group, weights=worth, minlength=len(self.group_clip))

    def voters(self) -> np.ndarray:
        """How many voters gave each group: int64."""
        return np.bincount(self.group, minlength=len(self.group_clip))

    def find(self, clip: np.ndarray, what: np.ndarray) -> np.ndarray:
        """The groups of (clip, what) pairs that occur."""
        groups = self.group_clip * self.n_what + self.group_what
        return np.searchsorted(groups, clip * self.n_what + what)


@dataclass(frozen=True)
class Ballot:
    """The votes of many clips as columns.

    table: the voters, sorted by clip, expert and sample; clip, expert: int64 per voter; clips, experts: their
    names, sorted; words: distinct words, sorted; form_of, cluster_of: int64 per word; meanings: the names of
    forms and clusters; written, said, meant: the marks by word, by form and by cluster; speaks: bool per
    voter; n_voters: int64 per clip, the voters that gave a label.
    """

    table: pa.Table
    clip: np.ndarray
    clips: pa.Array
    expert: np.ndarray
    experts: list[str]
    words: pa.Array
    form_of: np.ndarray
    cluster_of: np.ndarray
    meanings: list[str]
    written: Marks
    said: Marks
    meant: Marks
    speaks: np.ndarray
    n_voters: np.ndarray

    def of_families(self) -> Marks:
        """The marks by family of emotions; a cluster without one stands for itself."""
        # One word of each cluster says its family.
        word = np.zeros(len(self.meanings), dtype=np.int64)
        word[self.cluster_of] = np.arange(len(self.words))
        family = families_of(self.words)[word] if len(self.words) else word
        several = int(family.max(initial=-1)) + 1
        what = np.where(family >= 0, family, several + np.arange(len(family)))
        marks, n_what = self.meant, max(several + len(family), 1)
        return _marks(marks.row, self.clip, what[marks.group_what[marks.group]], n_what, marks.strength)


def read_ballot(votes: pa.Table, worth: Callable[[np.ndarray], np.ndarray] = worth_of_place) -> Ballot:
    """Read a votes table; raises InputError where it is not one.

    worth: from the places of labels in their voters' lists, from 0, to what each counts.
    """
    table = read_voters(votes).table
    place = key_numbers(table)
    if (place[1:] < place[:-1]).any():
        table = table.take(pa.array(np.argsort(place)))
    clip, clips = codes(table["video_id"])
    expert, experts = codes(table["expert"])

    labels = table["labels"].combine_chunks() if table.num_rows else pa.array([], pa.list_(pa.string()))
    row, word, words, at = _words(labels)
    form_of, cluster_of, meanings = _meanings(words)
    guess = _alternatives(table, labels)[at]
    by_place = worth(place_in_list(row, guess))
    given = _given_strengths(table, labels)[at]
    strength = np.where(np.isnan(given), by_place, np.maximum(given, LEAST))
    if guess.any():
        families, signs = families_of(words), signs_of(words)
        share = shares_of_labels(guess, row, clip, cluster_of[word], families[word], signs[word])
        counts = share > 0
        row, word, strength = row[counts], word[counts], (strength * share)[counts]
    speaks = np.zeros(len(clip), dtype=bool)
    speaks[row] = True
    return Ballot(
        table=table,
        clip=clip,
        clips=clips,
        expert=expert,
        experts=experts.to_pylist(),
        words=words,
        form_of=form_of,
        cluster_of=cluster_of,
        meanings=meanings,
        written=_marks(row, clip, word, max(len(words), 1), strength),
        said=_marks(row, clip, form_of[word], max(len(meanings), 1), strength),
        meant=_marks(row, clip, cluster_of[word], max(len(meanings), 1), strength),
        speaks=speaks,
        n_voters=np.bincount(clip[speaks], minlength=len(clips)),
    )


def place_in_list(row: np.ndarray, guess: np.ndarray | None = None) -> np.ndarray:
    """The place of each label among those of its voter, from 0; labels of a voter stand together.

    guess: alternatives have one number above 0, and the place of the first of them.
    """
    starts = np.flatnonzero(starts_of(row))
    place = np.arange(len(row)) - np.repeat(starts, np.diff(np.append(starts, len(row))))
    if guess is None or not guess.any():
        return place
    labels = np.arange(len(row))
    # The first label of the same voter and number; a label that is no alternative is a number by itself.
    _, first, of = np.unique(
        np.where(guess > 0, row * (int(guess.max()) + 1) + guess, -1 - labels),
        return_index=True,
        return_inverse=True,
    )
    stands_for = first[of.reshape(-1)]
    counted = np.cumsum(stands_for == labels)
    return counted[stands_for] - np.repeat(counted[starts], np.diff(np.append(starts, len(row))))


def _marks(
    row: np.ndarray, clip_of_row: np.ndarray, what: np.ndarray, n_what: int, strength: np.ndarray
) -> Marks:
    pair = row * n_what + what
    order = np.argsort(pair)
    starts = np.flatnonzero(starts_of(pair[order]))
    # Of equal pairs the strongest counts.
    strength = np.maximum.reduceat(strength[order], starts) if len(starts) else strength
    row, what = row[order[starts]], what[order[starts]]
    key = clip_of_row[row] * n_what + what
    order = np.argsort(key)
    ordered = key[order]
    begins = starts_of(ordered)
    group = np.empty(len(key), dtype=np.int64)
    group[order] = np.cumsum(begins) - 1
    groups = ordered[begins]
    return Marks(row, strength, group, groups // n_what, groups % n_what, n_what)


def _given_strengths(table: pa.Table, labels: pa.ListArray) -> np.ndarray:
    """What the voter says each of its labels is worth: float64 per label, nan where it says nothing."""
    strengths = np.full(pc.sum(pc.list_value_length(labels)).as_py() or 0, np.nan)
    if table.num_rows and "strengths" in table.schema.names:
        says = pc.is_valid(table["strengths"]).to_numpy()
        column = table["strengths"].combine_chunks()
        strengths[says[pc.list_parent_indices(labels).to_numpy()]] = pc.list_flatten(column).to_numpy()
    return strengths


def _alternatives(table: pa.Table, labels: pa.ListArray) -> np.ndarray:
    """The number that the voter gives alternatives, 0 for a label that is none: int64 per label."""
    numbers = np.zeros(pc.sum(pc.list_value_length(labels)).as_py() or 0, dtype=np.int64)
    if table.num_rows and "alternatives" in table.schema.names:
        says = pc.is_valid(table["alternatives"]).to_numpy()
        column = table["alternatives"].combine_chunks()
        numbers[says[pc.list_parent_indices(labels).to_numpy()]] = pc.list_flatten(column).to_numpy()
    return numbers


def families_of(words: pa.Array) -> np.ndarray:
    """The family of each word as a number, -1 where it is not known: int64."""
    numbers: dict[str, int] = {}
    families = (vocabulary.family_of(word) for word in words.to_pylist())
    known = (-1 if family is None else numbers.setdefault(family, len(numbers)) for family in families)
    return np.array(list(known), dtype=np.int64)


_PLEASANT = 0.2  # a valence nearer to 0 contradicts nothing


def signs_of(words: pa.Array) -> np.ndarray:
    """1 for pleasant words, -1 for unpleasant ones, 0 for those that are neither or not known: int64."""
    valences = [vocabulary.valence(word) or 0.0 for word in words.to_pylist()]
    return np.array([(one > _PLEASANT) - (one < -_PLEASANT) for one in valences], dtype=np.int64)


def _words(labels: pa.ListArray) -> tuple[np.ndarray, np.ndarray, pa.Array, np.ndarray]:
    """The voter and the word of each label; the distinct words, normalised and sorted; which labels they are.

    What is no label (`unknown`, a sentence, a bracket that an extractor left over) is no word.
    """
    written, spellings = codes(pc.list_flatten(labels).fill_null(""))
    normal = np.array([vocabulary.normalise(spelling) for spelling in spellings.to_pylist()], dtype=object)
    words = sorted(word for word in set(normal) if vocabulary.entry_of_list(word) is Entry.LABEL)
    number = {word: place for place, word in enumerate(words)}
    of_spelling = np.array([number.get(word, -1) for word in normal], dtype=np.int64)
    word = of_spelling[written]
    row = pc.list_parent_indices(labels).to_numpy().astype(np.int64)
    there = np.flatnonzero(word >= 0)
    return row[there], word[there], pa.array(words, pa.string()), there


def _meanings(words: pa.Array) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The form and the cluster of each word, as numbers, and the names of these numbers.

    A word outside the vocabulary is a cluster by itself, whatever its degree, its spaces and its hyphens.
    """
    numbers: dict[tuple[str, str], int] = {}
    forms = np.empty(len(words), dtype=np.int64)
    clusters = np.empty(len(words), dtype=np.int64)
    for place, word in enumerate(words.to_pylist()):
        form, cluster = vocabulary.base_form(word), vocabulary.cluster_of(word)
        own = ("word", vocabulary.own_form(word) or word)
        forms[place] = numbers.setdefault(own if form is None else ("form", form), len(numbers))
        clusters[place] = numbers.setdefault(own if cluster is None else ("cluster", cluster), len(numbers))
    return forms, clusters, [name for _, name in numbers]
