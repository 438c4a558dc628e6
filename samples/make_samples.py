"""Make the sample clips, their manifest and a sidecar subtitle: the same bytes on the same tool versions.

Needs Debian's `ffmpeg` and `espeak-ng`, and scikit-image (`pip install -e '.[samples]'`) for the portrait.
Nothing is drawn at random; every encoder runs in one thread and writes no date and no version.
"""

import argparse
import contextlib
import csv
import math
import shutil
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

FPS = 25
WIDTH, HEIGHT = 480, 360
LEAD_S, TAIL_S = 0.35, 0.45  # silence before and after the spoken line
SUPERSAMPLING = 2  # drawn at twice the size, then reduced: smooth edges

Colour = tuple[int, int, int]
Frames = Iterator[np.ndarray]  # height x width x 3, uint8, RGB


@dataclass(frozen=True)
class Speech:
    """A line for espeak-ng: voice with variant, pitch 0-99, words per minute, amplitude 0-200.

    melody: how much the pitch range is widened (an SSML value such as +60%), None: not at all. Chinese needs
    the voice `cmn-latn-pinyin`: Debian's `cmn` spells the pinyin in English. treble_db: what is taken from
    the high tones, because the synthesizer is as bright as a person who shouts, whatever it says. full_scale:
    the loudest sample is brought to full scale, as in most sound from the web. music: chords play under the
    voice.
    """

    text: str
    voice: str
    pitch: int
    speed: int
    amplitude: int
    language: str
    melody: str | None = None
    treble_db: int = -6
    full_scale: bool = False
    music: bool = False


@dataclass(frozen=True)
class Character:
    """A drawn head. Angles in degrees, lengths in units of the head's half width.

    brow_tilt: positive draws the inner ends down (anger), negative up (sadness); mouth_curve: positive
    smiles; eye_open: 1 is relaxed; shake: how far the head trembles.
    """

    background: tuple[Colour, Colour]
    skin: Colour
    hair: Colour
    shirt: Colour
    long_hair: bool
    brow_tilt: float
    brow_raise: float
    mouth_curve: float
    eye_open: float
    sway: float
    shake: float = 0.0
    tear: bool = False
    head_drop: float = 0.0
    torch: bool = False


@dataclass(frozen=True)
class Sample:
    """One clip: what is said (None: no sound track), and what makes its frames from the mouth's opening."""

    name: str
    speech: Speech | None
    picture: Callable[[np.ndarray], Frames]
    size: tuple[int, int] = (WIDTH, HEIGHT)
    seconds: float = 4.0  # of a clip without speech
    subtitle_in_manifest: bool = True


def speak(speech: Speech, target: Path) -> None:
    """Write the spoken line as a WAV file with silence around it."""
    line = speech.text
    arguments = [
        "-v",
        speech.voice,
        "-p",
        speech.pitch,
        "-s",
        speech.speed,
        "-a",
        speech.amplitude,
        "-w",
        target,
    ]
    if speech.melody:
        line = f'<prosody range="{speech.melody}">{line}</prosody>'
        arguments.append("-m")
    run(["espeak-ng", *arguments, line])
    dimmed = target.with_suffix(".dimmed.wav")
    filters = f"treble=g={speech.treble_db}:f=1500:width_type=o:width=2"
    run(["ffmpeg", "-v", "error", "-y", "-i", target, "-af", filters, "-c:a", "pcm_s16le", dimmed])
    with wave.open(str(dimmed)) as reader:
        rate = reader.getframerate()
        sound = np.frombuffer(reader.readframes(reader.getnframes()), np.int16).astype(float)
    if speech.music:
        sound = sound + 0.15 * np.max(np.abs(sound)) * chords(len(sound), rate)
    if speech.full_scale:
        sound = sound * (32_000 / np.max(np.abs(sound)))
    samples = np.clip(sound, -32_768, 32_767).astype("<i2").tobytes()
    with wave.open(str(target), "wb") as writer:
        writer.setparams((1, 2, rate, 0, "NONE", ""))
        writer.writeframes(bytes(2 * round(LEAD_S * rate)) + samples + bytes(2 * round(TAIL_S * rate)))


def chords(count: int, rate: int) -> np.ndarray:
    """Three chords that follow each other every second: [count], at most 1."""
    time = np.arange(count) / rate
    sound = np.zeros(count)
    for index, chord in enumerate(((220.0, 277.2, 329.6), (196.0, 246.9, 293.7), (174.6, 220.0, 261.6))):
        now = np.floor(time) % 3 == index
        sound += now * sum(np.sin(2 * np.pi * hz * part * time) / part for hz in chord for part in (1, 2, 3))
    return sound / np.max(np.abs(sound))


def mouth_opening(sound: Path | None, seconds: float) -> np.ndarray:
    """How far the mouth is open in each frame, 0 to 1: the loudness of the spoken line around the frame."""
    if sound is None:
        return np.zeros(round(seconds * FPS))
    with wave.open(str(sound)) as reader:
        samples = np.frombuffer(reader.readframes(reader.getnframes()), np.int16).astype(float)
        per_frame = reader.getframerate() / FPS
    count = math.ceil(len(samples) / per_frame)
    level = np.array(
        [
            np.sqrt(np.mean(samples[round(i * per_frame) : round((i + 1) * per_frame)] ** 2))
            for i in range(count)
        ]
    )
    level = np.convolve(np.pad(level, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    return np.clip(level / np.percentile(level, 95), 0, 1)


def portrait(width: int, height: int, path: Callable[[float], tuple[float, float, float]]) -> Callable:
    """The portrait seen through a moving camera.

    path: position in the clip (0 to 1) to the centre of the view and its height, in pixels of the picture.
    """

    def frames(opening: np.ndarray) -> Frames:
        from skimage.data import astronaut

        picture = astronaut()
        for index in range(len(opening)):
            centre_x, centre_y, view = path(ease(index / max(1, len(opening) - 1)))
            scale = height / view
            shift = [width / 2 - scale * centre_x, height / 2 - scale * centre_y]
            matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
            yield cv2.warpAffine(
                picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
            )

    return frames


def ease(t: float) -> float:
    """Slow at both ends, as a hand moves a camera."""
    return t * t * (3 - 2 * t)


def between(start: float, end: float, t: float) -> float:
    return start + (end - start) * t


def gradient(width: int, height: int, top: Colour, bottom: Colour) -> Image.Image:
    rows = np.linspace(0, 1, height)[:, None]
    colours = (1 - rows) * np.array(top) + rows * np.array(bottom)
    return Image.fromarray(np.repeat(colours[:, None, :], width, axis=1).astype(np.uint8))


def shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, round(channel * factor)) for channel in colour)
    return red, green, blue


def drawn(character: Character) -> Callable[[np.ndarray], Frames]:
    """An animated head that speaks: the mouth follows the sound, the eyes blink, the head moves."""

    def frames(opening: np.ndarray) -> Frames:
        for index, mouth in enumerate(opening):
            yield draw_character(character, index / FPS, float(mouth))

    return frames


def draw_character(character: Character, time: float, mouth: float) -> np.ndarray:
    width, height = WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING
    image = gradient(width, height, *character.background)
    draw = ImageDraw.Draw(image)
    unit = 0.21 * width  # half the width of the head
    x = width / 2 + unit * (character.sway * math.sin(1.9 * time) + character.shake * math.sin(31 * time))
    y = height * 0.47 + unit * (0.4 * character.sway * math.sin(2.7 * time) + character.head_drop)
    line = {"width": max(2, round(unit * 0.07))}
    if character.torch:
        image.paste(torch_light(image, x, y, unit, time))
        draw = ImageDraw.Draw(image)

    def oval(cx: float, cy: float, rx: float, ry: float, fill: Colour, **kw: object) -> None:
        draw.ellipse(
            (x + unit * (cx - rx), y + unit * (cy - ry), x + unit * (cx + rx), y + unit * (cy + ry)),
            fill,
            **kw,
        )

    def points(*pairs: tuple[float, float]) -> list[tuple[float, float]]:
        return [(x + unit * px, y + unit * py) for px, py in pairs]

    dark, shadow = shade(character.skin, 0.45), shade(character.skin, 0.86)
    if character.long_hair:
        oval(0, 0.1, 1.13, 1.35, character.hair)
        draw.rectangle((*points((-1.13, 0.1))[0], *points((1.13, 1.7))[0]), character.hair)
    draw.rounded_rectangle(
        (width / 2 - 1.55 * unit, y + 1.45 * unit, width / 2 + 1.55 * unit, height * 1.3),
        unit * 0.6,
        character.shirt,
    )
    draw.rectangle((*points((-0.34, 0.9))[0], *points((0.34, 1.5))[0]), shadow)
    oval(0, 1.5, 0.34, 0.2, shadow)
    oval(-1.0, 0.1, 0.16, 0.24, shadow)
    oval(1.0, 0.1, 0.16, 0.24, shadow)
    oval(0, 0, 1.0, 1.2, character.skin)
    hair = points(
        *[(1.07 * math.cos(a), -0.1 + 1.24 * math.sin(a)) for a in np.linspace(math.pi, 2 * math.pi, 40)]
    )
    fringe = points(
        *[(1.07 * (1 - 2 * t), -0.1 - 0.56 * math.sin(math.pi * t) ** 0.45) for t in np.linspace(0, 1, 30)]
    )
    draw.polygon(hair + fringe, character.hair)

    blink = 0.08 if time % 2.3 > 2.18 else 1.0
    opened = 0.21 * character.eye_open * blink
    for side in (-1, 1):
        oval(side * 0.4, -0.02, 0.22, opened, (252, 252, 248))
        if blink == 1.0:
            pupil = min(0.12, opened * 0.8)
            oval(
                side * 0.4 + 0.03 * math.sin(1.3 * time),
                0.0 + 0.03 * character.head_drop,
                pupil,
                pupil,
                (46, 34, 28),
            )
            oval(side * 0.4 + 0.04, -0.05, 0.035, 0.035, (255, 255, 255))
        draw.arc(
            (*points((side * 0.4 - 0.24, -0.02 - opened - 0.03))[0], *points((side * 0.4 + 0.24, 0.2))[0]),
            190,
            350,
            dark,
            **line,
        )
        tilt = math.tan(math.radians(character.brow_tilt)) * 0.25
        brow = -0.36 - character.brow_raise - 0.04 * mouth
        draw.line(
            points((side * 0.16, brow + tilt), (side * 0.42, brow - 0.05), (side * 0.66, brow - tilt)),
            shade(character.hair, 0.8),
            width=round(unit * 0.11),
            joint="curve",
        )
    draw.arc((*points((-0.13, 0.2))[0], *points((0.13, 0.42))[0]), 20, 160, dark, **line)
    if character.mouth_curve > 0:
        oval(-0.62, 0.38, 0.15, 0.1, shade(character.skin, 0.93))
        oval(0.62, 0.38, 0.15, 0.1, shade(character.skin, 0.93))
    draw_mouth(draw, points, character.mouth_curve, mouth, dark, round(unit * 0.06))
    if character.tear:
        fall = (time * 0.55) % 1.0
        tear = points((-0.42, 0.24 + 0.62 * fall))[0]
        size = unit * 0.065
        draw.polygon(
            [(tear[0], tear[1] - 2.2 * size), (tear[0] - size, tear[1]), (tear[0] + size, tear[1])],
            (150, 200, 240),
        )
        draw.ellipse((tear[0] - size, tear[1] - size, tear[0] + size, tear[1] + size), (150, 200, 240))
    return np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))


def draw_mouth(
    draw: ImageDraw.ImageDraw,
    points: Callable,
    curve: float,
    opening: float,
    outline: Colour,
    thickness: int,
) -> None:
    """Two arcs between the corners: the upper one has the mood's curve, the lower opens with the sound."""
    t = np.linspace(-1, 1, 25)
    arch = 1 - t**2
    upper = 0.66 + curve * (0.9 * arch - 0.5) * 0.36
    lower = upper + (0.03 + 0.3 * opening) * np.sqrt(arch)
    edge = points(*zip(0.42 * t, upper, strict=True)) + points(*zip(0.42 * t[::-1], lower[::-1], strict=True))
    draw.polygon(edge, (120, 40, 46))
    if opening > 0.35:
        teeth = upper + 0.07 * arch
        draw.polygon(
            points(*zip(0.36 * t, upper, strict=True))
            + points(*zip(0.36 * t[::-1], teeth[::-1], strict=True)),
            (250, 248, 240),
        )
    draw.line([*edge, edge[0]], outline, width=thickness, joint="curve")


def torch_light(image: Image.Image, x: float, y: float, unit: float, time: float) -> Image.Image:
    """The light of a trembling torch behind the head."""
    pixels = np.asarray(image).astype(float)
    rows, columns = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]]
    flicker = 1 + 0.12 * math.sin(17 * time) * math.sin(7 * time)
    distance = np.hypot(columns - x, rows - y) / (unit * 2.1 * flicker)
    light = np.exp(-(distance**2))[..., None] * np.array([120, 105, 70])
    return Image.fromarray(np.clip(pixels + light, 0, 255).astype(np.uint8))


def sea(opening: np.ndarray) -> Frames:
    """A lighthouse by the sea at dusk: a scene without people."""
    for index in range(len(opening)):
        yield draw_sea(index / FPS)


def draw_sea(time: float) -> np.ndarray:
    width, height = WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING
    image = gradient(width, height, (52, 60, 110), (248, 170, 110))
    draw = ImageDraw.Draw(image, "RGBA")
    horizon = height * 0.6
    sun = (width * 0.3, horizon - 30 + 4 * time)
    for radius, alpha in ((120, 30), (90, 45), (62, 255)):
        draw.ellipse(
            (sun[0] - radius, sun[1] - radius, sun[0] + radius, sun[1] + radius), (255, 214, 140, alpha)
        )
    lamp = (width * 0.78, height * 0.27)
    beam = 0.9 * time
    for turn in (0.0, math.pi):
        reach = math.cos(beam + turn) * width
        spread = 18 + 30 * abs(math.cos(beam + turn))
        far = lamp[1] + 0.08 * abs(reach)
        draw.polygon(
            [lamp, (lamp[0] + reach, far - spread), (lamp[0] + reach, far + spread)], (255, 244, 190, 60)
        )
    draw.polygon(
        [
            (width * 0.62, height),
            (width * 0.7, horizon - 6),
            (width * 0.84, horizon - 14),
            (width, horizon + 30),
            (width, height),
        ],
        (44, 42, 58),
    )
    top, foot = 17, 30
    draw.polygon(
        [
            (lamp[0] - top, lamp[1]),
            (lamp[0] + top, lamp[1]),
            (lamp[0] + foot, horizon + 6),
            (lamp[0] - foot, horizon + 6),
        ],
        (236, 232, 224),
    )
    for band in (0.3, 0.65):
        y0 = between(lamp[1], horizon, band)
        y1 = y0 + 0.16 * (horizon - lamp[1])
        w0, w1 = (between(top, foot, (y - lamp[1]) / (horizon + 6 - lamp[1])) for y in (y0, y1))
        draw.polygon(
            [(lamp[0] - w0, y0), (lamp[0] + w0, y0), (lamp[0] + w1, y1), (lamp[0] - w1, y1)], (190, 62, 56)
        )
    draw.rectangle((lamp[0] - 22, lamp[1] - 4, lamp[0] + 22, lamp[1] + 4), (58, 54, 66))
    draw.rectangle((lamp[0] - 12, lamp[1] - 30, lamp[0] + 12, lamp[1] - 4), (255, 240, 180))
    draw.polygon(
        [(lamp[0] - 18, lamp[1] - 30), (lamp[0], lamp[1] - 50), (lamp[0] + 18, lamp[1] - 30)], (58, 54, 66)
    )
    columns = np.linspace(0, width, 121)
    for layer in range(6):
        depth = layer / 5
        base = horizon + (height - horizon) * 0.17 * layer
        swell = base + (2 + 8 * depth) * np.sin(
            columns / (38 + 46 * depth) + (1.2 + 0.5 * depth) * time + 2.1 * layer
        )
        colour = tuple(
            round(between(a, b, depth)) for a, b in zip((196, 138, 116), (30, 44, 78), strict=True)
        )
        draw.polygon([(0, height), *zip(columns, swell, strict=True), (width, height)], (*colour, 235))
    for gull in range(3):
        gx, gy = (
            width * (0.12 + 0.13 * gull) + 34 * time,
            height * (0.2 + 0.05 * gull) + 6 * math.sin(time + gull),
        )
        flap = 7 * math.sin(6 * time + 2 * gull)
        draw.line(
            [(gx - 16, gy - flap), (gx, gy), (gx + 16, gy - flap)], (40, 40, 60), width=4, joint="curve"
        )
    return np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))


def encode(
    frames: Frames, size: tuple[int, int], sound: Path | None, target: Path, index_first: bool
) -> None:
    """H.264 and AAC in mp4; index_first puts the file's index before the data, as for the web."""
    command = ["ffmpeg", "-v", "error", "-y", "-fflags", "+bitexact"]
    command += [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        f"{size[0]}x{size[1]}",
        "-r",
        FPS,
        "-i",
        "pipe:0",
    ]
    if sound is not None:
        command += [
            "-i",
            sound,
            "-c:a",
            "aac",
            "-b:a",
            "56k",
            "-ar",
            "32000",
            "-ac",
            "1",
            "-flags:a",
            "+bitexact",
        ]
    command += [
        "-c:v",
        "libx264",
        "-preset",
        "slow",
        "-crf",
        "26",
        "-threads",
        "1",
        "-g",
        "50",
        "-pix_fmt",
        "yuv420p",
    ]
    command += ["-flags:v", "+bitexact", "-fflags", "+bitexact", "-map_metadata", "-1"]
    if index_first:
        command += ["-movflags", "+faststart"]
    with subprocess.Popen([str(part) for part in [*command, target]], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # ffmpeg has said why on standard error
            for frame in frames:
                process.stdin.write(np.ascontiguousarray(frame).tobytes())
            process.stdin.close()
    if process.returncode != 0:
        raise SystemExit(f"ffmpeg could not write {target}")


def run(command: list[object]) -> None:
    subprocess.run([str(part) for part in command], check=True)


def as_srt(text: str, seconds: float) -> str:
    def stamp(value: float) -> str:
        return f"00:00:{int(value):02d},{round(value % 1 * 1000):03d}"

    return f"1\n{stamp(LEAD_S)} --> {stamp(seconds - TAIL_S)}\n{text}\n"


ANGRY = Character(
    background=((150, 58, 50), (70, 26, 34)),
    skin=(226, 168, 132),
    hair=(58, 40, 34),
    shirt=(44, 48, 60),
    long_hair=False,
    brow_tilt=32,
    brow_raise=-0.06,
    mouth_curve=-0.9,
    eye_open=0.8,
    sway=0.07,
    shake=0.02,
)
SAD = Character(
    background=((96, 116, 146), (52, 64, 92)),
    skin=(236, 196, 166),
    hair=(30, 28, 34),
    shirt=(92, 104, 128),
    long_hair=False,
    brow_tilt=-26,
    brow_raise=0.02,
    mouth_curve=-0.75,
    eye_open=0.62,
    sway=0.03,
    tear=True,
    head_drop=0.08,
)
JOYFUL = Character(
    background=((255, 214, 120), (250, 150, 110)),
    skin=(244, 206, 172),
    hair=(36, 28, 30),
    shirt=(60, 140, 150),
    long_hair=True,
    brow_tilt=-6,
    brow_raise=0.06,
    mouth_curve=1.0,
    eye_open=0.95,
    sway=0.1,
)
AFRAID = replace(
    JOYFUL,
    background=((22, 26, 44), (10, 12, 22)),
    skin=(196, 150, 122),
    hair=(70, 42, 30),
    shirt=(70, 60, 96),
    brow_tilt=-20,
    brow_raise=0.14,
    mouth_curve=-0.35,
    eye_open=1.3,
    sway=0.05,
    shake=0.016,
    torch=True,
)
TIRED = replace(
    SAD,
    background=((186, 178, 164), (128, 120, 112)),
    skin=(168, 116, 84),
    hair=(40, 34, 32),
    shirt=(110, 84, 70),
    brow_tilt=-14,
    mouth_curve=-0.45,
    eye_open=0.42,
    tear=False,
    sway=0.02,
)

FERRY = Speech(
    "The ferry to the island leaves from pier four at ten past nine.", "en-gb", 45, 150, 90, "en", treble_db=0
)
SAMPLES = (
    Sample(
        "portrait_welcome",
        Speech(
            "It is wonderful to be here! Thank you all so much, I am really happy.",
            "en-us+f2",
            62,
            165,
            120,
            "en",
            melody="+60%",
        ),
        portrait(WIDTH, HEIGHT, lambda t: (between(250, 226, t), between(190, 150, t), between(380, 250, t))),
    ),
    Sample(
        "portrait_silent",
        None,
        portrait(WIDTH, HEIGHT, lambda t: (between(300, 222, t), between(160, 146, t), between(310, 250, t))),
        seconds=3.6,
    ),
    Sample(
        "portrait_tall_zh",
        Speech("谢谢大家，我真的很感动，也很自豪。", "cmn-latn-pinyin+f3", 55, 175, 100, "zh"),
        portrait(270, 480, lambda t: (between(232, 222, t), between(240, 190, t), between(470, 360, t))),
        size=(270, 480),
    ),
    Sample(
        "drawn_angry",
        Speech(
            "How dare you! I told you never to touch my things again!",
            "en-us+m3",
            78,
            225,
            200,
            "en",
            melody="+90%",
            treble_db=-2,
        ),
        drawn(ANGRY),
    ),
    Sample(
        "drawn_sad_zh",
        Speech("他不会回来了，我很难过。", "cmn-latn-pinyin+m1", 34, 125, 30, "zh"),
        drawn(SAD),
    ),
    Sample(
        "drawn_joyful_zh",
        Speech("太好了！我们成功了！我真高兴！", "cmn-latn-pinyin+f4", 85, 200, 180, "zh", melody="+90%"),
        drawn(JOYFUL),
    ),
    Sample(
        "drawn_afraid",
        Speech(
            "Did you hear that? Someone is at the door. I am so scared, please stay with me.",
            "en-us+f3",
            90,
            215,
            32,
            "en",
        ),
        drawn(AFRAID),
        subtitle_in_manifest=False,
    ),
    Sample(
        "drawn_tired",
        Speech(
            "I waited all day. I am not angry, just tired and disappointed.",
            "en-us+m1",
            32,
            165,
            35,
            "en",
        ),
        drawn(TIRED),
    ),
    Sample("sea_at_dusk", FERRY, sea),
    Sample(
        "drawn_bored_loud",
        Speech(
            "Nothing ever happens here. It is so boring.",
            "en-us+m1",
            36,
            140,
            40,
            "en",
            full_scale=True,
        ),
        drawn(TIRED),
    ),
    Sample(
        "drawn_worried_loud",
        Speech(
            "She is not home yet. I am so worried about her.",
            "en-us+f3",
            80,
            200,
            60,
            "en",
            full_scale=True,
        ),
        drawn(AFRAID),
    ),
    Sample("sea_over_music", replace(FERRY, melody="+80%", music=True, full_scale=True), sea),
)
BROKEN = "broken_truncated"
BROKEN_SHARE = 0.6  # of the file that is kept: the index at its end is lost


def manifest_rows() -> list[tuple[str, str, str, str]]:
    """uri, video_id, subtitle and language of each clip."""
    rows = []
    for sample in SAMPLES:
        speech = sample.speech
        subtitle = speech.text if speech and sample.subtitle_in_manifest else ""
        rows.append((sample.name, subtitle, speech.language if speech else ""))
    rows.append((BROKEN, FERRY.text, FERRY.language))
    return [(f"clips/{name}.mp4", name, subtitle, language) for name, subtitle, language in rows]


def write_manifest(folder: Path) -> None:
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("uri", "video_id", "subtitle", "language"))
        writer.writerows(manifest_rows())


def make(sample: Sample, clips: Path, index_first: bool = True) -> None:
    """Write one clip, and its sidecar where the manifest has no subtitle for it."""
    with tempfile.TemporaryDirectory() as scratch:
        sound = None
        if sample.speech is not None:
            sound = Path(scratch) / "speech.wav"
            speak(sample.speech, sound)
        opening = mouth_opening(sound, sample.seconds)
        target = clips / f"{sample.name}.mp4"
        encode(sample.picture(opening), sample.size, sound, target, index_first)
    if sample.speech and not sample.subtitle_in_manifest:
        text = as_srt(sample.speech.text, len(opening) / FPS)
        target.with_suffix(".srt").write_text(text, encoding="utf-8")


def make_broken(clips: Path) -> None:
    """Write a file that ends before its index, as after a recording that was cut off."""
    whole = Sample(BROKEN, FERRY, sea)
    make(whole, clips, index_first=False)
    target = clips / f"{BROKEN}.mp4"
    data = target.read_bytes()
    target.write_bytes(data[: round(BROKEN_SHARE * len(data))])


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the sample clips and their manifest.")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).resolve().parent, help="folder to write into"
    )
    parser.add_argument(
        "--clip",
        action="append",
        choices=[*(sample.name for sample in SAMPLES), BROKEN],
        help="make only this clip (may be repeated)",
    )
    arguments = parser.parse_args()
    absent = [tool for tool in ("ffmpeg", "espeak-ng") if shutil.which(tool) is None]
    if absent:
        sys.exit(f"not installed: {', '.join(absent)}; on Debian: apt-get install {' '.join(absent)}")
    clips = arguments.out / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    wanted = arguments.clip or [sample.name for sample in SAMPLES] + [BROKEN]
    for sample in SAMPLES:
        if sample.name in wanted:
            make(sample, clips)
    if BROKEN in wanted:
        make_broken(clips)
    write_manifest(arguments.out)
    megabytes = sum((clips / f"{name}.mp4").stat().st_size for name in wanted) / 1e6
    print(f"{len(wanted)} clips, {megabytes:.2f} MB, in {clips}")


if __name__ == "__main__":
    main()
