"""The endpoints that programs call, over HTTP and as tools of the Model Context Protocol (MCP).

Names, parameters and answers are stable. The docstrings are what the API page and MCP clients show; what stands in
<angle brackets> is filled in by `endpoints`.
"""

import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr
from gradio.context import Context
from gradio.utils import get_function_description
from PIL import ExifTags, Image

from fer_model.demo.gpu import Network
from fer_model.demo.guard import LONG, for_visitors, path_of
from fer_model.demo.jobs import MAX_SECONDS, Jobs
from fer_model.demo.mcp import Tools, take_addresses
from fer_model.demo.privacy import forget
from fer_model.errors import ImageError
from fer_model.images import shrunk
from fer_model.inference.drawing import draw_boxes, overlay
from fer_model.inference.pipeline import Result
from fer_model.labels import COUNTS, NEUTRAL
from fer_model.runs import Run

PREDICTED = "predicted"

_LARGEST_ANSWER = 1280  # pixels a side of the picture with boxes


def endpoints(network: Network, jobs: Jobs) -> None:
    """Build what programs call: no button of the page does, so hidden ones carry the functions."""
    names = tuple(network.all_classes())

    @for_visitors
    def predict(
        image: dict | None, whole_picture: bool = False, version: str | None = None, level_eyes: bool = True
    ) -> tuple[dict, Image.Image, Image.Image | None]:
        """Recognise the facial expression of every face in a picture: <classes>. An expression is not an emotion.

        Args:
            image: A picture file of at most 50 megapixels.
            whole_picture: Take the picture as a face crop; do not search it. Of at most 96 x 96 pixels it always is.
            version: The network to ask, one of those that /about lists; null for its default.
            level_eyes: Turn tilted faces upright first.

        Returns:
            {"message": a sentence, "width": int, "height": int, "version": str, "faces": [{"box": [left, top, right, bottom] in pixels of the upright picture, "score": the detector's in [0, 1] or null, "label": str, "unsure": bool, "probabilities": {class: float}, "ten_people": {class: how many of ten people would say it} where the version learned from votes, "tilt": degrees}]}, largest face first; an empty list if there is none.
            The picture with its faces boxed, its longer side at most 1280 pixels.
            The heat map of the largest face for its predicted class, or null.
        """  # noqa: E501
        path = path_of(image)
        try:
            result = network.recognise(version, path, bool(whole_picture), bool(level_eyes))
        finally:
            forget([path])
        first = overlay(result.faces[0].crop, result.faces[0].heat_map) if result.faces else None
        answer = as_json(result, version or network.versions.default)
        return answer, _one_of_its_kind(shrunk(draw_boxes(result), _LARGEST_ANSWER)), first and _one_of_its_kind(first)

    @for_visitors
    def heat_map(
        image: dict | None,
        emotion: str = PREDICTED,
        face: int = 1,
        whole_picture: bool = False,
        version: str | None = None,
        level_eyes: bool = True,
    ) -> Image.Image:
        """Show where in a face the evidence for an expression lies: a heat map, laid on the face. Red is where
        much of it lies, blue where none does.

        Args:
            image: A picture file of at most 50 megapixels.
            emotion: "predicted", or one of <names>.
            face: The face's number as /predict lists them, from 1, the largest.
            whole_picture: Take the picture as a face crop; do not search it. Of at most 96 x 96 pixels it always is.
            version: The network to ask, one of those that /about lists; null for its default.
            level_eyes: Turn tilted faces upright first.

        Returns:
            The face under its heat map, 320 x 320 pixels.
        """
        path = path_of(image)
        try:
            known = network.class_names(version)
            if emotion not in (PREDICTED, *known):
                raise ImageError(f"There is no class of that name; choose {PREDICTED}, {', '.join(known)}.")
            result = network.recognise(version, path, bool(whole_picture), bool(level_eyes))
        finally:
            forget([path])
        if not result.faces:
            raise ImageError(result.message)
        if face not in range(1, len(result.faces) + 1):
            raise ImageError(f"The picture's faces are numbered from 1 to {len(result.faces)}.")
        chosen = result.faces[int(face) - 1]
        shown = chosen.label if emotion == PREDICTED else emotion
        return _one_of_its_kind(overlay(chosen.crop, chosen.heat_map_of(shown)))

    @for_visitors
    def compare(image: dict | None, whole_picture: bool = False, level_eyes: bool = True) -> dict:
        """Ask every version of the network about the largest face in a picture.

        Args:
            image: A picture file of at most 50 megapixels.
            whole_picture: Take the picture as a face crop; do not search it. Of at most 96 x 96 pixels it always is.
            level_eyes: Turn tilted faces upright first.

        Returns:
            {"message": a sentence, "versions": {version: {"label": str, "unsure": bool, "probabilities": {class: float}}}}; no versions where there is no face.
        """  # noqa: E501
        path = path_of(image)
        try:
            result = network.recognise(None, path, bool(whole_picture), bool(level_eyes), False)
        finally:
            forget([path])
        if not result.faces:
            return {"message": result.message, "versions": {}}
        face = result.faces[0]
        answers = network.recognise_by_all(result.image, face.place)
        return {
            "message": result.message,
            "versions": {
                name: {"label": answer.label, "unsure": answer.unsure, "probabilities": answer.probabilities}
                for name, answer in answers.items()
            },
        }

    @for_visitors
    def film(video: dict | None, every: float = 0.1, version: str | None = None) -> Iterator[tuple[str, str]]:
        """Follow the faces through a video, and recognise their expressions.

        Args:
            video: A video file; what comes after its first <seconds> seconds is left out.
            every: Seconds from one search for faces to the next; 0 for every frame.
            version: The network to ask, one of those that /about lists; null for its default.

        Returns:
            The video with every face boxed and named, MP4 without sound.
            A CSV table with a row for every face and time: its number, box, probabilities, averaged over 0.4 seconds.
        """
        path = path_of(video, "video")
        try:
            if not isinstance(every, int | float):
                raise ImageError("`every` is a number of seconds; 0 stands for every frame.")
            with tempfile.TemporaryDirectory() as folder:
                for _ in jobs.video(path, version, max(float(every), 0.0), Path(folder)):
                    pass
                yield f"{folder}/annotated.mp4", f"{folder}/faces.csv"
        finally:
            forget([path])

    @for_visitors
    def about() -> dict:
        """List the versions of the network that can be asked, how well each did on FER2013's test set, and what none
        of them can do.

        Returns:
            {"default": version, "versions": {version: its measured figures, or null}, "classes": [str], "limits": str}.
        """
        versions = network.versions
        runs = {name: Run.beside(versions.source(name)) for name in versions.names}
        figures = {name: run.metrics() if run else None for name, run in runs.items()}
        wanted = ("accuracy", "accuracy_ci", "macro_recall", "ece", "n", "command")
        return {
            "default": versions.default,
            "versions": {
                name: measured and {key: dict(measured)[key] for key in wanted} for name, measured in figures.items()
            },
            "classes": list(names),
            "limits": ("" if NEUTRAL in names else "Neutral is not among the classes. ")
            + "An expression is not an emotion. Not for employment, education or policing (EU AI Act, Art. 5(1)(f)). "
            "Trained on small grey photos with disputed labels.",
        }

    given = {
        "image": lambda: gr.Image(type="filepath", label="image"),
        "video": lambda: gr.Video(label="video"),
        "whole_picture": lambda: gr.Checkbox(label="whole_picture"),
        "level_eyes": lambda: gr.Checkbox(True, label="level_eyes"),
        "version": lambda: gr.Textbox(None, label="version"),
        "emotion": lambda: gr.Dropdown([PREDICTED, *names], value=PREDICTED, label="emotion"),
        "face": lambda: gr.Number(1, precision=0, label="face"),
        "every": lambda: gr.Number(0.1, label="every"),
    }

    filled = {"<classes>": _classes(names), "<names>": ", ".join(names), "<seconds>": str(MAX_SECONDS)}

    def offer(function: Callable, outputs: list[gr.components.Component], concurrency_id: str = "network") -> None:
        for gap, text in filled.items():
            function.__doc__ = (function.__doc__ or "").replace(gap, text)
        description, parameters, returns = get_function_description(function)
        inputs = [_documented(given[name](), text) for name, text in parameters.items()]
        for component, text in zip(outputs, returns, strict=True):
            _documented(component, text)
        page = Context.root_block  # docs/demo.md#gradios-internals
        for event in page.fns.values() if page else ():  # Gradio names the page's own events, too
            if event.api_name == function.__name__:
                event.api_name += "_of_the_page"
        gr.Button().click(
            function,
            inputs,
            outputs,
            api_name=function.__name__,
            api_description=f"{description} Returns: {' / '.join(returns)}",
            preprocess=False,  # files reach the functions as files, see `photo_tab`
            concurrency_id=concurrency_id,
        )

    with gr.Column(visible=False):
        offer(predict, [gr.JSON(label="answer"), gr.Image(label="boxed"), gr.Image(label="overlay")])
        offer(heat_map, [gr.Image(label="overlay")])
        offer(compare, [gr.JSON(label="answer")])
        offer(film, [gr.Video(label="annotated"), gr.File(label="table")], concurrency_id=LONG)
        offer(about, [gr.JSON(label="answer")])
    # what `launch` starts: docs/demo.md#gradios-internals
    gr.mcp.GradioMCPServer = Tools  # type: ignore[misc]


def _classes(names: tuple[str, ...]) -> str:
    """What a network can answer, in the words of an endpoint's description."""
    listed = f"{', '.join(names[:-1])} or {names[-1]}"
    if NEUTRAL in names:
        return listed
    return f"{listed}. Neutral is not among them, so a face at rest gets one of the {COUNTS[len(names)]} too"


def _documented(component: gr.components.Component, text: str) -> gr.components.Component:
    """The component, with what its function's docstring says of it, for every list of the endpoints."""
    # OpenAPI and MCP read the first; the page and gradio_client the second: docs/demo.md#gradios-internals
    schema = component.api_info() | {"description": text, "additional_description": text}
    if isinstance(component, gr.JSON):
        schema["type"] = "object"
    component.api_info = lambda: schema  # type: ignore[method-assign]  # Gradio has no other place for a description
    if isinstance(component, gr.Image | gr.Video):
        take_addresses(component)
    return component


def as_json(result: Result, version: str) -> dict:
    """A result without its pictures."""
    return {
        "message": result.message,
        "width": result.image.width,
        "height": result.image.height,
        "version": version,
        "faces": [
            {
                "box": list(face.box),
                "score": face.score,
                "label": face.label,
                "unsure": face.unsure,
                "probabilities": face.probabilities,
                **({"ten_people": face.ten_people} if face.crowd else {}),
                "tilt": face.tilt,
            }
            for face in result.faces
        ],
    }


def _one_of_its_kind(picture: Image.Image) -> Image.Image:
    """The picture with a number in its EXIF that no other has.

    Gradio names an answer's file by its content and writes it in place: of two equal answers at once, the second would
    empty the file while the first is fetched: docs/demo.md#gradios-internals
    """
    exif = Image.Exif()
    exif[ExifTags.Base.ImageUniqueID] = uuid.uuid4().hex
    picture.info["exif"] = exif.tobytes()
    return picture
