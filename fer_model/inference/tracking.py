"""Faces followed from frame to frame of a webcam or a video, with answers that do not flicker.

tracker = Tracker()
for seconds, frame in frames:
    tracker = follow(tracker, pipeline, frame, seconds)
    print([(followed.number, followed.face.label) for followed in tracker.faces])
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from fer_model.inference.detector import Box, shared_detector, whole_pixels
from fer_model.inference.pipeline import Face, FERPipeline, Place, checked

SEARCH_SIZE = 320
"""Longest side, in pixels, at which a frame is searched. It takes a third of the time of 640, and suits a webcam."""

SMOOTHING = 0.4
"""Time constant, in seconds, over which probabilities are averaged."""

BOX_SMOOTHING = 0.08
"""The same for boxes, which must keep up with a moving head."""

FORGET_AFTER = 0.6
"""Seconds after which a face that is not found is forgotten."""

MOST_FACES = 8
"""Only the largest faces of a frame are followed, so that a crowd does not stop the stream."""

_SAME_FACE = 0.3  # intersection over union of the boxes of a face in two frames


@dataclass(frozen=True)
class Followed:
    """A face, its number, counted from 1 as faces appear, and when it was last `seen`, in seconds.

    The probabilities and the box of `face` are averages over the last frames. Its crop, pixels and heat maps are
    those of the frame in which it was last seen.
    """

    number: int
    face: Face
    seen: float


@dataclass(frozen=True)
class Tracker:
    """Who is followed (the largest visible face first), how many there have been, and the last frame's time.

    A tracker never changes: `follow` returns a new one.
    """

    faces: tuple[Followed, ...] = ()
    count: int = 0
    seconds: float = 0.0

    def visible(self) -> tuple[Followed, ...]:
        """Those that were found in the last frame."""
        return tuple(followed for followed in self.faces if followed.seen == self.seconds)


def follow(
    tracker: Tracker, pipeline: FERPipeline, frame: Image.Image, seconds: float, *, heat_maps: bool = False
) -> Tracker:
    """The tracker after one more frame.

    Faces are found anew in every frame, and matched with those before by the overlap of their boxes. Averages are
    exponential: a new value counts 1 - exp(-dt / time constant), dt seconds after the last one.

    Args:
        frame: RGB. seconds: its time, not before that of the last one.
    """
    found = shared_detector().detect(frame, size=SEARCH_SIZE, thorough=False, small_faces=False)[:MOST_FACES]
    places = [checked(frame, Place(face.box, face.score, face.tilt)) for face in found]
    faces = pipeline.recognise(frame, places, heat_maps=heat_maps)
    before = list(tracker.faces)
    count, now = tracker.count, []
    for face in faces:
        known = max(before, key=lambda followed: overlap(followed.face.box, face.box), default=None)
        if known and overlap(known.face.box, face.box) >= _SAME_FACE:
            before.remove(known)
            average = _average(known.face, face, seconds - known.seen, pipeline.model.unsure_below)
            now.append(Followed(known.number, average, seconds))
        else:
            count += 1
            now.append(Followed(count, face, seconds))
    waiting = [followed for followed in before if seconds - followed.seen <= FORGET_AFTER]
    return Tracker((*now, *waiting), count, seconds)


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def _average(old: Face, new: Face, seconds: float, unsure_below: float) -> Face:
    share, box_share = (1 - math.exp(-max(seconds, 0.0) / constant) for constant in (SMOOTHING, BOX_SMOOTHING))

    def between(before: dict[str, float], now: dict[str, float]) -> dict[str, float]:
        return {name: (1 - share) * before[name] + share * value for name, value in now.items()}

    probabilities = between(old.probabilities, new.probabilities)
    box = (1 - box_share) * np.array(old.box) + box_share * np.array(new.box)
    return replace(
        new,
        box=whole_pixels(box),
        probabilities=probabilities,
        crowd=between(old.crowd, new.crowd) if old.crowd and new.crowd else None,
        unsure=bool(new.doubt) or max(probabilities.values()) < unsure_below,
    )
