"""The peak frame as the one picture that an expert is shown."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

import checkpoints
from chat_server import chat_server
from emo import experts
from emo.errors import RowError
from emo.experts.peak import described_at_peaks
from emo.experts.protocol import Description
from openface_csv import openface_csv
from synthetic_clips import clip

# Frames at 0, 0.04 ... 1.96 s; the face moves most at 1.6 s.
SMILE = {6: [0.0] * 40 + [3.0] + [0.0] * 9, 12: [0.0] * 40 + [4.0] + [0.0] * 9}


def clips_in(folder):
    """Four frames in two seconds, at 0.25, 0.75, 1.25 and 1.75 s: the peak is nearest to the last."""
    whole = clip(0)
    frames = tuple(bytes([place]) for place in range(4))
    plain = replace(whole, frames=frames, frame_times=(0.25, 0.75, 1.25, 1.75))
    (folder / "smiles.csv").write_bytes(openface_csv(SMILE))
    (folder / "nobody.csv").write_bytes(openface_csv(SMILE, success=[0] * 50))
    (folder / "broken.csv").write_bytes(b"x")
    return [replace(plain, video_id=name) for name in ("smiles", "absent", "nobody", "broken")]


def test_the_frame_nearest_to_the_peak_alone_is_shown_and_each_clip_fails_alone(tmp_path):
    shown = []

    def describe(clips):
        shown.extend(clips)
        return [[Description(one.video_id)] for one in clips]

    clips = clips_in(tmp_path)
    smiles, absent, nobody, broken = described_at_peaks(clips, str(tmp_path), describe)
    assert [(one.frames, one.frame_times) for one in shown] == [((b"\x03",), (1.75,)), ((b"\x02",), (1.25,))]
    assert (smiles[0].text, nobody[0].text) == ("smiles", "nobody")
    assert isinstance(absent, RowError)
    assert (absent.code, broken.code) == ("modality_missing", "bad_units")
    assert len(described_at_peaks(clips, None, describe)) == 4
    assert len(shown[-1].frames) == 4
    silent = replace(clips[1], frames=(), frame_times=())
    assert described_at_peaks([silent], str(tmp_path), describe)[0][0].text == "absent"


@pytest.mark.parametrize("kind", ["openai", "qwen-vl"])
def test_a_peak_is_of_one_frame_and_its_tables_must_be_there(kind, tmp_path):
    given = {"name": "one", "kind": kind, "peak_tables": str(tmp_path / "nowhere")}
    given |= {"server": {"url": "http://localhost:1/v1", "model": "x"}} if kind == "openai" else {}
    given |= {"model": str(checkpoints.make_qwen2_5_vl(tmp_path / "vl"))} if kind == "qwen-vl" else {}
    cls = experts.expert_class(kind)
    with pytest.raises(ValidationError, match="set max_frames to 1, not 8"):
        cls.Settings(**given)
    told = cls.missing(cls.Settings(**given, max_frames=1))
    assert f"tables: {tmp_path / 'nowhere'}: no such folder" in told


def test_experts_that_see_are_shown_the_peak(tmp_path):
    pictures = clip(0)
    assert len(pictures.frames) > 1
    (tmp_path / f"{pictures.video_id}.csv").write_bytes(openface_csv(SMILE))
    with chat_server() as url:
        server = {"url": url, "model": "x"}
        given = {"name": "one", "kind": "openai", "server": server, "max_frames": 1}
        found = experts.load(experts.settings_of({**given, "peak_tables": str(tmp_path)}))
        (answers,) = found.describe([pictures])
        assert answers[0].text.count("image/jpeg") == 1
    model = checkpoints.make_qwen2_5_vl(tmp_path / "vl")
    given = {"name": "vl", "kind": "qwen-vl", "model": str(model), "device": "cpu", "max_new_tokens": 8}
    given |= {"max_frames": 1, "temperature": 0}
    at_peak = experts.load(experts.settings_of({**given, "peak_tables": str(tmp_path)}))
    plain = experts.load(experts.settings_of(given))
    # Of the frames at 0, 0.25 ... 1.75 s that at 1.5 s lies nearest.
    one = replace(pictures, frames=pictures.frames[6:7], frame_times=pictures.frame_times[6:7])
    assert at_peak.describe([pictures])[0][0].text == plain.describe([one])[0][0].text
