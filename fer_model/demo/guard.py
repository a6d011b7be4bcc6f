"""Every failure becomes a sentence that a visitor can read, and no request can do more than the page does.

Much of this closes what Gradio (6.31) offers and the page does not use: docs/demo.md#gradios-internals
"""

import asyncio
import functools
import inspect
import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import gradio as gr
from gradio import processing_utils, queueing, route_utils, routes, utils
from gradio.utils import get_upload_folder
from python_multipart.exceptions import FormParserError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fer_model.demo.privacy import is_upload
from fer_model.errors import FERError, ImageError

GONE = "This picture has been deleted from the server by now. Please give it once more."

NO_ADDRESS = "Addresses on the web are not fetched. Please upload the file."

BAD_REQUEST = "This request cannot be answered. Files are uploaded first; /?view=api tells what a request holds."

LONG = "long"
"""The queue of videos and of many pictures; photos have another."""

MAX_WAITING, MAX_LONG_WAITING = 200, 20
"""Requests that wait, and those among them for long work, so that photos always find room."""

MAX_REQUEST_BYTES, MAX_UPLOAD_BYTES = 4_000_000, 2_000_000_000
"""Of a request's body: a camera's frame or a list of files, and a folder of files."""

KEEP_FREE_BYTES = 500_000_000
"""On the disk where uploads lie; when less is free, none is taken."""

SILENCE = 60.0
"""Seconds to wait for the next byte of a body."""


def for_visitors(function: Callable) -> Callable:
    """Make any failure a sentence that a visitor can read; what is unforeseen goes to the log."""

    def sentence(error: Exception) -> gr.Error:
        if isinstance(error, gr.Error):
            return error
        if isinstance(error, FERError):
            return gr.Error(str(error), print_exception=False)
        logging.error("A visitor's request failed", exc_info=error)
        return gr.Error(
            "Something went wrong on the server. Please try once more, or another picture.", print_exception=False
        )

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def guarded(*args, **kwargs):
            try:
                yield from function(*args, **kwargs)
            except Exception as error:
                raise sentence(error) from error

    else:

        @functools.wraps(function)
        def guarded(*args, **kwargs):
            try:
                return function(*args, **kwargs)
            except Exception as error:
                raise sentence(error) from error

    return guarded


def path_of(upload: dict | None, what: str = "picture") -> Path:
    """The uploaded file.

    Raises:
        ImageError: nothing was given, it has been deleted since, or it is none that a visitor has uploaded.
    """
    if not upload or not upload.get("path"):
        raise ImageError(f"Please give a {what}.")
    path = Path(upload["path"])
    # Gradio also lets other files of this machine through: the figures of the page, and any that is described without
    # `meta`. None of these may be read for a visitor, or deleted after the answer.
    if not is_upload(path) or not path.is_file():
        raise ImageError(GONE.replace("picture", what))
    return path


def close_doors() -> None:
    """Keep Gradio from fetching addresses, from keeping uploads that break off, and from telling of its inside."""
    # these are looked up when they are called: docs/demo.md#gradios-internals
    for name in ("async_ssrf_protected_download", "async_ssrf_protected_get"):
        setattr(processing_utils, name, _refuse_address)
    for name in ("ssrf_protected_download", "save_url_to_cache"):
        setattr(processing_utils, name, _refused)
    routes.secure_url_stream_response = _refuse_proxy
    route_utils.GradioMultiPartParser = _Upload  # type: ignore[misc]
    queueing.error_payload = utils.error_payload = _payload


def _refused(*_, **__) -> NoReturn:
    raise gr.Error(NO_ADDRESS, print_exception=False)


async def _refuse_address(*_, **__) -> NoReturn:
    _refused()


async def _refuse_proxy(*_, **__) -> NoReturn:
    raise HTTPException(403, NO_ADDRESS)


def _payload(error: BaseException | None, show_error: bool) -> dict:
    """What a visitor is told. The texts of Gradio's own errors name folders of the server."""
    told = error if isinstance(error, utils.AppError) else utils.AppError(BAD_REQUEST)
    return {"error": told.message, "duration": told.duration, "visible": told.visible, "title": told.title}


class _Upload(route_utils.GradioMultiPartParser):
    """An upload of files alone: Gradio would hold other fields in memory, whatever their size."""

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        if self._current_part.file is None or self._current_part.field_name != "files":
            raise route_utils.MultiPartException("An upload holds files, and nothing else.")

    async def parse(self):
        try:
            form = await super().parse()
            if len(self.items) < len(self._files_to_close_on_error):
                raise route_utils.MultiPartException("This upload ends too early.")
            return form
        except BaseException as error:  # also when a visitor leaves: Gradio would keep what has come
            for file in self._files_to_close_on_error:
                file.close()
                Path(file.name).unlink(missing_ok=True)  # Gradio has deleted it after some of the errors
            if isinstance(error, KeyError | FormParserError):
                raise route_utils.MultiPartException("This upload cannot be read.") from error
            raise


def keep_room_for_photos(page: gr.Blocks) -> None:
    """Let no more than `MAX_LONG_WAITING` videos and lists of pictures wait; after `page.queue`."""
    queue = page._queue  # docs/demo.md#gradios-internals
    push = queue.push

    async def bounded(body, request, username):
        asked = page.fns.get(body.fn_index)
        long = queue.event_queue_per_concurrency_id.get(LONG)
        if asked and asked.concurrency_id == LONG and long and len(long.queue) >= MAX_LONG_WAITING:
            sentence = f"{MAX_LONG_WAITING} videos and lists of pictures are waiting. Please try again in some minutes."
            return False, sentence, "queue_full"
        return await push(body=body, request=request, username=username)

    queue.push = bounded  # type: ignore[method-assign]


_CLOSED = ("/gradio_api/process_recording", "/gradio_api/component_server", "/gradio_api/proxy=")
"""Paths that Gradio offers and the page does not use. The first two keep files of visitors."""

_LOCAL = ("localhost", "127.0.0.1", "[::1]")


class Door:
    """Looks at each request before Gradio does (ASGI).

    Args:
        local_only: the server listens at this machine's own address. Pages of other sites, which a browser on this
            machine shows, then get nothing from it: neither by its address nor by a name that leads to it.
        max_file_bytes: of one upload.
    """

    def __init__(self, app: ASGIApp, local_only: bool, max_file_bytes: int):
        self.app, self.local_only = app, local_only
        self.max_tool_bytes = max_file_bytes * 4 // 3 + MAX_REQUEST_BYTES  # a file in a data: address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = ended = False
        bare = scope["method"] in ("GET", "HEAD", "OPTIONS")  # these have no body
        body = Body(scope["path"], self.max_tool_bytes)

        async def answer(message: Message) -> None:
            nonlocal started, ended
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                if body.more and not bare:  # else the rest would be waited for
                    headers["Connection"] = "close"
            else:
                ended = not message.get("more_body", False)
            await send(message)

        try:
            self._check(scope)
            await self.app(scope, receive if bare else partial(body.next, receive), answer)
        except ClientDisconnect:
            pass  # nobody is there to read a sentence
        except Exception as error:
            refusal = error if isinstance(error, HTTPException) else HTTPException(400, BAD_REQUEST)
            if refusal is not error:
                logging.error("A request failed", exc_info=error)
            if not started:
                await JSONResponse({"detail": refusal.detail}, refusal.status_code)(scope, receive, answer)
            elif not ended:
                await send({"type": "http.response.body"})

    def _check(self, scope: Scope) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        if self.local_only:
            names = [headers.get("host", ""), headers.get("origin", "//localhost").partition("//")[2]]
            if any({name, name.rpartition(":")[0]}.isdisjoint(_LOCAL) for name in map(str.lower, names)):
                raise HTTPException(403, "This demo answers only its own machine; --host opens it to others.")
        if path.startswith(_CLOSED):
            raise HTTPException(404, "This demo does not offer that.")


class Body:
    """The body of a request. It is refused when it is too large, or does not come."""

    def __init__(self, path: str, max_tool_bytes: int):
        self.upload, tool = (path.startswith(f"/gradio_api/{name}") for name in ("upload", "mcp"))
        self.limit = MAX_UPLOAD_BYTES if self.upload else max_tool_bytes if tool else MAX_REQUEST_BYTES
        self.came, self.more = 0, True

    async def next(self, receive: Receive) -> Message:
        if not self.more:
            return await receive()  # tells that the visitor leaves
        try:
            message = await asyncio.wait_for(receive(), SILENCE)
        except TimeoutError:
            raise HTTPException(408, "The rest of the request did not come.") from None
        self.came += len(message.get("body", b""))
        if self.came > self.limit:
            raise HTTPException(413, f"The request is too large; at most {self.limit // 1_000_000:,} MB are taken.")
        if self.upload and shutil.disk_usage(Path(get_upload_folder()).parent).free < KEEP_FREE_BYTES:
            raise HTTPException(507, "The server has no room for files now.")
        self.more = message.get("more_body", False)
        return message
