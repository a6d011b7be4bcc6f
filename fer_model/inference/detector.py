"""Find faces in a photo with CenterFace, small ones in large photos too."""

import hashlib
import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from fer_model.errors import ModelError
from fer_model.model.engine import Session, has_onnx_runtime

WEIGHTS = Path(__file__).parents[1] / "vendor" / "centerface" / "centerface.onnx"
WEIGHTS_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"

DETECTION_SIZE = 640
"""Longest side, in pixels, at which a photo is searched. Larger photos are shrunk to it."""

LARGE_PHOTO = 1500
"""Longest side, in pixels, above which a photo that seems to show small faces is searched more closely by default."""

SMALL_FACE = 14
"""Longer side, in pixels at the size that is searched, below which the network misses many faces."""

SMALL_IMAGE = 96
"""An image with no side longer than this, in pixels, is taken as a face crop. FER2013's own are 48 x 48."""

MIN_EYE_DISTANCE = 0.2
"""Relative to the box's longer side. Eyes closer than this belong to a face in profile and do not show its tilt."""

_STRIDE = 4  # the network's outputs have one cell per 4 x 4 pixels
# heat map, log sizes, offsets, and five landmarks, of which the eyes are used
_OUTPUTS = ("537", "538", "539", "540")
_HINT = 0.1  # a score that is worth a closer look: faces too small to be found have more
_TILE, _TILE_OVERLAP = 2 * DETECTION_SIZE, 64  # pixels; memory grows with a tile, and a small face fits into an overlap
_OVERLAP = 0.3  # boxes that overlap more than this (intersection over union) are the same face
_OPENCV_4 = int(cv2.__version__.partition(".")[0]) < 5


Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels of the photo."""


@dataclass(frozen=True)
class Detection:
    """One face; `score` lies in [0, 1].

    eyes: centres of the left and the right one as a viewer sees them, ((x, y), (x, y)) in pixels of the photo.
    """

    box: Box
    score: float
    eyes: tuple[tuple[float, float], tuple[float, float]]

    @property
    def tilt(self) -> float:
        """Degrees by which the face is turned clockwise; 0 for a face in profile, whose eyes do not show it."""
        (left_x, left_y), (right_x, right_y) = self.eyes
        across, down = right_x - left_x, right_y - left_y
        left, top, right, bottom = self.box
        if math.hypot(across, down) < MIN_EYE_DISTANCE * max(right - left, bottom - top):
            return 0.0
        return math.degrees(math.atan2(down, across))


class FaceDetector:
    """CenterFace (Xu et al. 2019, https://arxiv.org/abs/1911.03599); safe to share between threads.

    Args:
        onnx_runtime: run it there, where threads do not wait for each other, and not in OpenCV; by default where ONNX
            Runtime is installed.

    Raises:
        ModelError: the vendored weights are missing or not the ones this code was tested with.
    """

    def __init__(self, onnx_runtime: bool | None = None):
        content = WEIGHTS.read_bytes() if WEIGHTS.is_file() else b""
        if hashlib.sha256(content).hexdigest() != WEIGHTS_SHA256:
            raise ModelError(
                f"The face detector's weights, {WEIGHTS}, are missing or damaged; install the package anew."
            )
        self._session: Session | None = None
        if has_onnx_runtime() if onnx_runtime is None else onnx_runtime:
            self._session = Session(partial(_for_onnx_runtime, content))
        else:
            self._content = np.frombuffer(content, dtype=np.uint8)
            self._size: tuple[int, ...] = ()
            # a cv2.dnn network keeps its input between setInput and forward
            self._lock = threading.Lock()

    def detect(
        self,
        image: Image.Image,
        threshold: float = 0.5,
        *,
        size: int = DETECTION_SIZE,
        thorough: bool = True,
        small_faces: bool | None = None,
    ) -> list[Detection]:
        """Faces in an RGB image, largest first; empty when there is none.

        The network misses a face that fills its image, for lack of surroundings.

        Args:
            threshold: lowest score of a face, in [0, 1].
            size: longest side, in pixels, at which the image is searched. Half of it takes a quarter of the time, and
                misses faces that are then smaller than about 10 pixels.
            thorough: search an image without a find once more, with a grey border around it.
            small_faces: search at twice the size as well, then at four times, down to the image's own pixels. By
                default only as long as the last search hints at faces below `SMALL_FACE`, and only where the longest
                side is above `LARGE_PHOTO`. The second search takes four times as long as the first.
        """
        if small_faces or (small_faces is None and max(image.size) > LARGE_PHOTO):
            found = self._search_closer(image, threshold, size, bool(small_faces))
        else:
            found = self._search(image, threshold, size)
        if found or not thorough:
            return found
        # shrunk first: with a border, the photo itself would have four times its pixels, a panorama far more
        scale = min(size / max(image.size), 1.0)
        small = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.BILINEAR)
        border = max(small.size) // 2
        framed = Image.new("RGB", (small.width + 2 * border, small.height + 2 * border), (128, 128, 128))
        framed.paste(small, (border, border))
        inside = []
        for face in self._search(framed, threshold, size):
            box = _clip((np.array(face.box) - border) / scale, image)
            if box[2] > box[0] and box[3] > box[1]:
                inside.append(Detection(box, face.score, _points((np.array(face.eyes) - border) / scale)))
        return inside

    def _search_closer(self, image: Image.Image, threshold: float, size: int, always: bool) -> list[Detection]:
        """As `_search`, at twice the size again and again: while faces seem too small, or `always`."""
        seen = self._search(image, min(threshold, _HINT), size)
        found = [face for face in seen if face.score > threshold]
        while size < max(image.size):
            scale = size / max(image.size)
            if not always and all(_longer(face) * scale >= SMALL_FACE for face in seen):
                break
            size = min(2 * size, max(image.size))
            seen = self._search_tiles(image, min(threshold, _HINT), size)
            # a face that fills a tile's overlap is found by the search before
            found = _joined(found, [face for face in seen if face.score > threshold])
        return found

    def _search_tiles(self, image: Image.Image, threshold: float, size: int) -> list[Detection]:
        """Faces up to `_TILE_OVERLAP` pixels in an image of this size, found in tiles that overlap."""
        scale = size / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        shrunk = image.resize((width, height), Image.Resampling.BILINEAR)
        found = []
        for top in _starts(height):
            for left in _starts(width):
                tile = shrunk.crop((left, top, min(left + _TILE, width), min(top + _TILE, height)))
                for face in self._search(tile, threshold, _TILE):
                    if _longer(face) <= _TILE_OVERLAP:
                        box = _clip((np.array(face.box) + (left, top, left, top)) / scale, image)
                        eyes = _points((np.array(face.eyes) + (left, top)) / scale)
                        found.append(Detection(box, face.score, eyes))
        return found

    def _search(self, image: Image.Image, threshold: float, size: int = DETECTION_SIZE) -> list[Detection]:
        scale = min(size / max(image.size), 1.0)
        width, height = (max(1, round(side * scale)) for side in image.size)
        # the network halves its input five times, so sides must be multiples of 32: pad on the right and below
        canvas = np.zeros((-(-height // 32) * 32, -(-width // 32) * 32, 3), dtype=np.uint8)
        canvas[:height, :width] = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        heat, sizes, offsets, landmarks = self._run(canvas)
        rows, columns = np.where(heat[0] > threshold)
        if len(rows) == 0:
            return []
        heights, widths = np.exp(sizes[:, rows, columns]) * _STRIDE
        centre_y = (rows + offsets[0, rows, columns] + 0.5) * _STRIDE
        centre_x = (columns + offsets[1, rows, columns] + 0.5) * _STRIDE
        boxes = np.stack((centre_x - widths / 2, centre_y - heights / 2, widths, heights), axis=1) / scale
        # a landmark is y, x in fractions of the box; the first two are the eyes
        eyes = np.stack([landmarks[[2 * eye + 1, 2 * eye]][:, rows, columns] for eye in (0, 1)])  # (2, x and y, N)
        eyes = boxes[:, None, :2] + eyes.transpose(2, 0, 1) * boxes[:, None, 2:]  # (N, 2, 2)
        scores = heat[0, rows, columns].astype(float)
        kept = np.array(cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), threshold, _OVERLAP)).flatten().astype(int)
        found = []
        for index in kept:
            left, top, width, height = boxes[index]
            box = _clip(np.array((left, top, left + width, top + height)), image)
            if box[2] > box[0] and box[3] > box[1]:
                found.append(Detection(box, float(scores[index]), _points(eyes[index])))
        return sorted(found, key=lambda face: _area(face.box), reverse=True)

    def _run(self, canvas: np.ndarray) -> list[np.ndarray]:
        """RGB uint8 (H, W, 3) -> what the network gives, each (channels, H / 4, W / 4)."""
        blob = cv2.dnn.blobFromImage(canvas)  # float32 (1, 3, H, W), values in [0, 255]
        if self._session:
            return [output[0] for output in self._session.run(blob)]
        with self._lock:
            # OpenCV 4 keeps what it prepared for the first size, and finds hundreds of faces in images of another
            if not self._size or (_OPENCV_4 and blob.shape != self._size):
                self._network, self._size = cv2.dnn.readNetFromONNX(self._content), blob.shape
            self._network.setInput(blob)
            return [output[0] for output in self._network.forward(_OUTPUTS)]


def _for_onnx_runtime(content: bytes) -> bytes:
    """The same network for images of any size, its outputs those of `_OUTPUTS` in this order.

    The file names all weights as inputs, too. They could change then, and ONNX Runtime would prepare nothing for them.
    """
    import onnx

    model = onnx.load_from_string(content)
    weights = {weight.name for weight in model.graph.initializer}
    for value in [value for value in model.graph.input if value.name in weights]:
        model.graph.input.remove(value)
    batch, _, height, width = model.graph.input[0].type.tensor_type.shape.dim
    batch.dim_param, height.dim_param, width.dim_param = "batch", "height", "width"
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return model.SerializeToString()


def _starts(side: int) -> list[int]:
    """Where tiles begin along a side of so many pixels."""
    count = max(1, math.ceil((side - _TILE_OVERLAP) / (_TILE - _TILE_OVERLAP)))
    return np.linspace(0, max(side - _TILE, 0), count).round().astype(int).tolist()


def _joined(found: list[Detection], closer: list[Detection]) -> list[Detection]:
    """Finds of two searches, each face once, largest first.

    Mouths and eyes look like small faces when seen closely: what lies inside a face twice as large is left out.
    """
    closer = [face for face in closer if not any(_inside(face, other) for other in found)]
    faces = [*found, *closer]
    boxes = [(left, top, right - left, bottom - top) for left, top, right, bottom in (face.box for face in faces)]
    kept = np.array(cv2.dnn.NMSBoxes(boxes, [face.score for face in faces], 0.0, _OVERLAP)).flatten().astype(int)
    return sorted((faces[index] for index in kept), key=lambda face: _area(face.box), reverse=True)


def _inside(face: Detection, other: Detection) -> bool:
    """Does the middle of a face lie in another one, at least twice as large?"""
    left, top, right, bottom = other.box
    x, y = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
    return left <= x <= right and top <= y <= bottom and _longer(other) >= 2 * _longer(face)


@lru_cache(maxsize=1)
def shared_detector() -> FaceDetector:
    """One detector for the whole process, because it takes memory and time to load."""
    return FaceDetector()


def _points(pair: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    (a, b), (c, d) = pair.tolist()
    return (a, b), (c, d)


def whole_pixels(sides: Iterable[float]) -> Box:
    """A box whose four sides are rounded."""
    left, top, right, bottom = (round(side) for side in sides)
    return left, top, right, bottom


def _clip(box: np.ndarray, image: Image.Image) -> Box:
    return whole_pixels(np.round(box).astype(int).clip(0, (image.width, image.height) * 2))


def _longer(face: Detection) -> int:
    left, top, right, bottom = face.box
    return max(right - left, bottom - top)


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
