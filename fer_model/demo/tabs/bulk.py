"""The tab for more than one picture: a film with its faces boxed, and many pictures as one table."""

import csv
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import gradio as gr
import pandas as pd

from fer_model.demo import render
from fer_model.demo.gpu import Network
from fer_model.demo.privacy import KEEP_SECONDS, for_visitors, forget, path_of
from fer_model.errors import ImageError
from fer_model.inference import annotate, bulk
from fer_model.labels import EMOTIONS

MAX_SECONDS = 60
"""Of a film; the rest is left out, and the page says so."""

MAX_PICTURES = 500
"""Of one request, counting those in archives."""

SAY_EVERY = 1.0
"""Seconds between two words on how far it is. Only at these can Cancel, or leaving the page, end the work."""

ROWS_SHOWN = 200
"""Of the table on the page; the file to download holds all."""

_SHOWN = ["file", "face", "label", "unsure", *EMOTIONS]  # columns of the table on the page


class Clips:
    """What the tab and the endpoints do with films and with many pictures."""

    def __init__(self, network: Network):
        self.network = network

    def film(self, path: Path, version: str | None, every: float, folder: Path) -> Iterator[tuple[int, float]]:
        """Write `folder`/annotated.mp4 and faces.csv; yields how many searched frames and which second are done.

        The film may be deleted as soon as this has yielded once: it is open.
        """

        def follow(tracker, frame, seconds):
            return self.network.follow_faces(version, tracker, frame, seconds, False)

        with (folder / "faces.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, bulk.COLUMNS)
            writer.writeheader()
            frames = annotate.annotate(path, folder / "annotated.mp4", follow, every=every, at_most=MAX_SECONDS)
            for number, (seconds, seen) in enumerate(frames, 1):
                when = {"file": path.name, "seconds": f"{seconds:.3f}"}
                for followed in seen:
                    writer.writerow({**when, "face": followed.number, **bulk.face_columns(followed.face)})
                if not seen:
                    writer.writerow(when)
                yield number, seconds

    def pictures(self, paths: Iterable[Path], version: str | None, level: bool, file: Path) -> Iterator[list[dict]]:
        """Write `file`, a table with a row for every face; yields each picture's rows when they are written.

        A picture or an archive that cannot be read has a row whose label tells why.

        Raises:
            ImageError: these are more than `MAX_PICTURES`; nothing has been written then.
        """
        paths = list(paths)
        if (total := how_many(paths)) > MAX_PICTURES:
            raise ImageError(f"These are {total:,} pictures; at most {MAX_PICTURES:,} are taken at a time.")
        with file.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.DictWriter(opened, bulk.COLUMNS)
            writer.writeheader()
            for name, item in _named(paths):
                try:
                    if item.problem:
                        raise ImageError(item.problem)
                    result = self.network.recognise(version, item.image, False, level, False)
                except ImageError as error:
                    rows = [{"file": name, "label": str(error)}]
                else:
                    rows = [
                        {"file": name, "face": number, **bulk.face_columns(face)}
                        for number, face in enumerate(result.faces, 1)
                    ] or [{"file": name, "label": "no face found"}]
                writer.writerows(rows)
                yield rows


def hidden(count: int) -> tuple:
    """For so many results: empty and out of sight, until there are new ones."""
    return (gr.update(value=None, visible=False),) * count


def how_many(paths: Iterable[Path]) -> int:
    """Pictures, counting those in archives."""
    return sum(bulk.count(path) if path.suffix.lower() in bulk.ARCHIVES else 1 for path in paths)


def _named(paths: Iterable[Path]) -> Iterator[tuple[str, bulk.Item]]:
    """The pictures and those in archives, each with the name that its visitor knows it by."""
    for path in paths:
        if path.suffix.lower() not in bulk.ARCHIVES:
            yield path.name, bulk.Item(path, path)  # a film, too: it turns out to be no picture
            continue
        try:
            for item in bulk.zipped_pictures(path):
                yield item.file.relative_to(path.parent).as_posix(), item
        except ImageError as error:
            yield path.name, bulk.Item(path, b"", problem=str(error))


def clips_tab(network: Network, clips: Clips) -> None:
    """Build the tab, inside a `gr.Tab`."""
    names = network.versions.names

    @for_visitors
    def film(upload: dict | None, every: float, version: str) -> Iterator[tuple]:
        path = path_of(upload, "film")
        said = time.monotonic()
        try:
            length = annotate.duration(path)
            total = min(length, MAX_SECONDS)
            yield render.progress(0, total, "Looking for faces …"), *hidden(3)
            with tempfile.TemporaryDirectory() as folder:
                for _, seconds in clips.film(path, version, float(every), Path(folder)):
                    if time.monotonic() - said >= SAY_EVERY:
                        said = time.monotonic()
                        words = f"{seconds:.0f}{f' of {total:.0f}' if total else ''} seconds done."
                        yield render.progress(seconds, total, words), gr.skip(), gr.skip(), gr.skip()
                table = pd.read_csv(Path(folder) / "faces.csv")
                # where the header does not say, a film that fills the time is taken for longer
                cut = length > MAX_SECONDS or (not length and seconds > MAX_SECONDS - 1)
                results = (f"{folder}/annotated.mp4", f"{folder}/faces.csv", _over_time(table))
                yield (
                    f"<p>{_film_message(table, cut)}</p>",
                    *(gr.update(value=value, visible=True) for value in results),
                )
        finally:
            forget([path])

    @for_visitors
    def pictures(uploads: list[dict] | None, version: str, level: bool) -> Iterator[tuple]:
        if not uploads:
            raise ImageError("Please give pictures, a folder of them, or a zip archive.")
        shown, written, faces, done, said = [], 0, 0, 0, time.monotonic()
        paths = []
        try:
            paths += [Path(upload["path"]) for upload in uploads if upload.get("path")]  # all are to be forgotten
            paths = [path_of(upload) for upload in uploads]
            total = how_many(paths)
            yield render.progress(0, total, f"0 of {total} pictures done."), *hidden(2)
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "faces.csv"
                for rows in clips.pictures(paths, version, bool(level), file):
                    done += 1
                    written += len(rows)
                    faces += sum("face" in row for row in rows)
                    shown += rows[: ROWS_SHOWN - len(shown)]
                    if time.monotonic() - said >= SAY_EVERY:
                        said = time.monotonic()
                        words = f"{done} of {total} pictures done."
                        yield render.progress(done, total, words), gr.skip(), gr.skip()
                if not done:
                    raise ImageError("There is no picture in what you gave.")
                more = f" The first {ROWS_SHOWN} rows are shown; the file has all." if written > ROWS_SHOWN else ""
                message = f"<p>{_some(faces, 'face')} in {_some(done, 'picture')}.{more}</p>"
                yield message, *(gr.update(value=value, visible=True) for value in (_as_shown(shown), str(file)))
        finally:
            forget(paths)

    gr.Markdown(
        f"## A film\nUp to {MAX_SECONDS} seconds; longer ones are cut. Faces are followed and their answers smoothed. "
        "You get the film with boxes (without sound), a table, and a chart over time."
    )
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            film_in = gr.Video(sources=["upload"], label="Your film", height=260, elem_id="film", buttons=[])
            every = gr.Dropdown(
                [("10 times a second", 0.1), ("5 times a second", 0.2), ("twice a second", 0.5), ("every frame", 0.0)],
                value=0.1,
                label="Look for faces",
            )
            film_version = gr.Dropdown(names, value=names[0], label="Version", visible=len(names) > 1)
            with gr.Row():
                film_start = gr.Button("Recognise", variant="primary", elem_id="film-start")
                film_cancel = gr.Button("Cancel", elem_id="film-cancel")
        with gr.Column(scale=3, min_width=300):
            film_message = gr.HTML("<p>Give a film, and press Recognise.</p>", elem_id="film-message")
            film_out = gr.Video(
                label="With boxes",
                height=260,
                interactive=False,
                visible=False,
                elem_id="film-out",
                buttons=["download"],
            )
            film_table = gr.File(label="Table (CSV)", visible=False, elem_id="film-table")
    film_chart = gr.LinePlot(
        x="seconds",
        y="probability",
        color="expression",
        color_map=render.COLOURS,
        y_lim=[0, 1],
        label="The face that is seen most often, over time",
        visible=False,
        elem_id="film-chart",
    )
    gr.Markdown(
        f"## Many pictures\nA folder, several files, or a zip archive; at most {MAX_PICTURES} pictures. "
        f"You get a table with a row for every face. Downloads stay for {KEEP_SECONDS // 60} minutes."
    )
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            kinds = ["image", *bulk.ARCHIVES]
            files = gr.File(
                file_count="multiple", file_types=kinds, label="Pictures or a zip", height=160, elem_id="pictures"
            )
            folder = gr.UploadButton("Take a folder", file_count="directory", size="sm", elem_id="folder")
            pictures_version = gr.Dropdown(names, value=names[0], label="Version", visible=len(names) > 1)
            level = gr.Checkbox(label="Level the eyes", value=True)
            with gr.Row():
                pictures_start = gr.Button("Recognise", variant="primary", elem_id="pictures-start")
                pictures_cancel = gr.Button("Cancel", elem_id="pictures-cancel")
        with gr.Column(scale=3, min_width=300):
            pictures_message = gr.HTML("<p>Give pictures, and press Recognise.</p>", elem_id="pictures-message")
            table = gr.Dataframe(
                headers=_SHOWN,
                label="Faces",
                interactive=False,
                visible=False,
                max_height=320,
                elem_id="pictures-table",
            )
            pictures_table = gr.File(label="Table (CSV)", visible=False, elem_id="pictures-file")

    # long work is done one at a time, so that there is room to answer photos meanwhile
    long = {"preprocess": False, "concurrency_id": "long", "concurrency_limit": 1, "api_visibility": "private"}
    film_run = film_start.click(
        film,
        [film_in, every, film_version],
        [film_message, film_out, film_table, film_chart],
        show_progress="hidden",  # the message holds a bar of its own
        **long,
    )
    film_cancel.click(lambda: "<p>Cancelled.</p>", None, film_message, cancels=[film_run], api_visibility="private")
    pictures_run = pictures_start.click(
        pictures,
        [files, pictures_version, level],
        [pictures_message, table, pictures_table],
        show_progress="hidden",
        **long,
    )
    pictures_cancel.click(
        lambda: "<p>Cancelled.</p>", None, pictures_message, cancels=[pictures_run], api_visibility="private"
    )
    folder.upload(for_visitors(lambda uploads: uploads), folder, files, api_visibility="private")


def _film_message(table: pd.DataFrame, cut: bool) -> str:
    faces = table["face"].nunique()
    found = f"{_some(faces, 'face')} followed" if faces else "No face was found"
    rest = f" Only its first {MAX_SECONDS} seconds were taken." if cut else ""
    return f"{found} in {table['seconds'].nunique():,} of the film's frames.{rest}"


def _some(number: int, what: str) -> str:
    return f"{number:,} {what if number == 1 else f'{what}s'}"


def _over_time(table: pd.DataFrame) -> pd.DataFrame:
    """seconds, expression, probability, for the face that is seen most often."""
    if table["face"].isna().all():
        return pd.DataFrame({"seconds": [], "expression": [], "probability": []})
    most = table["face"].mode()[0]
    rows = table.loc[table["face"] == most, ["seconds", *EMOTIONS]]
    return rows.melt("seconds", var_name="expression", value_name="probability")


def _as_shown(rows: list[dict]) -> pd.DataFrame:
    """The table on the page: whole per cent, and no pixels."""
    table = pd.DataFrame(rows).reindex(columns=_SHOWN)
    for name in EMOTIONS:
        table[name] = (
            (pd.to_numeric(table[name]) * 100).round().map(lambda share: "" if pd.isna(share) else f"{share:.0f} %")
        )
    table["face"] = table["face"].map(lambda number: "" if pd.isna(number) else f"{number:.0f}")
    table["unsure"] = table["unsure"].map(lambda unsure: "yes" if unsure is True else "")
    return table.fillna("")
