"""The three experts that measure: on signals of known truth, on the sample clips, and on broken data."""

import csv
import io
from dataclasses import replace
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pydantic import ValidationError

from emo import experts, vocabulary
from emo.config import validate
from emo.errors import InputError, RowError
from emo.experts import face, voice, voice_measurement, words
from emo.experts.protocol import Clip
from emo.extraction.rules import extract
from emo.media.faces import FaceFinder, NetworkFinder
from emo.media.voice_activity import SpeechFinder

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
HZ = 16_000
KINDS = ("voice", "face", "words")


@cache
def expert(kind: str) -> experts.Expert:
    return experts.load(experts.settings_of({"name": kind, "kind": kind}))


@cache
def sample(video_id: str) -> Clip:
    """One sample clip, decoded here with PyAV: eight frames and the sound at 16 kHz."""
    with (SAMPLES / "manifest.csv").open(encoding="utf-8") as file:
        row = next(row for row in csv.DictReader(file) if row["video_id"] == video_id)
    path = str(SAMPLES / row["uri"])
    with av.open(path) as video:
        pictures = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    places = [round((index + 0.5) * len(pictures) / 8) for index in range(8)]
    audio = None
    with av.open(path) as video:
        if video.streams.audio:
            resampler = av.AudioResampler("s16", "mono", HZ)
            parts = [part for frame in video.decode(audio=0) for part in resampler.resample(frame)]
            audio = flac(np.concatenate([part.to_ndarray()[0] for part in parts]) / 32768)
    return Clip(
        video_id=video_id,
        frames=tuple(jpeg(pictures[place]) for place in places),
        frame_times=tuple(place / 25 for place in places),
        audio=audio,
        transcript=row["subtitle"] or None,
        language=row["language"] or None,
        duration_s=len(pictures) / 25,
    )


def flac(wave: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def jpeg(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def clip(**changes: object) -> Clip:
    empty = Clip("a", (), (), audio=None, transcript=None, language=None, duration_s=1.0)
    return replace(empty, **changes)  # type: ignore[arg-type]


def text_of(kind: str, one: Clip) -> str:
    [entry] = expert(kind).describe([one])
    assert not isinstance(entry, RowError)
    return entry[0].text


def syllables(
    count: int, *, hz: float, amplitude: float, on_s: float = 0.14, off_s: float = 0.06
) -> np.ndarray:
    """Harmonic tones with gaps too short to be pauses: what a voice is to the measurements."""
    time = np.arange(round(on_s * HZ)) / HZ
    tone = sum(np.sin(2 * np.pi * hz * k * time) / k for k in range(1, 6))
    envelope = np.sin(np.pi * time / on_s) ** 0.5
    one = np.concatenate([amplitude * tone / np.max(np.abs(tone)) * envelope, np.zeros(round(off_s * HZ))])
    return np.tile(one, count)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * HZ))


# voice

SPOKEN = 1.0  # what a detector of speech would say of every window


def measured_as_speech(wave: np.ndarray) -> voice_measurement.Measurement:
    """The measurement of a sound that is taken for speech from beginning to end."""
    measured = voice_measurement.measure(wave.astype(np.float32), np.full(-(-len(wave) // 512), SPOKEN))
    assert measured is not None
    return measured


def sound_of(video_id: str) -> np.ndarray:
    return soundfile.read(io.BytesIO(sample(video_id).audio or b""), dtype="float32")[0]


def music(seconds: float) -> np.ndarray:
    """Three chords of bowed tones with a beat under them, no voice."""
    time = np.arange(round(seconds * HZ)) / HZ
    chords = ((220.0, 277.2, 329.6), (196.0, 246.9, 293.7), (174.6, 220.0, 261.6))
    sound = np.zeros(len(time))
    for index, chord in enumerate(chords):
        now = (time % 1.5 >= 0.5 * index) & (time % 1.5 < 0.5 * (index + 1))
        tone = sum(np.sin(2 * np.pi * hz * k * time) / k for hz in chord for k in range(1, 5))
        sound += now * tone
    beat = np.random.default_rng(3).normal(size=len(time)) * np.exp(-30 * (time % 0.25))
    return 0.2 * (sound / np.max(np.abs(sound)) + 0.3 * beat)


def test_pitch_pace_and_pauses_of_a_tone_sequence_are_those_that_were_put_in() -> None:
    part = syllables(10, hz=220, amplitude=0.3)
    measured = measured_as_speech(
        np.concatenate([silence(0.5), part, silence(0.6), part, silence(1.0), part, silence(0.5)])
    )
    assert measured.pitch_hz == pytest.approx(220, rel=0.01)
    assert measured.pitch_semitones == pytest.approx(0, abs=0.3)
    assert measured.pauses == 2
    assert measured.longest_pause_s == pytest.approx(1.06, abs=0.1)
    assert measured.pause_share == pytest.approx((0.66 + 1.06) / measured.sound_s, abs=0.03)
    assert measured.beats_per_s == pytest.approx(5, rel=0.08)


@pytest.mark.parametrize("hz", [80, 120, 220, 330, 500])
def test_pitch_is_measured_over_the_range_of_voices(hz: float) -> None:
    assert measured_as_speech(syllables(12, hz=hz, amplitude=0.3)).pitch_hz == pytest.approx(hz, rel=0.02)


@pytest.mark.parametrize("gain", [0.01, 0.2, 0.5, 1.7, 30.0])
@pytest.mark.parametrize("video_id", ["drawn_angry", "drawn_sad_zh", "drawn_afraid", "sea_at_dusk"])
def test_how_loud_a_clip_is_changes_no_word_of_its_description(video_id: str, gain: float) -> None:
    wave = sound_of(video_id)
    finder = SpeechFinder()
    measured, scaled = (
        voice_measurement.measure(one, finder.probabilities(one)) for one in (wave, gain * wave)
    )
    assert measured is not None
    assert scaled is not None
    assert voice.describe_measurement(scaled) == voice.describe_measurement(measured)
    assert scaled.brightness_db == pytest.approx(measured.brightness_db, abs=0.01)


def test_a_long_sound_measured_in_blocks_is_measured_like_its_parts() -> None:
    part = np.concatenate([syllables(20, hz=180, amplitude=0.2), silence(1.0)])
    short, long = (measured_as_speech(np.tile(part, times)) for times in (2, 16))
    assert long.sound_s > 3 * voice_measurement._BLOCK * voice_measurement._HOP / HZ / 1.1
    assert long.pitch_hz == pytest.approx(short.pitch_hz, rel=0.01)
    assert long.beats_per_s == pytest.approx(short.beats_per_s, rel=0.05)
    assert long.brightness_db == pytest.approx(short.brightness_db, abs=0.1)
    assert long.pauses == 15


@pytest.mark.parametrize(
    ("video_id", "spoken"),
    [("drawn_angry", 14), ("sea_at_dusk", 17), ("drawn_sad_zh", 10), ("drawn_joyful_zh", 12)],
)
def test_the_syllables_of_the_sample_lines_are_counted(video_id: str, spoken: int) -> None:
    wave = sound_of(video_id)
    measured = voice_measurement.measure(wave, SpeechFinder().probabilities(wave))
    assert measured is not None
    sounding_s = measured.sound_s * (1 - measured.pause_share)
    assert measured.beats_per_s * sounding_s == pytest.approx(spoken, abs=2)


def a_voice(**changes: object) -> voice_measurement.Measurement:
    """An unremarkable voice, but for what is changed."""
    ordinary = voice_measurement.Measurement(
        speech_s=3.0,
        sound_s=3.2,
        pitch_hz=140.0,
        raised_semitones=2.5,
        register="low",
        pitch_semitones=6.5,
        brightness_db=-15.5,
        level_spread_db=6.7,
        beats_per_s=4.7,
        pauses=0,
        pause_share=0.0,
        longest_pause_s=0.0,
    )
    return replace(ordinary, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "level", "labels"),
    [
        ({}, "middle", []),
        ({"raised_semitones": 7.0, "brightness_db": -8.0}, "high", ["angry", "excited"]),
        ({"raised_semitones": 7.0, "pitch_semitones": 11.0}, "high", ["excited"]),
        ({"raised_semitones": 7.0, "pitch_semitones": 5.0}, "high", ["afraid", "nervous"]),
        ({"raised_semitones": -2.0}, "low", ["calm"]),
        ({"raised_semitones": -2.0, "pitch_semitones": 2.5}, "low", ["sad", "calm"]),
        ({"raised_semitones": -2.0, "brightness_db": -22.0, "beats_per_s": 3.0}, "low", ["sad", "calm"]),
        ({"brightness_db": -22.0}, "low", ["calm"]),
        ({"raised_semitones": 7.0, "brightness_db": None}, "high", ["afraid", "nervous"]),
        ({"raised_semitones": 4.0, "brightness_db": -19.0}, "middle", []),
    ],
    ids=str,
)
def test_arousal_is_read_from_pitch_and_brightness_and_states_from_what_goes_with_it(
    changes: dict[str, object], level: str, labels: list[str]
) -> None:
    measured = a_voice(**changes)
    score = voice.arousal(measured)
    assert score is not None
    assert voice.arousal_level(score) == level
    text = voice.describe_measurement(measured)
    assert f"The arousal in the voice is {'neither' if level == 'middle' else level}" in text
    assert extract(text) == labels
    assert ("cannot tell apart" in text) == (labels in (["angry", "excited"], ["sad", "calm"]))


def test_no_single_measurement_makes_the_arousal_of_a_recording_that_is_unusual_in_it() -> None:
    for extreme in (-1000.0, 1000.0):
        one = voice.arousal(a_voice(brightness_db=extreme))
        other = voice.arousal(a_voice(brightness_db=extreme, raised_semitones=-extreme))
        assert one is not None
        assert other is not None
        assert abs(one) < 1.5
        assert (other > 0) == (extreme < 0)  # pitch leads


def test_the_same_pitch_is_raised_for_a_long_vocal_tract_and_at_rest_for_a_short_one() -> None:
    pitch = 12 * np.log2(200.0)
    low, unknown, middle = (voice_measurement._registers(pitch, tract) for tract in (0.98, None, 1.15))
    assert low[0] > unknown[0] > middle[0]
    assert middle[1] > 0.9
    assert sum(low) == pytest.approx(1)


def test_a_whisper_is_heard_and_gets_no_arousal() -> None:
    measured = a_voice(pitch_hz=None, raised_semitones=None, pitch_semitones=None, brightness_db=None)
    text = voice.describe_measurement(measured)
    assert "may be a whisper" in text
    assert extract(text) == []


@pytest.mark.parametrize(
    ("wave", "words_of_text"),
    [
        (silence(2.0), "silent"),
        (np.random.default_rng(1).normal(0, 0.1, 2 * HZ), "No speech was heard"),
        (0.3 * np.sin(2 * np.pi * 220 * np.arange(2 * HZ) / HZ), "No speech was heard"),
        (0.3 * np.sin(2 * np.pi * 220 * np.arange(HZ // 20) / HZ), "No speech was heard"),
        (music(6.0), "No speech was heard"),
    ],
    ids=["silence", "noise", "a steady tone", "a twentieth of a second", "music"],
)
def test_what_is_no_speech_is_said_to_be_none_and_gets_no_emotion(
    wave: np.ndarray, words_of_text: str
) -> None:
    text = text_of("voice", clip(audio=flac(wave)))
    assert words_of_text in text
    assert extract(text) == []


def test_a_voice_over_music_is_heard_and_measured_as_the_voice_it_is() -> None:
    wave = sound_of("drawn_angry")
    under = music(len(wave) / HZ)[: len(wave)] * 0.25 * np.std(wave) / np.std(music(2.0))
    finder = SpeechFinder()
    alone, over = (voice_measurement.measure(one, finder.probabilities(one)) for one in (wave, wave + under))
    assert alone is not None
    assert over is not None
    assert over.speech_s > 0.6 * alone.speech_s
    assert over.pitch_hz == pytest.approx(alone.pitch_hz, rel=0.06)
    scores = [voice.arousal(alone), voice.arousal(over)]
    assert all(score is not None and voice.arousal_level(score) == "high" for score in scores)


def test_the_detector_of_speech_leaves_the_number_of_threads_as_it_was() -> None:
    import torch

    before = torch.get_num_threads()
    SpeechFinder().probabilities(sound_of("sea_at_dusk"))
    assert torch.get_num_threads() == before


# face


def test_the_portrait_has_a_smiling_face_in_every_frame() -> None:
    for video_id in ("portrait_welcome", "portrait_silent", "portrait_tall_zh"):
        text = text_of("face", sample(video_id))
        assert "found in 8 of 8 frames" in text
        assert "It smiles in 8 of the 8 frames" in text
        assert extract(text) == ["happy", "amused"]


def test_a_scene_without_people_has_no_face_and_gets_no_emotion() -> None:
    text = text_of("face", sample("sea_at_dusk"))
    assert "No face was found in 8 frames" in text
    assert extract(text) == []


def test_a_face_without_a_recognised_smile_supports_nothing() -> None:
    for video_id in ("drawn_angry", "drawn_sad_zh"):
        text = text_of("face", sample(video_id))
        assert "No smile was recognised" in text
        assert extract(text) == []


def test_teeth_in_a_mouth_that_is_not_drawn_wide_are_no_smile() -> None:
    """The portrait's smile, pushed together from the sides: the teeth stay, the corners come closer."""
    portrait = np.asarray(Image.open(io.BytesIO(sample("portrait_silent").frames[4])).convert("RGB"))
    found = FaceFinder().largest(np.asarray(Image.fromarray(portrait).convert("L")))
    assert found is not None
    y, x = np.mgrid[: portrait.shape[0], : portrait.shape[1]].astype(np.float32)
    aside, below = x - found.x - 0.5 * found.side, y - found.y - 0.78 * found.side
    near = np.exp(-((aside / (0.32 * found.side)) ** 4) - (below / (0.22 * found.side)) ** 4)
    bared = cv2.remap(portrait, (x + near * aside * (1 / 0.7 - 1)).astype(np.float32), y, cv2.INTER_LINEAR)

    grey = cv2.cvtColor(bared, cv2.COLOR_RGB2GRAY)
    face_of_it = FaceFinder().largest(grey)
    assert face_of_it is not None
    assert (FaceFinder().smile(grey, face_of_it) or 0) > 3 * face._SMILE_HITS, "the cascade still sees one"
    for picture, labels in ((portrait, ["happy", "amused"]), (bared, [])):
        text = text_of("face", clip(frames=(jpeg(picture),), frame_times=(0.0,)))
        assert extract(text) == labels


def test_a_mouth_is_as_wide_in_a_large_a_small_and_a_mirrored_picture_and_has_no_width_without_a_face() -> (
    None
):
    portrait = Image.open(io.BytesIO(sample("portrait_silent").frames[4])).convert("RGB")
    finder, widths = NetworkFinder(), []
    for picture in (
        portrait,
        portrait.resize((portrait.width * 2, portrait.height * 2)),
        ImageOps.mirror(portrait),
    ):
        pixels = np.asarray(picture)
        found = FaceFinder().largest(np.asarray(picture.convert("L")))
        assert found is not None
        widths.append(finder.mouth_width(pixels, found))
        assert finder.mouth_width(np.full_like(pixels, 128), found) is None
    assert widths == [pytest.approx(widths[0], rel=0.06)] * 3


def test_the_face_is_found_where_it_is_and_a_mirrored_picture_mirrors_it() -> None:
    grey = np.asarray(Image.open(io.BytesIO(sample("portrait_welcome").frames[4])).convert("L"))
    finder = FaceFinder()
    found, mirrored = finder.largest(grey), finder.largest(np.ascontiguousarray(grey[:, ::-1]))
    assert found is not None
    assert mirrored is not None
    assert (found.view, mirrored.view) == ("frontal", "frontal")
    assert mirrored.x + mirrored.side / 2 == pytest.approx(
        grey.shape[1] - found.x - found.side / 2, abs=0.1 * found.side
    )
    assert mirrored.side == pytest.approx(found.side, rel=0.15)
    assert finder.smile(grey, found) > face._SMILE_HITS
    upside_down = np.ascontiguousarray(grey[::-1])
    assert finder.largest(upside_down) is None


def test_a_face_that_crosses_the_picture_moves_much_and_a_still_one_hardly() -> None:
    portrait = np.asarray(Image.open(io.BytesIO(sample("portrait_silent").frames[3])))
    moved = tuple(jpeg(np.roll(portrait, 50 * step, axis=1)) for step in range(4))
    still = (jpeg(portrait),) * 4
    assert "moves much" in text_of("face", clip(frames=moved, frame_times=(0.0, 1.0, 2.0, 3.0)))
    assert "hardly moves (0.00" in text_of("face", clip(frames=still, frame_times=(0.0, 1.0, 2.0, 3.0)))


def test_a_face_too_small_for_its_smile_is_said_to_be_so() -> None:
    portrait = Image.open(io.BytesIO(sample("portrait_silent").frames[7]))
    canvas = Image.new("RGB", (320, 240), (120, 130, 140))
    canvas.paste(portrait.resize((112, 84)), (100, 80))
    text = text_of("face", clip(frames=(jpeg(np.asarray(canvas)),), frame_times=(0.0,)))
    assert "too small" in text
    assert extract(text) == []


@pytest.mark.parametrize("turn", [0, 20, -25])
@pytest.mark.parametrize("margin", [0.04, 0.3])
def test_a_plain_face_is_found_cropped_tightly_and_tilted(turn: float, margin: float) -> None:
    """The face fills the picture, as in collections of faces: the cascades alone miss most of these."""
    portrait = Image.open(io.BytesIO(sample("portrait_silent").frames[4])).convert("RGB")
    found = FaceFinder().largest(np.asarray(portrait.convert("L")))
    assert found is not None
    middle = (found.x + found.side / 2, found.y + found.side / 2)
    reach = (0.5 + margin) * found.side
    turned = portrait.rotate(turn, Image.Resampling.BICUBIC, center=middle, fillcolor=(90, 90, 90))
    cropped = turned.crop(
        [round(v) for v in (middle[0] - reach, middle[1] - reach, middle[0] + reach, middle[1] + reach)]
    )
    text = text_of("face", clip(frames=(jpeg(np.asarray(cropped)),), frame_times=(0.0,)))
    assert "A face was found in 1 of 1 frame" in text


def test_a_picture_of_a_few_pixels_has_no_face() -> None:
    tiny = jpeg(np.zeros((3, 5, 3), np.uint8))
    assert "No face was found in 1 frame." in text_of("face", clip(frames=(tiny,), frame_times=(0.0,)))


# words

ENGLISH = {
    "She is never coming back.": {"sad"},
    "They won't ever come back.": {"sad"},
    "Glad you came.": {"glad"},
    "Terrified already!": {"terrified"},
    "What?!": {"surprised"},
    "You did?": {"surprised"},
    "Hey!": {"cheerful"},
    "We won!": {"excited"},
    "Thank you so much!": {"grateful"},
    "Get out of my house!": {"angry"},
    "I should have told you.": {"regretful"},
    "I'm afraid of him.": {"afraid"},
    "I am afraid.": {"afraid"},
    "I am so afraid that he comes back.": {"afraid"},
    "You scared me!": {"afraid"},
    "That's great!": {"happy"},
    "It is wonderful to be here! Thank you all so much, I am really happy.": {"happy"},
    "How dare you! I told you never to touch my things again!": {"angry"},
    "I waited all day. I am not angry, just tired and disappointed.": {"tired", "disappointed"},
    "I'm so sorry, please forgive me.": {"apologetic"},
    "I'm not happy about this.": {"unhappy"},
    "Oh my god, I can't believe it!": {"surprised"},
    "Ha ha ha, that's so funny!": {"amused"},
    "That makes me so angry!": {"angry"},
    "I was not only sad but furious.": {"sad", "furious"},
}
CHINESE = {
    "真让人愤怒！": {"angry"},
    "有点紧张。": {"tense"},
    "我不高兴。": {"displeased"},
    "什么？！": {"surprised"},
    "你没事吧？": {"concerned"},
    "真没想到。": {"surprised"},
    "谢谢大家，我真的很感动，也很自豪。": {"touched", "proud", "grateful"},
    "他不会回来了，我很难过。": {"sad"},
    "完了，我们迟到了！": {"worried"},
    "坏了！锅糊了。": {"worried"},
    "我觉得很伤心。": {"sad"},
    "我不生气，我只是有点失望。": {"disappointed"},
    "太好了！我们成功了！我真高兴！": {"happy"},
    "凭什么！给我滚！": {"angry"},
    "救命！别过来！": {"afraid"},
    "哈哈哈，太好笑了！": {"amused"},
}
NOTHING = (
    # What comes back, is done with or is broken; a word before its noun; what others take them for.
    "Grandma is coming back on Friday.",
    "The summer is coming back, they say.",
    "作业写完了，我们去吃饭。",
    "我的手机坏了！",
    "Jealous neighbours called the police.",
    "Nervous people make mistakes.",
    "你以为我很害怕啊。",
    "他们觉得我很伤心。",
    "The ferry to the island leaves from pier four at ten past nine.",
    "You are angry with me.",
    "My brother was so happy when he heard.",
    "Are you sad?",
    "I wish I were happy.",
    "He is afraid, but I am not afraid.",
    "What is the content of the box?",
    "他很高兴，也很激动。",
    "你生气了吗？",
    "希望你开心。",
    "我一点也不害怕。",
    "高兴的事太多了。",
    "我妈妈很高兴。",
    "火车九点十分开。",
    # Each stands for a kind: the apostrophe, the idiom, the thought, the wish, the condition, the report, the
    # negated word that is no feeling, the word across two others, the state of somebody else.
    "I won't do it.",
    "I won't.",
    "This is where they get out stains.",
    "It was the best I could get out of them.",
    "I got to get out of here.",
    "I was just thinking we could switch apartments.",
    "I'm thinking about Paris.",
    "没开玩笑。",
    "这不是恶作剧。",
    "It's not that I enjoy it, 'cause I do.",
    "70码还不快？",
    "如果你想哭，就哭吧。",
    "总有一天你一定会成功。",
    "My agent thinks I should have a name.",
    "What if we went away for a weekend?",
    "I got in at nine.",
    "We made it out of cardboard.",
    "I'm afraid we are closed.",
    "I'm afraid so.",
    "I'm sorry, who are you?",
    "If you're anxious there are a few ways to help.",
    "Ross you're so tense!",
    "don't feel like you can't visit",
    "I feel like a drink.",
    "She said I was angry.",
    "He thinks I'm scared.",
    "Are you happy?",
    "I would be so happy.",
    "I'd be glad to.",
    "I hope you're happy.",
    "When I get nervous I eat.",
    "You said you loved me!",
    "Relax!",
    "Enjoy your meal.",
    "There's nothing to worry about.",
    "We're moving on Monday.",
    "I'm positive.",
    "I'm in, I'm down.",
    "很高兴认识你。",
    "他很难过。",
    "你别难过了。",
    "你高兴就好。",
    "要是你不高兴，我们就走。",
    "我怕麻烦您。",
    "他成功了。",
    "手术成功了吗？",
    "她居然来了。",
    "这事没那么可怕。",
    "那个电影很恐怖。",
    "你难过什么？",
    "爸爸很生气。",
    "我小时候很怕他。",
    "Thank you.",
    "Thanks, Joey.",
    "我不喜欢他。",
    "放心吧，没事的。",
    "不好意思。",
    "我好像被我喜欢的人讨厌了。",
    "My brother loves it.",
    "The loud kettle cried.",
    "To be happy is hard.",
)


@pytest.mark.parametrize(("line", "labels"), [*ENGLISH.items(), *CHINESE.items()])
def test_a_line_is_read_as_the_speaker_means_it(line: str, labels: set[str]) -> None:
    assert set(words.read(line).states()) == labels
    text = words.describe_transcript(line, None)
    assert {vocabulary.cluster_of(label) for label in extract(text)} == {
        vocabulary.cluster_of(x) for x in labels
    }


@pytest.mark.parametrize("line", NOTHING)
def test_what_is_denied_asked_wished_or_somebody_elses_is_not_the_speakers(line: str) -> None:
    text = words.describe_transcript(line, None)
    assert "The words alone show no clear emotion." in text
    assert extract(text) == []


def test_an_emotion_that_is_denied_is_said_to_be_denied() -> None:
    assert words.read("I am not angry.").denied == ("angry",)
    assert 'only to deny it: "angry"' in words.describe_transcript("I am not angry.", "en")


def test_a_language_that_is_not_read_is_said_to_be_so() -> None:
    for line, language in (("ありがとうございます、とても嬉しいです", None), ("Je suis triste", "fr")):
        text = words.describe_transcript(line, language)
        assert "was not read" in text
        assert extract(text) == []


def test_markup_of_subtitle_formats_is_not_read_as_words() -> None:
    assert words.describe_transcript("<i>I am so <b>happy</b></i>", "en") == words.describe_transcript(
        "I am so happy", "en"
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([*ENGLISH, *CHINESE, *NOTHING, "...", "[laughs]", "-", "I", "不"]), max_size=6)
)
def test_no_description_of_words_gives_a_label_that_it_does_not_conclude(lines: list[str]) -> None:
    text = words.describe_transcript(" \n".join(lines), None)
    concluded = {vocabulary.cluster_of(state) for state in words.read(" \n".join(lines)).states()}
    assert {vocabulary.cluster_of(label) for label in extract(text)} <= concluded


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_any_transcript_gets_a_description(line: str) -> None:
    assert words.describe_transcript(line, None).endswith(".")


def test_every_phrase_names_a_word_of_the_vocabulary_and_says_no_emotion_itself() -> None:
    for act, word, _ in words._phrases():
        assert vocabulary.base_form(word) == word
        assert extract(f'The speaker {act}: "x".') == []


# all three


@pytest.mark.parametrize(
    ("kind", "degraded"), [("voice", "audio"), ("words", "transcript"), ("face", "frames")]
)
def test_what_a_clip_does_not_have_is_named_and_gets_no_emotion(kind: str, degraded: str) -> None:
    [entry] = expert(kind).describe([clip()])
    assert not isinstance(entry, RowError)
    assert entry[0].degraded == (degraded,)
    assert extract(entry[0].text) == []


@pytest.mark.parametrize(
    ("kind", "broken", "code"),
    [
        ("voice", {"audio": b"fLaC is how it starts, but not how it goes on"}, "bad_audio"),
        ("voice", {"audio": b""}, "bad_audio"),
        ("face", {"frames": (b"\xff\xd8\xff no picture",), "frame_times": (0.0,)}, "bad_frames"),
        ("face", {"frames": (b"",), "frame_times": (0.0,)}, "bad_frames"),
    ],
)
def test_a_bad_clip_fails_alone_and_its_neighbours_stay_as_they_are(
    kind: str, broken: dict[str, object], code: str
) -> None:
    good = [sample("portrait_welcome"), sample("sea_at_dusk"), sample("drawn_angry")]
    alone = [expert(kind).describe([one])[0] for one in good]
    together = expert(kind).describe([good[0], clip(**broken), good[1], good[2]])
    failed = together.pop(1)
    assert isinstance(failed, RowError)
    assert failed.code == code
    assert together == alone


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_described_in_its_order_and_the_same_each_time(kind: str) -> None:
    clips = [sample(name) for name in ("sea_at_dusk", "portrait_tall_zh", "drawn_sad_zh", "drawn_angry")]
    forwards, backwards = expert(kind).describe(clips), expert(kind).describe(clips[::-1])
    assert forwards == backwards[::-1]
    assert all(not isinstance(entry, RowError) and len(entry) == 1 for entry in forwards)
    assert expert(kind).describe([]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_more_than_one_sample_of_a_measurement_is_refused_by_name(kind: str) -> None:
    with pytest.raises(ValidationError, match="samples"):
        experts.settings_of({"name": kind, "kind": kind, "samples": 2})
    with pytest.raises(InputError, match=r"samples.*expected 1"):
        validate({"experts": [{"kind": kind, "samples": 2}]}, "test")


@pytest.mark.parametrize("kind", KINDS)
def test_the_card_names_the_expert_and_what_it_is_made_of(kind: str) -> None:
    card = experts.load(experts.settings_of({"name": "mine", "kind": kind})).card
    assert card.name == "mine"
    assert card.model
    assert card.revision
