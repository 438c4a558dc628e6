"""FiftyOne: a JSON file of samples; docs/reviewing.md has the script that loads it."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from emo.export.protocol import Exported, Exporter


class FiftyOne(Exporter):
    """Its own folder form belongs to its database and changes with it, so it is not written."""

    tells_facts: ClassVar[bool] = True
    summary: ClassVar[str] = "samples.json, which ten lines of Python load (docs/reviewing.md)"

    def write(self, exported: Exported) -> list[str]:
        samples = [
            {
                # Relative to the JSON file where the media went along.
                "filepath": exported.media.get(row["video_id"]) or row["uri"],
                "video_id": row["video_id"],
                # Where in that file the clip is, seconds; nothing where it is all of it.
                **({} if exported.media.get(row["video_id"]) else _times(row)),
                "emotions": [
                    {"label": label, "confidence": score}
                    for label, score in zip(row["labels"], row["scores"], strict=True)
                ],
                "agreement": row["agreement"],
                "labelled_by": row["labelled_by"],
                "use": row["use"],
                "transcript": row["transcript"],
                "description": row["description"],
                "run_id": row["run_id"],
            }
            for row in exported.rows
        ]
        text = json.dumps({"facts": dict(exported.facts), "samples": samples}, ensure_ascii=False, indent=1)
        exported.target.write("samples.json", text.encode("utf-8", "replace"))
        return ["samples.json"]


def _times(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: row[name] for name in ("start_s", "end_s") if row[name] is not None}
