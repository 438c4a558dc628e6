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
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from emo.errors import EmoError, InputError, PlaceError, StorageError, one_line
from emo.paths import S3_PREFIX, has_odd_bytes, is_s3, join, on_disk, readable, split
from emo.store import s3 as objects
from emo.store.conditions import Conditions, conditions_of
from emo.store.s3 import s3_filesystem

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


_in_use = S3Settings()


def use_s3(settings: S3Settings) -> None:
    """From now on this process reaches models and adapters on S3 so: their addresses carry no settings."""
    global _in_use
    _in_use = settings


def s3_in_use() -> S3Settings:
    """How this process reaches models and adapters on S3."""
    return _in_use


@dataclass(frozen=True)
class Entry:
    """One file of a listing: `path` is relative to the root, `size` in bytes, `modified` in UTC.

    tag: tells versions of one size apart where S3 lists it.
    """

    path: str
    size: int
    modified: datetime
    tag: str = field(default="", compare=False)


class Storage:
    """A folder, local or on S3: list, read, write atomically.

    All paths are relative to the root and use `/`. Raises StorageError with one line that names the place
    where it does not answer, and FileNotFoundError where a file is not there.

    exact: slashes at the end of an S3 address belong to its keys, as in `split`; a person who types one more
    means the same place.
    """

    def __init__(self, url: str, s3: S3Settings | None = None, *, exact: bool = False) -> None:
        self.s3 = s3 or S3Settings()
        self.on_s3 = is_s3(url)
        if self.on_s3:
            self._root = url.removeprefix(S3_PREFIX) if exact else url.removeprefix(S3_PREFIX).rstrip("/")
            self.url = S3_PREFIX + self._root
            if not self._root.split("/")[0]:
                raise InputError(f"{url!r} names no bucket; expected s3://BUCKET/PREFIX")
        else:
            self._root = on_disk(str(Path(on_disk(url)).absolute()))
            self.url = readable(self._root)

    def __reduce__(self) -> tuple[Any, tuple[str, S3Settings]]:
        return _exactly, (self.url, self.s3)

    @functools.cached_property
    def _s3fs(self) -> Any:
        return s3_filesystem(self.s3)

    def full(self, path: str) -> str:
        """The path or URL that a person can use."""
        if not path:
            return self.url
        return f"{self.url}/{path}" if self.on_s3 else join(self.url, path)

    def _absolute(self, path: str) -> str:
        """The path on the disk; of S3 the bucket and the key, with a slash between them."""
        if ".." in path.split("/"):
            raise InputError(f"{path!r} leaves {self.url}")
        if self.on_s3:
            return f"{self._root}/{path}" if path else self._root
        return on_disk(join(self._root, path)) if path else self._root

    def _object(self, path: str) -> tuple[str, str]:
        """Bucket and key of a file on S3."""
        return objects.address(self._absolute(path))

    def _below(self, prefix: str) -> tuple[str, str]:
        """Bucket and key prefix of what is below a folder on S3."""
        return objects.address(f"{self._absolute(prefix)}/")

    def check(self) -> None:
        """Raise StorageError unless the root can be listed (S3) or made and written (local)."""
        with self.errors(""):
            if self.on_s3:
                # Of one name below the root: who may list no more than that may run here.
                bucket, start = self._below("lease.json")
                self._s3fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=start)
            else:
                if has_odd_bytes(self.url) and not os.path.lexists(self._root):
                    raise InputError(f"{self.url}: this name is not in UTF-8; give a new folder one that is")
                Path(self._root).mkdir(parents=True, exist_ok=True)
                if not os.access(self._root, os.W_OK):
                    raise PermissionError(errno.EACCES, "not writable", self._root)

    def is_there(self, prefix: str = "") -> bool:
        """Whether a folder is there; on S3: whether any key begins with it."""
        with self.errors(prefix):
            if not self.on_s3:
                return Path(self._absolute(prefix)).is_dir()
            bucket, start = self._below(prefix)
            page = self._s3fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=start)
            return not start or bool(page.get("Contents"))

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
        bucket, start = self._below(prefix)
        cut = len(self._below("")[1])
        entries: list[Entry] = []
        token: dict[str, str] = {} if recursive else {"Delimiter": "/"}
        while True:
            # Not s3fs.find: it goes through a cache of folders and hides access errors as "not found".
            page = self._s3fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=start, **token)
            for item in page.get("Contents", []):
                if not item["Key"].endswith("/"):
                    modified = item["LastModified"].astimezone(UTC)
                    tag = str(item.get("ETag", ""))
                    entries.append(Entry(item["Key"][cut:], item["Size"], modified, tag))
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
                bucket, key = self._object(path)
                answer = self._s3fs.call_s3("head_object", Bucket=bucket, Key=key)
                return Entry(path, answer["ContentLength"], answer["LastModified"].astimezone(UTC))
            stat = Path(self._absolute(path)).stat()
            return Entry(path, stat.st_size, _moment(stat, self.full(path)))

    def has(self, path: str) -> bool:
        """Whether a file is there."""
        try:
            self.entry(path)
        except FileNotFoundError:
            return False
        return True

    def read(self, path: str) -> bytes:
        """The bytes of one file; raises FileNotFoundError."""
        with self.errors(path):
            if self.on_s3:
                return self._get(path)[0]
            return Path(self._absolute(path)).read_bytes()

    def _get(self, path: str) -> tuple[bytes, str]:
        return objects.get(self._s3fs, *self._object(path), self.s3.max_attempts)

    def open(self, path: str) -> BinaryIO:
        """A file for random reads (Parquet: footer and single columns, as ranges on S3)."""
        with self.errors(path):
            if self.on_s3:
                return cast(
                    BinaryIO, objects.ObjectFile(self._s3fs, *self._object(path), self.s3.max_attempts)
                )
            return Path(self._absolute(path)).open("rb")

    def write(self, path: str, data: bytes) -> None:
        """Write one file atomically, over an older one if there is one."""
        with self.errors(path):
            if self.on_s3:
                # One PUT up to the limit of S3 (5 GB): parts of a write that was killed would stay and cost.
                bucket, key = self._object(path)
                self._s3fs.call_s3("put_object", Bucket=bucket, Key=key, Body=data)
            else:
                _write_local(Path(self._absolute(path)), data)

    def delete(self, path: str) -> None:
        """Remove one file; nothing happens where it is not there."""
        with self.errors(path):
            if self.on_s3:
                bucket, key = self._object(path)
                self._s3fs.call_s3("delete_object", Bucket=bucket, Key=key)
            else:
                Path(self._absolute(path)).unlink(missing_ok=True)

    def delete_if(self, path: str, version: str) -> bool:
        """Remove one local file if it is still that version; whether it was. S3 has no such request."""
        if self.on_s3:
            raise InputError(f"{self.full(path)}: an object of S3 cannot be removed by its version")
        with self.errors(path), _locked(Path(self._absolute(path))):
            current = self.read_versioned(path)
            if current is None or current[1] != version:
                return False
            Path(self._absolute(path)).unlink()
            return True

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
                return self._get(path)
        except FileNotFoundError:
            return None

    def replace_if(self, path: str, version: str | None, data: bytes) -> str | None:
        """Write only if the file is still that version (None: is not there).

        Returns the name of the version written, or None where the file is another one by now.

        Locally a lock file serialises the writers, on S3 the server compares (If-None-Match, If-Match).
        Raises StorageError where `conditions` says that the server does not.
        """
        if not self.on_s3:
            with self.errors(path), _locked(Path(self._absolute(path))):
                current = self.read_versioned(path)
                if (current and current[1]) != version:
                    return None
                _write_local(Path(self._absolute(path)), data)
                return hashlib.sha256(data).hexdigest()
        if not self.conditions.honoured:
            raise StorageError(f"{self.full(path)}: this server does not compare before it writes")
        bucket, key = self._object(path)
        try:
            with self.errors(path):
                condition = self.conditions.header(version)
                answer = self._s3fs.call_s3("put_object", Bucket=bucket, Key=key, Body=data, **condition)
                return str(answer["ETag"])
        except (_PreconditionError, FileNotFoundError):
            # A write whose answer was lost is sent again, and the second one meets the first.
            found = self.read_versioned(path)
            return found[1] if found is not None and found[0] == data else None

    @functools.cached_property
    def conditions(self) -> Conditions:
        """What this S3 server does with conditions on a write: asked once for each root, and kept there."""
        with self.errors(""):
            return conditions_of(self._s3fs, *self._below(""), self.s3.max_attempts)

    @contextmanager
    def download(self, path: str) -> Iterator[str]:
        """A local path that holds the file: itself, or a temporary copy of an S3 object.

        One that is not UTF-8 gets a link with a plain name: not every library can be given its own.
        """
        local = "" if self.on_s3 else self._absolute(path)
        if local and not has_odd_bytes(readable(local)):
            yield local
            return
        with tempfile.TemporaryDirectory(prefix="emo-") as folder:
            target = Path(folder) / ("clip" + Path(path).suffix)
            with self.errors(path):
                if self.on_s3:
                    self.fetch(path, target)
                else:
                    target.symlink_to(Path(local).resolve(strict=True))
            yield str(target)

    def fetch(self, path: str, target: Path) -> None:
        """Write an object of S3 into a local file, without holding it in memory."""
        with self.errors(path):
            objects.download(self._s3fs, *self._object(path), self.s3.max_attempts, target)

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
            if isinstance(error, OSError) and error.errno == errno.ESTALE:
                # What a network file system says of a file that another machine removed.
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.full(path)) from error
            raise _explain(self.full(path), error) from error


def _exactly(url: str, s3: S3Settings) -> Storage:
    return Storage(url, s3, exact=True)


def storage_of(path: str, s3: S3Settings | None = None) -> tuple[Storage, str]:
    """The folder that a file stands in, and its name there; raises InputError where it can be no file."""
    folder, name = split(path)
    return Storage(folder, s3, exact=True), name


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
    return Entry(readable(item.path[cut:]), stat.st_size, _moment(stat, item.path))


def _moment(stat: os.stat_result, place: str) -> datetime:
    try:
        return datetime.fromtimestamp(stat.st_mtime, UTC)
    except (ValueError, OverflowError, OSError):
        raise InputError(
            f"{readable(place)}: was last changed in a year that is none (9999 at most); touch the file"
        ) from None


class _PreconditionError(EmoError):
    """S3 refused a conditional write because the object is another one by now."""


def _explain(place: str, error: Exception) -> EmoError:
    # Imported here because only S3 users need the client library.
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ClientError):
            code = str(cause.response.get("Error", {}).get("Code", ""))
            if code in objects.REFUSED:
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
        # Arrow's own ones have no number, and may have several lines.
        return StorageError(f"{place}: {error.strerror or one_line(error)}")
    return StorageError(f"{place}: {one_line(error)}")


def _write_local(target: Path, data: bytes) -> None:
    made = _make_folder(target.parent)
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
    # The new name too must outlive a loss of power: compaction removes files because this one is there.
    for folder in (target.parent, *made):
        _flush_folder(folder)


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder; those that got a new folder in them."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return [one.parent for one in missing]


def _flush_folder(folder: Path) -> None:
    # Some file systems refuse this for folders; they keep their names in another way.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


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
