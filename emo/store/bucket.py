"""A prefix of an S3 bucket: every write is one PUT, and the server compares where a write has a condition.

A server that ignores conditions is a simple one. It may also show what arrived of a PUT whose sender died.
So a write goes to another key there, and the server copies it: its own work, which no sender can cut off.
"""

import functools
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

from emo.errors import EmoError, InputError, PlaceError, StorageError
from emo.paths import S3_PREFIX
from emo.store import s3 as objects
from emo.store.backend import PART_SUFFIX, Entry, OtherVersionError, explain_os
from emo.store.conditions import Conditions, conditions_of
from emo.store.s3 import S3Settings, s3_filesystem


class S3Prefix:
    """A Backend on S3, or on a server that speaks its language.

    exact: slashes at the end of the address belong to its keys, as in `emo.paths.split`; a person who types
    one more means the same place. conditions: what is known of the server; None: it is asked when needed.
    """

    def __init__(
        self, url: str, settings: S3Settings, *, exact: bool = False, conditions: Conditions | None = None
    ) -> None:
        self._settings = settings
        self.known_conditions = conditions
        self._root = url.removeprefix(S3_PREFIX) if exact else url.removeprefix(S3_PREFIX).rstrip("/")
        self.url = S3_PREFIX + self._root
        if not self._root.split("/")[0]:
            raise InputError(f"{url!r} names no bucket; expected s3://BUCKET/PREFIX")

    @functools.cached_property
    def filesystem(self) -> Any:
        """The client, an s3fs file system."""
        return s3_filesystem(self._settings)

    def full(self, path: str) -> str:
        return f"{self.url}/{path}" if path else self.url

    def _object(self, path: str) -> tuple[str, str]:
        """Bucket and key of a file."""
        return objects.address(f"{self._root}/{path}" if path else self._root)

    def _below(self, prefix: str) -> tuple[str, str]:
        """Bucket and key prefix of what is below a folder."""
        return objects.address(f"{self._root}/{prefix}/" if prefix else f"{self._root}/")

    def _call(self, operation: str, path: str, **options: Any) -> Any:
        bucket, key = self._object(path)
        return self.filesystem.call_s3(operation, Bucket=bucket, Key=key, **options)

    def _page(self, start: tuple[str, str], **options: Any) -> dict[str, Any]:
        # Not s3fs.find: it goes through a cache of folders and hides access errors as "not found".
        bucket, prefix = start
        found = self.filesystem.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **options)
        return cast(dict[str, Any], found)

    def check(self) -> None:
        """List one name below the root: who may list no more than that may run here."""
        self._page(self._below("lease.json"))

    def is_there(self, prefix: str) -> bool:
        start = self._below(prefix)
        page = self._page(start)
        return not start[1] or bool(page.get("Contents"))

    def entries(self, prefix: str, recursive: bool) -> Iterator[Entry]:
        start = self._below(prefix)
        cut = len(self._below("")[1])
        more: dict[str, str] = {} if recursive else {"Delimiter": "/"}
        while True:
            page = self._page(start, **more)
            for item in page.get("Contents", []):
                if not item["Key"].endswith("/"):
                    modified = item["LastModified"].astimezone(UTC)
                    yield Entry(item["Key"][cut:], item["Size"], modified, str(item.get("ETag", "")))
            if not page.get("IsTruncated"):
                return
            more["ContinuationToken"] = page["NextContinuationToken"]

    def names(self, prefix: str) -> Iterator[str]:
        return (entry.path for entry in self.entries(prefix, recursive=True))

    def entry(self, path: str) -> Entry:
        """The time is of whole seconds."""
        answer = self._call("head_object", path)
        return Entry(path, answer["ContentLength"], answer["LastModified"].astimezone(UTC))

    def read(self, path: str) -> bytes:
        return self.read_versioned(path)[0]

    def open(self, path: str) -> BinaryIO:
        """Parquet reads the footer and single columns, as ranges."""
        found = objects.ObjectFile(self.filesystem, *self._object(path), self._settings.max_attempts)
        return cast(BinaryIO, found)

    def write(self, path: str, data: bytes) -> None:
        # One PUT up to the limit of S3 (5 GB): parts of a write that was killed would stay and cost.
        if self.known_conditions is None or self.known_conditions.honoured:
            self._call("put_object", path, Body=data)
            return
        folder, slash, name = path.rpartition("/")
        part = f"{folder}{slash}.{name}.{uuid.uuid4().hex}{PART_SUFFIX}"
        self._call("put_object", part, Body=data)
        bucket, key = self._object(part)
        self._call("copy_object", path, CopySource={"Bucket": bucket, "Key": key})
        self._call("delete_object", part)

    def delete(self, path: str) -> None:
        self._call("delete_object", path)

    @property
    def conditions(self) -> Conditions:
        """What this server does with conditions on a write: asked once for each root, and kept there."""
        if self.known_conditions is None:
            root, attempts = self._below(""), self._settings.max_attempts
            self.known_conditions = conditions_of(self.filesystem, *root, attempts)
        return self.known_conditions

    def read_versioned(self, path: str) -> tuple[bytes, str]:
        return objects.get(self.filesystem, *self._object(path), self._settings.max_attempts)

    def replace_if(self, path: str, version: str | None, data: bytes) -> str:
        """With If-None-Match or If-Match."""
        answer = self._call("put_object", path, Body=data, **self.conditions.header(version))
        return str(answer["ETag"])

    def delete_if(self, path: str, version: str) -> bool:
        raise InputError(f"{self.full(path)}: an object of S3 cannot be removed by its version")

    def sweep(self, prefix: str, older_than_s: float, recursive: bool) -> int:
        """A PUT that was cut off leaves nothing, but for what a simple server shows of it."""
        if self.known_conditions is None or self.known_conditions.honoured:
            return 0
        oldest = datetime.now(UTC) - timedelta(seconds=older_than_s)
        dead = [
            entry.path
            for entry in self.entries(prefix, recursive)
            if entry.path.endswith(PART_SUFFIX) and entry.modified < oldest
        ]
        for path in dead:
            self.delete(path)
        return len(dead)

    @contextmanager
    def local(self, path: str) -> Iterator[Path | None]:
        yield None

    def ranges(self, path: str) -> tuple[int, Callable[[int, int], bytes]]:
        """With If-Match; a server that ignores it is found out by the tag of what it sends."""
        head = self._call("head_object", path)
        tag = str(head["ETag"])

        def get(start: int, end: int) -> bytes:
            asked = {"Range": f"bytes={start}-{end - 1}", "IfMatch": tag}
            where = self._object(path)
            data, found = objects.get(self.filesystem, *where, self._settings.max_attempts, **asked)
            if found != tag:
                raise OtherVersionError(self.full(path))
            if len(data) != end - start:
                raise StorageError(
                    f"{self.full(path)}: the server sent {len(data)} bytes where {end - start} were asked for"
                )
            return data

        return int(head["ContentLength"]), get

    def fetch(self, path: str, target: Path) -> None:
        objects.download(self.filesystem, *self._object(path), self._settings.max_attempts, target)

    def explain(self, place: str, error: Exception) -> EmoError:
        # Imported here because only S3 users need the client library.
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ClientError):
                code = str(cause.response.get("Error", {}).get("Code", ""))
                if code in objects.REFUSED:
                    return OtherVersionError(place)
                if code == "NoSuchBucket":
                    return PlaceError(f"{place}: the bucket does not exist")
                if code in {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}:
                    return PlaceError(f"{place}: access is refused ({code})")
                if code in {"AccessDenied", "403", "Forbidden"}:
                    return StorageError(f"{place}: access is refused ({code})")
                return StorageError(f"{place}: S3 answered {code}")
            if isinstance(cause, NoCredentialsError):
                return PlaceError(f"{place}: no AWS credentials found (environment, files or configuration)")
            if isinstance(cause, BotoCoreError):
                return StorageError(f"{place}: S3 does not answer ({type(cause).__name__})")
            cause = cause.__cause__ or cause.__context__
        return explain_os(place, error)
