"""The tab for one photo: its faces, their probabilities, a heat map for each class, and what other versions say."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import processing_utils
from PIL import Image

from fer_model.demo import render
from fer_model.demo.gpu import Network
from fer_model.demo.guard import GONE, for_visitors, path_of
from fer_model.demo.privacy import KEEP_SECONDS, forget
from fer_model.errors import ImageError
from fer_model.images import open_image, shrunk
from fer_model.inference.pipeline import Place, Result
from fer_model.labels import COUNTS

SCREEN_SIZE = 1600
"""Longest side, in pixels, of a photo on the page; larger ones are shrunk first. A session keeps it in memory."""

ASK = "Give a picture, or try an example."


@dataclass(frozen=True)
class Seen:
    """What a session keeps: the photo as it was given (its path, which may be gone by now) and what was found in it."""

    path: str
    result: Result


class Photo:
    """What happens on the tab. Each function returns what its event shows, in the order of `photo_tab`'s outputs."""

    def __init__(self, network: Network):
        self.network = network

    def recognise_upload(self, upload: dict | None, version: str, whole: bool, level: bool, compare: bool) -> tuple:
        """A photo was given, or taken away."""
        if upload is None:
            return _nothing(ASK)
        path = path_of(upload)
        try:
            photo = shrunk(open_image(path), SCREEN_SIZE)
            return self._answer(str(path), photo, version, whole, level, compare)
        except ImageError as error:  # the last picture's results must not stay beside this sentence
            return _nothing(str(error))
        finally:
            forget([path])

    def recognise_again(
        self, seen: Seen | None, upload: dict | None, version: str, whole: bool, level: bool, compare: bool
    ) -> tuple:
        """A setting was changed: from the session's copy, since the upload may be gone."""
        if seen is None or upload is None or upload.get("path") != seen.path:  # or another has been given just now
            return self.recognise_upload(upload, version, whole, level, compare)
        return self._answer(seen.path, seen.result.image, version, whole, level, compare)

    def show_face(self, seen: Seen | None, index: int | None, version: str, compare: bool) -> tuple:
        """Another face was chosen from the list."""
        if seen is None:
            raise ImageError(GONE)
        return index or 0, *self._views(seen.result, index or 0, version, compare)

    def click_face(self, seen: Seen | None, version: str, compare: bool, event: gr.EventData) -> tuple:
        """Another face was chosen in the photo."""
        index = int(event._data["face"])  # docs/demo.md#gradios-internals
        return (*self.show_face(seen, index, version, compare), index)

    def show_comparison(self, seen: Seen | None, index: int, version: str, compare: bool) -> tuple:
        """The comparison of versions was switched on or off."""
        return self.show_face(seen, index, version, compare) if seen else (0, ASK, None, None, None, None)

    def _answer(self, path: str, photo: Image.Image, version: str, whole: bool, level: bool, compare: bool) -> tuple:
        result = _with_small_crops(self.network.recognise(version, photo, bool(whole), bool(level)))
        return Seen(path, result), 0, *self._views(result, 0, version, compare), _face_names(result, 0)

    def _views(self, result: Result, index: int, version: str, compare: bool) -> tuple:
        """Message, photo with boxes, the face, its maps and the comparison, for one face of a result."""
        if not result.faces:
            return result.message, render.photo(result), None, None, None
        face = result.faces[index]
        message = result.message if not index else f"Face {index + 1} of {len(result.faces)}: {face.sentence}"
        answers = None
        if compare:
            place = Place(face.box, face.score, face.tilt)
            answers = render.comparison(self.network.recognise_by_all(result.image, place))
        about = render.face(result, index, self.network.unsure_below(version))
        return message, render.photo(result, index), about, render.maps(face, self.network.method(version)), answers


def photo_tab(network: Network, examples: list[Path]) -> None:
    """Build the tab, inside a `gr.Tab`."""
    names, tab = network.versions.names, Photo(network)
    state = gr.State(time_to_live=KEEP_SECONDS)
    shown = gr.State(0)
    with gr.Row(elem_id="photo"):
        with gr.Column(scale=2, min_width=300, elem_id="photo-given"):
            picture = gr.Image(
                sources=["upload", "webcam", "clipboard"],
                type="filepath",
                label="Your picture: drop, paste or snap",
                height=320,
                buttons=[],
                elem_id="picture",
            )
            gr.Markdown("Or try an example:")
            tries = gr.HTML(render.examples(examples), js_on_load=render.CHOOSE, elem_id="examples")
            with gr.Column(elem_id="photo-settings"):
                whole = gr.Checkbox(
                    label="The picture is already a face", info="Do not search it: take all of it as one face."
                )
                level = gr.Checkbox(label="Level the eyes", value=True, info="Turn tilted faces upright first.")
                version = gr.Dropdown(names, value=names[0], label="Version", visible=len(names) > 1, elem_id="version")
                compare = gr.Checkbox(label="Compare all versions", visible=len(names) > 1, elem_id="compare")
        with gr.Column(scale=3, min_width=300):
            message = gr.Markdown(ASK, elem_id="message")
            boxed = gr.HTML(elem_id="boxed", js_on_load=render.CHOOSE)
            chosen = gr.Radio(label="Face", visible=False, elem_id="faces")
            face = gr.HTML(elem_id="face")
    gr.Markdown(
        "## Where the network looks\n"
        f"A heat map for each of the {COUNTS[len(network.class_names())]} classes. Each is scaled by itself, so maps "
        "tell where, not how strongly."
    )
    opacity = gr.Slider(0, 100, 45, step=1, label="Opacity, %", elem_id="opacity")
    maps = gr.HTML(elem_id="maps")
    answers = gr.HTML(elem_id="answers")

    # everybody's, so they stay in the cache: docs/demo.md#gradios-internals
    cached = [processing_utils.save_file_to_cache(path, picture.GRADIO_CACHE) for path in examples]
    picture.keep_in_cache.update(cached)

    @for_visitors
    def give_example(event: gr.EventData) -> str:
        return cached[int(event._data["example"])]

    tries.click(give_example, None, picture, show_progress="hidden", api_visibility="private")

    # Inputs reach the functions as they were sent (preprocess=False): gr.Image would open and convert the
    # file itself, and a small file can unfold to gigabytes. `open_image` looks at its size first.
    # docs/demo.md#gradios-internals
    private: dict[str, Any] = {"preprocess": False, "concurrency_id": "network", "api_visibility": "private"}
    settings = [version, whole, level, compare]
    face_views = [message, boxed, face, maps, answers]
    everything = [state, shown, *face_views, chosen]
    picture.change(  # every way to give, take away or change a picture ends here
        for_visitors(tab.recognise_upload),
        [picture, *settings],
        everything,
        trigger_mode="always_last",
        show_progress_on=[boxed],
        **private,
    )
    gr.on(
        [version.input, whole.input, level.input],
        for_visitors(tab.recognise_again),
        [state, picture, *settings],
        everything,
        trigger_mode="always_last",
        show_progress_on=[face],
        **private,
    )
    chosen.input(
        for_visitors(tab.show_face),
        [state, chosen, version, compare],
        [shown, *face_views],
        trigger_mode="always_last",
        show_progress="hidden",
        **private,
    )
    compare.input(
        for_visitors(tab.show_comparison),
        [state, shown, version, compare],
        [shown, *face_views],
        trigger_mode="always_last",
        show_progress_on=[answers],
        **private,
    )
    boxed.click(
        for_visitors(tab.click_face),
        [state, version, compare],
        [shown, *face_views, chosen],
        show_progress="hidden",
        **private,
    )
    opacity.input(
        None, [opacity], None, js="(value) => document.querySelector('#maps').style.setProperty('--heat', value / 100)"
    )


def _nothing(message: str) -> tuple:
    return None, None, message, None, None, None, None, gr.Radio(choices=[], visible=False)


def _with_small_crops(result: Result) -> Result:
    """As large as they are shown: a session keeps them."""
    faces = tuple(replace(face, crop=shrunk(face.crop, render.MAP_SIDE)) for face in result.faces)
    return replace(result, faces=faces)


def _face_names(result: Result, index: int) -> gr.Radio:
    choices = [
        (f"{number}: {face.label}{'?' if face.unsure else ''}", number - 1)
        for number, face in enumerate(result.faces, 1)
    ]
    return gr.Radio(choices=choices, value=index if choices else None, visible=len(choices) > 1)
