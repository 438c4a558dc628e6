"""Errors that a person reads: what was wrong, where, and what would be right; the codes of failed rows."""

from dataclasses import dataclass


class EmoError(Exception):
    """Base of every error that emo raises on purpose; its text is one line for a person."""

    exit_code = 1


class InputError(EmoError):
    """Bad arguments, configuration or data: nothing was started (exit code 2)."""

    exit_code = 2


class StorageError(EmoError):
    """The place of a source or of OUT cannot be read or written."""


class PlaceError(StorageError):
    """The whole place is gone, full or refused: nothing else there can succeed, so the run stops."""


class DamagedError(StorageError):
    """A file was read and is not what its place says: cut off, of another kind, or of another table."""


class MachineError(EmoError):
    """The machine or the worker's own process is at fault, and no row: the run stops."""


class TooManyFailedError(EmoError):
    """More rows of a step failed than `max_failed_share` allows; what was made stays (exit code 3)."""

    exit_code = 3


class LeaseHeldError(InputError):
    """Another run works on the same OUT (exit code 4)."""

    exit_code = 4


class UnreachableError(EmoError):
    """The cluster that runs a job does not answer; the job may go on (exit code 5)."""

    exit_code = 5


class RowError(EmoError):
    """One row failed; the row is written as `failed` and the run goes on.

    `code` is short and stable (the `error` column), the message is for a person (`error_message`).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type["RowError"], tuple[str, str]]:
        # Exception's own pickling passes `args`, which holds the message only.
        return type(self), (self.code, self.message)


@dataclass(frozen=True)
class Code:
    """What a code in the column `error` says.

    step: where it comes up first: split, ingest, describe, extract, judge, caption, review, finetune, or any;
    meaning: one sentence for a person; passes: whether the same row may come out well another night.
    """

    step: str
    meaning: str
    passes: bool = False


# Every code of a failed row. A row that failed because an earlier step did carries the code of that step.
CODES = {
    # A night tries those that pass again; all others are about the clip or the settings, and stay.
    "worker_died": Code(
        "any", "The worker died on this row alone: a lost node, a preempted machine, too little memory.", True
    ),
    "out_of_memory": Code("any", "The row needed more memory than its worker or its GPU has.", True),
    "timeout": Code(
        "any",
        "Decoding took longer than `ingest.deadline_s`, or a server or a program did not answer in time.",
        True,
    ),
    "unreachable": Code("any", "The bucket or the model server did not answer.", True),
    "unexpected": Code("any", "An error that no other code names; the message has it."),
    "empty": Code("ingest", "The file has no bytes; of a caption: there is no text or no label."),
    "not_a_video": Code("ingest", "The file is of no known video format: a text, a picture, noise."),
    "truncated": Code("ingest", "The file was cut: its index or more than 5 % of the video is missing."),
    "no_video_stream": Code(
        "ingest", "The file has neither moving pictures nor sound that can be used; cover art does not count."
    ),
    "unreadable": Code(
        "ingest", "The file is not there or cannot be opened: permission, a folder, a broken header."
    ),
    "unsupported_codec": Code("ingest", "There is no decoder for the video track."),
    "damaged": Code("ingest", "No frame can be decoded for more than half of the moments asked for."),
    "decode_failed": Code("ingest", "Decoding raised an error that no other code names."),
    "decoder_crashed": Code("ingest", "The decoder process died, as by SIGSEGV."),
    "out_of_range": Code("ingest", "The clip is a part of its file that the file does not have."),
    "replaced": Code("ingest", "The file was written while it was read.", True),
    "bad_subtitle": Code(
        "ingest",
        "A subtitle file has no known form or encoding. It is a note of the clip, which stays usable.",
    ),
    "diarise_failed": Code(
        "split", "The program that says who speaks failed; the message has its last line."
    ),
    "bad_turns": Code("split", "What was to say who speaks is neither RTTM nor JSON with turns."),
    "modality_missing": Code("describe", "The clip has none of what the expert needs, such as sound."),
    "bad_frames": Code("describe", "A frame is no readable picture."),
    "bad_audio": Code("describe", "The sound cannot be decoded, or there is none where it is needed."),
    "bad_units": Code("describe", "The table of action units beside the video cannot be read."),
    "too_long": Code("describe", "The prompt and the answer do not fit into what the model reads."),
    "not_prepared": Code("describe", "The input of the model could not be made; the message says why."),
    "not_a_number": Code("describe", "The model's scores became NaN."),
    "not_classified": Code("describe", "The classifier raised an error; the message has it."),
    "expert_error": Code("describe", "The expert raised an error; the message has it."),
    "sample_missing": Code("describe", "The expert gave fewer samples than were asked for."),
    "refused": Code("describe", "The model declined to answer."),
    "empty_answer": Code("describe", "The model wrote nothing."),
    "thought_only": Code("describe", "The model thought and gave no answer; allow more tokens."),
    "rate_limited": Code("describe", "The server asked for fewer requests (HTTP 429), every time.", True),
    "server_error": Code(
        "describe", "The server answered with an error of its own (HTTP 5xx), every time.", True
    ),
    "bad_answer": Code("describe", "The server answered with something else than a chat completion.", True),
    "refused_by_server": Code(
        "describe", "The server does not take the request; the message has its answer."
    ),
    "unparsable": Code("extract", "The text model's answer holds no list of labels, or several."),
    "extractor_error": Code("extract", "The extractor raised an error; the message has it."),
    "clip_failed": Code("judge", "The clip could not be ingested; the message has the code."),
    "no_voter": Code("judge", "No expert could describe the clip."),
    "empty_window": Code("caption", "The clip has no frame within the window."),
    "no_label": Code("caption", "No rule goes with the action units, so there is no label to tell."),
    "bad_messages": Code(
        "finetune", "A sample is no chat that a model can be trained on; the message says why."
    ),
    "media_tag": Code("finetune", "A text holds a tag such as `<image>`, which would stand for a medium."),
    "media_mismatch": Code("finetune", "A sample has more or fewer tags than media."),
    "untrained": Code("finetune", "No answer of the sample would be trained."),
    "other_sense": Code(
        "finetune",
        "The answer speaks of what the trained family cannot sense, such as a voice that it does not hear.",
    ),
    "template": Code("finetune", "The chat template changes an earlier answer; train on single answers."),
    "not_json": Code("finetune", "A line of the data is no JSON in UTF-8."),
    "bad_row": Code("finetune", "A row of the data has the wrong cells; the message says which."),
    "no_name": Code("finetune", "A row of the data names no clip."),
    "media": Code("finetune", "A medium of the sample is not there, is there twice, or cannot be read."),
    "unusable": Code("review", "People who reviewed the clip call it unusable."),
    "against_review": Code("finetune", "The caption names nothing that people agree on for its clip."),
    "not_for_training": Code("finetune", "The manifest says that the clip may not be trained on (`use`)."),
    "clip_missing": Code("finetune", "The clip of a caption is not in the table `clips`."),
    "timed_out": Code("any", "The same as `timeout`: of rows that version 0.1.0 wrote.", True),
}


# Some libraries put all that they were given into what they say of it.
_LONGEST_LINE = 1000


def one_line(error: BaseException) -> str:
    """An error on one line: our own as it is, any other after its kind; a text that a table can hold."""
    text = " ".join(str(error).split()).encode("utf-8", "backslashreplace").decode()
    if isinstance(error, EmoError):
        return text
    shown = text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}…"
    return f"{type(error).__name__}: {shown}"
