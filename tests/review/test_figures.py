import pytest
from hypothesis import given
from hypothesis import strategies as st

from emo.review.consensus import agreed
from emo.review.figures import alpha, drawn, fair_sample, quality, wilson
from emo.vocabulary.meaning import meaning


def review(video_id="a", reviewer="ann", labels=("happy",), shown=("happy",), verdict="accepted", **more):
    return {
        "video_id": video_id,
        "reviewer": reviewer,
        "labels": None if labels is None else list(labels),
        "shown_labels": list(shown),
        "verdict": verdict,
        "several_people": False,
        "queue": "random",
        "blind": False,
        **more,
    }


def test_wilson_gives_the_published_intervals():
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    for right, of, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        found = wilson(right, of)
        assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert (wilson(0, 0).low, wilson(0, 0).high, wilson(0, 0).value) == (0, 1, None)


def test_alpha_gives_the_published_figure_for_single_values():
    # Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C: nominal data, alpha 0.743.
    # With one label each the distance of Jaccard is that of nominal data.
    table = [
        "1,2,3,3,2,1,4,1,2,,,",
        "1,2,3,3,2,2,4,1,2,5,,3",
        ",3,3,3,2,3,4,2,2,5,1,",
        "1,2,3,3,2,4,4,1,2,5,1,",
    ]
    rows = [line.split(",") for line in table]
    units = [[frozenset([row[place]]) for row in rows if row[place]] for place in range(12)]
    assert alpha(units) == pytest.approx(0.743, abs=0.0005)


def test_alpha_of_sets_by_hand():
    happy, both, sad = frozenset({"happy"}), frozenset({"happy", "tired"}), frozenset({"sad"})
    # Observed: clip 1 differs by 1/2, clip 2 by nothing. Expected over the 4 values, 12 ordered pairs:
    # happy-both 1/2, happy-sad 1 twice, both-sad 1 twice.
    seen = (2 * 0.5 + 0) / 4
    expected = 2 * (0.5 + 2 * 1 + 2 * 1) / 12
    assert alpha([[happy, both], [sad, sad]]) == pytest.approx(1 - seen / expected)
    assert alpha([[happy], [sad]]) is None
    assert alpha([[happy, happy], [happy, happy]]) is None
    assert alpha([[happy, happy], [sad, sad]]) == 1


labels = st.sets(st.sampled_from(["happy", "glad", "sad", "angry", "zorbed"]), max_size=3)


@given(st.lists(st.lists(labels, min_size=1, max_size=3), max_size=6))
def test_alpha_does_not_depend_on_the_order_of_people_or_clips(units):
    sets = [[frozenset(one) for one in unit] for unit in units]
    turned = [unit[::-1] for unit in sets[::-1]]
    assert alpha(sets) == pytest.approx(alpha(turned))
    assert alpha(sets) is None or alpha(sets) <= 1


def test_the_share_right_is_of_the_random_part_alone():
    names = sorted(map(str, range(100)), key=drawn)
    asked = [review(name) for name in names[:10]]
    # Reviewed for another reason, but among the first of the random order: part of the sample all the same.
    early = review(names[5], queue="uncertain", labels=("sad",), verdict="corrected")
    late = [review(name, queue="uncertain", labels=("sad",), verdict="corrected") for name in names[50:]]
    rows = [row for row in asked if row["video_id"] != names[5]] + [early, *late]
    assert len(fair_sample(rows)) == 10
    found = quality(rows)
    assert (found["right"]["right"], found["right"]["of"], found["clips"]) == (9, 10, 60)
    assert found["labels"]["share"] == 0.9


def test_a_clip_counts_once_however_many_people_answer_it():
    rows = [review(str(clip), name) for clip in range(4) for name in ("ann", "bob", "cy")]
    assert quality(rows)["right"] == quality([row for row in rows if row["reviewer"] == "ann"])["right"]
    rows[0] |= {"labels": ["sad"], "verdict": "corrected"}
    found = quality(rows)["right"]
    assert (found["of"], found["share"]) == (4, pytest.approx((3 + 2 / 3) / 4))


def test_a_synonym_is_right_and_a_blind_answer_is_counted_apart():
    rows = [review("a", labels=("glad",), verdict="corrected"), review("b", labels=("sad",), blind=True)]
    found = quality(rows)
    assert (found["right"]["right"], found["right"]["of"]) == (1, 1)
    assert (found["blind"]["right"], found["blind"]["of"]) == (0, 1)


def test_one_reviewer_counts_and_two_where_they_agree():
    assert agreed([review(labels=("happy", "tired"))]).labels == ("happy", "tired")
    pair = [review(labels=("happy", "tired")), review(reviewer="bob", labels=("glad",))]
    assert [*map(meaning, agreed(pair).labels)] == [meaning("happy")]
    assert agreed([review(labels=("happy",)), review(reviewer="bob", labels=("sad",))]) is None
    assert agreed([review(labels=()), review(reviewer="bob", labels=())]).labels == ()


def test_what_most_call_unusable_is_so_and_a_tie_is_nothing():
    unusable = review(labels=None, verdict="unusable", several_people=True)
    assert agreed([unusable]).labels is None
    assert agreed([unusable]).several_people
    assert agreed([unusable, review(reviewer="bob")]) is None
    third = review(reviewer="cy")
    assert agreed([unusable, review(reviewer="bob"), third]).labels == ("happy",)
