"""Whatever a file or an object is called, it is found again under its own name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from emo.errors import InputError
from emo.paths import readable
from emo.sources.source import read_source
from emo.store.s3 import s3_filesystem
from emo.store.storage import Storage, storage_of
from source_files import column, touch


def test_a_folder_whose_name_looks_like_a_glob_is_a_folder(tmp_path):
    touch(tmp_path, "My [clips] 100%?/a.mp4")
    assert column(read_source(str(tmp_path / "My [clips] 100%?")), "video_id") == ["a"]


def test_a_name_that_is_not_utf8_keeps_its_row(tmp_path):
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff\xe9.mp4", os.O_CREAT | os.O_WRONLY))
    touch(tmp_path, "good.mp4")
    assert column(read_source(str(tmp_path)), "video_id") == ["\\xff\\xe9", "good"]


def test_a_manifest_whose_name_is_not_utf8_is_read_and_named(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    manifest = Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xc4.csv"))
    rows = "uri,video_id\na.mp4,one\nb.mp4,two\n"
    manifest.write_text(rows)
    assert column(read_source(str(manifest)), "video_id") == ["one", "two"]
    manifest.write_text(rows + "a.mp4,two\n")
    with pytest.raises(InputError, match="would share the id 'two'"):
        read_source(str(manifest))


@pytest.fixture
def odd_keys(bucket):
    """Keys that differ in slashes and in what follows a question mark, each with content of its own size."""
    url, settings = bucket
    files = s3_filesystem(settings)
    name = url.removeprefix("s3://")
    keys = ["d/x.mp4", "d//x.mp4", "d//z/w.mp4", "/lead.mp4", "lead.mp4", "v.mp4", "d/v?versionId=3.mp4"]
    for size, key in enumerate(keys, start=1):
        files.call_s3("put_object", Bucket=name, Key=key, Body=b"x" * size)
    return url, settings, {f"{url}/{key}": size for size, key in enumerate(keys, start=1)}


def _read_back(uri, settings):
    storage, name = storage_of(uri, settings)
    with storage.download(name) as path, storage.open(name) as handle:
        assert handle.read() == Path(path).read_bytes() == storage.read(name)
        return storage.entry(name).size, len(storage.read(name))


def test_every_key_of_a_prefix_is_its_own_clip(odd_keys):
    url, settings, sizes = odd_keys
    rows = read_source(url, settings)
    assert dict(zip(column(rows, "uri"), column(rows, "size"), strict=True)) == sizes
    assert len(set(column(rows, "video_id"))) == len(sizes)
    for uri, size in sizes.items():
        assert _read_back(uri, settings) == (size, size)


def test_every_key_that_a_manifest_names_is_its_own_clip(odd_keys, tmp_path):
    url, settings, sizes = odd_keys
    lines = [json.dumps({"uri": uri, "video_id": f"{size}"}) for uri, size in sizes.items()]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    rows = read_source(str(tmp_path / "list.jsonl"), settings)
    found = dict(zip(column(rows, "uri"), column(rows, "size"), strict=True))
    assert found == sizes
    Storage(url, settings).write("d/list.csv", b"uri\nx.mp4\n/x.mp4\n../d//x.mp4\nz/../v?versionId=3.mp4\n")
    with pytest.raises(InputError, match="share the id"):
        read_source(f"{url}/d/list.csv", settings)
    Storage(url, settings).write("d/list.csv", b"uri\nx.mp4\n../d//x.mp4\nz/../v?versionId=3.mp4\n")
    rows = read_source(f"{url}/d/list.csv", settings)
    found = dict(zip(column(rows, "uri"), column(rows, "size"), strict=True))
    assert found == {uri: sizes[uri] for uri in found}
    assert len(found) == 3


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("d", {"d/x.mp4", "d//x.mp4", "d//z/w.mp4", "d/v?versionId=3.mp4"}),
        ("d/", {"d/x.mp4", "d//x.mp4", "d//z/w.mp4", "d/v?versionId=3.mp4"}),
        ("d//", {"d//x.mp4", "d//z/w.mp4"}),
        ("d//x.mp4", {"d//x.mp4"}),
        ("/lead.mp4", {"/lead.mp4"}),
        ("/", {"/lead.mp4"}),
        ("d//z", {"d//z/w.mp4"}),
    ],
)
def test_a_source_with_empty_names_in_it_is_what_it_says(odd_keys, source, expected):
    url, settings, sizes = odd_keys
    rows = read_source(f"{url}/{source}", settings)
    found = dict(zip(column(rows, "uri"), column(rows, "size"), strict=True))
    assert found == {f"{url}/{key}": sizes[f"{url}/{key}"] for key in expected}


def test_a_file_at_the_root_is_in_the_folder_of_the_root(tmp_path, monkeypatch):
    """Not in the current folder, where another has the same name."""
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_text("uri\n")
    storage, name = storage_of("/x.csv")
    assert (storage.url, name, storage.full(name)) == ("/", "x.csv", "/x.csv")
    assert not storage.has(name)
    assert storage_of("x.csv")[0].has("x.csv")


ODD = os.fsdecode(b"gbk_\xc4\xe3")


@pytest.mark.parametrize("kind", ["folder", "glob", "file", "manifest"])
def test_files_whose_names_are_not_utf8_are_found_again(tmp_path, kind):
    folder = tmp_path / ODD
    folder.mkdir()
    (folder / f"{ODD}.mp4").write_bytes(b"12345")
    (folder / f"{ODD}.srt").write_bytes(b"1")
    text = tmp_path / r"gbk_\xc4\xe3"
    sources = {
        "folder": str(folder),
        "glob": f"{folder}/*.mp4",
        "file": f"{folder}/{ODD}.mp4",
        "manifest": str(tmp_path / "list.jsonl"),
    }
    (tmp_path / "list.jsonl").write_text(json.dumps({"uri": str(text / r"gbk_\xc4\xe3.mp4")}))
    rows = read_source(readable(sources[kind]))
    assert column(rows, "uri") == [str(text / r"gbk_\xc4\xe3.mp4")]
    assert column(rows, "size") == [5]
    assert column(rows, "sidecar") == [str(text / r"gbk_\xc4\xe3.srt")]
    storage, name = storage_of(rows.column("uri")[0].as_py())
    assert storage.read(name) == b"12345"
    with storage.download(name) as path:
        path.encode()
        assert Path(path).read_bytes() == b"12345"


def test_a_name_that_is_the_very_text_of_another_is_seen_and_refused(tmp_path):
    (tmp_path / f"{ODD}.mp4").write_bytes(b"1")
    (tmp_path / r"gbk_\xc4\xe3.mp4").write_bytes(b"22")
    with pytest.raises(InputError, match="two files would have the same path"):
        read_source(str(tmp_path))


@pytest.mark.parametrize("locale", ["C.UTF-8", "POSIX"])
def test_a_path_means_the_same_file_in_every_locale(tmp_path, locale):
    (tmp_path / "dü").mkdir()
    (tmp_path / "dü" / "é.mp4").write_bytes(b"12345")
    program = (
        "import sys; from emo.paths import readable; from emo.sources.source import read_source\n"
        "from emo.store.storage import storage_of\n"
        "rows = read_source(readable(sys.argv[1])).to_pylist()\n"
        "storage, name = storage_of(rows[0]['uri'])\n"
        "print(ascii(rows[0]['video_id']), rows[0]['size'], storage.read(name))\n"
    )
    plain = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "dü")],
        env={**os.environ, **plain},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["'\\xe9'", "5", "b'12345'"], done.stderr


def test_a_new_folder_whose_name_is_not_utf8_is_refused(tmp_path):
    with pytest.raises(InputError, match="not in UTF-8"):
        Storage(readable(str(tmp_path / ODD))).check()
    (tmp_path / ODD).mkdir()
    Storage(readable(str(tmp_path / ODD))).check()
