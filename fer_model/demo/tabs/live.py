"""The tab for a webcam: boxes over the visitor's own video, and probabilities that do not flicker.

The visitor's own video is shown, and what comes back is drawn over it. A frame is sent when the last answer has come,
so a slow server or network makes the answers rarer and nothing else. The server looks at a frame and drops it.
"""

import base64
import binascii
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import gradio as gr

from fer_model.demo import render
from fer_model.demo.gpu import Network
from fer_model.demo.guard import for_visitors
from fer_model.errors import ImageError
from fer_model.images import open_image
from fer_model.inference.crop import CROP_MARGIN
from fer_model.inference.tracking import Tracker

_STATIC = Path(__file__).parents[1] / "static"

FRAME_SIZE = 640
"""Longest side, in pixels, of the frames that are sent."""

MAX_FRAME_BYTES = 2_000_000

CHART_SECONDS = 12
"""How far the chart looks back."""


@dataclass(frozen=True)
class Session:
    """One visitor's stream: what can be answered, who is followed, and the past of the largest face.

    past: (seconds, the face's number, its averaged probabilities by class), the oldest first.
    """

    classes: tuple[str, ...] = ()
    tracker: Tracker = Tracker()
    started: float = 0.0
    past: tuple[tuple[float, int, dict[str, float]], ...] = ()


class Live:
    """What happens on the tab."""

    def __init__(self, network: Network):
        self.network = network

    def answer(self, session: Session | None, version: str, event: gr.EventData) -> tuple:
        """A frame has come: what to draw over the video, as JSON, the chart, and the session after it."""
        # what camera.js sends: docs/demo.md#gradios-internals
        frame = open_image(_bytes(event._data.get("frame")))
        wants_maps = bool(event._data.get("maps"))
        classes = self.network.class_names(version)
        # probabilities of other classes cannot be averaged with these
        if session is None or session.classes != classes or event._data.get("first"):
            session = Session(classes, started=time.monotonic())
        seconds = time.monotonic() - session.started
        tracker = self.network.follow_faces(version, session.tracker, frame, seconds, wants_maps)
        visible = tracker.visible()
        past = tuple(row for row in session.past if row[0] > seconds - CHART_SECONDS)
        if visible:
            largest = visible[0]
            past += ((seconds, largest.number, largest.face.probabilities),)
        session = Session(classes, _without_pictures(tracker), session.started, past)
        return (
            json.dumps({"number": event._data.get("number"), **_drawing(tracker, frame.size, wants_maps)}),
            _chart(session, self.network.unsure_below(version)),
            session,
        )


def live_tab(network: Network) -> None:
    """Build the tab, inside a `gr.Tab`."""
    names = network.versions.names
    session = gr.State(time_to_live=120)
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            camera = gr.HTML(html_template=_CAMERA, js_on_load=_CAMERA_JS, elem_id="camera")
            answers = gr.HTML("", html_template="", js_on_load=_ANSWERS_JS, elem_id="live-answers", visible="hidden")
        with gr.Column(scale=2, min_width=300):
            version = gr.Dropdown(names, value=names[0], label="Version", visible=len(names) > 1)
            chart = gr.HTML(_EMPTY_CHART, elem_id="live-chart")
    camera.input(
        for_visitors(Live(network).answer),
        [session, version],
        [answers, chart, session],
        preprocess=False,
        show_progress="hidden",
        trigger_mode="multiple",  # the page sends a frame only after the last answer
        concurrency_id="network",
        api_visibility="private",
    )


def _without_pictures(tracker: Tracker) -> Tracker:
    """What the next frame needs of this one, and nothing that shows a face: `follow` reads no pixels of old faces."""
    return replace(
        tracker,
        faces=tuple(
            replace(one, face=replace(one.face, crop=None, pixels=None, heat_maps=None))  # type: ignore[arg-type]
            for one in tracker.faces
        ),
    )


def _bytes(data: str | None) -> bytes:
    """The JPEG in a data: address.

    Raises:
        ImageError: it is none, or too large.
    """
    head, _, content = (data or "").partition(",")
    if head != "data:image/jpeg;base64" or len(content) > MAX_FRAME_BYTES:
        raise ImageError("That is no frame of a camera.")
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise ImageError("That is no frame of a camera.") from error


def _drawing(tracker: Tracker, size: tuple[int, int], wants_maps: bool) -> dict:
    """What the page draws over its video, in pixels of the frame."""
    faces = []
    for followed in tracker.visible():
        face = followed.face
        share = f"{face.probabilities[face.label]:.0%}"
        faces.append(
            {
                "box": face.box,
                "text": f"{followed.number} {'unsure' if face.unsure else f'{face.label} {share}'}",
                "map": render.address(render.coloured(face.heat_map), 0) if wants_maps else None,
                "tilt": face.tilt,
            }
        )
    return {"seconds": tracker.seconds, "width": size[0], "height": size[1], "faces": faces}


def _chart(session: Session, unsure_below: float) -> str:
    """The largest face's smoothed probabilities: now as bars, and over the last seconds as lines."""
    visible = session.tracker.visible()
    if not visible:
        return "<p>No face in view. Look into the camera, from nearer or in better light.</p>" + _lines(session)
    face, number = visible[0].face, visible[0].number
    others = f" The largest of {len(visible)} faces, number {number}." if len(visible) > 1 else ""
    return f"<p>{face.sentence}{others}</p>{render.bars(face, unsure_below)}{_lines(session)}"


def _lines(session: Session) -> str:
    if len(session.past) < 2:
        return ""
    now, _, latest = session.past[-1]
    lines = []
    for name in latest:
        points = " ".join(
            f"{300 + 25 * (seconds - now):.1f},{100 - 98 * shares[name]:.1f}" for seconds, _, shares in session.past
        )
        lines.append(f'<polyline points="{points}" stroke="{render.COLOURS[name]}"><title>{name}</title></polyline>')
    return (
        f'<svg class="fer-lines" viewBox="0 0 300 102" preserveAspectRatio="none" role="img" '
        f'aria-label="Probabilities of the largest face over the last {CHART_SECONDS} seconds">{"".join(lines)}</svg>'
        f'{render.keys(latest)}<p class="fer-note">The last {CHART_SECONDS} seconds, smoothed; 0% at the bottom, 100% '
        "at the top.</p>"
    )


_EMPTY_CHART = "<p>The probabilities of the largest face appear here.</p>"

_CAMERA = _STATIC.joinpath("camera.html").read_text(encoding="utf-8")

_CAMERA_JS = (
    _STATIC.joinpath("camera.js")
    .read_text(encoding="utf-8")
    .replace("SIZE", str(FRAME_SIZE))
    .replace("MARGIN", str(CROP_MARGIN))
)
# `watch` and `props` are what gr.HTML gives its scripts: docs/demo.md#gradios-internals
_ANSWERS_JS = """
watch('value', () => { if (props.value && window.ferCamera) window.ferCamera.answered(JSON.parse(props.value)); });
"""
