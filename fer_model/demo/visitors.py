"""What every tab owes its visitors: sentences instead of tracebacks, and no trace of their pictures."""

import contextlib
import functools
import inspect
import logging
import threading
from collections.abc import Callable, Container, Iterable
from pathlib import Path

import gradio as gr

from fer_model.errors import FERError, ImageError

GONE = "This picture has been deleted from the server by now. Please give it once more."

FORGET_AFTER = 60.0
"""Seconds after the answer for which an upload stays: the page fetches its preview of it in that time, and another
visitor, who gave the same file, may still be waiting for an answer about it."""

KEEP_SECONDS = 600
"""What was made for a visitor to download, and their session's results, are deleted when they are this old."""

DELETE_EVERY = 60
"""Seconds between two searches for what is old enough."""

PRIVACY = (
    "Nothing is stored: what you give is deleted from the server one minute after the answer, what was made of it "
    "after ten. There is no history, no flagging and no analytics."
)


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
    """The uploaded file; Gradio has checked already that it is one of its own.

    Raises:
        ImageError: nothing was given, or it has been deleted since.
    """
    if not upload or not upload.get("path"):
        raise ImageError(f"Please give a {what}.")
    path = Path(upload["path"])
    if not path.is_file():
        raise ImageError(GONE.replace("picture", what))
    return path


def forget(uploads: Iterable[Path], keep: Container[str] = ()) -> None:
    """Delete uploads, and the folders that Gradio made for them, `FORGET_AFTER` seconds from now.

    Args:
        keep: files that stay, such as the examples, which are everybody's.
    """
    # who gives the same file again in between replaces it, and it is that answer's to delete
    mine = [(path, path.stat().st_ctime_ns) for path in uploads if str(path) not in keep and path.is_file()]
    if mine:
        timer = threading.Timer(FORGET_AFTER, _delete, [mine])
        timer.daemon = True
        timer.start()


def _delete(files: list[tuple[Path, int]]) -> None:
    for path, given in files:
        # neither is there any more, or not empty, where another answer was faster
        with contextlib.suppress(OSError):
            if path.stat().st_ctime_ns == given:
                path.unlink()
                path.parent.rmdir()
