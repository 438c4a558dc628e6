"""Many chat requests to one OpenAI-compatible server, over plain HTTP, with patience and in order."""

import asyncio
import base64
import json
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from emo.errors import EmoError, InputError, RowError
from emo.marks import NoResult
from emo.section import Section

# The settings here are a part of every configuration; what sends requests is imported where it does.
if TYPE_CHECKING:
    import aiohttp

# 408 Request Timeout and 429 Too Many Requests ask for another try; every other 4xx would fail again.
_TRY_AGAIN = frozenset({408, 429})
_MESSAGE_CHARACTERS = 300


class ServerSettings(Section):
    """Where a server is, and how it is asked."""

    url: NoResult[str]
    """The address of the server, up to and with `/v1`."""
    model: str
    """The name of the model on the server."""
    api_key_env: NoResult[str | None] = None
    """The name of the environment variable that holds the key. The key itself has no place in a
    configuration.
    """
    temperature: float = Field(1.0, ge=0, le=2)
    """How freely the model chooses its words. 0 always takes the likeliest token."""
    top_p: float = Field(0.9, gt=0, le=1)
    """Each token is drawn from the likeliest ones, as many as hold this share of the probability. 1 draws
    from all tokens.
    """
    max_tokens: int = Field(512, ge=1)
    """The most tokens of one answer. A longer answer is cut off."""
    samples_by: Literal["requests", "n"] = "requests"
    """How several samples are asked for. `requests` asks once for each, with a seed of its own. `n` asks
    once for all of a row: it is cheaper where the server shares the prompt, some servers do not know it, and
    its samples are repeatable only together.
    """
    concurrency: NoResult[int] = Field(32, ge=1, le=4096)
    """The number of requests that are under way at once."""
    timeout_s: NoResult[float] = Field(300.0, gt=0)
    """The seconds that one try may take, from sending to the last byte."""
    connect_timeout_s: NoResult[float] = Field(10.0, gt=0)
    """The seconds that the connection may take."""
    attempts: NoResult[int] = Field(6, ge=1, le=100)
    """The number of times that a request is tried."""
    backoff_s: NoResult[float] = Field(1.0, gt=0)
    """The longest wait before the second try. It doubles for every further one."""
    max_backoff_s: NoResult[float] = Field(60.0, gt=0)
    """The longest wait before any try."""
    max_retry_after_s: NoResult[float] = Field(600.0, ge=0)
    """A request fails where the server asks for a longer wait than this."""

    @field_validator("url")
    @classmethod
    def _is_a_plain_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected an http(s) URL such as http://host:8000/v1")
        # Anywhere: a password with a slash in it is no user information to a parser.
        if "@" in url or parts.query:
            raise ValueError("no credentials in the URL; name an environment variable with api_key_env")
        return url.rstrip("/")

    def missing(self) -> list[str]:
        """What is not there before the server can be asked, one line each."""
        if self.api_key_env and not os.environ.get(self.api_key_env):
            return [f"environment variable {self.api_key_env}: it should hold the key for {self.url}"]
        return []


@dataclass(frozen=True)
class ChatRequest:
    """One request: OpenAI chat messages, one seed per sample (31 bits), as many answers as seeds.

    more: keys of the request that the protocol does not have.
    """

    messages: Sequence[Mapping[str, Any]]
    seeds: tuple[int, ...]
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """One choice of an answer; token counts are None where the server does not give them per choice."""

    text: str
    thought: str | None
    finish_reason: str | None
    prompt_tokens: int | None
    output_tokens: int | None


def image_part(jpeg: bytes) -> dict[str, Any]:
    """A JPEG as a part of a message."""
    url = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def video_part(jpegs: Sequence[bytes]) -> dict[str, Any]:
    """The frames of a video as a part of a message, as vLLM reads them: JPEGs with commas between."""
    frames = ",".join(base64.b64encode(jpeg).decode() for jpeg in jpegs)
    return {"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{frames}"}}


def audio_part(data: bytes, kind: str) -> dict[str, Any]:
    """Sound as a part of a message; kind: `wav` or `flac`."""
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": kind}}


class OpenAIClient:
    """A connection pool to one server. Used by one thread at a time; `close` when done.

    Raises InputError where the key is not set, where nothing answers at the URL, or where the server does
    not accept the key.
    """

    def __init__(self, settings: ServerSettings) -> None:
        missing = settings.missing()
        if missing:
            raise InputError(f"missing: {missing[0]}")
        self._settings = settings
        self._key = os.environ[settings.api_key_env] if settings.api_key_env else ""
        self._runner = asyncio.Runner()
        self._session: aiohttp.ClientSession | None = None
        self._closed_until = 0.0  # time of the loop; the server asked everyone to wait until then
        try:
            self._runner.run(self._check())
        except BaseException:
            self.close()
            raise

    def chat(self, requests: Sequence[ChatRequest]) -> list[list[Answer] | RowError]:
        """Answers for each request, in order: as many as it has seeds, or the RowError that it failed with.

        Codes: `refused_by_server` (4xx, asking again would not help), `rate_limited`, `server_error`,
        `timed_out`, `unreachable`, `bad_answer` (not what the protocol promises), `refused` (the model
        declined), `empty_answer`. Raises EmoError where no request got through and the server is gone.
        """
        results = self._runner.run(self._all(requests))
        gone = [r for r in results if isinstance(r, RowError) and r.code == "unreachable"]
        if requests and len(gone) == len(results):
            # One row may make a server drop the connection; a server that is gone would fail every row.
            try:
                self._runner.run(self._check())
            except InputError as error:
                raise EmoError(str(error)) from None
        return results

    def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            self._runner.run(self._session.close())
            self._session = None
        self._runner.close()

    async def _open(self) -> "aiohttp.ClientSession":
        import aiohttp

        if self._session is None:
            settings = self._settings
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=settings.concurrency),
                timeout=aiohttp.ClientTimeout(
                    total=settings.timeout_s, sock_connect=settings.connect_timeout_s
                ),
                headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            )
        return self._session

    async def _check(self) -> None:
        """The server answers and takes the key. Some servers list no models, so the status alone counts."""
        import aiohttp

        url = f"{self._settings.url}/models"
        session = await self._open()
        try:
            async with session.get(url, allow_redirects=False) as response:
                status = response.status
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise InputError(f"no server answers at {url}: {self._shortened(_named(error))}") from None
        if status in (401, 403):
            source = self._settings.api_key_env
            how = f"the key in {source}" if source else "requests without a key (set api_key_env)"
            raise InputError(f"{self._settings.url} does not accept {how}: HTTP {status}")

    async def _all(self, requests: Sequence[ChatRequest]) -> list[list[Answer] | RowError]:
        await self._open()
        gate = asyncio.Semaphore(self._settings.concurrency)
        return await asyncio.gather(*(self._row(request, gate) for request in requests))

    async def _row(self, request: ChatRequest, gate: asyncio.Semaphore) -> list[Answer] | RowError:
        if self._settings.samples_by == "n":
            asked = [self._ask(request, request.seeds[0], len(request.seeds), gate)]
        else:
            asked = [self._ask(request, seed, 1, gate) for seed in request.seeds]
        answers: list[Answer] = []
        for result in await asyncio.gather(*asked):
            if isinstance(result, RowError):
                return result
            answers += result
        return answers

    async def _ask(
        self, request: ChatRequest, seed: int, n: int, gate: asyncio.Semaphore
    ) -> list[Answer] | RowError:
        settings = self._settings
        body: dict[str, Any] = {
            "model": settings.model,
            "messages": list(request.messages),
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "max_tokens": settings.max_tokens,
            "seed": seed,
            **request.more,
        }
        if n > 1:
            body["n"] = n
        data = json.dumps(body).encode()
        loop = asyncio.get_running_loop()
        async with gate:
            for attempt in range(settings.attempts):
                await asyncio.sleep(max(0.0, self._closed_until - loop.time()))
                try:
                    return await self._once(data, n)
                except _Transient as transient:
                    failure = transient.error
                    asked_wait = transient.retry_after
                except RowError as error:
                    return error
                if asked_wait is not None and asked_wait > settings.max_retry_after_s:
                    message = f"{failure.message}; it asked to wait {asked_wait:.0f} s"
                    return RowError(failure.code, message)
                if attempt + 1 < settings.attempts:
                    await self._back_off(attempt, asked_wait)
        return RowError(failure.code, f"{failure.message} (after {settings.attempts} tries)")

    async def _back_off(self, attempt: int, asked_wait: float | None) -> None:
        """Exponential back-off with full jitter; a wait that the server asked for holds for all requests."""
        settings = self._settings
        longest = min(settings.max_backoff_s, settings.backoff_s * 2**attempt)
        if asked_wait is not None:
            until = asyncio.get_running_loop().time() + asked_wait
            self._closed_until = max(self._closed_until, until)
        await asyncio.sleep((asked_wait or 0.0) + random.uniform(0, longest))

    async def _once(self, data: bytes, n: int) -> list[Answer]:
        import aiohttp

        url = f"{self._settings.url}/chat/completions"
        session = await self._open()
        try:
            async with session.post(
                url, data=data, headers={"Content-Type": "application/json"}, allow_redirects=False
            ) as response:
                content = await response.read()
                status, retry_after = response.status, response.headers.get("Retry-After")
        except TimeoutError:
            message = f"{url} gave no answer within {self._settings.timeout_s:g} s"
            raise _Transient(RowError("timeout", message)) from None
        except (aiohttp.ClientError, OSError) as error:
            message = f"{url}: {self._shortened(_named(error))}"
            raise _Transient(RowError("unreachable", message)) from None
        if status == 200:
            try:
                return _answers(content, n)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                message = f"{url} answered with something else than {n} chat completion(s): {_named(error)}"
                raise _Transient(RowError("bad_answer", self._shortened(message))) from None
        message = f"{url}: HTTP {status}: {self._shortened(content.decode(errors='replace'))}"
        if status >= 500 or status in _TRY_AGAIN:
            code = "rate_limited" if status == 429 else "server_error"
            raise _Transient(RowError(code, message), _seconds(retry_after))
        raise RowError("refused_by_server", message)

    def _shortened(self, text: str) -> str:
        """One line, and never the key: servers repeat it in their complaints."""
        if self._key:
            text = text.replace(self._key, "***")
        text = " ".join(text.split())
        return text if len(text) <= _MESSAGE_CHARACTERS else text[: _MESSAGE_CHARACTERS - 3] + "..."


class _Transient(Exception):
    """A failure that may pass; retry_after: seconds that the server asked for."""

    def __init__(self, error: RowError, retry_after: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.retry_after = retry_after


def _answers(content: bytes, n: int) -> list[Answer]:
    body = json.loads(content)
    choices = body["choices"]
    if len(choices) != n:
        raise ValueError(f"asked for {n} choices, got {len(choices)}; use samples_by: requests")
    usage = body.get("usage") or {}
    answers = []
    for choice in choices:
        message, reason = choice["message"], choice.get("finish_reason")
        refusal = message.get("refusal")
        if refusal or reason == "content_filter":
            raise RowError("refused", f"the model declined: {refusal or 'content filter'}")
        text = message.get("content")
        if text is not None and not isinstance(text, str):
            raise TypeError("content is not a text")
        # vLLM and SGLang hand the thought out apart, under the one name or the other.
        thought = message.get("reasoning_content") or message.get("reasoning")
        thought = thought.strip() if isinstance(thought, str) else None
        if not text or not text.strip():
            if thought:
                raise RowError("thought_only", f"the model gave no answer (finish reason: {reason})")
            raise RowError("empty_answer", f"the model wrote nothing (finish reason: {reason})")
        answers.append(
            Answer(
                text=text.strip(),
                thought=thought or None,
                finish_reason=reason,
                prompt_tokens=usage.get("prompt_tokens"),
                output_tokens=usage.get("completion_tokens") if n == 1 else None,
            )
        )
    return answers


def _seconds(retry_after: str | None) -> float | None:
    """A Retry-After header (RFC 9110, 10.2.3): seconds or a date; None where it says neither."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def _named(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
