"""The demo: a photo in the browser, its faces, six probabilities each, and where the evidence lies.

    python app.py                                   # newest weights under results/, http://127.0.0.1:7860
    python app.py --model results/v1/models         # a folder with config.json and model.safetensors
    python app.py --model user/name                 # a model of the Hugging Face Hub
    python app.py --host 0.0.0.0 --port 8000        # reachable from other machines

This file is also the Hugging Face Space: a Space runs `python app.py` and sets the address itself.
Without weights under results/, the Hub id in the environment variable FER_MODEL is taken.

Two endpoints answer programs, /predict and /heat_map:

    from gradio_client import Client, handle_file
    answer, boxed, overlay = Client("http://127.0.0.1:7860").predict(handle_file("photo.jpg"), api_name="/predict")
"""

import argparse
import functools
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported; stops its calls to the outside

try:
    import spaces  # on a ZeroGPU Space; it must come before torch
except ImportError:
    spaces = None

import gradio as gr
import numpy as np
from PIL import Image

from fer_model import FERPipeline
from fer_model.drawing import draw_boxes, overlay
from fer_model.errors import FERError, ImageError, ModelError
from fer_model.hub_files import default_model
from fer_model.labels import EMOTIONS
from fer_model.pipeline import Face, Result

HERE = Path(__file__).resolve().parent

MAX_FILE_SIZE = "20mb"
KEEP_SECONDS = 600
"""Uploads, pictures made from them and a visitor's results are deleted when they are this old."""

DELETE_EVERY = 60
"""Seconds between two searches for what is old enough."""

SCREEN_SIZE = 1280
"""Longest side, in pixels, of a photo that is shown: one of 50 megapixels would take seconds to encode."""

PREDICTED = "predicted"

EXAMPLES = ("astronaut.jpg", "two_faces.jpg", "drawn_happiness.png", "drawn_surprise.png", "drawn_anger.png")

GONE = "This picture has been deleted from the server by now. Please give it once more."

LIMITS = """
### What it cannot do

- It knows **six expressions**: happiness, surprise, sadness, anger, disgust and fear. *Neutral is not among them*, so
  a resting face must be given one of the six, and that answer is wrong.
- **An expression is not an emotion.** People smile without being happy and are angry without showing it.
- It learned from small grey photos found on the web, many of them posed, with labels that people dispute. It errs
  often, also when it sounds sure.
- **Not for employment, education or policing.** In the EU, inferring emotions of people at work or in education is
  prohibited (AI Act, Art. 5(1)(f)).

Pictures are not stored: what you upload is deleted from the server after about ten minutes.
"""

CSS = """
#message p { font-size: 1.15rem; margin: 0.2rem 0 0.4rem; }
#boxed img { cursor: pointer; }
/* the labels would hide what is drawn at a picture's top */
#boxed, #overlay { padding-top: 2.4rem; }
footer .divider { display: none; }
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="app.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model",
        metavar="PATH_OR_ID",
        help="folder or Hub id (default: the highest vN among results/*/models, else the variable FER_MODEL)",
    )
    # None leaves the choice to gradio, which reads what a Space sets
    parser.add_argument("--host", help="address to listen on (default: GRADIO_SERVER_NAME, else 127.0.0.1)")
    parser.add_argument(
        "--port", type=int, help="port to listen on (default: GRADIO_SERVER_PORT, else the first free one from 7860)"
    )
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    model = args.model or default_model(HERE / "results")
    demo = build_demo(FERPipeline.from_pretrained(model))
    print(f"Model: {model}", flush=True)
    # Two pictures at a time: the network runs one by one behind the pipeline's lock and takes all cores, so
    # more would only hold more decoded photos in memory. Who comes when 40 wait is told so at once.
    demo.queue(default_concurrency_limit=2, max_size=40)
    # the visitor's own font: nothing to fetch, and bold text in every letter; and a checkbox that can be seen
    theme = gr.themes.Soft(font=["system-ui", "sans-serif"]).set(checkbox_border_color="*neutral_400")
    try:
        demo.launch(
            server_name=args.host,
            server_port=args.port,
            theme=theme,
            css=CSS,
            max_file_size=MAX_FILE_SIZE,
            run_history=False,  # would keep visitors' photos in their browser
            show_error=True,
            footer_links=["api"],
            state_session_capacity=200,  # each holds a photo of at most 5 MB
            ssr_mode=False,  # one way of drawing the page, here and on a Space
        )
    except (OSError, OverflowError) as error:
        raise ModelError(f"The demo cannot listen there ({error}); choose another --host or --port.") from error


def build_demo(pipeline: FERPipeline) -> gr.Blocks:
    """The page and its endpoints. Nothing of one visitor is kept where another could see it."""
    on_gpu = spaces.GPU if spaces else lambda function: function

    @on_gpu
    def run(path: Path, whole_picture: bool) -> Result:
        return pipeline(path, whole_picture=whole_picture)

    @on_gpu
    def heat_map_of(face: Face, emotion: str) -> np.ndarray:
        return pipeline.heat_map(face, emotion)

    def show(result: Result | None, index: int | None, emotion: str) -> tuple:
        """Message, probabilities, boxed photo and overlay for one face of a result that is in the session."""
        if result is None or not result.faces:
            raise ImageError(GONE)
        face = result.faces[index or 0]
        heat_map = face.heat_map if emotion in (PREDICTED, face.label) else heat_map_of(face, emotion)
        message = result.message if not index else f"Face {index + 1} of {len(result.faces)}: {face.sentence}"
        return message, face.probabilities, draw_boxes(result, index or 0), overlay(face.crop, heat_map)

    @for_visitors
    def recognise(picture: dict | None, whole_picture: bool, emotion: str) -> tuple:
        nothing = (None, None, None, gr.Radio(choices=[], visible=False))
        if picture is None:
            return None, "Give a picture, or try an example.", *nothing
        try:
            result = _for_screen(run(_path_of(picture), bool(whole_picture)))
        except ImageError as error:  # the last picture's results must not stay beside this sentence
            return None, str(error), *nothing
        if not result.faces:
            return None, result.message, None, result.image, *nothing[2:]
        names = [(f"Face {number}: {face.label}", number - 1) for number, face in enumerate(result.faces, 1)]
        return result, *show(result, 0, emotion), gr.Radio(choices=names, value=0, visible=len(names) > 1)

    choose = for_visitors(show)

    @for_visitors
    def click(result: Result | None, index: int | None, emotion: str, event: gr.SelectData) -> tuple:
        if result is not None:
            index = _face_at(result, event.index, index or 0)
        return index, *show(result, index, emotion)

    @for_visitors
    def predict(image: dict | None, whole_picture: bool = False) -> tuple[dict, Image.Image, Image.Image | None]:
        """Recognise the expression of every face in a picture.

        image: a picture file of at most 20 MB and 50 megapixels.
        whole_picture: take the picture as a face crop and do not search it for faces. A picture of at
        most 96 x 96 pixels is taken so anyway.

        Returns three things:
        1. {"message": a sentence, "width": int, "height": int, "faces": [{"box": [left, top, right, bottom]
        in pixels of the upright picture, "score": the detector's in [0, 1] or null, "label": str,
        "unsure": bool, "probabilities": {class: float}}]}, largest face first; an empty list if there is none.
        2. the picture with its faces boxed, its longer side at most 1280 pixels.
        3. the heat map (Grad-CAM) of the largest face for its predicted class, or null.
        """
        result = run(_path_of(image), bool(whole_picture))
        first = overlay(result.faces[0].crop, result.faces[0].heat_map) if result.faces else None
        return as_json(result), draw_boxes(_for_screen(result)), first

    @for_visitors
    def heat_map(
        image: dict | None, emotion: str = PREDICTED, face: int = 1, whole_picture: bool = False
    ) -> Image.Image:
        """Where in a face the evidence for a class lies (Grad-CAM), laid on the face.

        image, whole_picture: as for /predict.
        emotion: "predicted", or one of happiness, surprise, sadness, anger, disgust, fear.
        face: its number as /predict lists them, from 1, the largest.
        """
        if emotion not in (PREDICTED, *EMOTIONS):
            raise ImageError(f"There is no class of that name; choose {PREDICTED}, {', '.join(EMOTIONS)}.")
        result = run(_path_of(image), bool(whole_picture))
        if not result.faces:
            raise ImageError(result.message)
        if face not in range(1, len(result.faces) + 1):
            raise ImageError(f"The picture's faces are numbered from 1 to {len(result.faces)}.")
        chosen = result.faces[int(face) - 1]
        return overlay(chosen.crop, chosen.heat_map if emotion == PREDICTED else heat_map_of(chosen, emotion))

    with gr.Blocks(title="Facial expressions", delete_cache=(DELETE_EVERY, KEEP_SECONDS)) as demo:
        result = gr.State(time_to_live=KEEP_SECONDS)
        gr.Markdown(
            f"# Facial expressions\nWhich of six expressions a face shows, and where the network looks. "
            f"Model {pipeline.model.version}, trained on FER2013."
        )
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                picture = gr.Image(
                    sources=["upload", "webcam", "clipboard"],
                    type="filepath",
                    label="Your picture",
                    height=340,
                    buttons=[],
                    elem_id="picture",
                )
                whole = gr.Checkbox(label="The picture is already a face")
                button = gr.Button("Recognise", variant="primary")
                gr.Examples(
                    [str(HERE / "examples" / name) for name in EXAMPLES],
                    picture,
                    label="Examples",
                    api_visibility="private",
                )
            with gr.Column(scale=3, min_width=300):
                message = gr.Markdown("Give a picture, or try an example.", elem_id="message")
                chosen = gr.Radio(label="Shown", visible=False, elem_id="faces")
                probabilities = gr.Label(
                    label="Probabilities", num_top_classes=len(EMOTIONS), show_heading=False, elem_id="probabilities"
                )
                with gr.Row():
                    boxed = gr.Image(
                        label="Faces found (click one)",
                        height=320,
                        interactive=False,
                        buttons=["fullscreen"],
                        elem_id="boxed",
                        alt_text="Your picture with a numbered box around each face",
                    )
                    seen = gr.Image(
                        label="Evidence (red: much, blue: none)",
                        height=320,
                        interactive=False,
                        buttons=["fullscreen"],
                        elem_id="overlay",
                        alt_text="The chosen face under its heat map",
                    )
                emotion = gr.Dropdown(
                    [("the predicted expression", PREDICTED), *EMOTIONS],
                    value=PREDICTED,
                    label="Evidence for",
                    elem_id="emotion",
                )
        gr.Markdown(LIMITS)

        # Inputs reach the functions as they were sent (preprocess=False): gr.Image would open and convert the
        # file itself, and a small file can unfold to gigabytes. `open_image` looks at its size first.
        raw = {"preprocess": False, "concurrency_id": "network"}
        face_views = [message, probabilities, boxed, seen]
        gr.on(
            # every way to give, take away or change a picture ends in its `change`
            [picture.change, whole.input, button.click],
            recognise,
            [picture, whole, emotion],
            [result, *face_views, chosen],
            trigger_mode="always_last",
            show_progress_on=[boxed],
            api_visibility="private",
            **raw,
        )
        gr.on(
            [chosen.input, emotion.input],
            choose,
            [result, chosen, emotion],
            face_views,
            trigger_mode="always_last",
            show_progress_on=[seen],
            api_visibility="private",
            **raw,
        )
        boxed.select(
            click,
            [result, chosen, emotion],
            [chosen, *face_views],
            show_progress="hidden",
            api_visibility="private",
            **raw,
        )
        _endpoints(predict, heat_map, picture, whole, emotion, raw)
    return demo


def _endpoints(predict: Callable, heat_map: Callable, picture, whole, emotion, raw: dict) -> None:
    """What programs call: no button of the page does, so hidden ones carry the two functions."""
    with gr.Column(visible=False):
        answer, face = gr.JSON(label="answer"), gr.Number(1)
        boxed, seen = gr.Image(label="boxed"), gr.Image(label="overlay")
        gr.Button().click(predict, [picture, whole], [answer, boxed, seen], api_name="predict", **raw)
        gr.Button().click(heat_map, [picture, emotion, face, whole], seen, api_name="heat_map", **raw)


def for_visitors(function: Callable) -> Callable:
    """Make any failure a sentence that a visitor can read; what is unforeseen goes to the log."""

    @functools.wraps(function)
    def guarded(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except FERError as error:
            raise gr.Error(str(error), print_exception=False) from error
        except Exception as error:
            logging.exception("A visitor's request failed")
            sentence = "Something went wrong on the server. Please try once more, or another picture."
            raise gr.Error(sentence, print_exception=False) from error

    return guarded


def as_json(result: Result) -> dict:
    """A result without its pictures."""
    return {
        "message": result.message,
        "width": result.image.width,
        "height": result.image.height,
        "faces": [
            {
                "box": list(face.box),
                "score": face.score,
                "label": face.label,
                "unsure": face.unsure,
                "probabilities": face.probabilities,
            }
            for face in result.faces
        ],
    }


def _path_of(picture: dict | None) -> Path:
    """The uploaded file; gradio has checked already that it is one of its own."""
    if not picture or not picture.get("path"):
        raise ImageError("Please give a picture.")
    path = Path(picture["path"])
    if not path.is_file():
        raise ImageError(GONE)
    return path


def _for_screen(result: Result) -> Result:
    """The same with its photo and faces no larger than the page shows them: a session keeps this in memory."""
    scale = min(SCREEN_SIZE / max(result.image.size), 1.0)
    if scale == 1.0:
        return result
    image = result.image.resize([max(1, round(side * scale)) for side in result.image.size])
    faces = tuple(
        replace(
            face,
            box=tuple(round(value * scale) for value in face.box),
            crop=face.crop.resize([max(1, round(side * scale)) for side in face.crop.size]),
        )
        for face in result.faces
    )
    return Result(image, faces, result.message)


def _face_at(result: Result, point: tuple[int, int], otherwise: int) -> int:
    """The index of the smallest box around a point of the photo."""
    x, y = point
    under = [
        index
        for index, face in enumerate(result.faces)
        if face.box[0] <= x <= face.box[2] and face.box[1] <= y <= face.box[3]
    ]
    return max(under, default=otherwise)  # faces are sorted, the largest first


if __name__ == "__main__":
    try:
        main(parse_args())
    except FERError as error:
        print(f"app.py: {error}", file=sys.stderr)
        raise SystemExit(2) from None
