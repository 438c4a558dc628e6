"""Co-judgment: many voters' label sets become one, for any number of clips at once.

Everything here works on columns: a clip is a number, a word is a number, and a group is a run of equal
numbers in a sorted column. No Python code runs once per clip. All rows of a clip must be in the same table;
beyond that a table may be cut anywhere, which is what the reduce over a large data set does.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo import tables, vocabulary
from emo.errors import InputError
from emo.judge.votes import codes, read_voters

JUDGMENT_COLUMNS = tuple(name for name in tables.JUDGMENTS.schema.names if name != "run_id")
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Rule:
    """How many voters make a label win.

    share: a label wins if at least this share (0 to 1) of the voters of the clip gave it; where none does,
    the one that most gave wins.
    """

    share: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InputError(f"judge: share is {self.share}; expected a number from 0 to 1")

    @property
    def judge(self) -> str:
        """The name that stands in the `judge` column."""
        return f"share-{self.share:g}"


@dataclass(frozen=True)
class _Marks:
    """Who gave what, each pair once.

    row: int64 per pair, the voter; group: int64 per pair, what it gave, as a number over all (clip, what)
    that occur, in their order; group_clip, group_what: int64 per group; n_what: all `what` are below it.
    """

    row: np.ndarray
    group: np.ndarray
    group_clip: np.ndarray
    group_what: np.ndarray
    n_what: int

    def support(self, weight: np.ndarray) -> np.ndarray:
        """Sum of the voters' weights per group."""
        return np.bincount(self.group, weights=weight[self.row], minlength=len(self.group_clip))

    def find(self, clip: np.ndarray, what: np.ndarray) -> np.ndarray:
        """The groups of (clip, what) pairs that occur."""
        groups = self.group_clip * self.n_what + self.group_what
        return np.searchsorted(groups, clip * self.n_what + what)


def _distinct(values: np.ndarray) -> np.ndarray:
    """Sorted, each once. numpy's own `unique` hashes first, which costs fifty times the sort here."""
    ordered = np.sort(values)
    return ordered[_starts(ordered)]


def _starts(ordered: np.ndarray) -> np.ndarray:
    starts = np.ones(len(ordered), dtype=bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    return starts


def _marks(row: np.ndarray, clip_of_row: np.ndarray, what: np.ndarray, n_what: int) -> _Marks:
    pair = _distinct(row * n_what + what)
    row, what = pair // n_what, pair % n_what
    key = clip_of_row[row] * n_what + what
    order = np.argsort(key, kind="stable")
    starts = _starts(key[order])
    group = np.empty(len(key), dtype=np.int64)
    group[order] = np.cumsum(starts) - 1
    groups = key[order][starts]
    return _Marks(row, group, groups // n_what, groups % n_what, n_what)


def judge_votes(votes: pa.Table, rule: Rule, descriptions: pa.Table | None = None) -> pa.Table:
    """One judgment for each clip of `votes` that has a voter, sorted by video_id.

    votes: a votes table (extra columns are not read; failed rows are no voters; the newest run of a key
    counts) with all rows of each of its clips. descriptions: a descriptions table, for the `description`
    column. Returns the columns of the judgments table but `run_id`, `status` always ok.

    A voter is (expert, sample); one without labels is silent: it is not counted, in `n_voters` neither. The
    candidates of a clip are the words its voters wrote. The most used spelling of a word stands for all its
    forms, and the most used word of a cluster for all of the cluster: its score is the share of the voters
    that gave any of it. The other words of the cluster stand for themselves; other spellings of a word never
    win beside it, unless whoever gave the word wrote both. With one voter all of its labels win.

    agreement: of the other voters, the share that gave the cluster of a label, averaged over all labels of
    all voters; 0 to 1, null with fewer than two voters.

    Raises InputError where `votes` is not a votes table.
    """
    table = read_voters(votes).table
    clip, clips = codes(table["video_id"])
    expert, _ = codes(table["expert"])
    sample = table["sample"].to_numpy().astype(np.int64)
    order = np.lexsort((sample, expert, clip))
    table = table.take(pa.array(order))
    clip, expert, sample = clip[order], expert[order], sample[order]
    n_clips = len(clips)

    labels = table["labels"].combine_chunks() if table.num_rows else pa.array([], pa.list_(pa.string()))
    row, word, words = _words(labels)
    form_of, cluster_of, n_meanings = _meanings(words)
    written = _marks(row, clip, word, max(len(words), 1))
    said = _marks(row, clip, form_of[word], n_meanings)
    meant = _marks(row, clip, cluster_of[word], n_meanings)

    speaks = np.zeros(len(clip), dtype=bool)
    speaks[row] = True
    n_voters = np.bincount(clip[speaks], minlength=n_clips)
    weight = np.ones(len(clip))
    total = np.bincount(clip[speaks], weights=weight[speaks], minlength=n_clips)

    # One entry per candidate from here on: a word of a clip.
    label, of_clip = written.group_what, written.group_clip
    form = said.find(of_clip, form_of[label])
    cluster = meant.find(of_clip, cluster_of[label])
    word_support = written.support(weight)
    form_support, cluster_support = said.support(weight)[form], meant.support(weight)[cluster]
    for_form = _first_of_group(form, (-word_support, label))
    for_cluster = _first_of_group(cluster, (~for_form, -form_support, label))
    support = np.where(for_cluster, cluster_support, np.where(for_form, form_support, word_support))
    score = support / total[of_clip]

    may_win = for_form | (word_support >= form_support - _TOLERANCE)
    wins = may_win & (score >= rule.share - _TOLERANCE)
    best = _first_of_group(of_clip, (-score, -form_support, label))
    has_winner = np.zeros(n_clips, dtype=bool)
    has_winner[of_clip[wins]] = True
    wins |= best & ~has_winner[of_clip]

    ranked = np.lexsort((label, -form_support, -score, ~wins, of_clip))
    behind = _voters_behind(
        (written, ~for_form & ~for_cluster, np.arange(len(label))),
        (said, for_form & ~for_cluster, form),
        (meant, for_cluster, cluster),
    )
    voters = _voter_lists(behind, ranked, table)
    evidence = _lists(
        of_clip[ranked],
        n_clips,
        pa.StructArray.from_arrays(
            [words.take(pa.array(label[ranked])), pa.array(score[ranked]), voters],
            fields=list(tables.EVIDENCE),
        ),
    )
    winners = ranked[wins[ranked]]
    return pa.table(
        {
            "video_id": clips,
            "labels": _lists(of_clip[winners], n_clips, words.take(pa.array(label[winners]))),
            "scores": _lists(of_clip[winners], n_clips, pa.array(score[winners])),
            "evidence": evidence,
            "n_voters": pa.array(n_voters.astype(np.int32)),
            "agreement": _agreement(meant, n_voters),
            "description": _closest(table, clip, n_clips, meant, cluster[winners], descriptions),
            "judge": pa.array([rule.judge] * n_clips, pa.string()),
            "status": pa.array([tables.OK] * n_clips, pa.string()),
            "error": pa.nulls(n_clips, pa.string()),
            "error_message": pa.nulls(n_clips, pa.string()),
        },
        schema=pa.schema([tables.JUDGMENTS.schema.field(name) for name in JUDGMENT_COLUMNS]),
    )


def _words(labels: pa.ListArray) -> tuple[np.ndarray, np.ndarray, pa.Array]:
    """The voter and the word of each label; the distinct words, normalised and sorted.

    What is nothing but punctuation (a bracket that an extractor left over) is no word.
    """
    written, spellings = codes(pc.list_flatten(labels).fill_null(""))
    normal = np.array([vocabulary.normalise(spelling) for spelling in spellings.to_pylist()], dtype=object)
    words = sorted(set(normal) - {""})
    number = {word: place for place, word in enumerate(words)}
    of_spelling = np.array([number.get(word, -1) for word in normal], dtype=np.int64)
    word = of_spelling[written]
    row = pc.list_parent_indices(labels).to_numpy().astype(np.int64)
    return row[word >= 0], word[word >= 0], pa.array(words, pa.string())


def _meanings(words: pa.Array) -> tuple[np.ndarray, np.ndarray, int]:
    """The form and the cluster of each word, as numbers below the third value returned.

    A word outside the vocabulary is its own form, and a cluster by itself.
    """
    numbers: dict[tuple[str, str], int] = {}
    forms = np.empty(len(words), dtype=np.int64)
    clusters = np.empty(len(words), dtype=np.int64)
    for place, word in enumerate(words.to_pylist()):
        form, cluster = vocabulary.base_form(word), vocabulary.cluster_of(word)
        own = ("word", word)
        forms[place] = numbers.setdefault(own if form is None else ("form", form), len(numbers))
        clusters[place] = numbers.setdefault(own if cluster is None else ("cluster", cluster), len(numbers))
    return forms, clusters, max(len(numbers), 1)


def _first_of_group(group: np.ndarray, by: tuple[np.ndarray, ...]) -> np.ndarray:
    """Whether each entry is the first of its group in the order of `by` (most important first)."""
    order = np.lexsort((*reversed(by), group))
    first = np.zeros(len(group), dtype=bool)
    first[order[_starts(group[order])]] = True
    return first


def _lists(clip: np.ndarray, n_clips: int, values: pa.Array) -> pa.ListArray:
    """One list per clip from values that are sorted by clip."""
    offsets = np.zeros(n_clips + 1, dtype=np.int32)
    np.cumsum(np.bincount(clip, minlength=n_clips), out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _voters_behind(*levels: tuple[_Marks, np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The (candidate, voter) pairs of the evidence.

    Each level: its marks, whether a candidate speaks for its group of them, and that group.
    """
    candidates, rows = [], []
    for marks, speaks, group in levels:
        speaker = np.full(len(marks.group_clip), -1)
        speaker[group[speaks]] = np.flatnonzero(speaks)
        candidate = speaker[marks.group]
        candidates.append(candidate[candidate >= 0])
        rows.append(marks.row[candidate >= 0])
    return np.concatenate(candidates), np.concatenate(rows)


def _voter_lists(behind: tuple[np.ndarray, np.ndarray], ranked: np.ndarray, table: pa.Table) -> pa.ListArray:
    """The names of the voters behind each candidate, in the order of `ranked`."""
    place = np.empty(len(ranked), dtype=np.int64)
    place[ranked] = np.arange(len(ranked))
    candidate, row = place[behind[0]], behind[1]
    order = np.lexsort((row, candidate))
    names = pc.binary_join_element_wise(table["expert"], pc.cast(table["sample"], pa.string()), "#")
    voter, distinct = codes(names)
    return _lists(candidate[order], len(ranked), distinct.take(pa.array(voter[row[order]])))


def _agreement(meant: _Marks, n_voters: np.ndarray) -> pa.Array:
    votes = np.bincount(meant.group, minlength=len(meant.group_clip)).astype(np.float64)
    n_clips = len(n_voters)
    given = np.bincount(meant.group_clip, weights=votes, minlength=n_clips)
    shared = np.bincount(meant.group_clip, weights=votes * (votes - 1), minlength=n_clips)
    several = n_voters >= 2
    value = np.zeros(n_clips)
    np.divide(shared, given * (n_voters - 1), out=value, where=several)
    return pa.array(value, mask=~several)


def _closest(
    table: pa.Table,
    clip: np.ndarray,
    n_clips: int,
    meant: _Marks,
    winning: np.ndarray,
    descriptions: pa.Table | None,
) -> pa.Array:
    """The description of the voter whose clusters are closest (F1) to the winning ones; null where none."""
    if descriptions is None:
        return pa.nulls(n_clips, pa.string())
    place = _place_of_description(table, descriptions)
    won = np.zeros(len(meant.group_clip), dtype=bool)
    won[winning] = True
    hits = np.bincount(meant.row, weights=won[meant.group], minlength=len(clip))
    given = np.bincount(meant.row, minlength=len(clip))
    wanted = np.bincount(meant.group_clip[won], minlength=n_clips)[clip]
    closeness = np.divide(2 * hits, given + wanted, out=np.zeros(len(clip)), where=given + wanted > 0)
    described = np.flatnonzero(place >= 0)
    first = described[_first_of_group(clip[described], (-closeness[described], described))]
    chosen = np.full(n_clips, -1)
    chosen[clip[first]] = place[first]
    return descriptions["text"].combine_chunks().take(pa.array(chosen, mask=chosen < 0))


def _place_of_description(table: pa.Table, descriptions: pa.Table) -> np.ndarray:
    """The row of `descriptions` that each voter wrote, newest run first; -1 where there is none."""
    usable = pc.is_valid(descriptions["text"])
    if "status" in descriptions.schema.names:
        usable = pc.and_(usable, pc.equal(descriptions["status"], tables.OK))
    rows = np.flatnonzero(usable.to_numpy())
    if "run_id" in descriptions.schema.names:
        run, _ = codes(descriptions["run_id"])
        rows = rows[np.argsort(-run[rows], kind="stable")]
    return _fill(pc.index_in(_keys(table), _keys(descriptions).take(pa.array(rows))), rows)


def _fill(found: pa.ChunkedArray | pa.Array, rows: np.ndarray) -> np.ndarray:
    index = pc.fill_null(found, -1).to_numpy()
    return np.where(index >= 0, rows[index] if len(rows) else -1, -1)


def _keys(table: pa.Table) -> pa.ChunkedArray:
    sample = pc.cast(table["sample"], pa.string())
    return pc.binary_join_element_wise(table["video_id"], table["expert"], sample, "\x1f")
