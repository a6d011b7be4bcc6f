"""Does a crop show an upright face? The detector looks at it once more, before an expression is read from it.

In surroundings of plain grey, CenterFace scores most upright faces above 0.8. One that lies on its side or stands on
its head gets far less, and what is no face still less. `scripts/hard_cases.py` measures what this is worth.
"""

from dataclasses import dataclass

from PIL import Image

from fer_model.inference.detector import Detection, shared_detector

LOOK_SIZE, LOOK_BORDER = 64, 32
"""Pixels of the crop's longer side, and of the grey around it, at which a crop is looked at."""

UPRIGHT_SCORE = 0.8
"""A crop with this score needs no further look. Of FER2013's validation images 76 % have it."""

LEVEL = 15
"""Degrees. Eyes that are further from level call for a further look, too."""

TURN_GAIN = 0.1
"""By how much a turned copy's score must be higher before the crop is turned."""

FACE_SCORE = 0.34
"""A crop whose best score is lower is doubted. Chosen so that 1 % of FER2013's validation images are."""

_NOT_SEEN = 0.2  # lower scores change nothing below, and cost time


@dataclass(frozen=True)
class Look:
    """What a crop shows.

    score: the detector's for the best of four copies, in [0, 1].
    turned: degrees by which the face lies clockwise in the crop: 0, 90, 180 or 270.
    tilt: further degrees clockwise, by the eyes of the copy that was turned back by `turned`.
    """

    score: float
    turned: int
    tilt: float

    @property
    def is_face(self) -> bool:
        """Whether the answer for this crop, turned upright, can be trusted."""
        return self.score >= FACE_SCORE


def look(crop: Image.Image) -> Look:
    """Look at an RGB crop of a face; where that is not clearly upright, at three turned copies too."""
    upright = _seen(crop, 0)
    if upright.score >= UPRIGHT_SCORE and abs(upright.tilt) <= LEVEL:
        return upright
    best = max((_seen(crop, degrees) for degrees in (90, 180, 270)), key=lambda seen: seen.score)
    return best if best.score >= max(upright.score + TURN_GAIN, FACE_SCORE) else upright


def _seen(crop: Image.Image, turned: int) -> Look:
    scale = LOOK_SIZE / max(crop.size)
    small = crop.resize([max(1, round(side * scale)) for side in crop.size], Image.Resampling.BILINEAR)
    small = small.rotate(turned, expand=True)
    side = LOOK_SIZE + 2 * LOOK_BORDER
    framed = Image.new("RGB", (side, side), (128, 128, 128))
    framed.paste(small, ((side - small.width) // 2, (side - small.height) // 2))
    found: list[Detection] = shared_detector().detect(framed, _NOT_SEEN, thorough=False)
    best = max(found, key=lambda face: face.score, default=None)
    return Look(best.score, turned, best.tilt) if best else Look(0.0, turned, 0.0)
