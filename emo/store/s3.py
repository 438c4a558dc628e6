"""The client of S3 and its settings: whole objects by their exact keys, and as many tries as are set.

s3fs makes the connection. Its own functions take paths and change some of them: they cut a key at
`?versionId=` and at slashes. So objects are asked for by bucket and key here.
"""

import asyncio
import functools
import io
import sys
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, field_validator

from emo.section import Section
from emo.store.seeking import Seeking
from emo.terminal.logs import log

# What servers call a condition that does not hold.
REFUSED = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})
CHUNK = 1 << 20
# Between tries of a body that was cut off; the client's own back-off is for requests.
BODY_WAIT_S = 0.5


class S3Settings(Section):
    """How S3 is reached. What is not set comes from the usual AWS environment variables and files."""

    endpoint_url: str | None = None
    """The address of a server that is not Amazon's."""
    region: str | None = None
    """The region of the bucket."""
    key: SecretStr | None = None
    """The access key. The environment is a better place for it."""
    secret: SecretStr | None = None
    """The secret of the access key. The environment is a better place for it."""
    token: SecretStr | None = None
    """The token of a session. The environment is a better place for it."""
    anonymous: bool = False
    """Whether requests are sent without credentials, as public buckets allow."""
    max_attempts: int = Field(6, ge=1)
    """The number of times that a request is tried. The client waits longer before each further try."""

    @field_validator("endpoint_url")
    @classmethod
    def _without_credentials(cls, value: str | None) -> str | None:
        # Anywhere: a password with a slash in it is no user information to a parser.
        if value is not None and ("@" in value or "?" in value):
            raise ValueError("no credentials in the address; use s3.key and s3.secret, or the environment")
        return value


_in_use = S3Settings()


def use_s3(settings: S3Settings) -> None:
    """From now on this process reaches models and adapters on S3 so: their addresses carry no settings."""
    global _in_use
    _in_use = settings


def s3_in_use() -> S3Settings:
    """How this process reaches models and adapters on S3."""
    return _in_use


@functools.cache
def s3_filesystem(settings: S3Settings) -> Any:
    """The s3fs file system of these settings; retries with back-off are the client's own (adaptive mode)."""
    import s3fs

    class _Once(s3fs.S3FileSystem):
        # The client tries `max_attempts` times; s3fs would multiply that by its own five.
        retries = 1

        async def set_session(self, *arguments: Any, **options: Any) -> Any:
            client = await super().set_session(*arguments, **options)
            # The client retries by itself and in silence; whoever looks into a slow night wants to see it.
            told = _Retries(settings.max_attempts, client.meta.endpoint_url)
            client.meta.events.register("needs-retry.s3", told, unique_id="emo")
            return client

    def secret(value: Any) -> str | None:
        return value.get_secret_value() if value else None

    return _Once(
        anon=settings.anonymous,
        endpoint_url=settings.endpoint_url,
        key=secret(settings.key),
        secret=secret(settings.secret),
        token=secret(settings.token),
        client_kwargs={"region_name": settings.region} if settings.region else {},
        config_kwargs={
            "retries": {"total_max_attempts": settings.max_attempts, "mode": "adaptive"},
            "connect_timeout": 10,
            "read_timeout": 60,
        },
        # Other processes write the same prefixes; a cached listing would hide their work.
        use_listings_cache=False,
    )


class _Retries:
    """Tells of requests that failed for a passing reason, before the client tries them again."""

    def __init__(self, attempts: int, endpoint: str) -> None:
        self._attempts = attempts
        self._endpoint = endpoint

    def __call__(
        self,
        operation: Any = None,
        attempts: int = 0,
        response: Any = None,
        caught_exception: BaseException | None = None,
        **_: Any,
    ) -> None:
        status = response[0].status_code if response is not None else None
        if caught_exception is None and (status is None or (status < 500 and status != 429)):
            return
        what = type(caught_exception).__name__ if caught_exception is not None else str(status)
        log("s3_retry", operation=getattr(operation, "name", None), attempt=attempts, answer=what)
        # The first time may pass at once; from the second on somebody who looks on is told why it is quiet.
        if 2 <= attempts < self._attempts:
            print(
                f"S3 at {self._endpoint} did not answer as it should ({what}), {attempts} times of "
                f"{self._attempts}; trying again",
                file=sys.stderr,
            )


def address(url: str) -> tuple[str, str]:
    """Bucket and key of `BUCKET/KEY`, every slash of the key as it is."""
    bucket, _, key = url.partition("/")
    return bucket, key


def get(filesystem: Any, bucket: str, key: str, attempts: int, **options: Any) -> tuple[bytes, str]:
    """The bytes of an object and its entity tag, of one and the same version."""
    sink = io.BytesIO()
    tag = _wait_for(filesystem, bucket, key, attempts, sink, options)
    return sink.getvalue(), tag


def download(filesystem: Any, bucket: str, key: str, attempts: int, target: Path) -> None:
    """Write an object to a local file."""
    with target.open("wb") as file:
        _wait_for(filesystem, bucket, key, attempts, file, {})


def _wait_for(
    filesystem: Any, bucket: str, key: str, attempts: int, sink: Any, options: dict[str, Any]
) -> str:
    from fsspec.asyn import sync

    return str(sync(filesystem.loop, _fetch, filesystem, bucket, key, attempts, sink, options))


async def _fetch(
    filesystem: Any, bucket: str, key: str, attempts: int, sink: Any, options: dict[str, Any]
) -> str:
    from s3fs.core import S3_RETRYABLE_ERRORS

    for attempt in range(1, attempts + 1):
        answer = await filesystem._call_s3("get_object", Bucket=bucket, Key=key, **options)
        sink.seek(0)
        sink.truncate()
        try:
            async with answer["Body"] as body:
                while piece := await body.read(CHUNK):
                    sink.write(piece)
        except S3_RETRYABLE_ERRORS as error:
            if attempt == attempts:
                raise
            log("s3_retry", operation="GetObject", attempt=attempt, answer=type(error).__name__)
            await asyncio.sleep(BODY_WAIT_S * attempt)
        else:
            return str(answer.get("ETag", ""))
    raise AssertionError("unreachable")


class ObjectFile(Seeking):
    """An object for random reads, each a request of its own: Parquet asks for exactly what it needs."""

    def __init__(self, filesystem: Any, bucket: str, key: str, attempts: int) -> None:
        self._filesystem, self._bucket, self._key, self._attempts = filesystem, bucket, key, attempts
        self._size = int(filesystem.call_s3("head_object", Bucket=bucket, Key=key)["ContentLength"])
        self._place = 0

    def readinto(self, buffer: Any) -> int:
        data = self._take(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self._take(self._size)

    def _take(self, most: int) -> bytes:
        wanted = min(most, self._size - self._place)
        if wanted <= 0:
            return b""
        span = f"bytes={self._place}-{self._place + wanted - 1}"
        data, _ = get(self._filesystem, self._bucket, self._key, self._attempts, Range=span)
        self._place += len(data)
        return data
