"""What a command reads of very many samples before it trains."""

from emo.captions.messages import Turn
from emo.finetuning import prepared
from emo.store.storage import Storage


def test_outlines_count_and_tell_as_the_whole_list_does_and_hold_no_text(tmp_path):
    run = Storage(str(tmp_path))
    turns = (Turn("user", "What is felt?"), Turn("assistant", "She is sad."))
    entries = [
        prepared.Entry(
            f"{number:04d}", ("train", "validation", "test")[number % 3], turns, tokens=9, trained=3,
            weight=(1.0, 0.5)[number % 2],
            **({"error": "bad_frames", "error_message": f"line {number}"} if number % 7 == 6 else {}),
        )
        for number in range(300)
    ]  # fmt: skip
    prepared.write_entries(run, [prepared.table_of(entries)])
    outlines = prepared.read_outlines(run)
    assert prepared.about(outlines, "f") == prepared.about(entries, "f")
    assert prepared.refusals(outlines) == prepared.refusals(entries)
    assert not any(one.turns for one in outlines)
