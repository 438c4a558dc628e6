import numpy as np
import pytest

from emo.aus.reading import expression, in_words, read_clip
from emo.aus.rules import load_rules
from emo.aus.table import read_openface
from emo.errors import RowError
from openface_csv import openface_csv

SMILE = {6: [0, 0, 1.0, 2.0, 1.0, 0], 12: [0, 0, 2.0, 4.0, 2.0, 0]}
EMFACS, PUBLISHED = load_rules("emfacs"), load_rules("published")


@pytest.mark.parametrize("blank", [True, False])
def test_a_table_of_openface_is_read_whatever_stands_before_its_names(blank):
    table = read_openface(openface_csv(SMILE, blank=blank))
    assert table.intensity[12].tolist() == SMILE[12]
    assert table.present[12].tolist() == [False, False, True, True, True, False]
    assert 28 in table.present
    assert 28 not in table.intensity
    assert table.times.tolist() == [0.0, 0.04, 0.08, 0.12, 0.16, 0.2]
    assert table.frames.tolist() == [1, 2, 3, 4, 5, 6]
    assert table.total == 6


def test_frames_without_a_face_that_is_sure_are_left_out():
    data = openface_csv(SMILE, success=[1, 1, 1, 0, 1, 1], confidence=[0.9, 0.9, 0.9, 0.9, 0.5, 0.9])
    table = read_openface(data)
    assert table.frames.tolist() == [1, 2, 3, 6]
    assert table.total == 6
    assert len(read_openface(data, least_confidence=0.4)) == 5


def test_of_several_faces_the_one_that_is_seen_longest_counts():
    one = openface_csv(SMILE).decode().splitlines()
    other = openface_csv({4: [3.0] * 3}, face_id=[1] * 3).decode().splitlines()
    mixed = [line for pair in zip(one[1:4], other[1:], strict=True) for line in pair]
    data = "\n".join([one[0], *mixed, *one[4:]])
    table = read_openface(data.encode())
    assert len(table) == table.total == 6
    assert table.intensity[4].max() == 0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"\xff\xfe\x00", "not CSV in UTF-8"),
        (b"a,b\n1,2", "lacks frame, timestamp"),
        (b"frame,timestamp,confidence,success\n1,0,1,1", "lacks AU columns"),
        (b"frame,timestamp,confidence,success,AU06_r\n1,0,1,1,x", "row 1 holds something that is no number"),
        (b"frame,timestamp,confidence,success,AU06_r\n1,0,1,1", "row 1 has 4 cells"),
        (b"frame,timestamp,confidence,success,AU06_r\n1,0,1,1,nan", "not finite"),
        (b"frame,timestamp,confidence,success,AU06_r\n1,0,1,1,7", "AU06_r lies outside 0 to 5"),
        (b"frame,timestamp,confidence,success,AU06_r\n2,0,1,1,1\n1,1,1,1,1", "not in the order of time"),
        (b"frame,timestamp,confidence,success,AU06_r,AU06_r\n1,0,1,1,1,1", "names a column twice"),
    ],
)
def test_what_is_no_such_table_is_a_failure_that_says_why(data, why):
    with pytest.raises(RowError, match=why) as caught:
        read_openface(data)
    assert caught.value.code == "bad_units"


def fired(rules, **units):
    """Emotions of one frame from intensities such as AU6=2.0."""
    given = {int(name[2:]): [value] for name, value in units.items()}
    return rules.fired(read_openface(openface_csv(given)), 0)


def test_the_prototypes_of_emfacs_fire():
    assert fired(EMFACS, AU6=2.0, AU12=3.0) == [("happy", 2.5)]
    assert fired(EMFACS, AU1=2.0, AU4=2.0, AU15=2.0)[0] == ("sad", 2.0)
    assert fired(EMFACS, AU4=2.0, AU5=2.0, AU7=2.0, AU23=2.0)[0] == ("angry", 2.0)
    assert fired(EMFACS) == []


def test_one_unit_alone_makes_a_prototype_only_by_the_published_arithmetic():
    assert fired(EMFACS, AU12=4.0) == []
    assert ("disgusted", 2.0) in fired(PUBLISHED, AU9=4.0)
    # The mean of AU20; AU28 has no intensity.
    assert ("worried", 4.0) in fired(PUBLISHED, AU20=4.0)


def test_the_limits_are_inclusive_and_name_the_strength():
    assert fired(PUBLISHED, AU6=0.8, AU12=0.8, AU14=0.8) == [("happy", pytest.approx(0.8))]
    assert fired(PUBLISHED, AU6=0.8, AU12=0.8, AU14=0.7) == []
    word = EMFACS.limits.word
    assert [word(value) for value in (0.79, 0.8, 1.6, 2.4)] == [
        "faint",
        "slight",
        "moderate",
        "strong",
    ]


def test_an_emotion_fires_only_where_the_table_has_all_of_its_units():
    data = b"frame,timestamp,confidence,success,AU12_r,AU12_c\n1,0,1,1,4,1"
    assert PUBLISHED.fired(read_openface(data), 0) == []


def test_the_peak_is_the_strongest_frame_and_is_put_into_words():
    table = read_openface(openface_csv(SMILE))
    reading = read_clip(table, EMFACS)
    assert (reading.strongest.frame, reading.strongest.time_s) == (4, 0.12)
    assert expression(reading.strongest, EMFACS) == (
        "lip corner puller (AU12, strong), cheek raiser (AU06, moderate)"
    )
    assert reading.labels == (("happy", 0.6),)
    assert in_words(reading, table, EMFACS) == (
        "A face was found in 6 of 6 frames. At its strongest, 0.12 s, the face shows "
        "lip corner puller (AU12, strong), cheek raiser (AU06, moderate). Peak at 0.12 s: happy (strong). "
        "By the rules (emfacs) this goes with being happy; it is a heuristic."
    )


def test_two_expressions_are_two_peaks_in_the_order_of_time():
    def hump(at, top):
        return np.maximum(0, top - abs(np.arange(100) - at)).tolist()

    units = {6: hump(20, 3.0), 12: hump(20, 3.0), 1: hump(70, 4.0), 4: hump(70, 4.0), 15: hump(70, 4.0)}
    table = read_openface(openface_csv(units))
    for rules in (EMFACS, PUBLISHED):
        reading = read_clip(table, rules)
        assert [peak.frame for peak in reading.peaks] == [21, 71]
        assert reading.strongest.frame == 71
        assert reading.peaks[0].emotions[0][0] == "happy"
        assert reading.labels[0][0] == reading.peaks[1].emotions[0][0] == "sad"
        assert "happy" in dict(reading.labels)


def test_a_mouth_that_speaks_draws_only_the_published_peak():
    talk = {25: [4.0, 0, 4.0, 0, 4.0, 0], 26: [4.0, 0, 4.0, 0, 4.0, 0], 6: [0, 0, 0, 2.0, 0, 0]}
    table = read_openface(openface_csv(talk))
    assert read_clip(table, EMFACS).strongest.frame == 4
    assert read_clip(table, PUBLISHED).strongest.frame == 1


def test_nothing_active_and_no_face_are_two_things_and_neither_is_neutral():
    still = read_openface(openface_csv({6: [0.0, 0.1]}))
    reading = read_clip(still, EMFACS)
    assert reading.labels == ()
    assert "no clear expression" in in_words(reading, still, EMFACS)
    nobody = read_openface(openface_csv(SMILE, success=[0] * 6))
    assert read_clip(nobody, EMFACS) is None
    assert in_words(None, nobody, EMFACS).startswith("No face was found in any of 6 frames")


@pytest.mark.parametrize("rules", [EMFACS, PUBLISHED], ids=["emfacs", "published"])
def test_every_unit_of_the_rules_has_a_name_and_every_emotion_is_a_word_of_the_vocabulary(rules):
    from emo import vocabulary

    assert {unit for units in rules.emotions.values() for unit in units} <= set(rules.names)
    assert all(vocabulary.entry(name) is not None for name in rules.emotions)
