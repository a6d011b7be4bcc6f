"""Draw the example faces, and hang the astronaut's photo twice on a wall: a picture with two faces.

python examples/draw.py        # writes drawn_*.png and two_faces.jpg beside this file
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

HERE = Path(__file__).parent
SIZE = 96  # pixels; the demo takes an image of at most this size as a face crop
SCALE = 8  # drawn larger and shrunk, for smooth edges

# what sets the expressions apart, in units of the picture's side:
#   brow: (height of the inner end, height of the outer end), more is lower
#   eye: how far the lids are open
#   mouth: (half width, height of the corners above the middle, how far it is open)
EXPRESSIONS = {
    "happiness": {"brow": (0.335, 0.345), "eye": 0.026, "mouth": (0.185, 0.075, 0.075)},
    "surprise": {"brow": (0.285, 0.295), "eye": 0.058, "mouth": (0.085, 0.0, 0.21)},
    "neutral": {"brow": (0.335, 0.33), "eye": 0.03, "mouth": (0.12, 0.004, 0.008)},
    "anger": {"brow": (0.405, 0.335), "eye": 0.026, "mouth": (0.13, -0.045, 0.012)},
}


def draw_face(brow: tuple[float, float], eye: float, mouth: tuple[float, float, float]) -> Image.Image:
    """One grey face, SIZE x SIZE, light from the upper left."""
    face = _head()
    for side in (-1, 1):  # the picture's left, and its right
        _ellipse(face, (0.5 + side * 0.175, 0.43), 0.105, 0.075, 150, blur=0.02)  # eye socket
        centre = (0.5 + side * 0.175, 0.435)
        _ellipse(face, centre, 0.078, eye, 238, blur=0.003)
        lids = _mask(centre, 0.078, eye)
        _ellipse(face, centre, 0.034, 0.034, 70, blur=0.003, within=lids)
        _ellipse(face, centre, 0.017, 0.017, 20, blur=0.002, within=lids)
        _ellipse(face, (centre[0] - 0.011, centre[1] - 0.012), 0.007, 0.007, 250, within=lids)
        _arc(face, [(-0.08, 0), (0, -eye * 1.25), (0.08, 0)], centre, 0.012, 60)  # upper lid
        inner, outer = brow
        _arc(
            face,
            [(-0.075, inner), (0.02, (inner + outer) / 2 - 0.014), (0.11, outer)],
            (0.5 + side * 0.16, 0),
            0.026,
            62,
            side,
        )
    _ellipse(face, (0.51, 0.625), 0.062, 0.028, 140, blur=0.018)  # shadow under the nose
    _ellipse(face, (0.487, 0.55), 0.018, 0.085, 232, blur=0.018)  # light along the nose
    for side in (-1, 1):
        _ellipse(face, (0.5 + side * 0.03, 0.627), 0.014, 0.009, 70, blur=0.005)  # nostrils
    _mouth(face, *mouth)
    rng = np.random.default_rng(0)
    small = np.asarray(face.resize((SIZE, SIZE), Image.Resampling.LANCZOS), dtype=float)
    return Image.fromarray((small + rng.normal(0, 2.5, small.shape)).clip(0, 255).astype(np.uint8))


def draw_wall(photo: Image.Image) -> Image.Image:
    """The photo, and a smaller mirrored copy of it, in frames on a wall."""
    wall = Image.new("RGB", (920, 560), (206, 202, 194))
    for side, corner, picture in (
        (460, (40, 50), photo.crop((20, 0, 480, 460))),
        (330, (550, 120), photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).crop((52, 0, 492, 440))),
    ):
        shadow = Image.new("L", wall.size, 0)
        ImageDraw.Draw(shadow).rectangle((corner[0], corner[1], corner[0] + side + 12, corner[1] + side + 12), fill=90)
        wall.paste((90, 86, 80), mask=shadow.filter(ImageFilter.GaussianBlur(8)))
        frame = Image.new("RGB", (side, side), (250, 249, 246))
        frame.paste(picture.resize((side - 28, side - 28), Image.Resampling.LANCZOS), (14, 14))
        wall.paste(frame, corner)
    return wall


def _head() -> Image.Image:
    """Background, neck, hair and a head shaded like an egg."""
    y, x = np.mgrid[0 : SIZE * SCALE, 0 : SIZE * SCALE] / (SIZE * SCALE)
    picture = Image.fromarray((120 - 40 * y).astype(np.uint8))
    _ellipse(picture, (0.5, 0.42), 0.445, 0.47, 48, blur=0.008)  # hair behind the head
    _ellipse(picture, (0.5, 1.02), 0.26, 0.2, 120, blur=0.02)  # neck
    for side in (-1, 1):
        _ellipse(picture, (0.5 + side * 0.385, 0.5), 0.045, 0.09, 150 if side < 0 else 125, blur=0.006)  # ears
    u, v = (x - 0.5) / 0.375, (y - 0.53) / 0.445
    depth = np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))
    light = np.clip(-0.35 * u - 0.35 * v + 0.85 * depth, 0, 1)
    skin = Image.fromarray((70 + 140 * light).clip(0, 255).astype(np.uint8))
    picture.paste(skin, mask=_mask((0.5, 0.53), 0.375, 0.445).filter(_blur(0.006)))
    # the fringe: hair inside the head and above a curved hairline
    hairline = _mask((0.5, 0.53), 0.385, 0.455)
    hairline.paste(0, mask=_mask((0.47, 0.66), 0.42, 0.45))
    hair = Image.fromarray((52 + 7 * np.sin(90 * x + 14 * y) + 30 * (1 - x)).clip(0, 255).astype(np.uint8))
    picture.paste(hair, mask=hairline.filter(_blur(0.008)))
    return picture


def _mouth(face: Image.Image, half_width: float, corners: float, opening: float) -> None:
    centre = 0.765 if opening < 0.15 else 0.79
    across = np.linspace(-1, 1, 41)
    line = centre - corners * across**2 + corners * 0.5  # a parabola through both corners
    gape = opening * (1 - np.abs(across) ** 2.2)
    # a smile's gape hangs below its upper lip; a round mouth opens both ways
    upper, lower = (line - gape * 0.5, line + gape * 0.5) if corners <= 0 else (line - gape * 0.1, line + gape * 0.9)

    def outline(extra: float) -> list[tuple[float, float]]:
        xs = 0.5 + across * (half_width + extra)
        top = zip(xs, upper - extra, strict=True)
        return [*top, *zip(xs[::-1], lower[::-1] + extra * 1.5, strict=True)]

    _polygon(face, outline(0.022), 105, blur=0.006)  # lips
    _polygon(face, outline(0.0), 34, blur=0.003)
    if corners > 0:  # teeth
        xs = 0.5 + across * half_width * 0.92
        teeth = [*zip(xs, upper, strict=True), *zip(xs[::-1], (upper + gape * 0.55)[::-1], strict=True)]
        _polygon(face, teeth, 235, blur=0.003)
        for side in (-1, 1):  # cheeks, lifted, and the fold beside them
            _ellipse(face, (0.5 + side * 0.2, 0.6), 0.06, 0.045, 205 if side < 0 else 170, blur=0.025)
            _arc(face, [(0.085, 0.605), (0.155, 0.645), (0.205, 0.69)], (0.5, 0), 0.014, 128, side)
    elif corners < 0:  # creases between the brows, a hard fold beside the nose
        for side in (-1, 1):
            _arc(face, [(0.028, 0.335), (0.022, 0.365), (0.03, 0.395)], (0.5, 0), 0.012, 95, side)
            _arc(face, [(0.08, 0.6), (0.12, 0.645), (0.145, 0.7)], (0.5, 0), 0.012, 120, side)
    _ellipse(face, (0.5, float(lower[20]) + 0.06), 0.075, 0.014, 130, blur=0.014)  # shadow under the lip


def _mask(centre: tuple[float, float], radius_x: float, radius_y: float) -> Image.Image:
    mask = Image.new("L", (SIZE * SCALE, SIZE * SCALE), 0)
    side = SIZE * SCALE
    box = [(centre[0] - radius_x) * side, (centre[1] - radius_y) * side]
    ImageDraw.Draw(mask).ellipse((*box, box[0] + 2 * radius_x * side, box[1] + 2 * radius_y * side), fill=255)
    return mask


def _ellipse(face, centre, radius_x, radius_y, grey, blur=0.0, within=None) -> None:
    mask = _mask(centre, radius_x, radius_y).filter(_blur(blur))
    if within is not None:
        mask = Image.composite(mask, Image.new("L", mask.size, 0), within)
    face.paste(grey, mask=mask)


def _polygon(face: Image.Image, points: list[tuple[float, float]], grey: int, blur: float) -> None:
    mask = Image.new("L", face.size, 0)
    ImageDraw.Draw(mask).polygon([(x * face.width, y * face.height) for x, y in points], fill=255)
    face.paste(grey, mask=mask.filter(_blur(blur)))


def _arc(face, points, origin, width, grey, side=1) -> None:
    """A stroke along the parabola through three points, thinner at its ends; mirrored for side = -1."""
    curve = np.polyfit([x for x, _ in points], [y for _, y in points], 2)
    mask = Image.new("L", face.size, 0)
    draw = ImageDraw.Draw(mask)
    for t in np.linspace(0, 1, 200):
        x = points[0][0] + t * (points[-1][0] - points[0][0])
        centre_x, centre_y = (origin[0] + side * x) * face.width, (origin[1] + np.polyval(curve, x)) * face.height
        radius = width / 2 * face.width * (0.45 + 0.55 * np.sin(np.pi * t))
        draw.ellipse((centre_x - radius, centre_y - radius, centre_x + radius, centre_y + radius), fill=255)
    face.paste(grey, mask=mask.filter(_blur(0.003)))


def _blur(radius: float) -> ImageFilter.GaussianBlur:
    return ImageFilter.GaussianBlur(radius * SIZE * SCALE)


if __name__ == "__main__":
    for name, expression in EXPRESSIONS.items():
        draw_face(**expression).save(HERE / f"drawn_{name}.png", optimize=True)
    with Image.open(HERE / "astronaut.jpg") as astronaut:
        draw_wall(astronaut).save(HERE / "two_faces.jpg", quality=88)
