"""The configuration is validated as a whole; every fault is named by its path."""

import pytest

from emo.config import load_config, presets
from emo.errors import InputError


def test_every_preset_is_a_valid_configuration():
    assert "signals" in presets()
    for name in presets():
        assert load_config(preset=name).experts


def test_without_anything_the_cpu_experts_are_chosen():
    config = load_config()
    assert [expert.name for expert in config.experts] == ["voice", "face", "words"]


def test_a_key_is_overridden_by_its_path():
    config = load_config(overrides=["ingest.frames=4", "judge.trade_off=0.5", "experts.face.name=faces"])
    assert config.ingest.frames == 4
    assert config.judge.trade_off == 0.5
    assert [expert.name for expert in config.experts] == ["voice", "faces", "words"]


def test_a_file_is_the_whole_configuration(tmp_path):
    path = tmp_path / "emo.yaml"
    path.write_text("experts:\n  - {kind: words, name: said}\ns3: {endpoint_url: 'http://127.0.0.1:1'}\n")
    config = load_config(file=str(path))
    assert [expert.name for expert in config.experts] == ["said"]
    assert config.s3.endpoint_url == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["ingest.frame=4"], r"ingest.frame: unknown key; did you mean frames\?"),
        (["nightli={}"], r"nightli: unknown key; did you mean nightly\?"),
        (["finetune.lora.rang=4"], r"finetune.lora.rang: unknown key; did you mean rank\?"),
        (["ingest.transcribe={modell: x}"], r"ingest.transcribe.modell: unknown key; did you mean model\?"),
        (
            ["experts.voice.sampels=2"],
            r"experts: entry 0 .voice.: sampels: unknown key; did you mean samples\?",
        ),
        (["extract={kind: openai, servre: {}}"], r"extract: .*servre: unknown key; did you mean server"),
        (["ingest.zzz=1"], "ingest.zzz: unknown key$"),
        (["nights=1"], "nights: unknown key"),
        (["ingest.frames=many"], "ingest.frames: .*integer.*not 'many'"),
        (["ingest.frames=0"], "ingest.frames: .*greater than or equal to 1, not 0"),
        (["ingest.reader=decord", "ingest.loop_filter=false"], "ingest: decord cannot leave out the loop"),
        (["ingest.reader=ffmpeg"], "ingest.reader: .*'pyav' or 'decord'"),
        (["ingest.workers=-1"], "ingest.workers: expected auto or a whole number"),
        (["judge.trade_off=1.5"], "judge.trade_off: .*expected a number from 0 to 1"),
        (["judge.trade_off=bold"], r"judge.trade_off: .*no setting 'bold'; expected .*balanced"),
        (["experts=[]"], "experts: at least one expert is needed, such as .kind: words."),
        (
            ["experts=[{kind: telepathy}]"],
            "experts: entry 0: unknown expert kind 'telepathy'; expected one of",
        ),
        (["experts=[{name: x}]"], "experts: entry 0: expected a mapping with a kind"),
        (["experts.voice.samples=0"], "experts: entry 0 .voice.: samples: .*greater than or equal to 1"),
        (["experts.voice.colour=red"], "experts: entry 0 .voice.: colour: unknown key"),
        (["experts.nobody.samples=1"], "there is no experts.nobody; it has: voice, face, words"),
        (["experts.face.name=voice"], "two are named 'voice'"),
        (["experts.face.name=../etc"], "name: .*pattern"),
        (["extract.kind=guess"], "extract: unknown extractor kind 'guess'; expected one of: .*rules"),
        (["frames"], "expected key=value"),
        (["ingest.frames.x=1"], r"ingest.frames: .*integer, not dict"),
        (["ingest.frames=1", "ingest.frames.x=1"], "ingest.frames is a single value"),
        (["judge.trade_off=0.5", "judge.trade_off=[]"], r"judge.trade_off"),
    ],
)
def test_a_fault_is_named_with_its_path(overrides, expected):
    with pytest.raises(InputError, match=expected):
        load_config(overrides=overrides)


def test_a_long_value_is_not_repeated_in_its_fault():
    with pytest.raises(InputError, match=r"ingest\.frames: .* not '1111") as error:
        load_config(overrides=[f"ingest.frames='{'1' * 5000}'"])
    assert len(str(error.value)) < 500


def test_all_faults_are_named_at_once():
    with pytest.raises(InputError, match=r"ingest\.frames.*; .*judge\.trade_off"):
        load_config(overrides=["ingest.frames=x", "judge.trade_off=x"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n", "expected a mapping"),
        ("a: [", "is not YAML"),
        ("", "expected a mapping"),
        ("ingest: {}", "experts: is missing"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, text, expected):
    path = tmp_path / "emo.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=expected):
        load_config(file=str(path))


def test_a_run_file_gives_the_configuration_but_for_its_secrets(tmp_path):
    path = tmp_path / "emo.yaml"
    path.write_text(
        "experts: [{kind: words}]\nnightly: {webhook: 'https://x.org/hush', retries: 7}\n"
        "s3: {key: a, secret: b, token: c, region: eu-1}\n"
    )
    shown = load_config(file=str(path)).model_dump(mode="json")
    again = load_config(tree=shown)
    assert (again.nightly.webhook, again.nightly.retries) == (None, 7)
    assert (again.s3.key, again.s3.secret, again.s3.token, again.s3.region) == (None, None, None, "eu-1")
    with pytest.raises(InputError, match=r"^the last run's configuration: ingest: "):
        load_config(tree={**shown, "ingest": 5})


def test_unknown_names_are_told_with_what_there_is():
    with pytest.raises(InputError, match=r"unknown preset 'x'; expected one of: .*signals"):
        load_config(preset="x")
    with pytest.raises(InputError, match=r"'nowhere\.yaml' does not exist"):
        load_config(file="nowhere.yaml")
    with pytest.raises(InputError, match="exclude each other"):
        load_config(preset="signals", file="x.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "a: 2024-13-45",
        "a: " + "9" * 10_000,
        "[" * 5000,
        "a: " + "{a: " * 3000,
        "a: &a [x]\n"
        + "".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}' if n else '*a'] * 10)}]\n" for n in range(12)),
        "a: !!python/object:os.system x",
        "a: \0",
    ],
)
def test_yaml_that_breaks_its_reader_is_one_line(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError, match=r"c\.yaml.* (is not YAML|holds more than)") as error:
        load_config(file=str(tmp_path / "c.yaml"))
    assert "\n" not in str(error.value)
    if "\0" not in text and "\n" not in text:
        with pytest.raises(InputError, match="--set"):
            load_config(overrides=[f"ingest.frames={text.removeprefix('a: ')}"])
