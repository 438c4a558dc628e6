"""Pieces of a long recording against the same pieces as files; what splitting costs.

Makes a recording of 1280x720, H.264 with AAC: five minutes of moving pictures, hard cuts and synthetic speech
(espeak-ng), joined to the length asked for. Then, by processor time, so that what else the machine does
counts little:

- the frames and the sound of all its pieces (5 of every 6 s) read from the recording, and from files that
  hold just these pieces;
- the peak of the memory of a process that reads a tenth of the recording, and of one that reads all of it;
- how many times faster than it plays the recording is split by speech and by shots, and decoded bare.

    python benchmarks/split.py --minutes 60 --json results.json
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
from figures import add_json_option, show, write

from emo.media.decode import decode_file
from emo.media.decoded import DecodeSettings
from emo.media.recording import Recording
from emo.media.wave import read_wave
from emo.split.speech import stretches
from emo.split.tasks import CutsIn, SoundOf

PART_S, EVERY_S, PIECE_S = 300, 6, 5
SCENES = ("testsrc2", "gradients", "testsrc", "smptehdbars")
WORDS = "The night was long. Nobody came to open the door, so we sat down and waited. Who is there?"
SETTINGS = DecodeSettings()


def run(*command: str | Path) -> None:
    subprocess.run(list(map(str, command)), check=True, stdin=subprocess.DEVNULL)


def make_recording(folder: Path, minutes: int) -> Path:
    """Five minutes of scenes of 20 s with speech, repeated."""
    run("espeak-ng", "-w", folder / "words.wav", WORDS)
    scenes = []
    for number in range(PART_S // 20):
        path = folder / f"scene{number}.mp4"
        source = SCENES[number % len(SCENES)]
        picture = f"{source}=size=1280x720:rate=25,format=yuv420p,hue=h={number * 40},noise=alls=6:allf=t"
        run("ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", picture, "-stream_loop", "-1", "-i",
            folder / "words.wav", "-t", "20", "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p",
            "-c:a", "aac", "-ar", "48000", path)  # fmt: skip
        scenes.append(path)
    listed = folder / "scenes.txt"
    listed.write_text("".join(f"file '{path}'\n" for path in scenes * max(1, minutes * 60 // PART_S)))
    recording = folder / "recording.mp4"
    run("ffmpeg", "-v", "error", "-y", "-f", "concat", "-safe", "0", "-i", listed, "-c", "copy", recording)
    return recording


def make_files(folder: Path, recording: Path) -> list[Path]:
    """The pieces of the first five minutes as files."""
    files = []
    for number in range(PART_S // EVERY_S):
        path = folder / f"piece{number:03d}.mp4"
        run("ffmpeg", "-v", "error", "-y", "-ss", str(number * EVERY_S), "-t", str(PIECE_S), "-i", recording,
            "-c:v", "libx264", "-preset", "veryfast", "-c:a", "aac", path)  # fmt: skip
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


def by_speech(recording: Path, seconds: int) -> int:
    from emo.media.voice_activity import SpeechFinder

    finder, found = SpeechFinder(), 0
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
    parser.add_argument("--minutes", type=int, default=60, help="of the recording, a multiple of 5")
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    add_json_option(parser)
    options = parser.parse_args()
    if options.read:
        read_pieces(options.read[0], int(options.read[1]))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    seconds = options.minutes * 60
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        recording = make_recording(folder, options.minutes)
        files = make_files(folder, recording)
        pieces = seconds // EVERY_S
        from_files = processor_s(lambda: read_files(files, seconds // PART_S))
        from_recording = processor_s(lambda: read_pieces(str(recording), seconds))
        least, most = peak_mib(recording, max(PART_S // 5, seconds // 10)), peak_mib(recording, seconds)
        speech = processor_s(lambda: by_speech(recording, seconds))
        shots = processor_s(lambda: CutsIn(str(recording))(SETTINGS))
        decoded = processor_s(lambda: bare(recording, seconds))
    figures = {
        "minutes": options.minutes,
        "pieces": pieces,
        "pieces_per_s_from_files": pieces / from_files,
        "pieces_per_s_from_recording": pieces / from_recording,
        "recording_over_files": from_files / from_recording,
        "mib_tenth": least,
        "mib_all": most,
        "times_real_speech": seconds / speech,
        "times_real_shots": seconds / shots,
        "times_real_bare_decoding": seconds / decoded,
        "shots_over_bare_decoding": decoded / shots,
    }
    show(figures)
    write(options.json, figures)


if __name__ == "__main__":
    main()
