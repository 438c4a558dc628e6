"""A sidecar's words, as the tests of transcripts read them."""

from emo.media.transcript import read_sidecar


def words(data: str | bytes, name: str = "a.srt", encoding: str = "utf-8") -> str:
    return read_sidecar(name, data if isinstance(data, bytes) else data.encode(encoding)).text
