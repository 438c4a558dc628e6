"""Local folders and S3 buckets behind one small class; every write is atomic.

A local write goes to a temporary file beside its target, is flushed to disk and renamed; an S3 write is one
PUT. Either is visible whole or not at all.
"""

import errno
import fcntl
import functools
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from emo.errors import EmoError, InputError, PlaceError, StorageError
from emo.logs import log

S3_PREFIX = "s3://"
# Marks files that are being written; a listing never shows them.
PART_SUFFIX = ".part"
# Of files that only serialise writers: who waits for one has it open, so it is never removed.
LOCK_SUFFIX = f".lock{PART_SUFFIX}"


class S3Settings(BaseModel):
    """How to reach S3; what is not set comes from the usual AWS environment variables and files.

    endpoint_url: address of a server that is not Amazon's; region: where the bucket is; key, secret, token:
    the credentials, better kept in the environment; anonymous: ask without credentials; max_attempts: per
    request, with the client's own back-off between them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint_url: str | None = None
    region: str | None = None
    key: SecretStr | None = None
    secret: SecretStr | None = None
    token: SecretStr | None = None
    anonymous: bool = False
    max_attempts: int = Field(6, ge=1)

    @field_validator("endpoint_url")
    @classmethod
    def _without_credentials(cls, value: str | None) -> str | None:
        # Anywhere: a password with a slash in it is no user information to a parser.
        if value is not None and ("@" in value or "?" in value):
            raise ValueError("no credentials in the address; use s3.key and s3.secret, or the environment")
        return value


@dataclass(frozen=True)
class Entry:
    """One file of a listing: `path` is relative to the root, `size` in bytes, `modified` in UTC."""

    path: str
    size: int
    modified: datetime


def is_s3(url: str) -> bool:
    """Whether a source or OUT names S3 rather than a local path."""
    return url.startswith(S3_PREFIX)


class Storage:
    """A folder, local or on S3: list, read, write atomically.

    All paths are relative to the root and use `/`. Raises StorageError with one line that names the place
    where it does not answer, and FileNotFoundError where a file is not there.
    """

    def __init__(self, url: str, s3: S3Settings | None = None) -> None:
        self.s3 = s3 or S3Settings()
        self.on_s3 = is_s3(url)
        self._root = url.removeprefix(S3_PREFIX).strip("/") if self.on_s3 else str(Path(url).absolute())
        self.url = S3_PREFIX + self._root if self.on_s3 else self._root
        if self.on_s3 and not self._root.split("/")[0]:
            raise InputError(f"{url!r} names no bucket; expected s3://BUCKET/PREFIX")

    def __reduce__(self) -> tuple[type["Storage"], tuple[str, S3Settings]]:
        return type(self), (self.url, self.s3)

    @functools.cached_property
    def _s3fs(self) -> Any:
        return s3_filesystem(self.s3)

    def full(self, path: str) -> str:
        """The path or URL that a person can use."""
        return f"{self.url}/{path}" if path else self.url

    def _absolute(self, path: str) -> str:
        if ".." in path.split("/"):
            raise InputError(f"{path!r} leaves {self.url}")
        return f"{self._root}/{path}" if path else self._root

    def check(self) -> None:
        """Raise StorageError unless the root can be listed (S3) or made and written (local)."""
        with self.errors(""):
            if self.on_s3:
                self._s3fs.call_s3("list_objects_v2", Bucket=self._root.split("/")[0], MaxKeys=1)
            else:
                Path(self._root).mkdir(parents=True, exist_ok=True)
                if not os.access(self._root, os.W_OK):
                    raise PermissionError(errno.EACCES, "not writable", self._root)

    def entries(self, prefix: str = "", *, recursive: bool = True) -> list[Entry]:
        """All files below a folder (or right in it), sorted by path; empty where the folder is not there."""
        with self.errors(prefix):
            if self.on_s3:
                found = self._list_s3(prefix, recursive)
            else:
                found = list(self._list_local(prefix, recursive))
        return sorted(
            (entry for entry in found if not entry.path.endswith(PART_SUFFIX)), key=lambda entry: entry.path
        )

    def names(self, prefix: str = "") -> list[str]:
        """The paths of all files below a folder, sorted; quicker than `entries` on a local disk."""
        if self.on_s3:
            return [entry.path for entry in self.entries(prefix)]
        with self.errors(prefix):
            cut = len(self._root.rstrip("/")) + 1
            found = (readable(item.path[cut:]) for item in self._walk(prefix))
            return sorted(path for path in found if not path.endswith(PART_SUFFIX))

    def _list_s3(self, prefix: str, recursive: bool) -> list[Entry]:
        bucket, _, base = self._absolute(prefix).partition("/")
        start = f"{base}/" if base else ""
        cut = len(self._root.partition("/")[2])
        entries: list[Entry] = []
        token: dict[str, str] = {} if recursive else {"Delimiter": "/"}
        while True:
            # Not s3fs.find: it goes through a cache of folders and hides access errors as "not found".
            page = self._s3fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=start, **token)
            for item in page.get("Contents", []):
                if not item["Key"].endswith("/"):
                    path = item["Key"][cut:].lstrip("/")
                    entries.append(Entry(path, item["Size"], item["LastModified"].astimezone(UTC)))
            if not page.get("IsTruncated"):
                return entries
            token["ContinuationToken"] = page["NextContinuationToken"]

    def _list_local(self, prefix: str, recursive: bool) -> Iterator[Entry]:
        cut = len(self._root.rstrip("/")) + 1
        for item in self._walk(prefix, recursive):
            # A file may be gone since its folder was read; then it is not there.
            with suppress(FileNotFoundError):
                yield local_entry(item, cut)

    def _walk(self, prefix: str, recursive: bool = True) -> Iterator[os.DirEntry[str]]:
        pending = [self._absolute(prefix)]
        while pending:
            for item in list_folder(pending.pop()):
                # A folder behind a link is not followed: it may lead out of the root or in a circle.
                if item.is_dir(follow_symlinks=False):
                    if recursive:
                        pending.append(item.path)
                elif is_regular(item):
                    yield item

    def entry(self, path: str) -> Entry:
        """One file as it is now; raises FileNotFoundError. On S3 the time is of whole seconds."""
        with self.errors(path):
            if self.on_s3:
                bucket, _, key = self._absolute(path).partition("/")
                answer = self._s3fs.call_s3("head_object", Bucket=bucket, Key=key)
                return Entry(path, answer["ContentLength"], answer["LastModified"].astimezone(UTC))
            stat = Path(self._absolute(path)).stat()
            return Entry(path, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))

    def read(self, path: str) -> bytes:
        """The bytes of one file; raises FileNotFoundError."""
        with self.errors(path):
            if self.on_s3:
                return bytes(self._s3fs.cat_file(self._absolute(path)))
            return Path(self._absolute(path)).read_bytes()

    def open(self, path: str) -> BinaryIO:
        """A file for random reads (Parquet: footer and single columns, as ranges on S3)."""
        with self.errors(path):
            if self.on_s3:
                # No read-ahead: Parquet asks for exactly the ranges that it needs.
                return self._s3fs.open(self._absolute(path), "rb", cache_type="none")
            return Path(self._absolute(path)).open("rb")

    def write(self, path: str, data: bytes) -> None:
        """Write one file atomically, over an older one if there is one."""
        with self.errors(path):
            if self.on_s3:
                # One PUT up to the limit of S3 (5 GB): parts of a write that was killed would stay and cost.
                self._s3fs.pipe_file(self._absolute(path), data, chunksize=2**32)
            else:
                _write_local(Path(self._absolute(path)), data)

    def delete(self, path: str) -> None:
        """Remove one file; nothing happens where it is not there."""
        with self.errors(path):
            if self.on_s3:
                bucket, _, key = self._absolute(path).partition("/")
                self._s3fs.call_s3("delete_object", Bucket=bucket, Key=key)
            else:
                Path(self._absolute(path)).unlink(missing_ok=True)

    def sweep(self, prefix: str, older_than_s: float, *, recursive: bool = True) -> int:
        """Remove what writers that were killed left in a local folder; how many files that were.

        A writer holds a lock on its file for as long as it lives, so a file without one has none. It must
        also be older than that many seconds by the clock of its own disk: for disks that tell other machines
        nothing of a lock, and for the moment between a file and its lock.
        """
        if self.on_s3:
            return 0
        with self.errors(prefix), tempfile.TemporaryFile(dir=self._root) as fresh:
            oldest = os.fstat(fresh.fileno()).st_mtime - older_than_s
            dead = [item.path for item in self._walk(prefix, recursive) if _is_part(item)]
            return sum(_remove_dead(Path(path), oldest) for path in dead)

    def read_versioned(self, path: str) -> tuple[bytes, str] | None:
        """The bytes of one file and the name of that version for `replace_if`; None where it is not there."""
        try:
            with self.errors(path):
                if not self.on_s3:
                    data = Path(self._absolute(path)).read_bytes()
                    return data, hashlib.sha256(data).hexdigest()
                bucket, _, key = self._absolute(path).partition("/")
                answer = self._s3fs.call_s3("head_object", Bucket=bucket, Key=key)
                return bytes(self._s3fs.cat_file(self._absolute(path))), str(answer["ETag"])
        except FileNotFoundError:
            return None

    def replace_if(self, path: str, version: str | None, data: bytes) -> str | None:
        """Write only if the file is still that version (None: is not there).

        Returns the name of the version written, or None where the file is another one by now.

        Locally a lock file serialises the writers, on S3 the server compares (If-None-Match, If-Match).
        """
        if not self.on_s3:
            with self.errors(path), _locked(Path(self._absolute(path))):
                current = self.read_versioned(path)
                if (current and current[1]) != version:
                    return None
                _write_local(Path(self._absolute(path)), data)
                return hashlib.sha256(data).hexdigest()
        bucket, _, key = self._absolute(path).partition("/")
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        try:
            with self.errors(path):
                answer = self._s3fs.call_s3("put_object", Bucket=bucket, Key=key, Body=data, **condition)
                return str(answer["ETag"])
        except (_PreconditionError, FileNotFoundError):
            # A write whose answer was lost is sent again, and the second one meets the first.
            found = self.read_versioned(path)
            return found[1] if found is not None and found[0] == data else None

    @contextmanager
    def download(self, path: str) -> Iterator[str]:
        """A local path that holds the file: itself, or a temporary copy of an S3 object."""
        if not self.on_s3:
            yield self._absolute(path)
            return
        with tempfile.TemporaryDirectory(prefix="emo-") as folder:
            target = Path(folder) / ("clip" + Path(path).suffix)
            with self.errors(path):
                self._s3fs.get_file(self._absolute(path), str(target))
            yield str(target)

    @contextmanager
    def errors(self, path: str) -> Iterator[None]:
        """Turn what the engines below raise into one line that a person understands.

        Also for whoever reads from what `open` gave. FileNotFoundError stays what it is.
        """
        try:
            yield
        except (FileNotFoundError, EmoError) as error:
            if self.on_s3 and "bucket does not exist" in str(error):
                raise PlaceError(f"{self.url}: the bucket does not exist") from error
            raise
        except Exception as error:
            raise _explain(self.full(path), error) from error


def list_folder(folder: str) -> list[os.DirEntry[str]]:
    """What is right in a local folder, nothing where it is not there; StorageError if it cannot be read."""
    try:
        return list(os.scandir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"{folder}: this folder cannot be read: {error.strerror}") from error


def is_regular(item: os.DirEntry[str]) -> bool:
    """Whether it is a file, or a link to one."""
    try:
        return item.is_file()
    except OSError:
        # A link that leads to itself, or into a folder that is closed.
        return False


def is_folder(path: str | Path) -> bool:
    """Whether it is a folder, or a link to one that can be looked into."""
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def local_entry(item: os.DirEntry[str], cut: int) -> Entry:
    """One local file, its path without the first `cut` characters; raises FileNotFoundError."""
    stat = item.stat()
    return Entry(readable(item.path[cut:]), stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))


def readable(name: str) -> str:
    """A file name that is not UTF-8, with its odd bytes written out; no table could hold it otherwise."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


class _PreconditionError(EmoError):
    """S3 refused a conditional write because the object is another one by now."""


def _explain(place: str, error: Exception) -> EmoError:
    # Imported here because only S3 users need the client library.
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ClientError):
            code = str(cause.response.get("Error", {}).get("Code", ""))
            if code in {"PreconditionFailed", "412", "ConditionalRequestConflict"}:
                return _PreconditionError(place)
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
    if isinstance(error, PermissionError):
        return StorageError(f"{place}: access is refused")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return PlaceError(f"{place}: no space left on the device")
    if isinstance(error, OSError):
        return StorageError(f"{place}: {error.strerror or error or type(error).__name__}")
    return StorageError(f"{place}: {type(error).__name__}: {error}")


def _write_local(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=PART_SUFFIX)
    try:
        with os.fdopen(handle, "wb") as file:
            # A sign of life for `sweep`, until the file has its name; without locks its age must do.
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            # mkstemp makes files for their owner alone; a result is as readable as any other new file.
            Path(part).chmod(0o666 & ~_umask())
            Path(part).replace(target)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _is_part(item: os.DirEntry[str]) -> bool:
    ours = item.name.startswith(".") and item.name.endswith(PART_SUFFIX)
    return ours and not item.name.endswith(LOCK_SUFFIX) and not item.is_symlink()


def _remove_dead(part: Path, oldest: float) -> bool:
    """Remove a file unless its writer may live; whether it was removed."""
    try:
        with part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_mtime >= oldest:
                return False
            part.unlink()
            return True
    except OSError:
        # Locked, gone by now, not ours to open, or on a disk without locks: it may be in use.
        return False


@functools.cache
def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f".{target.name}{LOCK_SUFFIX}").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _tell_of_retry(
    operation: Any = None,
    attempts: int = 0,
    response: Any = None,
    caught_exception: BaseException | None = None,
    **_: Any,
) -> None:
    """Log a request to S3 that failed for a passing reason, before the client tries it again."""
    status = response[0].status_code if response is not None else None
    if caught_exception is not None or (status is not None and (status >= 500 or status == 429)):
        what = type(caught_exception).__name__ if caught_exception is not None else str(status)
        log("s3_retry", operation=getattr(operation, "name", None), attempt=attempts, answer=what)


@functools.cache
def s3_filesystem(settings: S3Settings) -> Any:
    """The s3fs file system of these settings; retries with back-off are the client's own (adaptive mode)."""
    import s3fs

    class _Retelling(s3fs.S3FileSystem):
        async def set_session(self, *arguments: Any, **options: Any) -> Any:
            client = await super().set_session(*arguments, **options)
            # The client retries by itself and in silence; whoever looks into a slow night wants to see it.
            client.meta.events.register("needs-retry.s3", _tell_of_retry, unique_id="emo")
            return client

    def secret(value: SecretStr | None) -> str | None:
        return value.get_secret_value() if value else None

    return _Retelling(
        anon=settings.anonymous,
        endpoint_url=settings.endpoint_url,
        key=secret(settings.key),
        secret=secret(settings.secret),
        token=secret(settings.token),
        client_kwargs={"region_name": settings.region} if settings.region else {},
        config_kwargs={
            "retries": {"max_attempts": settings.max_attempts, "mode": "adaptive"},
            "connect_timeout": 10,
            "read_timeout": 60,
        },
        # Other processes write the same prefixes; a cached listing would hide their work.
        use_listings_cache=False,
    )
