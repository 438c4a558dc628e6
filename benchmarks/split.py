"""Pieces of a long recording against the same pieces as files; what splitting costs.

Makes a recording of 1280x720, H.264 with AAC: some minutes of moving pictures, hard cuts and synthetic speech
(espeak-ng), repeated up to the length asked for. Then, by processor time, so that what else the machine does
counts little:

- the frames and the sound of all its pieces (5 of every 6 s) read from the recording, and from files that
  hold just these pieces;
- the peak of the memory of a process that reads a tenth of the recording, and of one that reads all of it;
- how many times faster than it plays the recording is split by speech and by shots, and decoded bare.

    python benchmarks/split.py --seconds 3600 --json results.json
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
from figures import add_json_option, compare, show, write

from emo.media.decode import decode_file
from emo.media.decoded import DecodeSettings
from emo.media.recording import Recording
from emo.media.voice_activity import SpeechFinder
from emo.media.wave import read_wave
from emo.split.speech import stretches
from emo.split.tasks import CutsIn, SoundOf

EVERY_S, PIECE_S, SCENE_S = 6, 5, 20
SCENES = ("testsrc2", "testsrc", "smptehdbars")
WORDS = "The night was long. Nobody came to open the door, so we sat down and waited. Who is there?"
SETTINGS = DecodeSettings()


def run(*command: str | Path) -> None:
    subprocess.run(list(map(str, command)), check=True, stdin=subprocess.DEVNULL)


def make_recording(folder: Path, part_s: int, seconds: int) -> Path:
    """Scenes with speech for so long, repeated."""
    run("espeak-ng", "-w", folder / "words.wav", WORDS)
    scenes = []
    for number in range(part_s // SCENE_S):
        path = folder / f"scene{number}.mp4"
        source = SCENES[number % len(SCENES)]
        picture = f"{source}=size=1280x720:rate=25,format=yuv420p,hue=h={number * 40}"
        run("ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", picture, "-stream_loop", "-1", "-i",
            folder / "words.wav", "-t", str(SCENE_S), "-c:v", "libx264", "-preset", "superfast",
            "-pix_fmt", "yuv420p", "-c:a", "aac", "-ar", "48000", path)  # fmt: skip
        scenes.append(path)
    listed = folder / "scenes.txt"
    listed.write_text("".join(f"file '{path}'\n" for path in scenes * (seconds // part_s)))
    recording = folder / "recording.mp4"
    run("ffmpeg", "-v", "error", "-y", "-f", "concat", "-safe", "0", "-i", listed, "-c", "copy", recording)
    return recording


def make_files(folder: Path, recording: Path, part_s: int) -> list[Path]:
    """The pieces of the part that is repeated, as files."""
    files = []
    for number in range(part_s // EVERY_S):
        path = folder / f"piece{number:03d}.mp4"
        run("ffmpeg", "-v", "error", "-y", "-ss", str(number * EVERY_S), "-t", str(PIECE_S), "-i", recording,
            "-c:v", "libx264", "-preset", "superfast", "-c:a", "aac", path)  # fmt: skip
        files.append(path)
    return files


def processor_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def read_pieces(recording: str, seconds: int) -> None:
    opened = Recording(recording)
    for start in range(0, seconds, EVERY_S):
        assert opened.piece(float(start), float(start + PIECE_S), SETTINGS).frames
    opened.close()


def read_files(files: list[Path], times: int) -> None:
    for _ in range(times):
        for path in files:
            assert decode_file(str(path), SETTINGS).frames


def peak_mib(recording: Path, seconds: int) -> float:
    """The peak of the memory of a process that reads so much of the recording."""
    command = [sys.executable, __file__, "--read", str(recording), str(seconds)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def by_speech(finder: SpeechFinder, recording: Path, seconds: int) -> int:
    found = 0
    for start in range(0, seconds, 320):
        sound = SoundOf(str(recording), float(start), float(min(start + 320, seconds)))(SETTINGS)
        assert sound is not None
        found += len(stretches(finder.of_recording(read_wave(sound)), 0.3, 15.0))
    return found


def bare(recording: Path, seconds: int) -> int:
    """Decodes every frame, and nothing else."""
    with av.open(str(recording)) as container:
        return sum(
            1 for frame in container.decode(video=0) if frame.time is not None and frame.time < seconds
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=3600, help="of the recording, a multiple of --part")
    parser.add_argument("--part", type=int, default=300, help="seconds that are repeated")
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    add_json_option(parser)
    options = parser.parse_args()
    if options.read:
        read_pieces(options.read[0], int(options.read[1]))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    seconds, part_s = options.seconds, options.part
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        recording = make_recording(folder, part_s, seconds)
        files = make_files(folder, recording, part_s)
        from_files = processor_s(lambda: read_files(files, seconds // part_s))
        from_recording = processor_s(lambda: read_pieces(str(recording), seconds))
        least, most = peak_mib(recording, seconds // 10), peak_mib(recording, seconds)
        # A worker loads the detector once for all its recordings.
        finder = SpeechFinder()
        speech = processor_s(lambda: by_speech(finder, recording, seconds))
        shots = processor_s(lambda: CutsIn(str(recording))(SETTINGS))
        decoded = processor_s(lambda: bare(recording, seconds))
    rate_files = len(files) * (seconds // part_s) / from_files
    rate_recording = seconds // EVERY_S / from_recording
    figures = {
        "seconds": seconds,
        "pieces": seconds // EVERY_S,
        "pieces_per_s_from_files": rate_files,
        "pieces_per_s_from_recording": rate_recording,
        "recording_over_files": rate_recording / rate_files,
        "mib_tenth": least,
        "mib_all": most,
        "times_real_speech": seconds / speech,
        "times_real_shots": seconds / shots,
        "times_real_bare_decoding": seconds / decoded,
        "shots_over_bare_decoding": decoded / shots,
    }
    show(figures)
    compare(options.json, figures, lower=(), higher=("_over_",))
    write(options.json, figures)


if __name__ == "__main__":
    main()
