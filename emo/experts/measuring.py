"""What the experts that measure have in common: one answer per clip, and a bad clip hurts only itself."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import field_validator

from emo.errors import RowError
from emo.experts import protocol
from emo.experts.protocol import Clip, Description, Expert, Resources


class Settings(protocol.Settings):
    """Settings of an expert whose answer is a measurement."""

    @field_validator("samples")
    @classmethod
    def _one_sample(cls, value: int) -> int:
        if value != 1:
            raise ValueError("expected 1: this expert measures, every further sample would be the same")
        return value


class MeasuringExpert(Expert):
    """An expert that describes one clip at a time and always the same way.

    It counts as light (see Resources): one that loads a large model says otherwise in `resources`.
    """

    Settings: ClassVar[type[protocol.Settings]] = Settings

    @classmethod
    def resources(cls, settings: Any) -> Resources:
        return Resources(light=True)

    @abstractmethod
    def describe_one(self, clip: Clip) -> Description:
        """Describe one clip; raises RowError where its data cannot be read."""

    def describe(self, clips: Sequence[Clip]) -> list[list[Description] | RowError]:
        return [self._row(clip) for clip in clips]

    def _row(self, clip: Clip) -> list[Description] | RowError:
        try:
            return [self.describe_one(clip)]
        except RowError as error:
            return error
