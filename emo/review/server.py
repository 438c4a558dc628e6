"""The web application of `emo review`: a few requests of plain JSON, and the media of a clip."""

import asyncio
import hashlib
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from importlib import resources
from typing import Any, TypeVar

from aiohttp import web

from emo import vocabulary
from emo.errors import EmoError, InputError, RowError
from emo.review import answers
from emo.review.access import Access
from emo.review.answers import Answer, Forgotten, check_labels, check_seconds
from emo.review.desk import Desk, Superseded
from emo.review.media import Media
from emo.review.queue import KINDS

T = TypeVar("T")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_FILES = {"page.js": "text/javascript", "page.css": "text/css"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_PIECE = 2**18
# An answer is a few hundred bytes; a comment may be long.
_LONGEST_BODY = 2**18


class Application:
    """The routes over one desk."""

    def __init__(self, desk: Desk, media: Media, access: Access) -> None:
        self.desk, self.media, self.access = desk, media, access

    def app(self) -> web.Application:
        """The application of aiohttp."""
        app = web.Application(middlewares=[self._guard], client_max_size=_LONGEST_BODY)
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/{name:page\\.(?:js|css)}", self._file),
                web.get("/api/words", self._words),
                web.post("/api/next", self._next),
                web.get("/api/clip", self._clip),
                web.post("/api/review", self._review),
                web.get("/api/progress", self._progress),
                web.get("/api/gain", self._gain),
                web.post("/api/queue", self._queue),
                web.post("/api/invite", self._invite),
                web.get("/media/part", self._part),
                web.get("/media/video", self._video),
                web.get("/media/frame", self._frame),
                web.get("/media/sound", self._sound),
            ]
        )
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Refuse what does not come from a browser that was let in, and from this page."""
        try:
            response = await self._guarded(request, handler)
        except web.HTTPException as error:
            response = _told(error.status, error.reason)
        except Superseded as error:
            response = _told(409, str(error))
        except Forgotten as error:
            response = _told(410, str(error))
        except (InputError, ValueError) as error:
            response = _told(400, str(error))
        except FileNotFoundError:
            response = _told(404, "the file is not there any more")
        except RowError as error:
            response = _told(422, f"{error.code}: {error.message}")
        except EmoError as error:
            response = _told(503, str(error))
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response

    async def _guarded(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if not self.access.is_own_host(request.headers.get("Host")):
            return _told(403, "this is not the name of this server")
        if origin is not None and not self.access.is_own_origin(origin):
            return _told(403, "the request comes from another page")
        if request.method == "POST" and (origin is None or request.content_type != "application/json"):
            return _told(403, "expected JSON from the page itself")
        if request.path == "/" and "token" in request.query:
            return self._enter(request)
        reviewer = self.access.reviewer(request.cookies.get(self.access.cookie))
        if reviewer is None:
            return _told(403, "open the address that emo review has printed; each is good for one browser")
        request["reviewer"] = reviewer
        return await handler(request)

    def _enter(self, request: web.Request) -> web.Response:
        session = self.access.enter(request.query["token"])
        known = self.access.reviewer(request.cookies.get(self.access.cookie))
        response = web.Response(status=303, headers={"Location": "/"})
        if session is not None:
            response.set_cookie(
                self.access.cookie, session, httponly=True, samesite="Strict", secure=self.access.secure
            )
        elif known is None:
            return _told(403, "this address was used already, or never was one")
        return response

    async def _page(self, request: web.Request) -> web.Response:
        text = _read("page.html").replace("WHOSE", self._whose(request))
        return web.Response(text=text, content_type="text/html", charset="utf-8")

    def _whose(self, request: web.Request) -> str:
        """Names the OUT and the person: what waits in a browser is of these, whatever listens there next."""
        said = f"{self.desk.storage.url}\0{request['reviewer']}".encode("utf-8", "surrogatepass")
        return hashlib.sha256(said).hexdigest()[:32]

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return web.Response(text=_read(name), content_type=_FILES[name], charset="utf-8")

    async def _words(self, request: web.Request) -> web.Response:
        words = [
            {"word": word, "also": [*found.chinese, *found.forms]}
            for word, found in vocabulary.words().items()
        ]
        return web.json_response({"words": words})

    async def _next(self, request: web.Request) -> web.Response:
        body = await _body(request)
        skipped = body.get("skipped", [])
        if not isinstance(skipped, list) or not all(isinstance(one, str) for one in skipped):
            raise InputError("skipped: expected a list of ids")
        given_back = body.get("give_back")
        if isinstance(given_back, str):
            self.desk.give_back(given_back, request["reviewer"])
        asked = await _away(self.desk.next, request["reviewer"], frozenset(skipped))
        if asked is None:
            return web.json_response({"clip": None})
        facts = await _away(self._facts, asked.video_id, request["reviewer"], asked.queue)
        return web.json_response({"clip": facts})

    async def _clip(self, request: web.Request) -> web.Response:
        facts = await _away(self._facts, await self._video_id(request), request["reviewer"], None)
        return web.json_response({"clip": facts})

    def _facts(self, video_id: str, reviewer: str, queue: str | None) -> dict[str, Any]:
        """A clip as the page shows it; of a blind one nothing that a machine said."""
        item = asdict(self.desk.library.item(video_id))
        review = self.desk.review(video_id, reviewer)
        blind = self.desk.is_blind(video_id) if review is None else review["blind"]
        hidden: dict[str, Any] = {
            **{name: [] for name in ("candidates", "answers", "beside")},
            **dict.fromkeys(("description", "judge", "agreement", "conflict", "state")),
        }
        # Blind it stays, also when the person comes back: what was seen would be in the next answer.
        item |= hidden if blind else {}
        del item["frames"]
        _, part = self.desk.library.file(video_id)
        mine = review and {
            name: review[name]
            for name in ("run_id", "labels", "verdict", "several_people", "comment", "queue")
        }
        judgment = self.desk.library.judgment(video_id)
        return {
            **item,
            "judged": judgment is not None,
            "is_part": part is not None,
            "blind": blind,
            "queue": queue if review is None else review["queue"],
            "review": mine,
        }

    async def _review(self, request: web.Request) -> web.Response:
        body = await _body(request)
        if body.get("whose") not in (None, self._whose(request)):
            raise web.HTTPPreconditionFailed(reason="the page is of another person or another OUT; reload it")
        video_id = body.get("video_id")
        if not isinstance(video_id, str) or not self.desk.library.has(video_id):
            raise InputError("video_id: this OUT holds no such clip, or none any more")
        labels = body.get("labels")
        comment, queue, replaces = (body.get(name) for name in ("comment", "queue", "replaces"))
        if not isinstance(comment, str | None) or len(comment or "") > answers.LONGEST_COMMENT:
            raise InputError(f"comment: expected a text of at most {answers.LONGEST_COMMENT} characters")
        if not isinstance(replaces, str | None) or not isinstance(queue, str | None):
            raise InputError("replaces and queue: expected a text or null")
        if queue is not None and queue not in KINDS and not queue.startswith("expert:"):
            raise InputError(f"queue: there is none called {queue[:40]!r}")
        judgment = self.desk.library.judgment(video_id)
        before = self.desk.review(video_id, request["reviewer"])
        answer = Answer(
            video_id=video_id,
            reviewer=request["reviewer"],
            labels=None if labels is None else check_labels(labels, "labels"),
            shown=None if judgment is None else tuple(judgment["labels"]),
            several_people=body.get("several_people") is True,
            comment=(comment or "").replace("\0", "").strip(),
            seconds=check_seconds(body.get("seconds")),
            queue=queue,
            blind=self.desk.is_blind(video_id) if before is None else before["blind"],
            judged=None if judgment is None else judgment["run_id"],
        )
        row = await _away(self.desk.answer, answer, replaces)
        return web.json_response({"saved": row["run_id"], "verdict": row["verdict"]})

    async def _progress(self, request: web.Request) -> web.Response:
        reviewer = request["reviewer"]
        await _away(self.desk.refresh)
        return web.json_response({"reviewer": reviewer, **await _away(self.desk.progress, reviewer)})

    async def _gain(self, request: web.Request) -> web.Response:
        return web.json_response({"line": await _away(self.desk.gain)})

    async def _queue(self, request: web.Request) -> web.Response:
        return web.json_response({"queued": await _away(self.desk.anew)})

    async def _invite(self, request: web.Request) -> web.Response:
        name = (await _body(request)).get("reviewer", request["reviewer"])
        if not isinstance(name, str):
            raise InputError("reviewer: expected a name")
        return web.json_response({"address": self.access.invite(answers.check_reviewer(name))})

    async def _video_id(self, request: web.Request) -> str:
        video_id = request.query.get("video_id", "")
        if not await _away(self.desk.has, video_id):
            raise web.HTTPNotFound(reason="there is no such clip")
        return video_id

    async def _frame(self, request: web.Request) -> web.Response:
        place = request.query.get("place", "")
        row = await _away(self.desk.library.clip, await self._video_id(request), ["frames"])
        frames = row["frames"] or []
        if not place.isdecimal() or int(place) >= len(frames):
            raise web.HTTPNotFound(reason="there is no such frame")
        return web.Response(body=frames[int(place)], content_type="image/jpeg")

    async def _sound(self, request: web.Request) -> web.Response:
        row = await _away(self.desk.library.clip, await self._video_id(request), ["audio"])
        if row["audio"] is None:
            raise web.HTTPNotFound(reason="the clip has no sound")
        return web.Response(body=row["audio"], content_type="audio/flac")

    async def _part(self, request: web.Request) -> web.Response:
        """Where in `media/video` the clip begins and ends, in seconds; null: with the file."""
        video_id = await self._video_id(request)
        found = await _away(self.media.playable, *self.desk.library.file(video_id))
        part = found.part
        return web.json_response({"start": part and part.start_s, "end": part and part.end_s})

    async def _video(self, request: web.Request) -> web.StreamResponse:
        video_id = await self._video_id(request)
        found = await _away(self.media.playable, *self.desk.library.file(video_id))
        start, end = 0, found.size - 1
        asked = request.headers.get("Range")
        if asked is not None:
            piece = _range(asked, found.size)
            if piece is None:
                return web.Response(status=416, headers={"Content-Range": f"bytes */{found.size}"})
            start, end = piece
        response = web.StreamResponse(
            status=200 if asked is None else 206,
            headers={
                **_HEADERS,
                "Accept-Ranges": "bytes",
                "Content-Type": found.kind,
                "Content-Length": str(end - start + 1),
                **({} if asked is None else {"Content-Range": f"bytes {start}-{end}/{found.size}"}),
            },
        )
        with await _away(found.open) as file:
            await _away(file.seek, start)
            await response.prepare(request)
            left = end - start + 1
            while left:
                data = await _away(file.read, min(left, _PIECE))
                if not data:
                    break
                left -= len(data)
                await response.write(data)
        await response.write_eof()
        return response


def _range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a range request; None where it asks for none that is there."""
    found = _RANGE.fullmatch(header.strip())
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        return (max(0, size - int(last)), size - 1) if int(last) and size else None
    end = min(int(last) if last else size - 1, size - 1)
    return (int(first), end) if int(first) <= end else None


async def _away(work: Callable[..., T], *arguments: Any) -> T:
    """Do what waits for a disk or for S3 in a thread."""
    return await asyncio.get_running_loop().run_in_executor(None, partial(work, *arguments))


async def _body(request: web.Request) -> dict[str, Any]:
    body = await request.json()
    if not isinstance(body, dict):
        raise InputError("expected one object of JSON")
    return body


def _told(status: int, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status)


def _read(name: str) -> str:
    return resources.files("emo.review").joinpath(name).read_text(encoding="utf-8")


async def serve(
    application: Application, host: str, port: int, tls: ssl.SSLContext | None, ready: Callable[[], None]
) -> None:
    """Listen until the task is cancelled; ready: called once browsers can come in."""
    runner = web.AppRunner(application.app(), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        ready()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
