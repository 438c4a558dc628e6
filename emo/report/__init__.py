"""The report: what a run did and found, as one HTML page that opens without a network.

Three steps, because all clips are counted and only a sample of them is shown: `summarise` the light columns
of all tables, `choose_gallery` and read the full rows of those clips (`gallery_items`), `render`.
"""

from emo.report.build import render
from emo.report.gallery import GalleryItem, choose_gallery, gallery_items
from emo.report.summary import (
    CLIP_COLUMNS,
    DESCRIPTION_COLUMNS,
    JUDGMENT_COLUMNS,
    VOTE_COLUMNS,
    Summary,
    summarise,
)

__all__ = [
    "CLIP_COLUMNS",
    "DESCRIPTION_COLUMNS",
    "JUDGMENT_COLUMNS",
    "VOTE_COLUMNS",
    "GalleryItem",
    "Summary",
    "choose_gallery",
    "gallery_items",
    "render",
    "summarise",
]
