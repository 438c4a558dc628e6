"""What long recordings cost: their pieces against the same pieces as files, and where the pieces are.

Makes a recording of 1280x720, H.264 with AAC: some minutes of moving pictures, hard cuts and synthetic
speech (espeak-ng), repeated up to an hour; and one of a sixth of that. Then, by processor time, so that what
else the machine does counts little:

- the frames and the sound of all 600 pieces (6 s each) read from the recording, and from files that hold just
  these pieces;
- the peak of the memory of processes that read the pieces, split by speech, split by shots, or only open the
  file: all of the long recording, and all of the short one;
- how many times faster than it plays the recording is split by speech and by shots, and decoded bare, on one
  core. The detector of speech is loaded before.

    python benchmarks/split.py
    python benchmarks/split.py --seconds 120 --part 60 --json /tmp/split.json
"""

import argparse
import re
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
from emo.split.tasks import CutsIn, Look, SoundOf

PIECE_S, SCENE_S = 6, 20
SCENES = ("testsrc2", "testsrc", "smptehdbars")
WORDS = "The night was long. Nobody came to open the door, so we sat down and waited. Who is there?"
SETTINGS = DecodeSettings()
# The last one is what the index of the file takes, whoever reads it.
WAYS = ("pieces", "speech", "shots", "open")
# The recording that memory is compared on is so many times shorter.
SHORTER = 6
# Sound that is held at once when pieces are found.
CHUNK_S = 160


def run(*command: str | Path) -> None:
    subprocess.run(list(map(str, command)), check=True, stdin=subprocess.DEVNULL)


def make_scenes(folder: Path, part_s: int) -> list[Path]:
    """Scenes with speech that are so long together."""
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
    return scenes


def make_recording(recording: Path, scenes: list[Path], times: int) -> Path:
    """The scenes one after the other, so many times."""
    listed = recording.with_suffix(".txt")
    listed.write_text("".join(f"file '{path}'\n" for path in scenes * times))
    run("ffmpeg", "-v", "error", "-y", "-f", "concat", "-safe", "0", "-i", listed, "-c", "copy", recording)
    return recording


def make_files(folder: Path, recording: Path, part_s: int) -> list[Path]:
    """The pieces of the part that is repeated, as files."""
    files = []
    for number in range(part_s // PIECE_S):
        path = folder / f"piece{number:03d}.mp4"
        run("ffmpeg", "-v", "error", "-y", "-ss", str(number * PIECE_S), "-t", str(PIECE_S), "-i", recording,
            "-c:v", "libx264", "-preset", "superfast", "-c:a", "aac", path)  # fmt: skip
        files.append(path)
    return files


def processor_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def read_pieces(recording: str, seconds: int) -> None:
    opened = Recording(recording)
    for start in range(0, seconds, PIECE_S):
        assert opened.piece(float(start), float(start + PIECE_S), SETTINGS).frames
    opened.close()


def read_files(files: list[Path], times: int) -> None:
    for _ in range(times):
        for path in files:
            assert decode_file(str(path), SETTINGS).frames


def peak_mib(how: str, recording: Path, seconds: int) -> float:
    """The peak of the memory of a process that does this with a whole recording."""
    command = [sys.executable, __file__, "--alone", how, str(recording), str(seconds)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def alone(how: str, recording: Path, seconds: int) -> None:
    """One of the ways to go through a recording, in a process of its own."""
    if how == "pieces":
        read_pieces(str(recording), seconds)
    elif how == "speech":
        by_speech(SpeechFinder(), recording, seconds)
    elif how == "open":
        Look(str(recording))(SETTINGS)
    else:
        CutsIn(str(recording))(SETTINGS)
    # Not `ru_maxrss`, which begins with what the process that started this one held.
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(int(peak) / 1024)


def by_speech(finder: SpeechFinder, recording: Path, seconds: int) -> int:
    found = 0
    for start in range(0, seconds, CHUNK_S):
        sound = SoundOf(str(recording), float(start), float(min(start + CHUNK_S, seconds)))(SETTINGS)
        assert sound is not None
        found += len(stretches(finder.of_recording(read_wave(sound)), 0.3, 15.0))
    return found


def bare(recording: Path, seconds: int) -> int:
    """Decodes every frame, and nothing else."""
    with av.open(str(recording)) as container:
        return sum(
            1 for frame in container.decode(video=0) if frame.time is not None and frame.time < seconds
        )


def table(figures: dict[str, float]) -> list[str]:
    """The figures that have a bound, beside it."""
    index = figures["mib_open_long"] - figures["mib_open_short"]
    shots = min(15.0, 0.8 * figures["times_real_bare_decoding"])
    bounds = [
        ("pieces of a recording / of files", figures["recording_over_files"], 0.9, ">="),
        ("speech, times real", figures["times_real_speech"], 150.0, ">="),
        ("shots, times real (15, or 0.8 of decoding)", figures["times_real_shots"], shots, ">="),
        *(
            (
                f"memory of {how}, long without index / short",
                (figures[f"mib_{how}_long"] - index) / figures[f"mib_{how}_short"],
                1.1,
                "<=",
            )
            for how in WAYS[:-1]
        ),
    ]
    lines = []
    for name, value, bound, sense in bounds:
        holds = value >= bound if sense == ">=" else value <= bound
        lines.append(f"{name:<46}{value:>9.3g}  {sense} {bound:<7.3g}{'holds' if holds else 'DOES NOT HOLD'}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=3600, help="of the recording, a multiple of --part")
    parser.add_argument("--part", type=int, default=300, help="seconds that are repeated")
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    add_json_option(parser)
    parser.set_defaults(json=Path(__file__).parent / "results" / "split.json")
    options = parser.parse_args()
    if options.alone:
        how, recording, seconds = options.alone
        alone(how, Path(recording), int(seconds))
        return
    seconds, part_s = options.seconds, options.part
    if seconds % part_s or part_s % SCENE_S:
        parser.error(f"--seconds is a multiple of --part, and --part one of {SCENE_S}")
    short_s = max(part_s, seconds // SHORTER // part_s * part_s)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        scenes = make_scenes(folder, part_s)
        recording = make_recording(folder / "recording.mp4", scenes, seconds // part_s)
        short = make_recording(folder / "short.mp4", scenes, short_s // part_s)
        files = make_files(folder, recording, part_s)
        from_files = processor_s(lambda: read_files(files, seconds // part_s))
        from_recording = processor_s(lambda: read_pieces(str(recording), seconds))
        # A worker loads the detector once for all its recordings.
        finder = SpeechFinder()
        by_speech(finder, short, min(short_s, 60))
        speech = processor_s(lambda: by_speech(finder, recording, seconds))
        shots = processor_s(lambda: CutsIn(str(recording))(SETTINGS))
        decoded = processor_s(lambda: bare(recording, seconds))
        peaks: dict[str, float] = {}
        for how in WAYS:
            peaks[f"mib_{how}_long"] = peak_mib(how, recording, seconds)
            peaks[f"mib_{how}_short"] = peak_mib(how, short, short_s)
    pieces = len(range(0, seconds, PIECE_S))
    rate_files = len(files) * (seconds // part_s) / from_files
    rate_recording = pieces / from_recording
    figures = {
        "seconds": seconds,
        "seconds_short": short_s,
        "pieces": pieces,
        "pieces_per_s_from_files": rate_files,
        "pieces_per_s_from_recording": rate_recording,
        "recording_over_files": rate_recording / rate_files,
        **peaks,
        "times_real_speech": seconds / speech,
        "times_real_shots": seconds / shots,
        "times_real_bare_decoding": seconds / decoded,
        "shots_over_bare_decoding": decoded / shots,
    }
    show(figures)
    compare(options.json, figures, lower=(), higher=("_over_",))
    print("\n".join(table(figures)))
    write(options.json, figures)


if __name__ == "__main__":
    main()
