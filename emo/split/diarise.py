"""A program or a server is asked who speaks when: it gets the sound of a recording, never the video."""

import http.client
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from emo.errors import InputError, RowError
from emo.split.settings import Diarise
from emo.split.turns import Turn, read_turns

# Turns of a day of talk are less than this.
_MOST_BYTES = 32 * 2**20
_MESSAGE_CHARACTERS = 300
# What a server answers that is busy or still loads its model.
_TRY_LATER = (408, 429)


def turns_of(settings: Diarise, sound: Path) -> list[Turn]:
    """Who speaks when in a WAV file (16 kHz, mono).

    Raises RowError: `diarise_failed`, `bad_turns`, `timeout`, and for a server `unreachable`, `server_error`
    and `refused_by_server`. Raises InputError where neither is configured.
    """
    if lacks := missing(settings):
        raise InputError("; ".join(lacks))
    command = [word.get_secret_value() for word in settings.command]
    answer = _by_command(command, settings, sound) if command else _by_server(settings, sound)
    if len(answer) > _MOST_BYTES:
        raise RowError("bad_turns", f"more than {_MOST_BYTES} bytes of turns")
    return read_turns(answer.decode("utf-8", "replace"))


def missing(settings: Diarise) -> list[str]:
    """What is not there before anybody can be asked, one line each."""
    if settings.command:
        program = settings.command[0].get_secret_value()
        return [] if shutil.which(program) else [f"there is no program {Path(program).name!r} to be run"]
    if settings.url is None:
        return ["expected command or url. Run files do not hold the command: give the configuration again"]
    if settings.api_key_env and not os.environ.get(settings.api_key_env):
        return [f"environment variable {settings.api_key_env}: it should hold the key for {settings.url}"]
    return []


def _by_command(command: Sequence[str], settings: Diarise, sound: Path) -> bytes:
    name = Path(command[0]).name
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        try:
            process = subprocess.Popen(
                [*command, str(sound)],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=complained,
                cwd=sound.parent,
                # So that its own children end with it.
                start_new_session=True,
            )
        except OSError as error:
            raise RowError("diarise_failed", f"{name} cannot be run: {error.strerror}") from None
        try:
            ended = process.wait(settings.timeout_s)
        except subprocess.TimeoutExpired:
            raise RowError("timeout", f"{name} took longer than {settings.timeout_s:g} s") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if ended:
            why = _shortened(_end_of(complained), command[1:])
            raise RowError("diarise_failed", f"{name} ended with code {ended}{': ' if why else ''}{why}")
        said.seek(0)
        return said.read(_MOST_BYTES + 1)


def _by_server(settings: Diarise, sound: Path) -> bytes:
    url = str(settings.url)
    key = os.environ[settings.api_key_env] if settings.api_key_env else ""
    headers = {"Content-Type": "audio/wav", "Content-Length": str(sound.stat().st_size)}
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with sound.open("rb") as file:
            request = urllib.request.Request(url, file, headers)
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=settings.timeout_s) as answer:
                found: bytes = answer.read(_MOST_BYTES + 1)
                return found
    except urllib.error.HTTPError as error:
        said = _shortened(error.read(_MESSAGE_CHARACTERS * 4), [key])
        later = error.code >= 500 or error.code in _TRY_LATER
        code = "server_error" if later else "refused_by_server"
        raise RowError(code, f"{url}: HTTP {error.code}: {said}") from None
    except TimeoutError:
        raise RowError("timeout", f"{url} gave no answer within {settings.timeout_s:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        if isinstance(getattr(error, "reason", None), TimeoutError):
            raise RowError("timeout", f"{url} gave no answer within {settings.timeout_s:g} s") from None
        raise RowError("unreachable", f"{url}: {_shortened(str(error).encode(), [key])}") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Another server would get the key and the sound."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _end_of(file: Any) -> bytes:
    file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
    last: bytes = (file.read().strip().splitlines() or [b""])[-1]
    return last


def _shortened(said: bytes, secrets: Sequence[str]) -> str:
    """One line, and none of what may be secret: programs and servers repeat it in their complaints."""
    text = said.decode("utf-8", "replace")
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
    text = " ".join(text.split())
    return text if len(text) <= _MESSAGE_CHARACTERS else text[: _MESSAGE_CHARACTERS - 3] + "..."
