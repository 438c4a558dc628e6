import pickle

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from emo.errors import InputError
from emo.evaluation.labels import read_labels
from emo.evaluation.unibench import (
    DATA_SETS,
    hit_rate,
    is_sentiment,
    macro_hit_rate,
    per_clip,
    polarity,
    read_gold,
    score_data_set,
    sentiment_of_labels,
    sentiment_scores,
    unibench,
    weighted_f1,
)
from emo.evaluation.wheels import load_wheels


@pytest.fixture(scope="module")
def tables(wheels_folder):
    return load_wheels(wheels_folder)


def test_the_nine_data_sets_have_12799_clips_in_all():
    assert len(DATA_SETS) == 9
    assert sum(data_set.clips for data_set in DATA_SETS.values()) == 12799


def test_hit_rate_asks_only_whether_the_gold_emotion_is_there(tables):
    gold = {"a": "happy", "b": "sad", "c": "neutral", "d": "angry"}
    predicted = {"a": ["joyful", "afraid", "bored"], "b": ["delighted"], "c": ["neutral"]}
    rate, clips = hit_rate(gold, predicted, tables)
    assert rate == pytest.approx(1 / 3)
    assert clips == 3  # neutral is in no wheel


def test_the_macro_hit_rate_counts_every_emotion_the_same(tables):
    gold = {"a": "sad", "b": "sad", "c": "sad", "d": "angry"}
    predicted = {"a": ["sad"], "b": ["sad"], "c": ["sad"], "d": ["happy"]}
    assert hit_rate(gold, predicted, tables)[0] == pytest.approx(0.75)
    assert macro_hit_rate(gold, predicted, tables) == pytest.approx(0.5)


def test_sentiment_leaves_zero_gold_out_and_takes_neutral_for_negative():
    gold = {"a": 1.5, "b": -0.5, "c": 0.0, "d": 2.0, "e": -1.0}
    scores, clips = sentiment_scores(gold, {"a": 1, "b": 0, "c": 1, "d": 0, "e": 1})
    # positive a, d: found a, and e wrongly; negative b, e: found b, and d wrongly.
    assert clips == 4
    assert scores == {"weighted_f1": 0.5, "macro_f1": 0.5, "accuracy": 0.5}


def test_weighted_f1_weighs_by_the_gold_classes():
    gold = {"a": 1, "b": 1, "c": 1, "d": -1}
    scores, _ = sentiment_scores(gold, {"a": 1, "b": 1, "c": 1, "d": 1})
    positive = 2 * 3 / (3 + 4)
    assert scores["weighted_f1"] == pytest.approx(0.75 * positive)
    assert scores["macro_f1"] == pytest.approx(0.5 * positive)
    assert scores["accuracy"] == 0.75


def save(path, **corpora):
    np.savez(path, **{name: np.array(corpus, dtype=object) for name, corpus in corpora.items()})
    return path


def test_label_files_of_the_benchmark_are_read(tmp_path):
    mer = save(
        tmp_path / "label-6way.npz", test1_corpus={"s1": {"emo": "happy", "val": 1.0}}, train_corpus={}
    )
    assert read_gold("mer2023", mer) == {"s1": "happy"}
    meld = save(tmp_path / "meld.npz", test_corpus={"d1_u1": {"emo": 1, "val": -10}})
    assert read_gold("meld", meld) == {"d1_u1": "joy"}
    session = save(
        tmp_path / "label_4way.npz", whole_corpus={"Ses01F_1": {"emo": 0}, "Ses05M_1": {"emo": np.int64(3)}}
    )
    assert read_gold("iemocap", session) == {"Ses05M_1": "anger"}
    mosi = save(tmp_path / "label.npz", test_corpus={"m1": {"emo": 0, "val": np.float32(-1.5)}})
    assert read_gold("cmu-mosi", mosi) == {"m1": -1.5}
    (tmp_path / "ovlabel.csv").write_text('name,openset\nv1,"[\'sad\', ""low""]"\nv2,[]\n')
    assert read_gold("ov-merd+", tmp_path / "ovlabel.csv") == {"v1": ("sad", "low"), "v2": ("neutral",)}


def test_a_label_file_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, ("raise SystemExit",))

    path = tmp_path / "evil.npz"
    np.savez(path, test_corpus=np.array(Evil(), dtype=object))
    with pytest.raises(InputError, match=r"builtins\.exec, which is not data"):
        read_gold("meld", path)
    (tmp_path / "bare.npz").write_bytes(pickle.dumps({}))
    with pytest.raises(InputError, match="cannot be read as a NumPy archive"):
        read_gold("meld", tmp_path / "bare.npz")


def test_a_wrong_label_file_is_named_with_what_it_has(tmp_path):
    path = save(tmp_path / "label.npz", train_corpus={})
    with pytest.raises(InputError, match=r"label\.npz: no array 'test_corpus' \(meld\); it has train_corpus"):
        read_gold("meld", path)
    path = save(tmp_path / "more.npz", test_corpus={"a": {"emo": 12}})
    with pytest.raises(InputError, match="clip 'a' has class 12"):
        read_gold("meld", path)
    for value in (None, [1], {}, float("inf")):
        path = save(tmp_path / "odd.npz", test_corpus={"a": {"emo": value, "val": [value]}})
        with pytest.raises(InputError, match=r"clip 'a' has class .*; expected a number"):
            read_gold("meld", path)
        with pytest.raises(InputError, match=r"clip 'a' has sentiment .*; expected a number"):
            read_gold("cmu-mosi", path)


def test_sentiment_predictions_are_told_from_others(tmp_path):
    path = tmp_path / "sentiment.npz"
    np.savez(path, filenames=["a", "b"], fileitems=["positive", "neutral"])
    labels = read_labels(path)
    assert is_sentiment(labels)
    assert polarity(labels) == {"a": 1.0, "b": 0.0}
    np.savez(path, filenames=["a"], fileitems=["I would say positive, mostly"])
    assert not is_sentiment(read_labels(path))


def full(tables):
    gold, predicted = {}, {}
    for name, data_set in DATA_SETS.items():
        if data_set.kind == "sentiment":
            gold[name], predicted[name] = {"a": 1.0, "b": -1.0}, {"a": 1.0, "b": -1.0}
        elif data_set.kind == "open":
            gold[name], predicted[name] = {"a": ["sad"]}, {"a": ["sad"]}
        else:
            gold[name], predicted[name] = {"a": "sad", "b": "happy"}, {"a": ["sad"], "b": ["sad"]}
    return gold, predicted


def test_the_mean_is_over_all_nine_and_says_what_was_selected(tables):
    gold, predicted = full(tables)
    result = unibench(gold, predicted, tables, selection="checkpoint 30, chosen on the training set")
    assert result.mean == pytest.approx((4 * 0.5 + 4 * 1.0 + 1.0) / 9)
    assert result.selection == "checkpoint 30, chosen on the training set"
    assert any("the benchmark 2610" in note for note in result.notes)


def test_there_is_no_mean_while_a_data_set_is_missing(tables):
    gold, predicted = full(tables)
    del predicted["meld"]
    result = unibench(gold, predicted, tables)
    assert (result.mean, result.missing) == (None, ("meld",))
    with pytest.raises(InputError, match="no data set 'dfew'"):
        unibench({"dfew": {}}, {}, tables)


def test_without_a_text_model_sentiment_comes_from_the_valence_of_the_labels():
    values = sentiment_of_labels({"a": ["happy"], "b": ["sad", "angry"], "c": ["blorpish"], "d": []})
    assert values["a"] > 0 > values["b"]
    assert values["c"] == values["d"] == 0


_SIGNS = st.lists(
    st.tuples(st.sampled_from([-1.0, -0.5, 0.0, 2.0]), st.sampled_from([-1.0, 0.0, 1.0])), min_size=1
)


@given(_SIGNS, st.lists(st.integers(0, 3)))
def test_a_weight_of_a_clip_counts_like_that_many_clips(pairs, repeats):
    gold = {str(number): wanted for number, (wanted, _) in enumerate(pairs)}
    predicted = {str(number): found for number, (_, found) in enumerate(pairs)}
    clips = [name for name, value in gold.items() if value != 0]
    weights = [*repeats, *[1] * len(clips)][: len(clips)]
    names = [(name, copy) for name, weight in zip(clips, weights, strict=True) for copy in range(weight)]
    assume(names)
    many = [{f"{name}-{copy}": side[name] for name, copy in names} for side in (gold, predicted)]
    signs = np.array([[side[name] > 0 for name in clips] for side in (gold, predicted)], dtype=float)
    assert weighted_f1(signs, np.array(weights, dtype=float)) == pytest.approx(
        sentiment_scores(*many)[0]["weighted_f1"]
    )


def test_the_number_that_is_drawn_anew_is_the_score_itself(tables):
    gold = {"a": ["sad"], "b": ["happy", "angry"], "c": ["afraid"]}
    predicted = {"a": ["sad", "bored"], "b": ["furious"], "c": []}
    one = {"a": "sad", "b": "happy", "c": "angry"}
    values, found = {"a": 1.0, "b": -1.0, "c": 2.0}, {"a": 1.0, "b": 1.0}
    for name, sides in {
        "ov-merd+": (gold, predicted),
        "meld": (one, predicted),
        "ch-sims": (values, found),
    }.items():
        assert per_clip(name, *sides, tables).value() == pytest.approx(
            score_data_set(name, *sides, tables).score
        )
