"""Co-judgment: many voters' label sets become one, for any number of clips at once.

Everything here works on columns: a clip is a number, a word is a number, and a group is a run of equal
numbers in a sorted column. No Python code runs once per clip. All rows of a clip must be in the same table;
beyond that a table may be cut anywhere, which is what the reduce over a large data set does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo import vocabulary
from emo.cojudgment.alternatives import shares_of_labels
from emo.cojudgment.conflict import conflicts, senses_of_voters
from emo.cojudgment.rule import FIRST, LEAST, Rule, worth_of_place
from emo.cojudgment.votes import codes, read_voters
from emo.errors import InputError
from emo.store import tables
from emo.vocabulary import Entry

# Those that the step adds are about its run, not about the votes.
_OF_THE_STEP = ("run_id", "seen", "n_answers", "closed_in", "round_agreement")
JUDGMENT_COLUMNS = tuple(name for name in tables.JUDGMENTS.schema.names if name not in _OF_THE_STEP)
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Marks:
    """Who gave what, each pair once.

    row: int64 per pair, the voter; strength: float64 per pair, what the mark is worth: by the strength that
    the voter gave, else by its place in the voter's list; group: int64 per pair, what was given, as a number
    over all (clip, what) that occur, in their order; group_clip, group_what: int64 per group; n_what: all
    `what` are below it.
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


@dataclass(frozen=True)
class Candidates:
    """The words of each clip with their support, one entry each.

    label: int64, the word; clip: int64; form, cluster: int64, its groups in the ballot; for_form,
    for_cluster: bool, whether it speaks for all of them; form_voters: int64; score: float64, its support as
    a share; wins: bool.
    """

    label: np.ndarray
    clip: np.ndarray
    form: np.ndarray
    cluster: np.ndarray
    for_form: np.ndarray
    for_cluster: np.ndarray
    form_voters: np.ndarray
    score: np.ndarray
    wins: np.ndarray


def read_ballot(votes: pa.Table, worth: Callable[[np.ndarray], np.ndarray] = worth_of_place) -> Ballot:
    """Read a votes table; raises InputError where it is not one.

    worth: from the places of labels in their voters' lists, from 0, to what each counts.
    """
    table = read_voters(votes).table
    clip, clips = codes(table["video_id"])
    expert, experts = codes(table["expert"])
    order = np.lexsort((table["sample"].to_numpy(), expert, clip))
    table, clip, expert = table.take(pa.array(order)), clip[order], expert[order]

    labels = table["labels"].combine_chunks() if table.num_rows else pa.array([], pa.list_(pa.string()))
    row, word, words, at = _words(labels)
    form_of, cluster_of, meanings = _meanings(words)
    guess = _alternatives(table, labels)[at]
    by_place = worth(_place_in_list(row, guess))
    given = _given_strengths(table, labels)[at]
    strength = np.where(np.isnan(given), by_place, FIRST * np.maximum(given, LEAST))
    if guess.any():
        families, signs = _families(words), _signs(words)
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


def weigh(ballot: Ballot, rule: Rule) -> Candidates:
    """Every candidate of every clip, its score under the rule, and whether it wins."""
    n_clips = len(ballot.clips)
    bar_of = _bars(ballot, rule)
    written, said, meant = ballot.written, ballot.said, ballot.meant

    label, clip = written.group_what, written.group_clip
    form = said.find(clip, ballot.form_of[label])
    cluster = meant.find(clip, ballot.cluster_of[label])
    # Which word speaks for others is a matter of how many wrote it, not of weights or places: so one more
    # voter that wrote a word can only help it.
    word_voters, form_voters = written.voters(), said.voters()[form]
    for_form = _best_of_group(form, word_voters)
    for_cluster = _best_of_group(cluster, np.where(for_form, form_voters, 0))
    cluster_voters = np.where(for_cluster, meant.voters()[cluster], form_voters)

    # A mark is never worth less than the bar that its label must pass, for the same reason.
    bar = bar_of[ballot.cluster_of[label]]
    weigh_marks = _weighing(ballot, rule)
    score = np.where(
        for_cluster,
        weigh_marks(meant, bar_of[meant.group_what])[cluster],
        np.where(
            for_form,
            weigh_marks(said, bar[_any_of(form, len(said.group_clip))])[form],
            weigh_marks(written, bar),
        ),
    )

    may_win = for_form | (word_voters == form_voters)
    may_win &= _leads_or_stands_beside(ballot, form, cluster, for_cluster)[form]
    most = np.zeros(n_clips, dtype=np.int64)
    np.maximum.at(most, clip, cluster_voters)
    wins = may_win & (score >= bar - _TOLERANCE)
    wins |= may_win & (cluster_voters == most[clip]) & (most[clip] > 1)
    has_winner = np.zeros(n_clips, dtype=bool)
    has_winner[clip[wins]] = True
    lost = np.flatnonzero(~has_winner[clip])
    wins[lost] = _best_of_group(clip[lost], (may_win[lost].astype(np.int64) << 62) + _whole(score[lost]))
    if rule.refuses_contradictions:
        alone = (cluster_voters == 1) & (ballot.n_voters[clip] > 1)
        wins &= ~(alone & _contradicted(clip, _whole(score), _signs(ballot.words)[label], wins))
    if rule.max_labels is not None:
        # As `judge_votes` ranks them: of equals the one that more voters gave.
        value = (wins.astype(np.int64) << 62) + (_whole(score) << 20) + form_voters
        ranked = np.lexsort((-value, clip))
        place = np.empty(len(ranked), dtype=np.int64)
        place[ranked] = _place_in_list(clip[ranked])
        wins &= place < rule.max_labels
    return Candidates(label, clip, form, cluster, for_form, for_cluster, form_voters, score, wins)


def _leads_or_stands_beside(
    ballot: Ballot, form: np.ndarray, cluster: np.ndarray, for_cluster: np.ndarray
) -> np.ndarray:
    """Whether each form speaks for its cluster, or some voter gave it beside the one that does: bool.

    So of near-synonyms one wins, unless voters themselves told them apart. A voter more that gives the form
    changes that only in its favour: if it makes another form speak for the cluster, it gave that one too.
    """
    said = ballot.said
    leading = np.zeros(len(said.group_clip), dtype=bool)
    leading[form[for_cluster]] = True
    leader = np.zeros(len(ballot.meant.group_clip), dtype=np.int64)
    leader[cluster[for_cluster]] = form[for_cluster]
    cluster_of_form = np.zeros(len(said.group_clip), dtype=np.int64)
    cluster_of_form[form] = cluster
    n_forms = len(said.group_clip)
    gave = said.row * n_forms + said.group
    beside = np.isin(said.row * n_forms + leader[cluster_of_form[said.group]], gave)
    return leading | (np.bincount(said.group[beside], minlength=n_forms) > 0)


def _any_of(group: np.ndarray, n_groups: int) -> np.ndarray:
    """One entry of each group."""
    entry = np.zeros(n_groups, dtype=np.int64)
    entry[group] = np.arange(len(group))
    return entry


_PLEASANT = 0.2  # a valence nearer to 0 contradicts nothing


def _signs(words: pa.Array) -> np.ndarray:
    """1 for pleasant words, -1 for unpleasant ones, 0 for those that are neither or not known: int64."""
    valences = [vocabulary.valence(word) or 0.0 for word in words.to_pylist()]
    return np.array([(one > _PLEASANT) - (one < -_PLEASANT) for one in valences], dtype=np.int64)


def _contradicted(clip: np.ndarray, score: np.ndarray, sign: np.ndarray, wins: np.ndarray) -> np.ndarray:
    """Whether each valence is opposite to that of every winner of a higher score, if there is one.

    Candidates of one clip and score are a group; winners before it, scores falling, are better.
    """
    order = np.lexsort((-score, clip))
    clip, score, sign, wins = clip[order], score[order], sign[order], wins[order]
    starts = _starts(clip)
    first = np.maximum.accumulate(np.where(starts, np.arange(len(clip)), 0))
    changes = starts | _starts(score)
    group = np.maximum.accumulate(np.where(changes, np.arange(len(clip)), 0))

    def better(which: np.ndarray) -> np.ndarray:
        before = np.concatenate([[0], np.cumsum(which)])
        return before[group] - before[first]

    above, pleasant, unpleasant = (better(wins & chosen) for chosen in (wins, sign > 0, sign < 0))
    opposite = np.where(sign > 0, unpleasant, pleasant)
    found = np.empty(len(order), dtype=bool)
    found[order] = (sign != 0) & (above > 0) & (opposite == above)
    return found


def _weighing(ballot: Ballot, rule: Rule) -> Callable[[Marks, np.ndarray], np.ndarray]:
    """The function from marks, and per group what a mark is worth at least, to the score of each group."""
    learned = rule.learned
    if learned is not None and learned.weights:
        unknown = [name for name in ballot.experts if name not in learned.weights]
        if unknown:
            raise InputError(
                f"judge: no weight for expert {', '.join(unknown)}; "
                f"the {learned.source} weights are for {', '.join(sorted(learned.weights))}"
            )
        weights = learned.weights
    else:
        weights = {name: rule.priors.get(name, 1.0) for name in ballot.experts}
    weight = np.array([weights[name] for name in ballot.experts] or [1.0])[ballot.expert]
    clip_of_speaker, n_clips = ballot.clip[ballot.speaks], len(ballot.clips)

    def total(weight: np.ndarray) -> np.ndarray:
        return np.bincount(clip_of_speaker, weights=weight[ballot.speaks], minlength=n_clips)

    def fixed(marks: Marks, least: np.ndarray) -> np.ndarray:
        return marks.support(weight[marks.row], least) / total(weight)[marks.group_clip]

    def shrunk(marks: Marks, least: np.ndarray) -> np.ndarray:
        # The fewer voters speak against a label, the closer to 1 the weights are taken. Of all ways to count
        # few voters, this one stays the same when one more voter gives the label.
        against = ballot.n_voters[marks.group_clip] - marks.voters()
        power = against / (against + 1)
        support = marks.support(weight[marks.row] ** power[marks.group], least)
        totals = np.empty(len(against))
        for number in np.unique(against):
            these = against == number
            totals[these] = total(weight ** (number / (number + 1)))[marks.group_clip[these]]
        return support / totals

    return fixed if (learned is not None and learned.weights) or np.all(weight == 1) else shrunk


def _bars(ballot: Ballot, rule: Rule) -> np.ndarray:
    """The bar of each meaning, at most 1."""
    factors = rule.learned.bars if rule.learned is not None else {}
    return np.array(
        [min(1.0, rule.share * factors.get(name, 1.0)) for name in ballot.meanings] or [rule.share]
    )


def _starts(ordered: np.ndarray) -> np.ndarray:
    starts = np.ones(len(ordered), dtype=bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    return starts


def _place_in_list(row: np.ndarray, guess: np.ndarray | None = None) -> np.ndarray:
    """The place of each label among those of its voter, from 0; labels of a voter stand together.

    guess: alternatives have one number above 0, and the place of the first of them.
    """
    starts = np.flatnonzero(_starts(row))
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
    order = np.lexsort((-strength, pair))  # so that of equal pairs the strongest stays
    order = order[_starts(pair[order])]
    row, what, strength = row[order], what[order], strength[order]
    key = clip_of_row[row] * n_what + what
    order = np.argsort(key, kind="stable")
    starts = _starts(key[order])
    group = np.empty(len(key), dtype=np.int64)
    group[order] = np.cumsum(starts) - 1
    groups = key[order][starts]
    return Marks(row, strength, group, groups // n_what, groups % n_what, n_what)


def judge_votes(votes: pa.Table, rule: Rule, descriptions: pa.Table | None = None) -> pa.Table:
    """One judgment for each clip of `votes` that has a voter, sorted by video_id.

    votes: a votes table (extra columns are not read; failed rows are no voters; the newest run of a key
    counts) with all rows of each of its clips. descriptions: a descriptions table, for the `description`
    column. Returns the columns JUDGMENT_COLUMNS of the judgments table, `status` always ok.

    A voter is (expert, sample); one without labels is silent: it is not counted, in `n_voters` neither. The
    candidates of a clip are the words its voters wrote. The most used spelling of a word stands for all its
    forms, and the most used word of a cluster for all of the cluster: its support is that of all voters that
    gave any of it. The other words of the cluster stand for themselves, and win only where a voter gave both;
    other spellings of a word never win beside it, unless whoever gave the word wrote both. Of alternatives
    the one counts that the other voters support (`shares_of_labels`). With one voter all of its labels win.

    agreement: of the other voters, the share that gave the cluster of a label, averaged over all labels of
    all voters; 0 to 1, null with fewer than two voters. conflict: see `conflicts`; it needs the columns
    `modalities` and `degraded` of the descriptions.

    Raises InputError where `votes` is not a votes table.
    """
    ballot = read_ballot(votes)
    found = weigh(ballot, rule)
    n_clips, words = len(ballot.clips), ballot.words
    value = (found.wins.astype(np.int64) << 62) + (_whole(found.score) << 20) + found.form_voters
    ranked = np.lexsort((-value, found.clip))
    voters = _voters_behind(ballot, found, ranked)
    evidence = _lists(
        found.clip[ranked],
        n_clips,
        pa.StructArray.from_arrays(
            [words.take(pa.array(found.label[ranked])), pa.array(found.score[ranked]), voters],
            fields=list(tables.EVIDENCE),
        ),
    )
    winners = ranked[found.wins[ranked]]
    of_clip = found.clip[winners]
    wrote = (
        np.full(len(ballot.clip), -1) if descriptions is None else _place_of_description(ballot, descriptions)
    )
    return pa.table(
        {
            "video_id": ballot.clips,
            "labels": _lists(of_clip, n_clips, words.take(pa.array(found.label[winners]))),
            "scores": _lists(of_clip, n_clips, pa.array(found.score[winners])),
            "evidence": evidence,
            "n_voters": pa.array(ballot.n_voters.astype(np.int32)),
            "n_from_transcript": _resting_on_words(ballot),
            "agreement": _agreement(ballot),
            "conflict": _conflict(ballot, descriptions, wrote),
            "description": _closest(ballot, found.cluster[winners], descriptions, wrote),
            "judge": pa.array([rule.judge] * n_clips, pa.string()),
            "status": pa.array([tables.OK] * n_clips, pa.string()),
            "error": pa.nulls(n_clips, pa.string()),
            "error_message": pa.nulls(n_clips, pa.string()),
        },
        schema=pa.schema([tables.JUDGMENTS.schema.field(name) for name in JUDGMENT_COLUMNS]),
    )


def agreement_of(votes: pa.Table) -> pa.Table:
    """video_id and agreement, as `judge_votes` gives it, of each clip of `votes` that has a voter."""
    ballot = read_ballot(votes)
    return pa.table({"video_id": ballot.clips, "agreement": _agreement(ballot)})


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


def _families(words: pa.Array) -> np.ndarray:
    """The family of each word as a number, -1 where it is not known: int64."""
    numbers: dict[str, int] = {}
    families = (vocabulary.family_of(word) for word in words.to_pylist())
    known = (-1 if family is None else numbers.setdefault(family, len(numbers)) for family in families)
    return np.array(list(known), dtype=np.int64)


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


def _whole(share: np.ndarray) -> np.ndarray:
    """Shares as whole numbers: what differs by rounding only is equal, in whatever order it was added up."""
    return np.rint(share * 2**40).astype(np.int64)


def _best_of_group(group: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Whether each entry has the highest value (int64) of its group; of equals the first entry."""
    order = np.lexsort((-value, group))
    best = np.zeros(len(group), dtype=bool)
    best[order[_starts(group[order])]] = True
    return best


def _lists(clip: np.ndarray, n_clips: int, values: pa.Array) -> pa.ListArray:
    """One list per clip from values that are sorted by clip."""
    offsets = np.zeros(n_clips + 1, dtype=np.int32)
    np.cumsum(np.bincount(clip, minlength=n_clips), out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _voters_behind(ballot: Ballot, found: Candidates, ranked: np.ndarray) -> pa.ListArray:
    """The names of the voters behind each candidate, in the order of `ranked`."""
    place = np.empty(len(ranked), dtype=np.int64)
    place[ranked] = np.arange(len(ranked))
    alone = ~found.for_form & ~found.for_cluster
    levels: Sequence[tuple[Marks, np.ndarray, np.ndarray]] = (
        (ballot.written, alone, np.arange(len(ranked))),
        (ballot.said, found.for_form & ~found.for_cluster, found.form),
        (ballot.meant, found.for_cluster, found.cluster),
    )
    candidates, rows = [], []
    for marks, speaks, group in levels:
        speaker = np.full(len(marks.group_clip), -1)
        speaker[group[speaks]] = place[speaks]
        candidate = speaker[marks.group]
        candidates.append(candidate[candidate >= 0])
        rows.append(marks.row[candidate >= 0])
    # Voters are numbered in the order of clip, expert, sample.
    pair = np.sort(np.concatenate(candidates) * max(len(ballot.clip), 1) + np.concatenate(rows))
    candidate, row = pair // max(len(ballot.clip), 1), pair % max(len(ballot.clip), 1)
    table = ballot.table
    names = pc.binary_join_element_wise(table["expert"], pc.cast(table["sample"], pa.string()), "#")
    voter, distinct = codes(names)
    return _lists(candidate, len(ranked), distinct.take(pa.array(voter[row])))


def _resting_on_words(ballot: Ballot) -> pa.Array:
    """How many of the voters of each clip rest on what is said; null where one of them does not tell."""
    n_clips = len(ballot.clips)
    if "from_transcript" not in ballot.table.column_names:
        return pa.nulls(n_clips, pa.int32())
    told = ballot.table["from_transcript"].combine_chunks()
    resting = pc.fill_null(told, False).to_numpy(zero_copy_only=False) & ballot.speaks
    silent = pc.is_null(told).to_numpy(zero_copy_only=False) & ballot.speaks
    count = np.bincount(ballot.clip[resting], minlength=n_clips).astype(np.int32)
    return pa.array(count, mask=np.bincount(ballot.clip[silent], minlength=n_clips) > 0)


def _agreement(ballot: Ballot) -> pa.Array:
    votes = ballot.meant.voters().astype(np.float64)
    n_clips, n_voters = len(ballot.clips), ballot.n_voters
    given = np.bincount(ballot.meant.group_clip, weights=votes, minlength=n_clips)
    shared = np.bincount(ballot.meant.group_clip, weights=votes * (votes - 1), minlength=n_clips)
    several = n_voters >= 2
    value = np.zeros(n_clips)
    np.divide(shared, given * (n_voters - 1), out=value, where=several)
    return pa.array(value, mask=~several)


def _conflict(ballot: Ballot, descriptions: pa.Table | None, wrote: np.ndarray) -> pa.Array:
    words_read = np.zeros(len(ballot.clip), dtype=bool)
    if "from_transcript" in ballot.table.column_names:
        told = pc.fill_null(ballot.table["from_transcript"].combine_chunks(), False)
        words_read = told.to_numpy(zero_copy_only=False)
    sense = senses_of_voters(wrote, descriptions, words_read)
    marks = ballot.meant
    # One word of each cluster says its family and its valence.
    words = np.zeros(len(ballot.meanings), dtype=np.int64)
    words[ballot.cluster_of] = np.arange(len(ballot.words))
    word = words[marks.group_what][marks.group]
    apart = conflicts(
        sense[marks.row],
        marks.group_clip[marks.group],
        marks.group_what[marks.group],
        marks.strength,
        _families(ballot.words)[word] if len(word) else word,
        _signs(ballot.words)[word] if len(word) else word,
        len(ballot.clips),
    )
    return pa.array(apart, mask=np.isnan(apart))


def _closest(
    ballot: Ballot, winning: np.ndarray, descriptions: pa.Table | None, place: np.ndarray
) -> pa.Array:
    """The description of the voter whose clusters are closest (F1) to the winning ones; null where none."""
    clip, n_clips, meant = ballot.clip, len(ballot.clips), ballot.meant
    if descriptions is None:
        return pa.nulls(n_clips, pa.string())
    won = np.zeros(len(meant.group_clip), dtype=bool)
    won[winning] = True
    hits = np.bincount(meant.row, weights=won[meant.group], minlength=len(clip))
    given = np.bincount(meant.row, minlength=len(clip))
    wanted = np.bincount(meant.group_clip[won], minlength=n_clips)[clip]
    closeness = np.divide(2 * hits, given + wanted, out=np.zeros(len(clip)), where=given + wanted > 0)
    described = np.flatnonzero(place >= 0)
    first = described[_best_of_group(clip[described], _whole(closeness[described]))]
    chosen = np.full(n_clips, -1)
    chosen[clip[first]] = place[first]
    return descriptions["text"].combine_chunks().take(pa.array(chosen, mask=chosen < 0))


def _place_of_description(ballot: Ballot, descriptions: pa.Table) -> np.ndarray:
    """The row of `descriptions` that each voter wrote, newest run first; -1 where there is none."""
    usable = pc.is_valid(descriptions["text"])
    if "status" in descriptions.schema.names:
        usable = pc.and_(usable, pc.equal(descriptions["status"], tables.OK))
    rows = np.flatnonzero(usable.to_numpy())
    if "run_id" in descriptions.schema.names:
        run, _ = codes(descriptions["run_id"])
        rows = rows[np.argsort(-run[rows], kind="stable")]
    return _fill(pc.index_in(_keys(ballot.table), _keys(descriptions).take(pa.array(rows))), rows)


def _fill(found: pa.ChunkedArray | pa.Array, rows: np.ndarray) -> np.ndarray:
    index = pc.fill_null(found, -1).to_numpy()
    return np.where(index >= 0, rows[index] if len(rows) else -1, -1)


def _keys(table: pa.Table) -> pa.ChunkedArray:
    sample = pc.cast(table["sample"], pa.string())
    return pc.binary_join_element_wise(table["video_id"], table["expert"], sample, "\x1f")
