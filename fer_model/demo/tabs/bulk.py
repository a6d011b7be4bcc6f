"""The tab for more than one picture: a video with its faces boxed, and many pictures as one table."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from fer_model.demo import render
from fer_model.demo.gpu import Network
from fer_model.demo.guard import LONG, for_visitors, path_of
from fer_model.demo.jobs import MAX_PICTURES, MAX_SECONDS, Jobs, how_many
from fer_model.demo.privacy import KEEP_SECONDS, forget
from fer_model.errors import ImageError
from fer_model.inference import video
from fer_model.inference.files.find import ARCHIVES

SAY_EVERY = 1.0
"""Seconds between two progress messages. Only at these can Cancel, or leaving the page, end the work."""

ROWS_SHOWN = 200
"""Of the table on the page; the file to download holds all."""

LETTERS_SHOWN = 120
"""Of a file's name, and of why it cannot be read; a name in an archive may have 65,000."""

_LONG: dict[str, Any] = {
    "preprocess": False,
    "concurrency_id": LONG,
    "concurrency_limit": 1,  # so that there is room to answer photos meanwhile
    "api_visibility": "private",
    "show_progress": "hidden",  # the message holds a bar of its own
}
"""Options of events that start long work."""


class Bulk:
    """What happens on the tab. Both functions yield how far they are, then their results."""

    def __init__(self, network: Network, jobs: Jobs):
        self.network, self.jobs = network, jobs

    def video(self, upload: dict | None, every: float, version: str) -> Iterator[tuple]:
        """Message, the video with boxes, its table, the chart, and the chart's colours."""
        path = path_of(upload, "video")
        said = time.monotonic()
        try:
            length = video.duration(path)
            total = min(length, MAX_SECONDS)
            yield render.progress(0, total, "Looking for faces …"), *_hidden(4)
            with tempfile.TemporaryDirectory() as folder:
                for _, seconds in self.jobs.video(path, version, float(every), Path(folder)):
                    if time.monotonic() - said >= SAY_EVERY:
                        said = time.monotonic()
                        words = f"{seconds:.0f}{f' of {total:.0f}' if total else ''} seconds done."
                        yield render.progress(seconds, total, words), *(gr.skip() for _ in range(4))
                table = pd.read_csv(Path(folder) / "faces.csv")
                # where the header does not say, or says too little, a video that fills the time is taken for longer
                cut = length > MAX_SECONDS or length < seconds > MAX_SECONDS - 1
                names = self.network.class_names(version)
                chart = _over_time(table, names)
                results = (f"{folder}/annotated.mp4", f"{folder}/faces.csv", chart, render.keys(names))
                yield (
                    f"<p>{_video_message(table, cut)}</p>",
                    *(gr.update(value=value, visible=True) for value in results),
                )
        finally:
            forget([path])

    def pictures(self, uploads: list[dict] | None, version: str, level: bool) -> Iterator[tuple]:
        """Message, the table, and the same as a file."""
        if not uploads:
            raise ImageError("Please give pictures, a folder of them, or a zip archive.")
        shown: list[dict] = []
        written, faces, named, said = 0, 0, 0, time.monotonic()
        paths = []
        try:
            paths += [Path(upload["path"]) for upload in uploads if upload.get("path")]  # all are to be forgotten
            paths = [path_of(upload) for upload in uploads]
            total = how_many(paths)
            yield render.progress(0, total, f"0 of {total} pictures done."), *_hidden(2)
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "faces.csv"
                for named, rows in enumerate(self.jobs.pictures(paths, version, bool(level), file), 1):
                    done = min(named, total)  # behind the pictures, other files in archives are named
                    written += len(rows)
                    faces += sum("face" in row for row in rows)
                    shown += rows[: ROWS_SHOWN - len(shown)]
                    if time.monotonic() - said >= SAY_EVERY:
                        said = time.monotonic()
                        yield render.progress(done, total, f"{done} of {total} pictures done."), gr.skip(), gr.skip()
                if not named:
                    raise ImageError("There is no picture in what you gave.")
                other = (
                    f" {_some(named - total, 'other file')} passed over; the table says why." if named > total else ""
                )
                more = f" The first {ROWS_SHOWN} rows are shown; the file has all." if written > ROWS_SHOWN else ""
                message = f"<p>{_some(faces, 'face')} in {_some(total, 'picture')}.{other}{more}</p>"
                table = _as_shown(shown, self.network.class_names(version))
                yield message, *(gr.update(value=value, visible=True) for value in (table, str(file)))
        finally:
            forget(paths)


def bulk_tab(network: Network, jobs: Jobs) -> None:
    """Build the tab, inside a `gr.Tab`."""
    tab = Bulk(network, jobs)
    _video_part(tab)
    _pictures_part(tab)


def _video_part(tab: Bulk) -> None:
    names = tab.network.versions.names
    gr.Markdown(
        f"## A video\nUp to {MAX_SECONDS} seconds; longer ones are cut. Faces are followed and their answers smoothed. "
        "You get the video with boxes (without sound), a table, and a chart over time."
    )
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            given = gr.Video(sources=["upload"], label="Your video", height=260, elem_id="film", buttons=[])
            every = gr.Dropdown(
                [("10 times a second", 0.1), ("5 times a second", 0.2), ("twice a second", 0.5), ("every frame", 0.0)],
                value=0.1,
                label="Look for faces",
            )
            version = gr.Dropdown(names, value=names[0], label="Version", visible=len(names) > 1)
            with gr.Row():
                start = gr.Button("Recognise", variant="primary", elem_id="film-start")
                cancel = gr.Button("Cancel", elem_id="film-cancel")
        with gr.Column(scale=3, min_width=300):
            message = gr.HTML("<p>Give a video, and press Recognise.</p>", elem_id="film-message")
            boxed = gr.Video(
                label="With boxes",
                height=260,
                interactive=False,
                visible=False,
                elem_id="film-out",
                buttons=["download"],
            )
            table = gr.File(label="Table (CSV)", visible=False, elem_id="film-table")
    chart = gr.LinePlot(
        x="seconds",
        y="probability",
        color="expression",
        color_map=render.COLOURS,
        colors_in_legend=[],  # Gradio's legend is cut off on a phone
        y_lim=[0, 1],
        label="The face that is seen most often, over time",
        visible=False,
        elem_id="film-chart",
    )
    keys = gr.HTML(visible=False)
    outputs = [message, boxed, table, chart, keys]
    running = start.click(for_visitors(tab.video), [given, every, version], outputs, **_LONG)
    cancel.click(lambda: "<p>Cancelled.</p>", None, message, cancels=[running], api_visibility="private")


def _pictures_part(tab: Bulk) -> None:
    names = tab.network.versions.names
    gr.Markdown(
        f"## Many pictures\nA folder, several files, or a zip archive; at most {MAX_PICTURES} pictures. "
        f"You get a table with a row for every face. Downloads stay for {KEEP_SECONDS // 60} minutes."
    )
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            kinds = ["image", *ARCHIVES]
            files = gr.File(
                file_count="multiple", file_types=kinds, label="Pictures or a zip", height=160, elem_id="pictures"
            )
            folder = gr.UploadButton("Take a folder", file_count="directory", size="sm", elem_id="folder")
            version = gr.Dropdown(names, value=names[0], label="Version", visible=len(names) > 1)
            level = gr.Checkbox(label="Level the eyes", value=True)
            with gr.Row():
                start = gr.Button("Recognise", variant="primary", elem_id="pictures-start")
                cancel = gr.Button("Cancel", elem_id="pictures-cancel")
        with gr.Column(scale=3, min_width=300):
            message = gr.HTML("<p>Give pictures, and press Recognise.</p>", elem_id="pictures-message")
            file = gr.File(label="Table (CSV)", visible=False, elem_id="pictures-file")
    table = gr.Dataframe(
        headers=_columns(tab.network.class_names()),
        label="Faces",
        interactive=False,
        visible=False,
        max_height=320,
        elem_id="pictures-table",
    )
    running = start.click(for_visitors(tab.pictures), [files, version, level], [message, table, file], **_LONG)
    cancel.click(lambda: "<p>Cancelled.</p>", None, message, cancels=[running], api_visibility="private")
    folder.upload(for_visitors(lambda uploads: uploads), folder, files, api_visibility="private")


def _hidden(count: int) -> tuple:
    """For so many results: empty and out of sight, until there are new ones."""
    return (gr.update(value=None, visible=False),) * count


def _video_message(table: pd.DataFrame, cut: bool) -> str:
    faces = table["face"].nunique()
    found = f"{_some(faces, 'face')} followed" if faces else "No face was found"
    # also true where a header claims more than the file holds
    rest = f" What comes after its first {MAX_SECONDS} seconds was left out." if cut else ""
    return f"{found} in {table['seconds'].nunique():,} of the video's frames.{rest}"


def _some(number: int, what: str) -> str:
    return f"{number:,} {what if number == 1 else f'{what}s'}"


def _over_time(table: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    """seconds, expression, probability, for the face that is seen most often."""
    if table["face"].isna().all():
        return pd.DataFrame({"seconds": [], "expression": [], "probability": []})
    most = table["face"].mode()[0]
    rows = table.loc[table["face"] == most, ["seconds", *names]]
    return rows.melt("seconds", var_name="expression", value_name="probability")


def _columns(names: tuple[str, ...]) -> list[str]:
    """Of the table on the page."""
    return ["file", "face", "label", "unsure", *names]


def _as_shown(rows: list[dict], names: tuple[str, ...]) -> pd.DataFrame:
    """The table on the page: whole per cent, no pixels, and no text of more than `LETTERS_SHOWN`."""
    table = pd.DataFrame(rows).reindex(columns=_columns(names))
    for name in ("file", "label"):
        table[name] = table[name].map(_shortened)
    for name in names:
        table[name] = (
            (pd.to_numeric(table[name]) * 100).round().map(lambda share: "" if pd.isna(share) else f"{share:.0f} %")
        )
    table["face"] = table["face"].map(lambda number: "" if pd.isna(number) else f"{number:.0f}")
    table["unsure"] = table["unsure"].map(lambda unsure: "yes" if unsure is True else "")
    return table.fillna("")


def _shortened(text: str) -> str:
    """Its beginning and its end."""
    half = LETTERS_SHOWN // 2
    return text if len(text) <= LETTERS_SHOWN else f"{text[:half]} … {text[-half:]}"
