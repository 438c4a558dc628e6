"""A model that is asked in rounds says what it says when it is asked for everything at once."""

import pyarrow as pa

import checkpoints
import synthetic_clips
from emo.clips import CLIP_COLUMNS
from emo.config import validate
from emo.jobs.describe import DescribeStep
from emo.store.storage import Storage


def test_two_answers_and_then_five_more_are_the_seven_that_are_given_at_once(tmp_path):
    folder = checkpoints.make_internvl(tmp_path / "model", end_bias=2.0)
    expert = {"kind": "internvl", "model": str(folder), "device": "cpu", "max_new_tokens": 8, "samples": 7}
    at_once = validate({"experts": [expert]}, "a test")
    in_rounds = validate({"experts": [{**expert, "first": 2}], "enough": 0.4}, "a test")
    clips = [{name: getattr(clip, name) for name in CLIP_COLUMNS} for clip in synthetic_clips.mixed(3)]
    shard = pa.Table.from_pylist(clips)
    shard = shard.append_column("answers", pa.nulls(shard.num_rows, pa.list_(pa.int32())))

    def answers(step):
        nothing = pa.table({name: pa.array([], pa.string()) for name in ("video_id", "file")})
        rows = step.work(Storage(str(tmp_path / "out")), "1", nothing).worker()(shard)
        # A random model may also write what is no description; then it fails the same way.
        names = ("text", "error", "error_message", "output_tokens")
        return {(row["video_id"], row["sample"]): [row[name] for name in names] for row in rows.to_pylist()}

    whole = answers(DescribeStep(at_once.experts[0]))
    rounds = in_rounds.asked_in_rounds
    first, second = (answers(DescribeStep(in_rounds.experts[0], rounds, number)) for number in (1, 2))
    assert {sample for _, sample in first} == {0, 1}
    assert first | second == whole
    assert len({text for text, *_ in whole.values() if text}) > 2 * len(clips)
