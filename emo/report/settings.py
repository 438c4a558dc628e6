"""The section `report` of the configuration."""

from pydantic import Field

from emo.section import Section


class Report(Section):
    """The HTML page of an OUT."""

    gallery: int = Field(60, ge=0, le=1000)
    """The number of clips that the page shows in full."""
