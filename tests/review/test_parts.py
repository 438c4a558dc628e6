"""Clips that are parts of a file: what the page plays, and what an export holds, is that part alone."""

import json

import av
import cv2
import pytest

from clips import make_clip, number_in
from emo.cli import main
from emo.errors import RowError
from emo.review.media import Media, make
from emo.review.part import Part
from emo.store.s3 import S3Settings
from review_outs import Judged, make_out

LENGTH = 8
KINDS = {
    "film.mp4": (("-c:v", "libx264", "-g", "250", "-bf", "2"), ("-c:a", "aac")),
    "film.avi": (("-c:v", "mpeg4", "-g", "30", "-bf", "0"), ("-c:a", "pcm_s16le")),
    "film.ts": (("-c:v", "libx264", "-g", "50", "-bf", "2"), ("-c:a", "aac")),
}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    return {
        name: make_clip(folder / name, LENGTH, video=video, sound=sound)
        for name, (video, sound) in KINDS.items()
    }


def jpeg(frame):
    return cv2.imencode(".jpg", frame.to_ndarray(format="bgr24"))[1].tobytes()


def pictures(path):
    with av.open(str(path)) as file:
        return [(float(frame.time), number_in(jpeg(frame))) for frame in file.decode(video=0)]


def sound_s(path):
    with av.open(str(path)) as file:
        frames = list(file.decode(audio=0))
    return float(frames[0].time), sum(frame.samples for frame in frames) / frames[0].sample_rate


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (3.2, 4.4), (6.96, None)])
def test_a_part_is_cut_at_its_frames_and_begins_at_zero(films, tmp_path, name, start, end):
    target = tmp_path / "part.mp4"
    make(str(films[name]), str(target), None, Part(start, end))
    found = pictures(target)
    last = round(25 * (LENGTH if end is None else end))
    assert [number for _, number in found] == list(range(round(25 * start), last))
    assert found[0][0] == pytest.approx(0, abs=0.045)
    begins, length = sound_s(target)
    # A packet of AAC is 21 ms.
    assert begins == pytest.approx(0, abs=0.05)
    assert length == pytest.approx(last / 25 - start, abs=0.1)


def test_a_part_behind_the_end_is_told(films, tmp_path):
    with pytest.raises(RowError, match="the file has nothing at 99 s"):
        make(str(films["film.mp4"]), str(tmp_path / "x.mp4"), None, Part(99.0, None))


def test_a_browser_gets_the_file_with_its_times_or_the_part_alone(films):
    media = Media(S3Settings())
    part = Part(3.2, 4.4)
    whole = media.playable(str(films["film.mp4"]), part)
    assert (whole.storage.full(whole.path), whole.part) == (str(films["film.mp4"]), part)
    made = media.playable(str(films["film.avi"]), part)
    assert made.part is None
    assert [number for _, number in pictures(made.storage.full(made.path))] == list(range(80, 110))
    # Two parts of one file are two.
    other = media.playable(str(films["film.avi"]), Part(0.0, 1.0))
    assert other.path != made.path
    media.close()


def test_an_export_holds_the_part_and_without_media_its_times(films, tmp_path):
    uri = str(films["film.mp4"])
    clips = [
        Judged("film/a", uri=uri, start_s=0.0, end_s=1.0),
        Judged("film/b", uri=uri, start_s=3.2, end_s=4.4),
        Judged("whole", uri=uri),
        Judged("film/gone", uri=uri, start_s=99.0),
    ]
    out = make_out(tmp_path / "out", clips)
    export = ["export", "--out", out.url, "--format"]
    assert main([*export, "fiftyone", "--to", str(tmp_path / "with"), "--media"]) == 0
    made = tmp_path / "with/videos/film/b.mp4"
    assert [number for _, number in pictures(made)] == list(range(80, 110))
    assert (tmp_path / "with/videos/whole.mp4").read_bytes() == films["film.mp4"].read_bytes()
    samples = json.loads((tmp_path / "with/samples.json").read_text())["samples"]
    assert sorted(one["video_id"] for one in samples) == ["film/a", "film/b", "whole"]
    # Again: what is there is not cut anew.
    written = made.stat().st_mtime_ns
    assert main([*export, "fiftyone", "--to", str(tmp_path / "with"), "--media"]) == 0
    assert made.stat().st_mtime_ns == written

    assert main([*export, "fiftyone", "--to", str(tmp_path / "without")]) == 0
    [found] = [
        one
        for one in json.loads((tmp_path / "without/samples.json").read_text())["samples"]
        if one["video_id"] == "film/b"
    ]
    assert (found["filepath"], found["start_s"], found["end_s"]) == (uri, 3.2, 4.4)
    assert main([*export, "label-studio", "--to", str(tmp_path / "studio")]) == 0
    tasks = {
        one["data"]["video_id"]: one["data"]["video"]
        for one in json.loads((tmp_path / "studio/tasks.json").read_text())
    }
    assert tasks == {
        "film/a": f"{uri}#t=0,1",
        "film/b": f"{uri}#t=3.2,4.4",
        "whole": uri,
        "film/gone": f"{uri}#t=99",
    }
