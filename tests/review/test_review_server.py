import io
import json

import pytest

import emo
from clips import make_clip
from emo.cli import main
from emo.review.consensus import read_reviews
from emo.store import lease
from emo.store.storage import Storage
from review_outs import VIDEO, Judged, make_out
from review_server import Client, review_server

CLIPS = [Judged(f"clip {number}") for number in range(8)]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("review")
    odd = make_clip(folder / "odd.avi", video=("-c:v", "mpeg4"), sound=("-c:a", "mp2"))
    broken = folder / "broken.mp4"
    broken.write_bytes(b"no video at all")
    clips = [
        *CLIPS,
        Judged("odd", uri=str(odd)),
        Judged("broken", uri=str(broken)),
        Judged("gone", uri=str(folder / "gone.mp4"), frames=(b"jpeg 0", b"jpeg 1"), audio=b"flac"),
        Judged("quiet", labels=()),
    ]
    make_out(folder / "out", clips)
    return folder / "out"


@pytest.fixture(scope="module")
def server(out):
    options = ("--blind", "0", "--each", "2", "--per-recording", "100")
    with review_server(out, *options, reviewers=("ann", "bob"), executable=True) as running:
        yield running


@pytest.fixture(scope="module")
def ann(server):
    return Client(server.addresses["ann"])


@pytest.fixture(scope="module")
def bob(server):
    return Client(server.addresses["bob"])


def stored(out):
    return {(row["video_id"], row["reviewer"]): row for row in read_reviews(Storage(str(out)))}


def test_an_answer_is_a_row_with_all_that_it_means(ann, out):
    ann.answer(
        "clip 0",
        ["happy", "relieved"],
        queue="random",
        comment=" <b>calm</b> ",
        seconds=3.5,
        several_people=True,
    )
    row = stored(out)["clip 0", "ann"]
    assert (row["labels"], row["shown_labels"]) == (["happy", "relieved"], ["happy", "tired"])
    assert (row["verdict"], row["added"], row["removed"]) == ("corrected", ["relieved"], ["tired"])
    assert (row["comment"], row["seconds"], row["several_people"]) == ("<b>calm</b>", 3.5, True)
    assert (row["queue"], row["blind"], row["judged_by_run"]) == ("random", False, "20261120T230135Z")
    # As the tables of every other step.
    assert emo.read(str(out), "reviews").num_rows >= 1


def test_accepted_unusable_and_no_label_are_three_things(ann, out):
    ann.answer("clip 1", ["tired", "happy"])
    ann.answer("clip 2", None)
    ann.answer("clip 3", [])
    rows = stored(out)
    assert rows["clip 1", "ann"]["verdict"] == "accepted"
    assert (rows["clip 2", "ann"]["verdict"], rows["clip 2", "ann"]["labels"]) == ("unusable", None)
    assert (rows["clip 3", "ann"]["verdict"], rows["clip 3", "ann"]["removed"]) == (
        "corrected",
        ["happy", "tired"],
    )


def test_the_last_of_one_persons_answers_counts_and_none_is_lost_silently(ann, bob, out):
    first = ann.answer("clip 4", ["happy"])["saved"]
    again = {"video_id": "clip 4", "labels": ["sad"], "replaces": None}
    status, _, data = ann.send("POST", "/api/review", again)
    assert (status, "another window" in json.loads(data)["error"]) == (409, True)
    # The same once more is a request whose answer was lost.
    assert ann.answer("clip 4", ["happy"])["saved"] == first
    second = ann.answer("clip 4", ["sad"], replaces=first)["saved"]
    assert second > first
    bob.answer("clip 4", ["angry"])
    rows = stored(out)
    assert (rows["clip 4", "ann"]["labels"], rows["clip 4", "bob"]["labels"]) == (["sad"], ["angry"])
    assert ann.clip("clip 4")["review"]["labels"] == ["sad"]


def test_each_clip_goes_to_two_people_and_no_third(tmp_path):
    make_out(tmp_path / "out", CLIPS)
    with review_server(tmp_path / "out", "--each", "2", reviewers=("ann", "bob", "cy")) as running:
        clients = [Client(address) for address in running.addresses.values()]
        # What one is looking at counts, so that three do not work on one clip at the same time.
        shown = [client.next()["video_id"] for client in clients]
        assert max(map(shown.count, shown)) == 2
        for client in clients * 8:
            if clip := client.next():
                client.answer(clip["video_id"], ["happy"], queue=clip["queue"])
        assert all(client.next() is None for client in clients)
        told = clients[0].get("/api/progress")
    names = [video_id for video_id, _ in stored(tmp_path / "out")]
    assert sorted(names) == sorted([one.video_id for one in CLIPS] * 2)
    assert (told["shared_clips"], told["done"]) == (8, 0)


def test_an_answer_of_a_page_of_another_person_or_out_is_refused(ann, bob, out):
    page = ann.send("GET", "/")[2].decode()
    whose = page.partition('data-whose="')[2].partition('"')[0]
    assert len(whose) == 32
    before = len(stored(out))
    body = {"video_id": "clip 5", "labels": [], "whose": whose}
    assert bob.send("POST", "/api/review", body)[0] == 412
    assert len(stored(out)) == before
    assert ann.send("POST", "/api/review", body)[0] == 200


def test_what_is_no_answer_is_refused_and_writes_nothing(ann, out):
    before = len(stored(out))
    for body in (
        {"video_id": "nowhere", "labels": []},
        {"video_id": "../../etc/passwd", "labels": []},
        {"video_id": "clip 5", "labels": "nan"},
        {"video_id": "clip 5", "labels": [3]},
        {"video_id": "clip 5", "labels": ["x" * 101]},
        {"video_id": "clip 5", "labels": ["a\x00b"]},
        {"video_id": "clip 5", "labels": [], "comment": "x" * 10_001},
        {"video_id": "clip 5", "labels": [], "queue": "best"},
        ["no object"],
    ):
        status, _, data = ann.send("POST", "/api/review", body)
        assert status == 400, (body, data)
    assert len(stored(out)) == before


@pytest.mark.parametrize(
    "path", ["/", "/page.js", "/api/words", "/api/progress", "/media/video?video_id=clip+0"]
)
def test_nobody_comes_in_without_a_token(server, ann, path):
    for cookie in (None, f"{ann.cookie.split('=')[0]}=guessed"):
        status, headers, data = ann.send("GET", path, Cookie=cookie)
        assert status == 403, data
        assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_a_token_is_good_once(server, ann):
    with pytest.raises(AssertionError, match="403"):
        Client(server.addresses["ann"])
    fresh = ann.post("/api/invite", {})["address"]
    assert Client(fresh).get("/api/progress")["reviewer"] == "ann"
    with pytest.raises(AssertionError, match="403"):
        Client(fresh)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": None},
        {"Host": "elsewhere.example"},
        {"Content_Type": "text/plain"},
    ],
)
def test_a_request_of_another_page_is_refused(ann, out, headers):
    before = len(stored(out))
    body = {"video_id": "clip 6", "labels": []}
    assert ann.send("POST", "/api/review", body, **headers)[0] == 403
    assert len(stored(out)) == before


@pytest.mark.parametrize(
    "path",
    [
        "/media/video?video_id=../../../etc/passwd",
        "/media/video?video_id=/etc/passwd",
        "/media/video",
        "/../pyproject.toml",
        "/%2e%2e/pyproject.toml",
        "/page.html",
        "/page.py",
        "/media/frame?video_id=gone&place=-1",
        "/media/frame?video_id=gone&place=9",
    ],
)
def test_nothing_outside_is_served(ann, path):
    status, _, data = ann.send("GET", path)
    assert status == 404, data
    assert b"root:" not in data


def test_a_video_comes_in_pieces(ann):
    whole = VIDEO.read_bytes()
    status, headers, data = ann.send("GET", "/media/video?video_id=clip+0")
    assert (status, headers["Content-Type"], data) == (200, "video/mp4", whole)
    for asked, start, end in (("0-99", 0, 100), ("100-", 100, None), ("-50", len(whole) - 50, None)):
        status, headers, data = ann.send("GET", "/media/video?video_id=clip+0", Range=f"bytes={asked}")
        assert (status, data) == (206, whole[start:end])
        assert headers["Content-Range"].endswith(f"/{len(whole)}")
    for asked in ("bytes=99999999-", "bytes=5-1", "bytes=-", "lines=1-2", "bytes=0-1,5-6"):
        assert ann.send("GET", "/media/video?video_id=clip+0", Range=asked)[0] == 416


def test_what_a_browser_does_not_play_is_made_so(ann):
    import av

    status, headers, data = ann.send("GET", "/media/video?video_id=odd")
    assert (status, headers["Content-Type"]) == (200, "video/mp4")
    with av.open(io.BytesIO(data)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert float(container.duration / av.time_base) == pytest.approx(2.0, abs=0.2)
        assert sum(1 for _ in container.decode(video)) == pytest.approx(50, abs=2)


def test_a_video_that_nobody_can_read_and_one_that_is_gone_say_so(ann):
    status, _, data = ann.send("GET", "/media/video?video_id=broken")
    assert status == 422, data
    status, _, data = ann.send("GET", "/media/video?video_id=gone")
    assert (status, json.loads(data)["error"]) == (404, "the file is not there any more")
    assert ann.send("GET", "/media/frame?video_id=gone&place=1")[2] == b"jpeg 1"
    assert ann.send("GET", "/media/sound?video_id=gone")[2] == b"flac"
    assert ann.send("GET", "/media/sound?video_id=quiet")[0] == 404


def test_it_works_beside_a_run_and_takes_no_lease(ann, out):
    storage = Storage(str(out))
    with lease.Lease(storage, "label"):
        ann.answer("clip 7", ["happy"])
    assert ("clip 7", "ann") in stored(out)


def test_a_killed_server_loses_no_answer(tmp_path):
    make_out(tmp_path / "out", CLIPS)
    for number in range(3):
        with review_server(tmp_path / "out", "--blind", "0") as running:
            client = Client(running.addresses["ann"])
            clip = client.next()
            client.answer(clip["video_id"], ["happy"], queue=clip["queue"])
            running.kill()
        assert len(stored(tmp_path / "out")) == number + 1


def test_a_blind_clip_tells_nothing_that_a_machine_said(tmp_path):
    make_out(tmp_path / "out", CLIPS)
    with review_server(tmp_path / "out", "--blind", "1") as running:
        client = Client(running.addresses["ann"])
        clip = client.next()
        assert clip["blind"]
        client.answer(clip["video_id"], ["sad"], queue=clip["queue"])
        for told in (clip, client.clip(clip["video_id"])):
            assert "tired" not in json.dumps(told)
            assert "describes" not in json.dumps(told)
            machine = ("candidates", "answers", "beside", "description", "judge", "agreement", "conflict")
            assert not any(told[name] for name in (*machine, "state")), told
    [row] = stored(tmp_path / "out").values()
    assert (row["blind"], row["verdict"], row["shown_labels"]) == (True, "labelled", ["happy", "tired"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--host", "192.0.2.1"], "--tls-cert"),
        (["--host", "0.0.0.0"], "one address"),
        (["--behind", "http://proxy.example"], "https://"),
        (["--by", "best"], "no queue 'best'"),
        (["--by", "expert:nobody"], "it has: face, voice"),
        (["--blind", "2"], "from 0 to 1"),
        (["--each", "0"], "1 or more"),
        (["--reviewer", " "], "the name of a reviewer"),
        (["--tls-cert", "x"], "go together"),
    ],
)
def test_what_cannot_be_is_refused_before_it_listens(tmp_path, capsys, options, told):
    make_out(tmp_path / "out", CLIPS[:1])
    assert main(["review", "--out", str(tmp_path / "out"), "--no-browser", *options]) == 2
    assert told in capsys.readouterr().err


def test_on_s3_too(bucket, tmp_path, monkeypatch):
    place, settings = bucket
    storage = Storage(f"{place}/out", settings)
    videos = Storage(f"{place}/videos", settings)
    videos.write("a.mp4", VIDEO.read_bytes())
    make_out(storage, [Judged("a", uri=videos.full("a.mp4"))])
    monkeypatch.setenv("AWS_ENDPOINT_URL", settings.endpoint_url)
    with review_server(f"{place}/out", "--blind", "0") as running:
        client = Client(running.addresses["ann"])
        clip = client.next()
        status, _, data = client.send("GET", "/media/video?video_id=a", Range="bytes=10-19")
        assert (status, data) == (206, VIDEO.read_bytes()[10:20])
        client.answer(clip["video_id"], ["happy"], queue=clip["queue"])
    [row] = read_reviews(storage)
    assert (row["video_id"], row["labels"]) == ("a", ["happy"])
