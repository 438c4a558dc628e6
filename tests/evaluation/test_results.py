import json
import xml.etree.ElementTree as ElementTree

import pytest

from emo.errors import InputError
from emo.evaluation.clues import description_overlap, read_score
from emo.evaluation.ew import emo_clusters, ew, own_mappings
from emo.evaluation.mer2024 import mer2024
from emo.evaluation.metrics.descriptions import DescriptionsMetric
from emo.evaluation.metrics.emo_clusters import EmoClustersMetric
from emo.evaluation.metrics.mer2024 import Mer2024Metric
from emo.evaluation.overlap import by_node
from emo.evaluation.text import to_json
from emo.evaluation.wheels import load_wheels
from emo.pages import charts

GOLD = {"a": ["happy", "blorpish"], "b": ["sad"], "c": ["angry"]}
PREDICTED = {"a": ["joyful"], "b": ["furious", "sad"], "d": ["calm"]}


def test_without_wheels_the_same_arithmetic_has_another_name():
    result = emo_clusters(GOLD, PREDICTED)
    assert result.metric == "emo-clusters"
    assert (result.score.p, result.score.r) == (pytest.approx((1 + 0.5 + 0) / 3), pytest.approx(2 / 3))
    assert set(result.scores) == {"clusters", "families", "words"}
    assert result.scores["words"].f < result.scores["clusters"].f <= result.scores["families"].f
    assert result.coverage.gold.unknown == {"blorpish": 1}


def test_the_own_metric_ranks_systems_as_the_wheels_do(wheels_folder, gold, voters):
    tables = load_wheels(wheels_folder)
    names = list(voters)
    own = [emo_clusters(gold, voters[name]).scores["families"].f for name in names]
    wheels = [ew(gold, voters[name], tables).score.f for name in names]
    ranks = [sorted(range(len(names)), key=values.__getitem__) for values in (own, wheels)]
    places = [[order.index(number) for number in range(len(names))] for order in ranks]
    off = sum((a - b) ** 2 for a, b in zip(*places, strict=True))
    assert 1 - 6 * off / (17 * (17**2 - 1)) > 0.9  # Spearman


def test_a_result_is_one_json_object_and_a_table():
    result = emo_clusters(GOLD, PREDICTED)
    content = json.loads(json.dumps(to_json(result)))
    assert content["metric"] == "emo-clusters"
    assert content["score"]["f"] == result.score.f
    text = "\n".join(EmoClustersMetric().lines(result))
    assert text.startswith("emo-clusters: F 57.14, 3 clips\n")
    assert "gold: 1 of 4 labels (25.0%) are outside the vocabulary, such as blorpish" in text
    assert "gold clips without a prediction: 1" in text
    assert "predictions without gold, not used: 1" in text


def test_the_judge_stands_in_the_text():
    result = mer2024(GOLD, PREDICTED, groups={name: [] for name in GOLD})
    assert "judge: given groups" in Mer2024Metric().lines(result)[0]


def test_scores_per_label_count_gold_predicted_and_both():
    [happiness, *_] = by_node(
        {"a": ["happy"], "b": ["joyful"]}, {"a": ["delighted"]}, own_mappings()["clusters"]
    )
    assert (happiness.name, happiness.gold, happiness.predicted, happiness.both) == ("happiness", 2, 1, 1)
    assert (happiness.precision, happiness.recall) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("7", 7),
        ("Score: 10/10.", 10),
        ("I give it an 8 / 10", 8),
        ("3 or 4", None),
        ("none", None),
        ("0", None),
        ("42", None),
        ("7.5", None),
    ],
)
def test_a_score_is_read_only_where_there_is_exactly_one(answer, score):
    assert read_score(answer) == score


def test_description_overlap_names_the_judge_and_leaves_unread_answers_out():
    def ask(prompts):
        assert all("a tear" in prompt or "a grin" in prompt for prompt in prompts)
        return ["8", "no idea"]

    gold = {"a": "a tear, sad", "b": "a grin, happy", "c": "a yawn"}
    result = description_overlap(gold, {"a": "crying", "b": "smiling"}, ask, judge="tiny-1")
    assert (result.judge, result.clue, result.label) == ("tiny-1", 8.0, 8.0)
    assert (result.clips, result.unread_clue, result.missing_predictions) == (2, 1, 1)
    assert result.scores == {"a": (8, 8), "b": (None, None)}
    assert "1 answers could not be read" in "\n".join(DescriptionsMetric().lines(result))
    with pytest.raises(InputError, match="must be named"):
        description_overlap(gold, gold, ask, judge="")
    with pytest.raises(InputError, match="1 answers to 3 questions"):
        description_overlap(gold, gold, lambda prompts: ["5"], judge="tiny-1")


def test_plots_are_well_formed_and_escape_names():
    for svg in (
        charts.precision_recall({"a<b": [(0.1, 0.5, 0.9), (0.2, 0.7, 0.6)]}, "over the share"),
        charts.scatter_of_groups([(0.2, 0.5, 0.02, 40)], "agreement & quality", "agreement", "F"),
        charts.bars([("happy", 0.7, "of 30")], "per label"),
        charts.matrix(["x", "y"], [[None, 0.5], [0.5, None]], "experts"),
    ):
        root = ElementTree.fromstring(svg)
        assert root.tag.endswith("svg")
        assert root.get("aria-label")
