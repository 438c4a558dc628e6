"""ms-swift trains on an export as emo does: as many tokens, the same answers."""

import os
from pathlib import Path

import pytest

import swift_environment
import swift_parity

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The Python of an environment with ms-swift: that of EMO_TEST_SWIFT where it is set, else a new one."""
    named = os.environ.get("EMO_TEST_SWIFT")
    return Path(named) if named else swift_environment.make(tmp_path_factory.mktemp("swift") / "env")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("family", swift_parity.FAMILIES)
def test_an_export_has_as_many_tokens_there_and_the_same_answers(family, python, tmp_path):
    found = swift_parity.parity(family, python, tmp_path)
    print(f"\n{swift_parity.table({family: found})}")
    for name, both in found.items():
        if (family, name) == ("qwen2-audio", "sound"):
            # One token, which the model there puts the rest in for.
            both["there"]["tokens"] += both["here"]["media"] - 1
        assert swift_parity.trains_the_same(both), name
        assert both["there"]["tokens"] < 4096, name
        assert abs(both["there"]["tokens"] / both["here"]["tokens"] - 1) < 0.1, name
