"""The folder of the MER challenges: videos by name, the subtitles, and the open-vocabulary labels."""

from typing import ClassVar

from emo.errors import InputError
from emo.export.protocol import Exported, Exporter
from emo.export.spreadsheet import listed, to_csv


class Mer(Exporter):
    """`video/NAME.mp4`, `subtitle_chieng.csv` and `openset.csv`; `emo label` reads such a folder too."""

    summary: ClassVar[str] = "the folder of the MER challenges: video/, subtitle_chieng.csv, openset.csv"

    def folder(self) -> str:
        return "video"

    def write(self, exported: Exported) -> list[str]:
        nested = [row["video_id"] for row in exported.rows if "/" in row["video_id"]]
        if nested:
            raise InputError(f"MER names clips without folders, and {len(nested)} ids have one: {nested[0]}")
        subtitles = [
            (
                row["video_id"],
                row["transcript"] or "" if row["language"] == "zh" else "",
                row["transcript"] or "" if row["language"] != "zh" else "",
            )
            for row in exported.rows
        ]
        labels = [(row["video_id"], listed(row["labels"])) for row in exported.rows]
        exported.target.write("subtitle_chieng.csv", to_csv(("name", "chinese", "english"), subtitles))
        exported.target.write("openset.csv", to_csv(("name", "openset"), labels))
        return ["subtitle_chieng.csv", "openset.csv"]
