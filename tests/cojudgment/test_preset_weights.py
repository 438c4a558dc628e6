"""The weights of experts in the presets: from published scores of one benchmark, or 1."""

import pytest

from emo.config import load_config, presets

# F on OV-MERD+ (MER-UniBench, arXiv 2501.16566, table 2). InternVL is not in it; models of its kind are:
# Chat-UniVi and SALMONN.
PUBLISHED = {"mer2024-ov": {"affectgpt": 62.52, "internvl": (48.00 + 45.00) / 2}}


@pytest.mark.parametrize("preset", presets())
def test_weights_follow_the_square_of_published_scores_of_one_benchmark_or_are_one(preset):
    weights = {expert.name: expert.weight for expert in load_config(preset=preset).experts}
    scores = PUBLISHED.get(preset, dict.fromkeys(weights, 1.0))
    assert weights.keys() == scores.keys()
    mean = sum(scores.values()) / len(scores)
    assert weights == {name: pytest.approx((score / mean) ** 2, abs=0.03) for name, score in scores.items()}
