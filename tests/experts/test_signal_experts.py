"""The three experts that measure, together: missing parts, broken clips, batches, settings, cards."""

import pytest
from pydantic import ValidationError

from emo import experts
from emo.config import validate
from emo.errors import InputError, RowError
from emo.extraction.rules import extract
from signal_clips import clip, expert, sample

KINDS = ("voice", "face", "words")


@pytest.mark.parametrize(
    ("kind", "degraded"), [("voice", "audio"), ("words", "transcript"), ("face", "frames")]
)
def test_what_a_clip_does_not_have_is_named_and_gets_no_emotion(kind: str, degraded: str) -> None:
    [entry] = expert(kind).describe([clip()])
    assert not isinstance(entry, RowError)
    assert entry[0].degraded == (degraded,)
    assert extract(entry[0].text) == []


@pytest.mark.parametrize(
    ("kind", "broken", "code"),
    [
        ("voice", {"audio": b"fLaC is how it starts, but not how it goes on"}, "bad_audio"),
        ("voice", {"audio": b""}, "bad_audio"),
        ("face", {"frames": (b"\xff\xd8\xff no picture",), "frame_times": (0.0,)}, "bad_frames"),
        ("face", {"frames": (b"",), "frame_times": (0.0,)}, "bad_frames"),
    ],
)
def test_a_bad_clip_fails_alone_and_its_neighbours_stay_as_they_are(
    kind: str, broken: dict[str, object], code: str
) -> None:
    good = [sample("portrait_welcome"), sample("sea_at_dusk"), sample("drawn_angry")]
    alone = [expert(kind).describe([one])[0] for one in good]
    together = expert(kind).describe([good[0], clip(**broken), good[1], good[2]])
    failed = together.pop(1)
    assert isinstance(failed, RowError)
    assert failed.code == code
    assert together == alone


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_described_in_its_order_and_the_same_each_time(kind: str) -> None:
    clips = [sample(name) for name in ("sea_at_dusk", "portrait_tall_zh", "drawn_sad_zh", "drawn_angry")]
    forwards, backwards = expert(kind).describe(clips), expert(kind).describe(clips[::-1])
    assert forwards == backwards[::-1]
    assert all(not isinstance(entry, RowError) and len(entry) == 1 for entry in forwards)
    assert expert(kind).describe([]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_more_than_one_sample_of_a_measurement_is_refused_by_name(kind: str) -> None:
    with pytest.raises(ValidationError, match="samples"):
        experts.settings_of({"name": kind, "kind": kind, "samples": 2})
    with pytest.raises(InputError, match=r"samples.*expected 1"):
        validate({"experts": [{"kind": kind, "samples": 2}]}, "test")


@pytest.mark.parametrize("kind", KINDS)
def test_the_card_names_the_expert_and_what_it_is_made_of(kind: str) -> None:
    card = experts.load(experts.settings_of({"name": "mine", "kind": kind})).card
    assert card.name == "mine"
    assert card.model
    assert card.revision
