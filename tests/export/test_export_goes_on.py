"""An export that was cut short is finished by the same command, on a disk and on S3."""

import json

import pytest

from emo.cli import main
from emo.store.storage import Storage
from review_outs import VIDEO, Judged, answer, make_out, write_run

FORMATS = {
    "huggingface": "metadata.jsonl",
    "label-studio": "tasks.json",
    "fiftyone": "samples.json",
    "csv": "scores.csv",
    "mer": "openset.csv",
}


class Killed(BaseException):
    """As a signal: nothing catches it."""


def contents(target):
    return {path: target.read(path) for path in target.names() if path != "export.json"}


@pytest.fixture(params=["disk", "s3"])
def place(request, tmp_path, monkeypatch):
    """Where OUT, the videos and the exports are."""
    if request.param == "disk":
        return Storage(str(tmp_path / "place"))
    url, settings = request.getfixturevalue("bucket")
    monkeypatch.setenv("AWS_ENDPOINT_URL", settings.endpoint_url)
    return Storage(f"{url}/place", settings)


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_that_was_killed_is_finished_and_copies_nothing_twice(place, name, monkeypatch):
    videos = [place.full(f"videos/{number}.mp4") for number in range(3)]
    for number in range(3):
        place.write(f"videos/{number}.mp4", VIDEO.read_bytes())
    out = Storage(place.full("out"), place.s3)
    make_out(out, [Judged(str(number), uri=uri) for number, uri in enumerate(videos)])
    write_run(out, ["purpose=a study of acting"])
    answer(out, "0", ["relieved"])

    def export(to):
        return main(["export", "--out", out.url, "--to", place.full(to), "--format", name, "--media"])

    assert export("whole") == 0
    whole = contents(Storage(place.full("whole"), place.s3))
    assert sum(data == VIDEO.read_bytes() for data in whole.values()) == 3
    told = [data.decode() for path, data in whole.items() if path in ("README.md", FORMATS[name])]
    if name not in ("huggingface", "fiftyone"):
        facts = json.loads(place.read("whole/export.json"))
        told.append(facts["purpose"])
        assert facts["by_people"] == 1
    assert any("a study of acting" in text for text in told)

    target = Storage(place.full("cut"), place.s3).url
    written, allowed = [], [1]
    write = Storage.write

    def watched(storage, path, data):
        if storage.url == target:
            if len(written) == allowed[0]:
                raise Killed
            written.append(path)
        write(storage, path, data)

    monkeypatch.setattr(Storage, "write", watched)
    for count in (1, 3):
        allowed[0] = count
        with pytest.raises(Killed):
            export("cut")
    allowed[0] = 1000
    assert export("cut") == 0
    assert contents(Storage(target, place.s3)) == whole
    media = [path for path in written if path.endswith(".mp4")]
    assert len(media) == len(set(media)) == 3
