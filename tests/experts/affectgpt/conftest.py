"""The expert affectgpt on one tiny checkpoint: with two samples, greedy, and on faces."""

import pytest

import affectgpt_checkpoint
from affectgpt_clips import settings
from emo.experts.affectgpt import AffectGPTExpert


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    return affectgpt_checkpoint.make(tmp_path_factory.mktemp("affectgpt"))


@pytest.fixture(scope="session")
def expert(files):
    return AffectGPTExpert(settings(files, samples=2))


@pytest.fixture(scope="session")
def greedy(files):
    return AffectGPTExpert(settings(files, temperature=0))


@pytest.fixture(scope="session")
def face_expert(files):
    return AffectGPTExpert(settings(files, sees="face", temperature=0))
