"""From a ballot to candidates: what supports each word of a clip, and which words win."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emo.arrays import starts_of
from emo.cojudgment.ballot import Ballot, Marks, place_in_list, signs_of
from emo.cojudgment.rule import Rule
from emo.errors import InputError

_TOLERANCE = 1e-9


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
    for_form = best_of_group(form, word_voters)
    for_cluster = best_of_group(cluster, np.where(for_form, form_voters, 0))
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
    wins[lost] = best_of_group(clip[lost], (may_win[lost].astype(np.int64) << 62) + whole(score[lost]))
    if rule.refuses_contradictions:
        alone = np.flatnonzero(wins & (cluster_voters == 1) & (ballot.n_voters[clip] > 1))
        asked = np.zeros(n_clips, dtype=bool)
        asked[clip[alone]] = True
        of_them = np.flatnonzero(asked[clip])
        sign = signs_of(ballot.words)[label[of_them]] if len(of_them) else of_them
        refused = np.zeros(len(wins), dtype=bool)
        refused[of_them] = _contradicted(clip[of_them], whole(score[of_them]), sign, wins[of_them])
        wins[alone] &= ~refused[alone]
    if rule.max_labels is not None:
        # As `judge_votes` ranks them: of equals the one that more voters gave.
        value = (wins.astype(np.int64) << 62) + (whole(score) << 20) + form_voters
        ranked = np.lexsort((-value, clip))
        place = np.empty(len(ranked), dtype=np.int64)
        place[ranked] = place_in_list(clip[ranked])
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
    leader_of = leader[cluster_of_form]
    # A form that leads stands for itself: only the others are looked up. Marks are sorted by voter and form.
    others = np.flatnonzero(leader_of[said.group] != said.group)
    gave = said.row * n_forms + said.group
    wanted = said.row[others] * n_forms + leader_of[said.group[others]]
    at = np.minimum(np.searchsorted(gave, wanted), max(len(gave) - 1, 0))
    beside = others[gave[at] == wanted]
    return leading | (np.bincount(said.group[beside], minlength=n_forms) > 0)


def _any_of(group: np.ndarray, n_groups: int) -> np.ndarray:
    """One entry of each group."""
    entry = np.zeros(n_groups, dtype=np.int64)
    entry[group] = np.arange(len(group))
    return entry


def _contradicted(clip: np.ndarray, score: np.ndarray, sign: np.ndarray, wins: np.ndarray) -> np.ndarray:
    """Whether each valence is opposite to that of every winner of a higher score, if there is one.

    Candidates of one clip and score are a group; winners before it, scores falling, are better.
    """
    order = np.lexsort((-score, clip))
    clip, score, sign, wins = clip[order], score[order], sign[order], wins[order]
    starts = starts_of(clip)
    first = np.maximum.accumulate(np.where(starts, np.arange(len(clip)), 0))
    changes = starts | starts_of(score)
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
        for number in np.flatnonzero(np.bincount(against)):
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


def whole(share: np.ndarray) -> np.ndarray:
    """Shares as whole numbers: what differs by rounding only is equal, in whatever order it was added up."""
    return np.rint(share * 2**40).astype(np.int64)


def best_of_group(group: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Whether each entry has the highest value (int64) of its group; of equals the first entry."""
    best = np.zeros(len(group), dtype=bool)
    if len(group) == 0:
        return best
    most = np.full(int(group.max()) + 1, np.iinfo(np.int64).min)
    np.maximum.at(most, group, value)
    top = np.flatnonzero(value == most[group])[::-1]
    first = np.zeros(len(most), dtype=np.int64)
    first[group[top]] = top  # of several the one that is written last stays
    best[first[group[top]]] = True
    return best
