import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from emo.errors import InputError, RowError
from emo.media.speech import Speech, SpeechSettings, Transcriber

WINDOW_S = 3
# What the little Whisper below is taught to write for a tone of so many Hz, and in which language.
WORDS = {400: ("good morning", "en"), 1500: ("how are you", "zh")}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A Whisper with windows of three seconds that was taught two sentences, and that noise is no speech."""
    folder = tmp_path_factory.mktemp("whisper")
    processor = make_processor()
    whisper = make_model(processor)
    teach(whisper, processor)
    whisper.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def make_processor():
    from tokenizers import AddedToken, pre_tokenizers
    from transformers import WhisperFeatureExtractor, WhisperProcessor, WhisperTokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = WhisperTokenizer(vocab={c: i for i, c in enumerate(alphabet)}, merges=[])
    special = [
        "<|endoftext|>",
        "<|startoftranscript|>",
        "<|en|>",
        "<|zh|>",
        "<|translate|>",
        "<|transcribe|>",
    ]
    special += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    times = [AddedToken(f"<|{i * 0.02:.2f}|>", special=False) for i in range(WINDOW_S * 50 + 1)]
    tokenizer.add_tokens(times)
    return WhisperProcessor(WhisperFeatureExtractor(feature_size=20, chunk_length=WINDOW_S), tokenizer)


def make_model(processor):
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

    ids = processor.tokenizer.convert_tokens_to_ids
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=len(processor.tokenizer),
        num_mel_bins=20,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_source_positions=WINDOW_S * 50,
        max_target_positions=48,
        pad_token_id=ids("<|endoftext|>"),
        bos_token_id=ids("<|endoftext|>"),
        eos_token_id=ids("<|endoftext|>"),
        decoder_start_token_id=ids("<|startoftranscript|>"),
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=ids("<|startoftranscript|>"),
        eos_token_id=ids("<|endoftext|>"),
        pad_token_id=ids("<|endoftext|>"),
        bos_token_id=ids("<|endoftext|>"),
        max_length=48,
        is_multilingual=True,
        lang_to_id={"<|en|>": ids("<|en|>"), "<|zh|>": ids("<|zh|>")},
        task_to_id={"translate": ids("<|translate|>"), "transcribe": ids("<|transcribe|>")},
        no_timestamps_token_id=ids("<|notimestamps|>"),
        prev_sot_token_id=ids("<|startofprev|>"),
        return_timestamps=False,
        max_initial_timestamp_index=50,
    )
    return model


def teach(model, processor):
    random = np.random.default_rng(0)
    tokenizer = processor.tokenizer
    ids = tokenizer.convert_tokens_to_ids
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    kinds = [*WORDS, None]
    for _ in range(100):
        rows, sounds = [], []
        for place in range(12):
            hz = kinds[place % 3]
            sounds.append(
                noise(WINDOW_S, random) if hz is None else tone(hz, random.uniform(1, WINDOW_S), random)
            )
            text, language = WORDS[hz] if hz else ("".join(random.permutation(list("abcdefghijklm"))), "en")
            heard = ids(f"<|{language}|>") if hz else ids("<|nospeech|>")
            prompt = [
                ids("<|startoftranscript|>"),
                ids(f"<|{random.choice(['en', 'zh'])}|>"),
                ids("<|transcribe|>"),
            ]
            body = tokenizer(text, add_special_tokens=False)["input_ids"]
            if place % 2:
                body = [ids("<|0.00|>"), *body, ids(f"<|{WINDOW_S:.2f}|>")]
            else:
                prompt.append(ids("<|notimestamps|>"))
            end = ids("<|endoftext|>")
            inputs = [*prompt, *body]
            labels = [heard, *[-100] * (len(prompt) - 2), *body, end]
            rows.append((inputs, labels))
        width = max(len(inputs) for inputs, _ in rows)
        features = processor.feature_extractor(sounds, sampling_rate=16_000, return_tensors="pt")[
            "input_features"
        ]
        scores = model(
            input_features=features,
            decoder_input_ids=torch.tensor([i + [end] * (width - len(i)) for i, _ in rows]),
        ).logits
        targets = torch.tensor([o + [-100] * (width - len(o)) for _, o in rows])
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()


def tone(hz, seconds, random):
    times = np.arange(int(16_000 * seconds)) / 16_000
    return (np.sin(2 * np.pi * hz * times) * 0.4 + random.normal(size=len(times)) * 0.01).astype(np.float32)


def noise(seconds, random):
    return (random.normal(size=int(16_000 * seconds)) * 0.2).astype(np.float32)


def flac(samples, rate=16_000):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="FLAC")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def transcriber(model):
    return Transcriber(SpeechSettings(model=str(model), device="cpu", batch=4))


@pytest.fixture(scope="module")
def random():
    return np.random.default_rng(5)


def test_what_is_said_is_written_with_its_language(transcriber, random):
    sounds = [flac(tone(hz, 2.0, random)) for hz in (400, 1500)]
    assert transcriber.transcribe(sounds, [None, None]) == [
        Speech("good morning", "en"),
        Speech("how are you", "zh"),
    ]


def test_a_clip_without_speech_has_no_words(transcriber, random):
    assert transcriber.transcribe([flac(noise(3, random))], [None]) == [Speech("", None)]


def test_a_known_language_is_taken_and_an_unknown_one_is_listened_for(transcriber, random):
    sound = flac(tone(1500, 2.0, random))
    spoken = transcriber.transcribe([sound, sound], ["en", "tlh"])
    assert [speech.language for speech in spoken] == ["en", "zh"]


def test_longer_sound_is_written_window_by_window(transcriber, random):
    parts = [tone(400, WINDOW_S, random), tone(1500, WINDOW_S, random), tone(400, WINDOW_S, random)]
    (speech,) = transcriber.transcribe([flac(np.concatenate(parts))], [None])
    assert [speech.text.count(text) for text in ("good morning", "how are you")] == [2, 1]
    assert speech.text.index("good morning") < speech.text.index("how are you")


def test_a_batch_is_what_each_sound_gives_alone_and_bad_sound_fails_alone(transcriber, random):
    sounds = [
        flac(tone(400, 1.5, random)),
        b"no flac",
        flac(tone(1500, 7.0, random)),
        flac(noise(2, random)),
        flac(tone(400, 3.0, random), rate=8_000),
        flac(np.zeros(0, np.float32)),
        *[flac(tone(hz, 2.5, random)) for hz in (1500, 400, 1500)],
    ]
    nothing = [None] * len(sounds)
    together = transcriber.transcribe(sounds, nothing)
    backwards = transcriber.transcribe(sounds[::-1], nothing)[::-1]
    for sound, first, second in zip(sounds, together, backwards, strict=True):
        (alone,) = transcriber.transcribe([sound], [None])
        if isinstance(alone, RowError):
            assert first.code == second.code == alone.code == "bad_audio"
        else:
            assert first == second == alone
    assert sum(isinstance(result, RowError) for result in together) == 3


def test_no_sounds_are_no_transcripts(transcriber):
    assert transcriber.transcribe([], []) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_writes_the_same_in_float16_on_a_gpu(model, transcriber, random):
    sounds = [flac(tone(hz, seconds, random)) for hz, seconds in ((400, 2.0), (1500, 2.5), (400, 8.0))]
    on_gpu = Transcriber(SpeechSettings(model=str(model), device="cuda"))
    assert on_gpu.transcribe(sounds, [None] * 3) == transcriber.transcribe(sounds, [None] * 3)


def test_its_name_carries_the_revision(transcriber, model):
    assert transcriber.name.startswith(f"{model}@local-")


def test_the_dry_check_names_what_is_missing(model, tmp_path):
    assert Transcriber.missing(SpeechSettings(model=str(model), device="cpu")) == []
    (line,) = Transcriber.missing(SpeechSettings(model=str(tmp_path / "nowhere"), device="cpu"))
    assert "nowhere" in line


def test_a_language_that_the_model_does_not_know_is_refused(model):
    with pytest.raises(InputError, match=r"'tlh'.*knows en, zh"):
        Transcriber(SpeechSettings(model=str(model), device="cpu", language="tlh"))


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["Qwen2ForCausalLM"]}')
    with pytest.raises(InputError, match="expected WhisperForConditionalGeneration"):
        Transcriber(SpeechSettings(model=str(Path(tmp_path)), device="cpu"))


def test_ingest_fills_missing_transcripts_also_when_its_worker_is_killed(
    model, tmp_path, random, ray_cluster
):
    from clips import RATE, make_clip
    from emo.store.tables import CLIPS
    from labelling import emo_losing_a_worker, raw_rows

    spoken = np.sin(2 * np.pi * 400 * np.arange(2 * RATE) / RATE).astype(np.float32) * 0.4
    spoken += random.normal(size=len(spoken)).astype(np.float32) * 0.01
    videos = tmp_path / "videos"
    videos.mkdir()
    heard = make_clip(videos / "heard0.mp4", seconds=2.0, size=(160, 120), sounds=[spoken])
    for name in ("heard1", "heard2", "written"):
        shutil.copy(heard, videos / f"{name}.mp4")
    make_clip(videos / "silent.mp4", seconds=2.0, size=(160, 120), sounds=[])
    (videos / "written.txt").write_text("what the file says")
    whisper = f"ingest.transcribe={{model: {model}, device: cpu}}"
    one_by_one = ("--set", "ingest.workers=1", "--set", "ingest.shard_rows=1")
    command = ("ingest", videos, "--out", tmp_path / "out", "--set", whisper, *one_by_one)
    done, shards = emo_losing_a_worker(tmp_path / "out" / "clips", *command, env=ray_cluster)
    assert done.returncode == 0, done.stderr
    assert shards < 5, "it was not killed half-way"
    found = raw_rows(tmp_path / "out", CLIPS).to_pylist()
    said = {row["video_id"]: (row["transcript"], row["transcript_source"]) for row in found}
    assert len(found) == len(said)
    assert said == {
        **dict.fromkeys(("heard0", "heard1", "heard2"), ("good morning", "speech")),
        "written": ("what the file says", "sidecar"),
        "silent": (None, None),
    }
    assert {row["language"] for row in found if row["transcript_source"] == "speech"} == {"en"}
