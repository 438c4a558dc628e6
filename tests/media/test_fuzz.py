"""Broken videos by the thousand, through the decoder that every run uses.

EMO_TEST_MUTANTS=10000 pytest tests/media/test_fuzz.py is what a release should see; see `mutants` for more.
"""

import io
import math
from collections import Counter
from contextlib import suppress
from statistics import median

import cv2
import numpy as np
import psutil
import pytest
import soundfile

from clips import ffmpeg, make_clip
from emo.errors import RowError
from emo.media.decoded import ERRORS, DecodeSettings
from emo.media.sandbox import Decoder
from mutants import COUNT, SEED, mutant

SETTINGS = DecodeSettings(frames=4, longest_side=160, deadline_s=60, memory_mib=1024)
# Containers, and what ffmpeg is to put into them.
KINDS = {
    "mp4": ("libx264", "aac"),
    "mkv": ("libx264", "libmp3lame"),
    "webm": ("libvpx-vp9", "libopus"),
    "avi": ("mpeg4", "libmp3lame"),
    "ts": ("libx264", "aac"),
    "mpg": ("mpeg2video", "mp2"),
    "flv": ("flv", "libmp3lame"),
    "mov": ("mjpeg", "pcm_s16le"),
    "wmv": ("wmv2", "wmav2"),
    "ogv": ("libtheora", "libvorbis"),
    "nut": ("ffv1", "flac"),
}


@pytest.fixture(scope="module")
def sound_files(tmp_path_factory):
    """One small file of each kind, with some kilobytes, so that a broken byte hits what matters."""
    folder = tmp_path_factory.mktemp("sound")
    made = []
    for kind, (video, sound) in KINDS.items():
        options = {"seconds": 1.0, "fps": 10, "size": (96, 64), "after": ("-b:v", "60k")}
        path = make_clip(folder / f"a.{kind}", video=("-c:v", video), sound=("-c:a", sound), **options)
        made.append(path)
    faststart = folder / "front.mp4"
    ffmpeg("-i", folder / "a.mp4", "-c", "copy", "-movflags", "+faststart", faststart)
    fragments = folder / "fragments.mp4"
    ffmpeg("-i", folder / "a.mp4", "-c", "copy", "-movflags", "frag_keyframe+empty_moov", fragments)
    words = folder / "words.srt"
    words.write_text("1\n00:00:00,000 --> 00:00:00,900\nI am happy\n")
    spoken = folder / "spoken.mkv"
    ffmpeg("-i", folder / "a.mkv", "-i", words, "-c", "copy", "-c:s", "srt", spoken)
    timed = folder / "timed.mp4"
    ffmpeg("-i", folder / "a.mp4", "-i", words, "-c", "copy", "-c:s", "mov_text", timed)
    made += [faststart, fragments, spoken, timed]
    return made


def check(clip):
    """What every table relies on."""
    assert math.isfinite(clip.duration_s)
    # One picture, of which nothing says how long it is shown, has no length.
    assert clip.duration_s > 0 or len(clip.frames) == 1
    assert len(clip.frames) == len(clip.frame_times) <= SETTINGS.frames
    assert all(map(math.isfinite, clip.frame_times))
    assert list(clip.frame_times) == sorted(set(clip.frame_times))
    for frame in clip.frames:
        assert cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_COLOR) is not None
    if clip.audio is not None:
        samples, rate = soundfile.read(io.BytesIO(clip.audio))
        assert (rate, samples.ndim) == (16_000, 1)
    assert clip.frames or clip.audio is not None
    for text in (clip.subtitles or "", *clip.notes):
        text.encode()


def memory_of_children():
    """Resident megabytes of the processes that decode."""
    total = 0
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            total += child.memory_info().rss
    return total / 2**20


@pytest.mark.long
@pytest.mark.timeout(60 + 3 * COUNT)
def test_every_broken_file_is_decoded_or_fails_with_one_known_code_and_memory_stays_flat(
    sound_files, tmp_path
):
    files = [path.read_bytes() for path in sound_files]
    outcomes: Counter[str] = Counter()
    own, children, faults = [], [], []
    rare: dict[str, list[str]] = {}
    with Decoder(SETTINGS) as decoder:
        for path in sound_files:
            check(decoder.decode(str(path)))
        for number in range(COUNT):
            which, data = mutant(files, number)
            path = tmp_path / f"{number}{sound_files[which].suffix}"
            path.write_bytes(data)
            try:
                check(decoder.decode(str(path)))
                outcomes["decoded"] += 1
            except RowError as error:
                outcomes[error.code] += 1
                rare.setdefault(error.code, []).append(f"{number}: {error.message}")
                if error.code not in ERRORS or "\n" in error.message:
                    faults.append(f"{number}: {error.code}: {error.message}")
            except Exception as error:
                faults.append(f"{number}, of {sound_files[which].name}: {error!r}")
            path.unlink()
            own.append(psutil.Process().memory_info().rss / 2**20)
            children.append(memory_of_children())
    half = len(own) // 2
    figures = (
        f"{COUNT} files of seed {SEED}: {dict(outcomes.most_common())}; this process {own[half]:.0f} MiB "
        f"half way, {own[-1]:.0f} at the end; the decoder {median(children[:half]):.0f}, later "
        f"{median(children[half:]):.0f}, {max(children):.0f} at the most"
    )
    print(figures, *(f"{code} {told}" for code, found in rare.items() for told in found[:5]), sep="\n")
    assert not faults, f"{figures}: {faults}"
    # These files last a second: whatever a number in them claims, nothing hangs.
    assert "timeout" not in outcomes, figures
    assert outcomes["decoded"] > COUNT / 4, figures
    assert own[-1] - own[half] < 50, figures
    assert median(children[half:]) < median(children[:half]) + 50, figures
