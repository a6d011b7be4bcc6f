"""Every failure a sentence that a visitor can read."""

import functools
import inspect
import logging
from collections.abc import Callable
from pathlib import Path

import gradio as gr

from fer_model.demo.privacy import is_upload
from fer_model.errors import FERError, ImageError

GONE = "This picture has been deleted from the server by now. Please give it once more."


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
    # Gradio lets other files of this machine through, too: the figures of the page, and any that is described without
    # `meta`. None of them may be read for a visitor, or deleted after it.
    if not is_upload(path) or not path.is_file():
        raise ImageError(GONE.replace("picture", what))
    return path
