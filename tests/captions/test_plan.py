"""Which captions are made: the product, the target, windows, splits, gold, prompts."""

import io
import itertools
from collections import Counter

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from emo.captions.gold import of_clips, read_gold
from emo.captions.plan import MOST_SAMPLES, Captioner, PlannedClip, further, make_plan
from emo.captions.prompts import LABEL, CaptionPrompt, load_caption_prompt, names
from emo.captions.splits import SPLITS, VIDEO_OF, split_of, video_of
from emo.captions.windows import Window, cut, cut_audio, frame_places, parse_window
from emo.errors import InputError, RowError
from emo.experts.protocol import Clip

PERSON = CaptionPrompt("person", "Describe the person.")
FACE = CaptionPrompt("face", "Describe the face.")
TOLD = CaptionPrompt("told", f"Describe the person.\nIt is {LABEL}.")
WHOLE, FIRST, SECOND = Window(), Window(0, 50), Window(50, 100)


def clips(count, frames=8, gold=None):
    return [PlannedClip(f"v/{n}", frames, gold) for n in range(count)]


def test_the_papers_count_is_the_product_cut_to_the_target():
    captioners = [Captioner("qwen", (PERSON, FACE), None), Captioner("cogvlm", (PERSON, FACE), None)]
    plan = make_plan(clips(2281), captioners, [WHOLE, FIRST, SECOND], samples=1, target=26_000)
    assert plan.product == 2281 * 12
    assert len(plan.variants) == len({variant.key for variant in plan.variants}) == 26_000
    assert set(Counter(variant.video_id for variant in plan.variants).values()) == {11, 12}
    # What the target cuts off is not always the same combination.
    combinations = Counter(variant.key[1:] for variant in plan.variants)
    assert min(combinations.values()) > 0.9 * max(combinations.values())
    assert (
        "2281 clips: 27372 captions are possible; the target is 26000: 26000, 11.4 per clip" in plan.lines()
    )


def test_samples_are_drawn_as_often_as_the_target_needs():
    captioners = [Captioner("qwen", (PERSON,), None), Captioner("face", (PERSON,), 1)]
    plan = make_plan(clips(10), captioners, [WHOLE], samples=None, target=95)
    assert plan.samples == 9
    assert max(variant.sample for variant in plan.variants if variant.captioner.expert == "face") == 0
    assert make_plan(clips(10), captioners, [WHOLE], samples=None, target=None).product == 20


def test_for_what_the_filters_take_more_captions_are_made_until_nothing_is_left_to_make_them_of():
    captioners = [Captioner("qwen", (PERSON,), None), Captioner("face", (PERSON,), 1)]
    first = make_plan(clips(10), captioners, [WHOLE], samples=None, target=40)
    assert (len(first.variants), first.most) == (40, 10 * MOST_SAMPLES + 10)
    assert "the target is what is left to train on: for all else more are made, 1010 at most" in (
        first.lines()
    )
    count = further(first, made=40, kept=30, gained=None)
    assert count == 54, "three of four are left, so ten more take fourteen"
    second = make_plan(clips(10), captioners, [WHOLE], None, 40, count)
    assert {variant.key for variant in first.variants} <= {variant.key for variant in second.variants}
    assert len(second.variants) == 54
    assert further(second, made=54, kept=40, gained=10) is None
    assert further(second, made=54, kept=30, gained=0) is None, "the last ones brought none"
    assert further(second, made=500, kept=39, gained=None) == 510, "what an earlier run made counts"
    assert further(first, made=40, kept=0, gained=None) == 440
    last = make_plan(clips(10), captioners, [WHOLE], None, 40, 5000)
    assert last.exhausted
    assert len(last.variants) == 1010
    assert further(last, made=1010, kept=39, gained=5) is None
    assert further(make_plan(clips(10), captioners, [WHOLE], 2, None), 30, 1, None) is None


def test_a_target_out_of_reach_is_refused_with_what_there_is():
    captioners = [Captioner("face", (PERSON,), 1)]
    with pytest.raises(InputError, match="target is 31, and 10 clips give 30 captions by 3 combinations"):
        make_plan(clips(10), captioners, [WHOLE, FIRST, SECOND], samples=None, target=31)


def test_a_prompt_that_shows_the_gold_is_asked_about_clips_whose_gold_is_known():
    known = [PlannedClip("a", 8, "negative"), PlannedClip("b", 8, None)]
    plan = make_plan(known, [Captioner("qwen", (PERSON, TOLD), None)], [WHOLE], None, None)
    assert sorted(variant.key for variant in plan.variants) == [
        ("a", "qwen", "person", "0-100", 0),
        ("a", "qwen", "told:negative", "0-100", 0),
        ("b", "qwen", "person", "0-100", 0),
    ]
    assert plan.unknown == 1
    assert {variant.gold for variant in plan.variants if variant.prompt == PERSON} == {None}


def test_windows_that_show_the_same_frames_of_a_short_clip_are_one():
    plan = make_plan(
        [PlannedClip("a", 1)], [Captioner("x", (PERSON,), 1)], [WHOLE, FIRST, SECOND], None, None
    )
    assert [variant.window for variant in plan.variants] == [WHOLE]


def test_clips_without_frames_are_counted_and_said():
    plan = make_plan(
        [PlannedClip("a", 8), PlannedClip("b", 0)], [Captioner("x", (PERSON,), 1)], [WHOLE], 1, 1
    )
    assert [variant.video_id for variant in plan.variants] == ["a"]
    assert (plan.clips, plan.without_frames) == (1, 1)
    assert plan.figures()["clips_without_frames"] == 1
    assert any(line.startswith("1 clips have sound alone: no caption") for line in plan.lines())


def test_a_set_without_any_frames_cannot_be_captioned():
    with pytest.raises(InputError, match="none of 2 clips has pictures"):
        make_plan(clips(2, frames=0), [Captioner("x", (PERSON,), 1)], [WHOLE], 1, None)


plans = st.builds(
    lambda captioners, windows, count, samples: (captioners, windows, clips(count), samples),
    st.lists(
        st.tuples(
            st.lists(st.sampled_from([PERSON, FACE]), min_size=1, unique=True), st.sampled_from([None, 1])
        ),
        min_size=1,
        max_size=3,
    ).map(lambda found: [Captioner(f"e{n}", tuple(p), most) for n, (p, most) in enumerate(found)]),
    st.lists(st.sampled_from([WHOLE, FIRST, SECOND]), min_size=1, unique=True),
    st.integers(1, 7),
    st.integers(1, 3),
)


@given(plans, st.data())
@settings(max_examples=60)
def test_a_target_within_reach_is_met_exactly_and_evenly(parts, data):
    captioners, windows, found, samples = parts
    everything = make_plan(found, captioners, windows, samples, None)
    assert len(everything.variants) == everything.product
    target = data.draw(st.integers(1, everything.product))
    plan = make_plan(found, captioners, windows, samples, target)
    keys = [variant.key for variant in plan.variants]
    assert len(set(keys)) == len(keys) == target
    assert set(keys) <= {variant.key for variant in everything.variants}
    per_clip = Counter({clip.video_id: 0 for clip in found})
    per_clip.update(variant.video_id for variant in plan.variants)
    assert max(per_clip.values()) - min(per_clip.values()) <= 1
    # The plan does not depend on the order of the clips.
    again = make_plan(found[::-1], captioners, windows, samples, target)
    assert {variant.key for variant in again.variants} == set(keys)


# --- windows


@given(st.lists(st.integers(1, 99), unique=True, max_size=5), st.integers(0, 40))
def test_windows_that_lie_end_to_end_share_out_the_frames(cuts, frames):
    edges = [0, *sorted(cuts), 100]
    places = [
        place
        for start, end in itertools.pairwise(edges)
        for place in frame_places(Window(start, end), frames)
    ]
    assert places == list(range(frames))


def wave(seconds=2.0):
    return (np.arange(int(seconds * 16000)) % 30000).astype(np.int16)


def flac(samples):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16000, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def read(data):
    return soundfile.read(io.BytesIO(data), dtype="int16")[0]


def test_sound_is_cut_sample_for_sample():
    whole = flac(wave())
    parts = [read(cut_audio(whole, window)) for window in (FIRST, Window(50, 75), Window(75, 100))]
    assert np.array_equal(np.concatenate(parts), wave())


def test_a_cut_clip_has_its_own_id_frames_times_and_sound():
    frames = tuple(bytes([n]) for n in range(4))
    clip = Clip("v", frames, (0.0, 0.5, 1.0, 1.5), flac(wave()), "Hello.", "en", 2.0)
    part = cut(clip, SECOND)
    assert (part.video_id, part.frames, part.frame_times) == ("v#50-100", frames[2:], (0.0, 0.5))
    assert (part.duration_s, part.transcript) == (1.0, "Hello.")
    assert len(read(part.audio)) == 16000
    assert cut(clip, WHOLE) is clip


def test_a_window_without_a_frame_or_with_broken_sound_fails_its_row():
    with pytest.raises(RowError) as empty:
        cut(Clip("v", (b"x",), (0.0,), None, None, None, 1.0), FIRST)
    assert empty.value.code == "empty_window"
    with pytest.raises(RowError) as broken:
        cut_audio(b"not sound", FIRST)
    assert broken.value.code == "bad_audio"


@pytest.mark.parametrize("text", ["0-0", "50-20", "0-101", "-5-10", "a-b", "0:50", ""])
def test_what_is_no_window_is_refused(text):
    with pytest.raises(ValueError, match="window"):
        parse_window(text)


# --- splits


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 50)), min_size=1),
    st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(1, 10)),
)
def test_no_video_is_on_two_sides(ids, weights):
    shares = {split: weight / sum(weights) for split, weight in zip(SPLITS, weights, strict=True)}
    sides: dict[str, set[str]] = {}
    for video, clip in ids:
        name = video_of(f"video_{video:04d}/{clip:04d}")
        sides.setdefault(name, set()).add(split_of(name, shares))
    assert all(len(found) == 1 for found in sides.values())
    assert all(shares[split] > 0 for found in sides.values() for split in found)


def test_the_shares_are_kept_and_a_larger_share_moves_no_video_out():
    videos = [f"video_{n:05d}" for n in range(4000)]
    one = {"train": 0.8, "validation": 0.1, "test": 0.1}
    counts = Counter(split_of(video, one) for video in videos)
    assert abs(counts["train"] / 4000 - 0.8) < 0.03
    assert abs(counts["test"] / 4000 - 0.1) < 0.02
    more = {"train": 0.9, "validation": 0.05, "test": 0.05}
    assert all(split_of(v, more) == "train" for v in videos if split_of(v, one) == "train")


@pytest.mark.parametrize(
    ("video_id", "pattern", "video"),
    [
        ("video_0001/0003", VIDEO_OF, "video_0001"),
        ("raw/b/3", VIDEO_OF, "raw/b"),
        ("alone", VIDEO_OF, "alone"),
        ("dia12_utt3", VIDEO_OF, "dia12"),
        ("train_splits/dia12_utt3", VIDEO_OF, "train_splits/dia12"),
        ("Ses01F_impro01_F000", VIDEO_OF, "Ses01F_impro01"),
        (
            "Session1/Ses01M_script01_1b/Ses01M_script01_1b_M004",
            VIDEO_OF,
            "Session1/Ses01M_script01_1b/Ses01M_script01_1b",
        ),
        ("samplenew3_00012345", VIDEO_OF, "samplenew3_00012345"),
        ("film/000000000-000002000", VIDEO_OF, "film"),
        ("dia12_utt3", r"(dia\d+)_.*", "dia12"),
        ("other", r"(dia\d+)_.*", "other"),
    ],
)
def test_the_video_of_a_clip(video_id, pattern, video):
    assert video_of(video_id, pattern) == video


# --- gold


def test_the_gold_of_chsims_is_a_polarity_per_clip():
    data = (
        "\ufeffvideo_id,clip_id,text,label,annotation\n"
        "video_0001,0001,你好,-0.8,Negative\nvideo_0001,0002,嗯,0.0,Neutral\nvideo_0002,0001,好,0.2,Positive\n"
    )
    assert read_gold(data.encode(), "label.csv") == {
        "video_0001/0001": "negative",
        "video_0001/0002": "neutral",
        "video_0002/0001": "positive",
    }


def test_a_gold_of_words_is_read_too():
    assert read_gold(b"video_id,label\na,Positive\nb,neutral\n", "x.csv") == {"a": "positive", "b": "neutral"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("video_id,label\na,2\n", "x.csv line 2: label is '2', expected a number from -1 to 1"),
        ("video_id,label\na,1\nb,\n", "x.csv line 3: label is ''"),
        ("video_id,label\na,nan\n", "line 2"),
        ("video_id,label\na,1\na,-1\n", "line 3: 'a' has another label further up"),
        ("id,label\na,1\n", "needs the columns video_id and label; it has: id, label"),
    ],
)
def test_a_gold_that_is_none_is_refused_with_its_line(text, says):
    with pytest.raises(InputError) as error:
        read_gold(text.encode(), "x.csv")
    assert says in str(error.value)


# --- prompts


def test_every_prompt_of_the_package_asks_something_and_only_one_shows_the_gold():
    prompts = [load_caption_prompt(name) for name in names()]
    assert [prompt.name for prompt in prompts if prompt.shows_gold] == ["person-with-label"]
    assert all(len(prompt.question) > 50 and LABEL not in prompt.question for prompt in prompts)
    assert len({prompt.sha for prompt in prompts}) == len(prompts)


def test_the_question_of_a_prompt_that_shows_the_gold_does_not():
    prompt = load_caption_prompt("person-with-label")
    assert prompt.question == load_caption_prompt("person").question
    assert "negative on the whole" in prompt.shown("negative")


def test_a_prompt_may_be_a_file_of_ones_own(tmp_path):
    (tmp_path / "hands.txt").write_text("What do the hands do?\n")
    assert load_caption_prompt(str(tmp_path / "hands.txt")) == CaptionPrompt("hands", "What do the hands do?")
    (tmp_path / "only.txt").write_text("It is {label}.")
    (tmp_path / "a b.txt").write_text("What?")
    for name, says in [
        (tmp_path / "none.txt", "no such file"),
        (tmp_path / "only.txt", "nothing to ask"),
        (tmp_path / "a b.txt", "file name of letters"),
        ("persn", "expected a .txt file or one of: body, face, person"),
    ]:
        with pytest.raises(InputError, match=says):
            load_caption_prompt(str(name))


def test_gold_whose_ids_a_spreadsheet_cut_is_found_and_said(capsys):
    gold = {"video_1/1": "positive", "video_1/0002": "negative"}
    clips = ["video_1/0001", "video_1/0002", "video_1/0003"]
    assert of_clips(gold, clips, "label.csv") == {"video_1/0001": "positive", "video_1/0002": "negative"}
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("label.csv: 1 ids lost the zeros in front")
    assert said[1] == "label.csv: 1 of 3 clips have no gold there"
