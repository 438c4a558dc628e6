"""The sections `nightly` and `retention` of the configuration."""

from typing import Literal

from pydantic import Field, SecretStr, field_validator

from emo.section import Section


class Nightly(Section):
    """What `emo nightly` does besides labelling."""

    source: str | None = None
    """The source of a night whose command names none."""
    out: str | None = None
    """The OUT of a night whose command names none."""
    max_hours: float | None = Field(None, gt=0)
    """The hours after which a night stops cleanly."""
    max_gpu_hours: float | None = Field(None, gt=0)
    """The hours of all GPUs together after which a night stops cleanly."""
    retries: int = Field(3, ge=0)
    """The number of nights in which a row that failed for a passing reason is tried again."""
    compact_mib: int = Field(256, ge=0, le=2048)
    """The size of the files into which small ones are merged. With 0 none are merged."""
    webhook: SecretStr | None = None
    """An http(s) address that gets the summary as JSON by POST. Run files do not show it."""
    command: tuple[SecretStr, ...] = ()
    """A program and its arguments. It gets the summary on its standard input. Run files do not show it."""

    @field_validator("webhook")
    @classmethod
    def _http(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("expected an http:// or https:// address")
        return value


class Retention(Section):
    """What a night removes. By default it removes nothing."""

    runs_days: float | None = Field(None, gt=0)
    """Run files and summaries older than so many days are removed. The newest ones stay, because settings
    are compared with theirs.
    """
    gone: Literal["keep", "drop"] = "keep"
    """What happens to rows of clips whose files have left the source: `drop` removes them, `keep` leaves
    them.
    """
