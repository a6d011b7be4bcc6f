"""No trace of a visitor's pictures: what they give, what is made of it, and what Gradio remembers is deleted."""

import contextlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from weakref import WeakSet

import gradio as gr
from gradio.utils import get_upload_folder

# Gradio keeps a list of who asked for what and when, and publishes a summary of it. It reads these when a page is
# built: docs/demo.md#gradios-internals
os.environ |= {"GRADIO_ANALYTICS_MAX_EVENTS": "1", "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(10**12)}


FORGET_AFTER = 60.0
"""Seconds after the answer for which an upload stays: the page fetches its preview of it in that time, and another
visitor, who gave the same file, may still be waiting for an answer about it."""

KEEP_SECONDS = 540
"""What was made for a visitor to download, an upload that nobody asked about, and a session's results are deleted when
they are this old, or at the next search after it: within ten minutes."""

DELETE_EVERY = 60
"""Seconds between two searches for what is old enough."""

PRIVACY = (
    "Nothing is stored: what you give is deleted one minute after the answer, and everything within ten minutes. "
    "No history, no flagging, no analytics."
)


def forget(uploads: Iterable[Path]) -> None:
    """Delete uploads, and the folders that Gradio made for them, `FORGET_AFTER` seconds from now.

    The page's own files, such as its examples, stay.
    """
    files = []
    for path in uploads:
        if is_upload(path):
            with contextlib.suppress(FileNotFoundError):
                # who gives the same file again in between replaces it, and it is that answer's to delete
                files.append((path, path.stat().st_ctime_ns))
    if files:
        _waiting.append((time.monotonic() + FORGET_AFTER, files))
        _start_cleaner()


@contextlib.contextmanager
def own_folder() -> Iterator[None]:
    """Keep all files of visitors in one folder of this process, and delete it at the end.

    It lies in GRADIO_TEMP_DIR where that is set. Inside, also what nobody lists is deleted when it is old.
    """
    parent, before = os.environ.get("GRADIO_TEMP_DIR"), tempfile.tempdir
    if parent:
        Path(parent).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="fer-demo-", dir=parent))
    try:
        _own.append(folder / "gradio")
        os.environ["GRADIO_TEMP_DIR"], tempfile.tempdir = str(_own[0]), str(folder)
        _start_cleaner()
        yield
    finally:
        # a thread that is still at work may write into it
        for _ in range(20):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.1)
        _own.clear()
        os.environ.pop("GRADIO_TEMP_DIR")
        os.environ |= {"GRADIO_TEMP_DIR": parent} if parent else {}
        tempfile.tempdir = before


_own: list[Path] = []
"""Where this process alone keeps what visitors give, if there is such a place."""


def _start_cleaner() -> None:
    with _starting:
        if not any(thread.name == _CLEANER for thread in threading.enumerate()):
            threading.Thread(target=_clean_for_ever, name=_CLEANER, daemon=True).start()


_CLEANER = "deletes visitors' files"

_starting = threading.Lock()

_waiting: deque[tuple[float, list[tuple[Path, int]]]] = deque()
"""What is to be deleted, and from when on; all wait as long, so the first to come is the first to go."""

_pages: WeakSet[gr.Blocks] = WeakSet()


def watch(page: gr.Blocks) -> None:
    """Delete in time what Gradio makes or takes in for this page."""
    _pages.add(page)


def _clean_for_ever() -> None:
    """One thread for everybody: a timer for each upload would be hundreds when many come.

    It also deletes what Gradio has made. Gradio does so itself (`delete_cache`), but its search, over a set of names,
    ends for good when a visitor uploads a file meanwhile (6.31: "Set changed size during iteration").
    """
    search = time.monotonic() + DELETE_EVERY
    while True:
        time.sleep(min(1, DELETE_EVERY))
        now = time.monotonic()
        try:
            while _waiting and _waiting[0][0] <= now:
                for path, given in _waiting.popleft()[1]:
                    _delete(path, partial(_given_at, given))
            if now >= search:
                search = now + DELETE_EVERY
                for page in list(_pages):
                    _delete_files_of(page)
                    _forget_sessions_of(page)
                _delete_links()
        except Exception:
            logging.exception("Deleting visitors' files failed; it is tried again")


def _delete_files_of(page: gr.Blocks) -> None:
    """What Gradio has made or taken in for the page, once it is old; but not what is still to be looked at."""
    # the queue and the lists of files: docs/demo.md#gradios-internals
    waiting = "".join(str(event.data.data) for event in list(page._queue.event_ids_to_events.values()) if event.data)
    # not by rglob, which ends with an error where a folder is deleted while it looks
    unlisted = {os.path.join(parent, name) for folder in _own for parent, _, names in os.walk(folder) for name in names}
    for files in [*page.temp_file_sets, unlisted]:
        for name in files.copy():  # a copy is made in one step, whoever adds to it meanwhile
            if name not in waiting and _delete(Path(name), lambda status: _age(status) > KEEP_SECONDS):
                files.discard(name)


def _forget_sessions_of(page: gr.Blocks) -> None:
    """Drop what Gradio remembers of visitors: it would keep the results of a closed tab for an hour, and what an open
    one shows, pictures included, until a hundred others have come."""
    holder = page.state_holder  # docs/demo.md#gradios-internals
    for name, used in list(holder.time_last_used.items()):
        idle = (datetime.now() - used).total_seconds()
        session = holder.session_data.get(name)
        if idle > (FORGET_AFTER if session is None or session.is_closed else KEEP_SECONDS):
            with holder.lock:
                holder.session_data.pop(name, None)
                holder.time_last_used.pop(name, None)
    # answers that nobody fetched: docs/demo.md#gradios-internals
    queue, now = page._queue, time.monotonic()
    busy = {event.session_hash for event in list(queue.event_ids_to_events.values())}
    unread = set(queue.pending_messages_per_session)
    for name in set(_unread_since) - unread | busy:
        _unread_since.pop(name, None)
    for name in unread - busy:
        if now - _unread_since.setdefault(name, now) > KEEP_SECONDS:
            queue.pending_messages_per_session.pop(name, None)
            queue.pending_event_ids_session.pop(name, None)


_unread_since: dict[str, float] = {}
"""Since when a session has had answers and no work that goes on."""


def _delete_links() -> None:
    """Gradio writes a session to a file for whoever asks for a link to it (`/gradio_api/deep_link`)."""
    # docs/demo.md#gradios-internals
    for folder in Path(get_upload_folder(), "deep_links").glob("*"):
        with contextlib.suppress(OSError):
            if _age(folder.stat()) > KEEP_SECONDS:
                shutil.rmtree(folder)


def _given_at(moment: int, status: os.stat_result) -> bool:
    return status.st_ctime_ns == moment


def _age(status: os.stat_result) -> float:
    return time.time() - status.st_ctime


def _delete(path: Path, wanted: Callable[[os.stat_result], bool]) -> bool:
    """Delete a file, and its folder, if it is not the page's own; true if it is not there any more."""
    with contextlib.suppress(FileNotFoundError):  # Gradio was faster
        if not wanted(path.stat()) or not is_upload(path) or path.resolve() in _own_files():
            return False
        path.unlink()
    if is_upload(path):
        with contextlib.suppress(OSError):  # it holds another one, too
            path.parent.rmdir()
    return True


def is_upload(path: Path) -> bool:
    """Whether it lies where Gradio keeps what visitors give, and what is made for them."""
    # docs/demo.md#gradios-internals
    return path.resolve().is_relative_to(Path(get_upload_folder()).resolve())


def _own_files() -> set[Path]:
    """What the pages show to everybody, such as their examples. Who uploads one of these gives the very same file."""
    # keep_in_cache: docs/demo.md#gradios-internals
    blocks = [block for page in list(_pages) for block in list(page.blocks.values())]
    return {Path(name).resolve() for block in blocks for name in list(getattr(block, "keep_in_cache", ()))}
