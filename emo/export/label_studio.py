"""Label Studio: tasks with the labels as predictions, the labelling configuration, and the way back.

The forms are those of Label Studio's documentation (import of pre-annotated tasks, JSON export).
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from xml.sax.saxutils import quoteattr

from emo.errors import InputError
from emo.export.protocol import Exported, Exporter
from emo.review.answers import LONGEST_COMMENT, Answer, check_labels, check_reviewer, check_seconds
from emo.sources.record import check_text, short
from emo.sources.times import fragment

EMOTIONS, OTHER, MARKS, COMMENT = "emotions", "other", "marks", "comment"
UNUSABLE, SEVERAL = "unusable", "more than one person"
TOOL = "label-studio"
# Served by Label Studio where LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT is the folder of the export.
_LOCAL = "/data/local-files/?d="


class LabelStudio(Exporter):
    """`tasks.json` is imported, `labelling.xml` is the project's labelling interface."""

    summary: ClassVar[str] = "tasks.json with predictions, and labelling.xml, for Label Studio"

    def write(self, exported: Exported) -> list[str]:
        counts = Counter(label for row in exported.rows for label in row["labels"])
        tasks = [task(row, exported.media.get(row["video_id"])) for row in exported.rows]
        files = {
            "tasks.json": json.dumps(tasks, ensure_ascii=False, indent=1),
            "labelling.xml": configuration([label for label, _ in counts.most_common()]),
        }
        for path, text in files.items():
            exported.target.write(path, text.encode("utf-8", "replace"))
        return list(files)


def task(row: Mapping[str, Any], media: str | None) -> dict[str, Any]:
    """One task; its prediction is the labels that count, its score the agreement of the voters."""
    prediction = {
        "model_version": f"emo {row['run_id']} ({row['labelled_by']})",
        "score": 0.0 if row["agreement"] is None else row["agreement"],
        "result": [
            {
                "from_name": EMOTIONS,
                "to_name": "video",
                "type": "choices",
                "value": {"choices": list(row["labels"])},
            }
        ],
    }
    return {
        "data": {
            "video": f"{_LOCAL}{media}" if media else f"{row['uri']}{fragment(row['start_s'], row['end_s'])}",
            "video_id": row["video_id"],
            "transcript": row["transcript"] or "",
            "description": row["description"] or "",
            "emo_labels": list(row["labels"]),
        },
        "predictions": [prediction] if row["labels"] else [],
    }


def configuration(labels: Sequence[str]) -> str:
    """The labelling interface: every label that occurs can be chosen, others are written."""
    choices = "\n".join(f"    <Choice value={quoteattr(label)}/>" for label in labels)
    return f"""<View>
  <Video name="video" value="$video"/>
  <Text name="transcript" value="$transcript"/>
  <Choices name="{EMOTIONS}" toName="video" choice="multiple" showInline="true">
{choices}
  </Choices>
  <TextArea name="{OTHER}" toName="video" placeholder="another label" maxSubmissions="20"/>
  <Choices name="{MARKS}" toName="video" choice="multiple" showInline="true">
    <Choice value="{UNUSABLE}"/>
    <Choice value="{SEVERAL}"/>
  </Choices>
  <TextArea name="{COMMENT}" toName="video" placeholder="comment"/>
</View>
"""


def read_export(text: str, where: str) -> list[Answer]:
    """The annotations of a JSON export of Label Studio, as answers; those that were cancelled are none.

    Raises InputError that names the task where something is not as `configuration` asks for it.
    """
    try:
        tasks = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {error}") from None
    if not isinstance(tasks, list):
        raise InputError(f"{where}: expected the list of tasks of Label Studio's export as JSON")
    found: dict[tuple[str, str], Answer] = {}
    for number, one in enumerate(tasks):
        place = f"{where}: task {number + 1}"
        data = one.get("data") if isinstance(one, dict) else None
        video_id = data.get("video_id") if isinstance(data, dict) else None
        if not isinstance(video_id, str) or not video_id:
            raise InputError(f"{place} has no data.video_id; was it exported by emo?")
        check_text(video_id, place, "data.video_id")
        shown = data.get("emo_labels") if isinstance(data, dict) else None
        annotations = one.get("annotations")
        if not isinstance(annotations, list):
            raise InputError(f"{place} has no annotations; expected the export JSON, not JSON-MIN")
        for annotation in annotations:
            if isinstance(annotation, dict) and not annotation.get("was_cancelled"):
                answer = _answer(annotation, video_id, shown, place)
                # Later ones of one person replace earlier ones, as they do on the page.
                found[video_id, answer.reviewer] = answer
    return list(found.values())


def _answer(annotation: Mapping[str, Any], video_id: str, shown: Any, place: str) -> Answer:
    given: dict[str, list[str]] = {}
    for result in annotation.get("result") or ():
        name, value = result.get("from_name"), result.get("value") or {}
        said = value.get("choices") if "choices" in value else value.get("text")
        said = [said] if isinstance(said, str) else said
        if name in (EMOTIONS, OTHER, MARKS, COMMENT):
            if not isinstance(said, list) or not all(isinstance(one, str) for one in said):
                raise InputError(f"{place}: {name} is {short(said)}; expected texts")
            given.setdefault(name, []).extend(said)
    marks = set(given.get(MARKS, ()))
    labels = check_labels([*given.get(EMOTIONS, ()), *given.get(OTHER, ())], place)
    comment = "\n".join(given.get(COMMENT, ())).replace("\0", "")[:LONGEST_COMMENT]
    return Answer(
        video_id=video_id,
        reviewer=_person(annotation.get("completed_by")),
        labels=None if UNUSABLE in marks else labels,
        shown=None if shown is None else check_labels(shown, f"{place}: emo_labels"),
        several_people=SEVERAL in marks,
        comment=comment,
        seconds=check_seconds(annotation.get("lead_time")),
        tool=TOOL,
    )


def _person(completed_by: Any) -> str:
    if isinstance(completed_by, dict):
        completed_by = completed_by.get("email") or completed_by.get("id")
    return check_reviewer(completed_by if isinstance(completed_by, str) else f"{TOOL} {completed_by}")
