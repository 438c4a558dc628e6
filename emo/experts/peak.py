"""The peak frame as the one picture that an expert is shown."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from emo.aus.peaks import Peaks
from emo.errors import RowError
from emo.experts.protocol import Clip, Description


def check_one_frame(tables: str | None, frames: int) -> None:
    """Raise ValueError where a peak is asked for and more than one frame is shown."""
    if tables is not None and frames != 1:
        raise ValueError(f"peak_tables says which one frame is shown; set max_frames to 1, not {frames}")


Describe = Callable[[Sequence[Clip]], list[list[Description] | RowError]]


def described_at_peaks(
    clips: Sequence[Clip], tables: str | None, describe: Describe
) -> list[list[Description] | RowError]:
    """The answers to clips of which the peak frame alone is shown; tables: the folder that says where it is,
    None: nothing is left out. A clip without a table, or with a broken one, is an answer that failed.
    """
    if tables is None:
        return describe(clips)
    peaks = Peaks(tables)
    shown: list[Clip | RowError] = []
    for clip in clips:
        try:
            shown.append(at_peak(clip, peaks) if clip.frames else clip)
        except RowError as error:
            shown.append(error)
    answers = iter(describe([clip for clip in shown if isinstance(clip, Clip)]))
    return [next(answers) if isinstance(clip, Clip) else clip for clip in shown]


def at_peak(clip: Clip, peaks: Peaks) -> Clip:
    """The clip with the frame alone that lies nearest to its peak; raises RowError as `Peaks.place` does."""
    place = peaks.place(clip.video_id, clip.frame_times)
    return replace(clip, frames=(clip.frames[place],), frame_times=(clip.frame_times[place],))
