"""Whether an S3 server compares before it writes, found out by trying.

The lease needs a write that happens only if the object is still the one that was read. Amazon's server, and
many others, refuse such a write with If-None-Match and If-Match. Some servers accept every write and say
nothing, and some compare the entity tag without the quotes in which they gave it.
"""

import json
import uuid
from dataclasses import asdict, dataclass
from typing import Any

from emo.store import s3

# Below the root of an OUT: what was found out about its server.
PATH = "conditions.json"
# What no object of ours ever has.
_STALE = "0" * 32


@dataclass(frozen=True)
class Conditions:
    """endpoint: the server that was asked; new: If-None-Match is honoured; tag: the form in which If-Match is
    honoured, `quoted` or `bare`, or None where it is not.
    """

    endpoint: str
    new: bool
    tag: str | None

    @property
    def honoured(self) -> bool:
        """Whether a write can depend on what is there."""
        return self.new and self.tag is not None

    def header(self, version: str | None) -> dict[str, str]:
        """The condition that an object is still of that version (an entity tag), or None: is not there."""
        if version is None:
            return {"IfNoneMatch": "*"}
        return {"IfMatch": _tag(version, self.tag or "quoted")}


def _tag(version: str, form: str) -> str:
    bare = version.strip('"')
    return bare if form == "bare" else f'"{bare}"'


def conditions_of(filesystem: Any, bucket: str, prefix: str, attempts: int) -> Conditions:
    """What was found out earlier, or what the server does now, which is then kept."""
    filesystem.connect()
    endpoint = str(filesystem.s3.meta.endpoint_url)
    known = _kept(filesystem, bucket, prefix, attempts)
    if known is not None and known.endpoint == endpoint:
        return known
    found = probe(filesystem, bucket, prefix, endpoint)
    data = json.dumps(asdict(found)).encode()
    filesystem.call_s3("put_object", Bucket=bucket, Key=prefix + PATH, Body=data)
    return found


def _kept(filesystem: Any, bucket: str, prefix: str, attempts: int) -> Conditions | None:
    try:
        data, _ = s3.get(filesystem, bucket, prefix + PATH, attempts)
        return Conditions(**json.loads(data))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def probe(filesystem: Any, bucket: str, prefix: str, endpoint: str) -> Conditions:
    """Try every kind of condition on an object of our own; it is removed again."""
    # A listing never shows this name.
    place = {"Bucket": bucket, "Key": f"{prefix}.conditions.{uuid.uuid4().hex}.part"}

    def write(**condition: str) -> str:
        try:
            filesystem.call_s3("put_object", **place, Body=uuid.uuid4().bytes, **condition)
        except Exception as error:
            answer = _answer(error)
            if answer is None:
                raise
            return answer
        return "written"

    try:
        filesystem.call_s3("put_object", **place, Body=b"0")
        new = write(IfNoneMatch="*") == "refused"
        form = None
        for one in ("quoted", "bare"):
            if write(IfMatch=_tag(_STALE, one)) != "refused":
                continue
            version = str(filesystem.call_s3("put_object", **place, Body=uuid.uuid4().bytes)["ETag"])
            if write(IfMatch=_tag(version, one)) == "written":
                form = one
                break
        return Conditions(endpoint, new, form)
    finally:
        filesystem.call_s3("delete_object", **place)


def _answer(error: BaseException | None) -> str | None:
    """What a server says to a condition: `refused`, it does not hold; `unknown`: it takes none."""
    from botocore.exceptions import ClientError

    while error is not None:
        if isinstance(error, ClientError):
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if code in s3.REFUSED or status in (409, 412):
                return "refused"
            return "unknown" if status in (400, 501) else None
        error = error.__cause__ or error.__context__
    return None
