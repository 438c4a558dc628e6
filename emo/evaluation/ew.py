"""The emotion-wheel (EW) metric of MER-UniBench and OV-MERD, and the same over emo's own vocabulary.

EW: AffectGPT, arXiv 2501.16566, section on MER-UniBench; OV-MER, arXiv 2410.01495. Per clip the share of the
predicted nodes that are right (precision) and of the gold nodes that were found (recall), averaged over the
clips; F is the harmonic mean of the two averages; the score is the mean over five wheels.
"""

from dataclasses import dataclass

from emo import vocabulary
from emo.errors import InputError
from emo.evaluation.overlap import (
    Coverage,
    Labels,
    NodeOf,
    Overlaps,
    Score,
    coverage,
    mean_score,
    overlaps,
)
from emo.evaluation.wheels import LEVELS, WHEELS, WheelTables

EW = "ew"
CLUSTERS = "emo-clusters"


@dataclass(frozen=True)
class SetResult:
    """One system against a gold set.

    metric: the name, with every option that changes a number in brackets; score: the headline; scores: the
    averages by name (EW: level1, level2, case1, case2, and m_avg over all twelve mappings, the score of
    OV-MER); parts: each mapping by itself (EW: each wheel and level); notes: defects of the tables and other
    things that a reader of the number must know.
    """

    metric: str
    score: Score
    scores: dict[str, Score]
    parts: dict[str, Score]
    coverage: Coverage
    notes: tuple[str, ...] = ()


def ew_mappings(tables: WheelTables) -> dict[str, NodeOf]:
    """Every mapping of the metric by name: case1, case2, and wheelN/levelM."""

    def on_wheel(wheel: str, level: str) -> NodeOf:
        return lambda word: tables.node(word, wheel, level)

    return {
        "case1": tables.base,
        "case2": tables.synonym,
        **{f"{wheel}/{level}": on_wheel(wheel, level) for level in LEVELS for wheel in WHEELS},
    }


def ew_overlaps(gold: Labels, predicted: Labels, tables: WheelTables) -> Overlaps:
    """Per-clip precision and recall on the five wheels at level 1: what bootstrap and paired tests need."""
    mappings = {
        name: node_of for name, node_of in ew_mappings(tables).items() if name.endswith("/" + LEVELS[0])
    }
    return overlaps(gold, predicted, mappings)


def ew(gold: Labels, predicted: Labels, tables: WheelTables, unknown: str = "drop") -> SetResult:
    """Score `predicted` against `gold` with the wheels in `tables`; the headline is level 1.

    unknown: `drop`, as the benchmark does, leaves predicted labels that are not in the vocabulary out before
    precision is taken; `wrong` counts them as wrong, and the name of the metric then says so. Raises
    InputError where the sides share no clip or no gold label is known.
    """
    if unknown not in ("drop", "wrong"):
        raise InputError(f"ew: unknown={unknown!r}; expected drop or wrong")
    mappings = ew_mappings(tables)
    per_clip = overlaps(gold, predicted, mappings, unknown_counts=unknown == "wrong")
    parts = per_clip.scores()
    scores = {level: mean_score([parts[f"{wheel}/{level}"] for wheel in WHEELS]) for level in LEVELS}
    scores |= {case: parts[case] for case in ("case1", "case2")}
    scores["m_avg"] = mean_score(list(parts.values()))
    return SetResult(
        metric=EW if unknown == "drop" else f"{EW}[unknown={unknown}]",
        score=scores["level1"],
        scores=scores,
        parts=parts,
        coverage=coverage(gold, predicted, mappings, tables.known),
        notes=tables.defects,
    )


def own_mappings() -> dict[str, NodeOf]:
    """emo's vocabulary as mappings: clusters of near-synonyms, families of clusters, base forms."""
    return {
        "clusters": vocabulary.cluster_of,
        "families": vocabulary.family_of,
        "words": vocabulary.base_form,
    }


def emo_clusters(gold: Labels, predicted: Labels) -> SetResult:
    """The same arithmetic over emo's own vocabulary, for those who have no wheels; the headline is clusters.

    Its name is `emo-clusters`, because its numbers cannot be compared with those of EW.
    """
    mappings = own_mappings()
    parts = overlaps(gold, predicted, mappings).scores()
    return SetResult(
        metric=CLUSTERS,
        score=parts["clusters"],
        scores=parts,
        parts=parts,
        coverage=coverage(gold, predicted, mappings, lambda word: vocabulary.entry(word) is not None),
    )
