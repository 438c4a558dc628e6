"""What can be learned about experts and labels: without gold from agreement, or on a small gold set."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emo import vocabulary
from emo.cojudgment.ballot import Ballot, read_ballot
from emo.cojudgment.rule import TRADE_OFFS, Learned, Rule
from emo.cojudgment.votes import read_voters
from emo.cojudgment.weighing import weigh
from emo.errors import InputError

MIN_CLIPS = 20
"""Fewer gold clips than this teach noise."""
MIN_EXPERTS = 6
"""Agreement is not quality: of few experts two that share a flaw outvote a better third. Measured on random
sets of the eleven experts of OV-MERD (benchmarks/judge_choice.py): with three such weights lose 2.4 points on
average and gain in one set of five, with five they lose 0.8, with six gain 0.2, with eight lose 0.3, and with
all seventeen voters lose 0.4."""

_EFFECT = 0.4  # the prior's standard deviation of a family's and of a cluster's effect, in log-odds
_PRIOR_LABELS = 20  # labels of average quality that every expert starts with
_CONTRAST = 2.0  # weight = (share of right labels / the average)^_CONTRAST
_LIMIT = 4.0  # no weight and no bar is more than so many times above or below the usual
_TRUST = 0.5  # weight without gold = (strength / the average)^_TRUST, for agreement is not quality
_ROUNDS = 100
_MOVED = 1e-6


def estimate(votes: pa.Table) -> Learned:
    """Weights of the experts from how they agree with each other, without gold.

    The model of Dawid and Skene (1979) for label sets: a cluster is truly there in a clip or not; an expert
    gives it with one probability if it is and with another if it is not, whatever the others do; EM finds
    both probabilities of every expert. Samples of one expert agree with each other because they are one
    model, so an expert's samples share one vote. The weight follows the log of how much likelier the expert
    gives a label that is there than one that is not. Agreement is not quality: experts that share a flaw
    agree too.

    Some thousand clips are enough: of a large table pass a sample, with all votes of each of its clips.

    Raises InputError with fewer than MIN_EXPERTS experts or MIN_CLIPS clips that several experts voted on.
    """
    ballot = read_ballot(votes)
    given, present, pair_clip = _shares_by_expert(ballot)
    clips = int((np.count_nonzero(present, axis=1) > 1).sum())
    if len(ballot.experts) < MIN_EXPERTS:
        raise InputError(
            f"judge: weights cannot be estimated from {len(ballot.experts)} expert(s): agreement needs "
            f"{MIN_EXPERTS}, because of fewer two that share a flaw outvote a better third; use --calibrate "
            "with 40 clips that people labelled, or `weight` of the experts, or none"
        )
    if clips < MIN_CLIPS:
        raise InputError(
            f"judge: weights cannot be estimated from {clips} clips that several experts voted on; "
            f"expected at least {MIN_CLIPS}"
        )
    there = given.sum(axis=1) / np.maximum(present[pair_clip].sum(axis=1), 1)  # first guess: the share
    hit = miss = np.zeros(given.shape[1])
    voted = present[pair_clip]
    for _ in range(_ROUNDS):
        before = there
        hit = _rate(there, given, voted)
        miss = _rate(1 - there, given, voted)
        prior = np.clip(there.mean(), 0.01, 0.99)
        odds = np.log(prior / (1 - prior)) + (
            voted * (given * np.log(hit / miss) + (1 - given) * np.log((1 - hit) / (1 - miss)))
        ).sum(axis=1)
        there = 1 / (1 + np.exp(-np.clip(odds, -30, 30)))
        if np.abs(there - before).max() < _MOVED:
            break
    strength = np.log(np.maximum(hit / miss, 1.05))
    return Learned("estimated", _limited(ballot.experts, (strength / strength.mean()) ** _TRUST), {}, clips)


def calibrate(votes: pa.Table, gold: Mapping[str, Sequence[str]], where: str = "gold") -> Learned:
    """Weights of the experts and bars of the clusters that suit a gold set.

    votes: a votes table; its clips outside `gold` are not looked at. gold: video_id -> labels. A label is
    right where gold has a word of its cluster.

    The weight of an expert follows the share of its labels that are right. The bars come from a logistic
    regression of "right" on the log of the support, with an effect for each family and for each cluster,
    both held towards none by a prior: a cluster that is less often right than others of the same support
    gets a higher bar. The average bar stays that of the rule.

    Raises InputError where `gold` is empty, no id matches, fewer than MIN_CLIPS clips can be used, or nothing
    can be learned from them: the votes have no label there, only right ones or only wrong ones.
    """
    return learn_from(gold_votes(votes, gold, where), gold, where)


def gold_votes(votes: pa.Table, gold: Mapping[str, Sequence[str]], where: str) -> pa.Table:
    """The voters on the clips that have gold labels, as `calibrate` learns from them; raises as it does."""
    if not gold:
        raise InputError(f"{where}: is empty: calibration needs at least {MIN_CLIPS} clips with labels")
    voters = read_voters(votes).table
    voted = sorted(pc.unique(voters["video_id"]).to_pylist())
    usable = [video_id for video_id in voted if gold.get(video_id)]
    if not usable:
        raise InputError(
            f"{where}: none of its {len(gold)} ids is among the {len(voted)} of the votes "
            f"(gold has {min(gold)!r}, votes have {voted[0]!r})"
            if voted
            else f"{where}: there are no votes to calibrate"
        )
    if len(usable) < MIN_CLIPS:
        raise InputError(
            f"{where}: {len(usable)} clips have gold labels and votes; calibration needs at least {MIN_CLIPS}"
        )
    return voters.filter(pc.is_in(voters["video_id"], value_set=pa.array(usable)))


def learn_from(votes: pa.Table, gold: Mapping[str, Sequence[str]], where: str) -> Learned:
    """What these votes teach, each clip of which is in gold; raises InputError where they teach nothing."""
    ballot = read_ballot(votes)
    right = _right(ballot, gold)
    _check_contrast(right, ballot, gold, where)
    weights = _expert_weights(ballot, right)
    found = weigh(ballot, Rule(learned=Learned("calibrated", weights)))
    speaks = found.for_cluster
    cluster = ballot.meant.group_what[found.cluster[speaks]]
    bars = _cluster_bars(ballot, cluster, found.score[speaks], right[found.cluster[speaks]])
    return Learned("calibrated", weights, bars, len(ballot.clips))


def _shares_by_expert(ballot: Ballot) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per (clip, cluster) that occurs and expert the share of its samples that gave it; per clip and expert
    whether it voted; the clip of each pair."""
    n_experts, n_clips = len(ballot.experts), len(ballot.clips)
    samples = np.zeros((n_clips, n_experts))
    np.add.at(samples, (ballot.clip[ballot.speaks], ballot.expert[ballot.speaks]), 1)
    meant = ballot.meant
    given = np.zeros((len(meant.group_clip), n_experts))
    np.add.at(given, (meant.group, ballot.expert[meant.row]), 1)
    return given / np.maximum(samples[meant.group_clip], 1), samples > 0, meant.group_clip


def _rate(there: np.ndarray, given: np.ndarray, voted: np.ndarray) -> np.ndarray:
    """How often each expert gives what has this probability; one made-up yes and no keep it off 0 and 1."""
    weight = there[:, None] * voted
    return ((weight * given).sum(axis=0) + 1) / (weight.sum(axis=0) + 2)


def _limited(names: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return {
        name: round(float(value), 4)
        for name, value in zip(names, np.clip(values, 1 / _LIMIT, _LIMIT), strict=True)
    }


def _right(ballot: Ballot, gold: Mapping[str, Sequence[str]]) -> np.ndarray:
    """Whether gold has each (clip, cluster) that was given: float64, 0 or 1."""
    number = {name: place for place, name in enumerate(ballot.meanings)}
    wanted = set()
    for clip, video_id in enumerate(ballot.clips.to_pylist()):
        for label in gold[video_id]:
            word = vocabulary.normalise(label)
            meaning = number.get(vocabulary.cluster_of(word) or word)
            if meaning is not None:
                wanted.add((clip, meaning))
    groups = zip(ballot.meant.group_clip.tolist(), ballot.meant.group_what.tolist(), strict=True)
    return np.array([group in wanted for group in groups], dtype=np.float64)


def _check_contrast(right: np.ndarray, ballot: Ballot, gold: Mapping[str, Sequence[str]], where: str) -> None:
    """Raises InputError unless some of the labels given are right and some are wrong."""
    if not len(right):
        raise InputError(
            f"{where}: no expert gave a label on any of its {len(ballot.clips)} clips with votes; "
            "calibration needs labels that are right and labels that are wrong"
        )
    if not right.any():
        clip = ballot.clips[int(ballot.written.group_clip[0])].as_py()
        given = ballot.words[int(ballot.written.group_what[0])].as_py()
        raise InputError(
            f"{where}: not one label of the votes is right on its {len(ballot.clips)} clips with votes (of "
            f"{clip} gold has {', '.join(gold[clip])}, the votes have {given}); expected labels in the words "
            "that experts use"
        )
    if right.all():
        raise InputError(
            f"{where}: every label of the votes is right on its {len(ballot.clips)} clips with votes, so no "
            "expert and no label is better than another; calibration needs wrong ones too"
        )


def _expert_weights(ballot: Ballot, right: np.ndarray) -> dict[str, float]:
    expert = ballot.expert[ballot.meant.row]
    n_experts = len(ballot.experts)
    hits = np.bincount(expert, weights=right[ballot.meant.group], minlength=n_experts)
    given = np.bincount(expert, minlength=n_experts)
    average = max(hits.sum() / given.sum(), 1e-3)
    share = (hits + _PRIOR_LABELS * average) / (given + _PRIOR_LABELS)
    return _limited(ballot.experts, (share / average) ** _CONTRAST)


def _cluster_bars(
    ballot: Ballot, cluster: np.ndarray, score: np.ndarray, right: np.ndarray
) -> dict[str, float]:
    family_of_cluster = {
        name: vocabulary.family_of(headwords[0]) for name, headwords in vocabulary.clusters().items()
    }
    seen = np.unique(cluster)
    names = [ballot.meanings[place] for place in seen]
    families = [family_of_cluster.get(name) or name for name in names]
    family_names = sorted(set(families))
    of_family = np.array([family_names.index(family) for family in families])
    place = np.searchsorted(seen, cluster)

    slope, effects = _logistic(np.log(score), place, np.eye(len(family_names))[of_family], right)
    if slope <= 0:
        raise InputError(
            "calibration: in this gold set labels of more voters are not more often right; "
            "the gold labels do not seem to belong to these clips"
        )
    # The bars move against each other, not together: where the decisions fall, the average effect is none.
    near = np.exp(-((np.log(score / TRADE_OFFS["balanced"]) / 0.5) ** 2))
    effects = effects - np.average(effects[place], weights=near)
    return _limited(names, np.exp(-effects / slope))


def _logistic(
    support: np.ndarray, cluster: np.ndarray, family_of: np.ndarray, right: np.ndarray
) -> tuple[float, np.ndarray]:
    """Logistic regression of `right` on `support`, with an effect of each family and of each cluster.

    support, right: float64 (n); cluster: int64 (n); family_of: float64 (clusters, families), one 1 per row.
    Effects have a prior of mean 0 and standard deviation _EFFECT. Returns the slope and, per cluster, its
    effect and its family's together. Newton's method; the effects of the clusters, of which each entry has
    one, are eliminated before the small rest is solved.
    """
    n_clusters, n_families = family_of.shape
    prior = 1 / _EFFECT**2
    penalty = np.concatenate([[1e-6, 1e-6], np.full(n_families, prior)])
    common, own = np.zeros(2 + n_families), np.zeros(n_clusters)

    def per_cluster(values: np.ndarray) -> np.ndarray:
        return np.bincount(cluster, weights=values, minlength=n_clusters)

    for _ in range(_ROUNDS):
        effects = family_of @ common[2:] + own
        log_odds = common[0] + common[1] * support + effects[cluster]
        chance = 1 / (1 + np.exp(-np.clip(log_odds, -30, 30)))
        spread = per_cluster(chance * (1 - chance))
        leaning = per_cluster(chance * (1 - chance) * support)
        missing = per_cluster(right - chance)
        # Rows: constant, support, families; columns: clusters.
        across = np.vstack([spread, leaning, family_of.T * spread])
        corner = np.empty((2 + n_families, 2 + n_families))
        corner[:, 0] = corner[0] = across.sum(axis=1)
        corner[1, 1] = (chance * (1 - chance) * support**2).sum()
        corner[2:, 1] = corner[1, 2:] = family_of.T @ leaning
        corner[2:, 2:] = np.diag(family_of.T @ spread)
        uphill = (
            np.concatenate([[missing.sum(), ((right - chance) * support).sum()], family_of.T @ missing])
            - penalty * common
        )
        uphill_own = missing - prior * own
        shrunk = across / (spread + prior)
        move = np.linalg.solve(corner + np.diag(penalty) - shrunk @ across.T, uphill - shrunk @ uphill_own)
        move_own = (uphill_own - across.T @ move) / (spread + prior)
        common, own = common + move, own + move_own
        if max(np.abs(move).max(), np.abs(move_own).max()) < _MOVED:
            break
    return float(common[1]), family_of @ common[2:] + own
