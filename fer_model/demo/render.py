"""Results as HTML that needs no file on the server: pictures travel inside the page, as data addresses.

The page's own controls are Gradio's; what is drawn here are pictures, bars and tables, and the boxes of faces,
which are buttons.
"""

import base64
import io
from collections.abc import Iterable
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from fer_model.inference import drawing
from fer_model.inference.pipeline import Face, Result
from fer_model.labels import EMOTIONS_WITH_NEUTRAL, known_by_any

MAP_SIDE = 160
"""Pixels a side of the pictures in the strip of maps."""

_PALETTE = ("#0072b2", "#e69f00", "#56b4e9", "#d55e00", "#009e73", "#cc79a7", "#767676")
COLOURS = dict(zip(EMOTIONS_WITH_NEUTRAL, _PALETTE, strict=True))
"""Of each class in charts, told apart by the colour-blind, too (Okabe and Ito); neutral is grey."""

# `trigger` is what gr.HTML gives its scripts: docs/demo.md#gradios-internals
CHOOSE = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button) trigger('click', {...button.dataset});
});
"""
"""For HTML with buttons: a click on one, or Enter, is a click event with the button's data-… attributes, as strings."""


def address(picture: Image.Image, quality: int = 85) -> str:
    """A picture as a data: address. JPEG; PNG where it is transparent or `quality` is 0."""
    file = io.BytesIO()
    if quality and picture.mode != "RGBA":
        picture.save(file, "JPEG", quality=quality)
        kind = "jpeg"
    else:
        picture.save(file, "PNG", compress_level=1)
        kind = "png"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def photo(result: Result, selected: int | None = 0) -> str:
    """The photo with a numbered button around every face."""
    width, height = result.image.size
    boxes = []
    for index, face in enumerate(result.faces):
        left, top, right, bottom = face.box
        style = (
            f"left:{left / width:.2%};top:{top / height:.2%};"
            f"width:{(right - left) / width:.2%};height:{(bottom - top) / height:.2%}"
        )
        # where its name would stand outside the photo
        inside = (" fer-inside" if top / height < 0.08 else "") + (" fer-left" if left / width > 0.6 else "")
        doubt = "?" if face.unsure else ""
        boxes.append(
            f'<button type="button" class="fer-box{inside}" style="{style}" data-face="{index}" '
            f'aria-pressed="{str(index == selected).lower()}" aria-label="Face {index + 1}: {_answer(face)}">'
            f"<span>{index + 1} {face.label}{doubt}</span></button>"
        )
    count = len(result.faces)
    found = "no face was found in it" if not count else f"{count} {'face' if count == 1 else 'faces'} found in it"
    return (
        f'<figure class="fer-photo"><img src="{address(result.image)}" alt="Your picture; {found}" '
        f'width="{width}" height="{height}">{"".join(boxes)}</figure>'
    )


def examples(paths: list[Path]) -> str:
    """A button with a small picture for each of `paths`; its file's name is its label."""
    buttons = []
    for index, path in enumerate(paths):
        with Image.open(path) as picture:
            small = ImageOps.fit(picture.convert("RGB"), (168, 168))
        name = escape(path.stem.replace("_", " "))
        buttons.append(
            f'<button type="button" data-example="{index}"><img src="{address(small)}" alt="" width="84" height="84">'
            f"<span>{name}</span></button>"
        )
    return f'<div class="fer-examples">{"".join(buttons)}</div>'


def progress(done: float, total: float, words: str) -> str:
    """How far long work is: a bar, without end where the total is 0 for unknown, and the same in words."""
    share = f' value="{min(done / total, 1):.3f}"' if total else ""
    return f'<p class="fer-progress"><progress{share} aria-label="Progress"></progress> {escape(words)}</p>'


def scrolling(table: str, label: str) -> str:
    """A table that scrolls sideways by itself where the screen is narrow, also by the keyboard."""
    return f'<div class="fer-scroll" tabindex="0" role="region" aria-label="{escape(label)}">{table}</div>'


def bars(chosen: Face, unsure_below: float) -> str:
    """A bar for each class, in class order, with a mark at the threshold below which the model is unsure.

    Below them stands what ten people would say, where the network learned from people's votes.
    """
    probabilities, best = chosen.probabilities, chosen.label
    rows = "".join(
        f'<li class="{"fer-best" if name == best else ""}"><span class="fer-name">{name}</span>'
        f'<span class="fer-track"><span class="fer-fill" style="width:{share:.1%}"></span>'
        f'<span class="fer-mark" style="left:{unsure_below:.1%}"></span></span>'
        f'<span class="fer-share">{share:.0%}</span></li>'
        for name, share in probabilities.items()
    )
    below = "the best answer is more often wrong than right"
    people = ""
    if ten := chosen.ten_people:
        below = "most people would seldom agree with the best answer"
        said = ", ".join(f"<strong>{count}</strong> {name}" for name, count in ten.items())
        people = (
            f'<p class="fer-people">Of ten people, about {said}.<br><span class="fer-note">Ten people were asked about '
            "each of the training images, and this network learned what they said. People often disagree.</span></p>"
        )
    return (
        f'<ul class="fer-bars">{rows}</ul>{people}'
        f'<p class="fer-note">The line at {unsure_below:.0%}: below it {below}, and the model says that it is '
        "unsure.</p>"
    )


def face(result: Result, index: int, unsure_below: float) -> str:
    """One face: its probabilities, how it was found, and what the network saw."""
    chosen = result.faces[index]
    if chosen.score is None:
        facts = ["The whole picture was taken as the face; no detector looked at it."]
    else:
        facts = [f"The detector's score for this being a face: <strong>{chosen.score:.0%}</strong>."]
    if abs(chosen.tilt) >= 1:
        way = "counter-clockwise" if chosen.tilt > 0 else "clockwise"
        facts.append(f"Turned {way} by {abs(chosen.tilt):.0f}° to level the eyes.")
    side = max(chosen.box[2] - chosen.box[0], chosen.box[3] - chosen.box[1])
    if chosen.score is not None and side < 48:
        facts.append(f"Only {side} pixels tall; FER2013's faces have 48, so take the answer with care.")
    return (
        f'<div class="fer-face"><div>{bars(chosen, unsure_below)}</div>'
        f'<figure class="fer-seen"><img src="{address(seen(chosen), 0)}" width="64" height="64" '
        'alt="The face as the network sees it: grey, 48 by 48 pixels">'
        f"<figcaption>What the network saw: 48 × 48 grey pixels. {' '.join(facts)}</figcaption></figure></div>"
    )


def maps(chosen: Face, method: str) -> str:
    """A strip: the face under each class's heat map, whose opacity the page's slider sets; and what the colours mean.

    Args:
        method: how the maps were made.
    """
    crop = chosen.crop.convert("L").convert("RGB").resize((MAP_SIDE, MAP_SIDE), Image.Resampling.BICUBIC)
    pictures = []
    for name in chosen.probabilities:
        heat_map = chosen.heat_map_of(name)
        # an even blue would leave people wondering what went wrong
        some = heat_map.any()
        nothing = "" if some else '<br><span class="fer-note">no positive evidence</span>'
        colours = f'<img src="{address(coloured(heat_map), 0)}" alt="">' if some else ""
        pictures.append(
            f'<figure class="{"fer-best" if name == chosen.label else ""}">'
            f'<div class="fer-map" role="img" aria-label="Heat map for {name}: {_where(heat_map)}">'
            f"{colours}</div>"
            f"<figcaption>{name} <span>{chosen.probabilities[name]:.0%}</span>{nothing}</figcaption></figure>"
        )
    style = f"--classes:{len(pictures)};--crop:url({address(crop)})"
    return (
        f'<div class="fer-maps" style="{style}">{"".join(pictures)}</div>'
        '<p class="fer-legend">evidence: none <span></span> most</p>'
        f'<p class="fer-note">{escape(method)}</p>'
    )


def comparison(answers: dict[str, Face]) -> str:
    """What several versions say of one face, side by side.

    Args:
        answers: the same face by the version that recognised it.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in answers)
    rows = []
    for emotion in known_by_any(face.probabilities for face in answers.values()):
        cells = []
        for chosen in answers.values():
            share = f"{chosen.probabilities[emotion]:.0%}" if emotion in chosen.probabilities else "–"
            cells.append(f"<td><strong>{share}</strong></td>" if emotion == chosen.label else f"<td>{share}</td>")
        rows.append(f'<tr><th scope="row">{emotion}</th>{"".join(cells)}</tr>')
    says = "".join(
        f"<td>{'unsure: ' if chosen.unsure else ''}<strong>{chosen.label}</strong></td>" for chosen in answers.values()
    )
    return scrolling(
        f'<table class="fer-table"><caption>The same face, as each version sees it</caption><thead><tr><td></td>{head}'
        f'</tr></thead><tbody>{"".join(rows)}<tr><th scope="row">answer</th>{says}</tr></tbody></table>',
        "Comparison of versions",
    )


def keys(names: Iterable[str]) -> str:
    """Which colour stands for which class, below a chart."""
    items = (f'<li><span style="background:{COLOURS[name]}"></span>{name}</li>' for name in names)
    return f'<ul class="fer-keys">{"".join(items)}</ul>'


def seen(chosen: Face) -> Image.Image:
    """The face as the network gets it: grey, 48 x 48, which each version enlarges to its own input size."""
    return Image.fromarray(chosen.pixels)


def coloured(heat_map: np.ndarray) -> Image.Image:
    """A heat map in colours, `MAP_SIDE` pixels a side."""
    return Image.fromarray(drawing.coloured(heat_map, MAP_SIDE))


def _answer(chosen: Face) -> str:
    share = f"{chosen.probabilities[chosen.label]:.0%}"
    return f"unsure, perhaps {chosen.label}, {share}" if chosen.unsure else f"{chosen.label}, {share}"


def _where(heat_map: np.ndarray) -> str:
    """Where in the face a map is highest, in words."""
    if not heat_map.max():
        return "no evidence anywhere"
    row, column = np.unravel_index(heat_map.argmax(), heat_map.shape)
    third_down, third_across = int(3 * row / heat_map.shape[0]), int(3 * column / heat_map.shape[1])
    return (
        f"most evidence {('at the top', 'in the middle', 'at the bottom')[third_down]}, "
        + (
            "to the left",
            "in the centre",
            "to the right",
        )[third_across]
    )
