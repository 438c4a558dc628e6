"""Kinds by name, by entry point and by the place of a class; what is wrong with one is said."""

import pickle
import sys

import pytest

from emo import experts
from emo.errors import InputError
from emo.experts.protocol import Expert
from emo.experts.words import WordsExpert
from emo.registry import Registry

KINDS = """
from emo.experts import measuring
from emo.experts.protocol import Card, Description, Expert
class Good(measuring.MeasuringExpert):
    def __init__(self, settings):
        self.card = Card(settings.name, (), "good")
    def describe_one(self, clip):
        return Description("Good.")
class Unfinished(Expert):
    pass
class Unset(Good):
    Settings = dict
class Stranger:
    pass
number = 1
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A folder on the path with modules, and what two installed packages declare."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "kinds_outside.py").write_text(KINDS)
    (tmp_path / "broken_outside.py").write_text("1 / 0\n")
    for package, lines in {
        "first": "good = kinds_outside:Good\ntwice = kinds_outside:Good\nwords = kinds_outside:Good\n",
        "second": "twice = kinds_outside:Unset\ngone = not_installed_anywhere:Good\n",
    }.items():
        about = tmp_path / f"{package}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[emo.experts]\n{lines}")
    yield
    sys.modules.pop("kinds_outside", None)


def test_a_kind_is_found_by_its_name_by_an_entry_point_and_by_its_place(outside):
    assert experts.expert_class("words") is WordsExpert, "a name of emo is never another package's"
    good = experts.expert_class("good")
    assert good is experts.expert_class("kinds_outside:Good")
    assert isinstance(experts.load(experts.settings_of({"kind": "good", "name": "mine"})), good)
    assert {"good", "gone", "twice", "words"} <= set(experts.REGISTRY.names())


def test_every_expert_is_found_by_the_name_of_its_file():
    found = {experts.expert_class(kind) for kind in experts.REGISTRY.own}
    assert len(found) == len(experts.REGISTRY.own) >= 16
    bases = [Expert]
    for base in bases:
        bases += base.__subclasses__()
    leaves = {one for one in bases if not one.__subclasses__() and one.__module__.startswith("emo.experts.")}
    assert leaves == found


def test_a_registry_reaches_another_process(outside):
    again = pickle.loads(pickle.dumps(experts.REGISTRY))
    assert again.named("good") is experts.expert_class("good")


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("nobody", "unknown expert kind 'nobody'; expected one of: affectgpt, .*good, .*words; or the place"),
        ("twice", "'twice' means kinds_outside:Good and kinds_outside:Unset; write the place itself"),
        (
            "gone",
            "'gone' cannot be imported from 'not_installed_anywhere:Good': ModuleNotFoundError: No module",
        ),
        ("kinds_outside:Nobody", "cannot be imported .*AttributeError: .*'Nobody'"),
        ("broken_outside:Good", "cannot be imported .*ZeroDivisionError"),
        (":Good", "cannot be imported from ':Good': ValueError"),
        (".outside:Good", "cannot be imported from '.outside:Good': TypeError"),
        ("kinds_outside:", "cannot be imported from 'kinds_outside:': AttributeError"),
        ("kinds_outside:number", "is no class that extends emo.experts.protocol.Expert"),
        ("kinds_outside:Stranger", "is no class that extends emo.experts.protocol.Expert"),
        ("emo.extraction.by_rules:RulesExtractor", "is no class that extends emo.experts.protocol.Expert"),
        ("kinds_outside:Unfinished", "lacks __init__, describe, which emo.experts.protocol.Expert asks for"),
        ("kinds_outside:Unset", "has Settings that do not extend emo.experts.protocol.Settings"),
    ],
)
def test_what_is_wrong_with_a_kind_is_said(outside, kind, told):
    with pytest.raises(InputError, match=told):
        experts.expert_class(kind)


def test_own_names_need_no_look_at_what_is_installed(monkeypatch):
    def nothing(**_):
        raise AssertionError("looked at what is installed")

    monkeypatch.setattr("emo.registry.entry_points", nothing)
    registry = Registry[Expert]("expert", Expert, experts.REGISTRY.own)
    assert registry.named("words") is WordsExpert
