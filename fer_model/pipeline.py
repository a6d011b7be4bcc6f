"""An image in, faces with probabilities and heat maps out.

pipeline = FERPipeline.from_pretrained("results/v2/models")
result = pipeline("photo.jpg")
print(result.message, [(face.box, face.label, face.probabilities) for face in result.faces])
"""

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fer_model.augment import preprocess, to_face
from fer_model.faces import SMALL_PICTURE, crop_face, shared_detector
from fer_model.gradcam import grad_cam
from fer_model.images import open_image
from fer_model.labels import EMOTIONS, LABEL2ID
from fer_model.modeling import FERModel
from fer_model.views import VIEWS, logits_over_views

_FACES_AT_ONCE = 32  # a crowd passes the network in parts, so that memory does not grow with it

NO_FACE = (
    "No face was found in this picture. Try one in which a face is larger, upright and well lit; "
    "if the whole picture is a face, say so."
)


@dataclass(frozen=True)
class Face:
    """One face of a photo.

    box: (left, top, right, bottom) in pixels of the upright photo.
    score: the detector's confidence in [0, 1]; None where the whole picture was taken as the face.
    probabilities: {class name: probability}, calibrated, in class order, summing to 1.
    unsure: the highest probability is below the model's threshold; the answer may well be wrong.
    crop: the square cut out, RGB.
    pixels: what the network saw, uint8 (48, 48), before enlarging to 64 x 64.
    heat_map: Grad-CAM for the predicted class, float32 (64, 64) in [0, 1].
    """

    box: tuple[int, int, int, int]
    score: float | None
    probabilities: dict[str, float]
    crop: Image.Image
    pixels: np.ndarray
    heat_map: np.ndarray
    unsure: bool = False

    @property
    def label(self) -> str:
        """The class with the highest probability."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def sentence(self) -> str:
        """What the model makes of this face, for people."""
        share = f"{self.probabilities[self.label]:.0%}"
        if self.unsure:
            return f"The model is unsure: its best guess is {self.label}, at {share}."
        return f"The expression looks like {self.label} ({share})."


@dataclass(frozen=True)
class Result:
    """What was found in one picture: the upright RGB `image`, its `faces` (largest first), and a sentence."""

    image: Image.Image
    faces: tuple[Face, ...]
    message: str


class FERPipeline:
    """Face detection, cropping, classification and Grad-CAM. Holds no state between calls; threads may share it.

    Args:
        model: a trained network; it is put into evaluation mode and onto `device`.
        device: where the network runs; the GPU if there is one.
        views: "plain", or, slower and a little better, the average over "flip" or "ten-crop" (see `views`).
    """

    def __init__(self, model: FERModel, device: str | torch.device | None = None, views: str = "plain"):
        if views not in VIEWS:
            raise ValueError(f"There are no views {views!r}; choose {', '.join(VIEWS)}.")
        self.views = views
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = model.eval().to(self.device)
        # Grad-CAM hangs a hook on the network while it runs, which would also catch another thread's images
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(
        cls, model: str | Path, *, device: str | torch.device | None = None, views: str = "plain", **hub_options
    ) -> "FERPipeline":
        """From a folder or Hub id; `hub_options` (revision, token, …) as in `FERModel.from_pretrained`."""
        return cls(FERModel.from_pretrained(model, **hub_options), device, views)

    def __call__(
        self, image: "str | Path | bytes | Image.Image | np.ndarray", *, whole_picture: bool = False
    ) -> Result:
        """Recognise every face in one picture.

        Args:
            image: a path, the bytes of a file, a PIL image, or an RGB array (see `images.open_image`).
            whole_picture: take the picture as a face crop and do not search it. A picture of at most
                96 x 96 pixels is taken so anyway.

        Returns:
            A `Result`; a picture without a face gives no faces and a message that says so.

        Raises:
            ImageError: the picture cannot be read.
        """
        photo = open_image(image)
        if whole_picture or max(photo.size) <= SMALL_PICTURE:
            found: list[tuple[tuple[int, int, int, int], float | None]] = [((0, 0, *photo.size), None)]
            crops = [photo]
        else:
            detections = shared_detector().detect(photo)
            found = [(face.box, face.score) for face in detections]
            crops = [crop_face(photo, face.box) for face in detections]
        if not found:
            return Result(photo, (), NO_FACE)
        pixels = torch.stack([to_face(crop) for crop in crops])  # (N, 1, 48, 48)
        probabilities, heat_maps = self._classify(pixels)
        faces = tuple(
            Face(
                box=box,
                score=score,
                probabilities=dict(zip(EMOTIONS, row.tolist(), strict=True)),
                crop=crop,
                pixels=face_pixels[0].numpy(),
                heat_map=heat_map,
                unsure=float(row.max()) < self.model.unsure_below,
            )
            for (box, score), crop, row, face_pixels, heat_map in zip(
                found, crops, probabilities, pixels, heat_maps, strict=True
            )
        )
        return Result(photo, faces, _message(faces))

    def heat_map(self, face: Face, emotion: str) -> np.ndarray:
        """Grad-CAM of a face for any class: float32 (64, 64), values in [0, 1].

        Raises:
            ValueError: there is no class of that name.
        """
        if emotion not in LABEL2ID:
            raise ValueError(f"There is no class {emotion!r}; the classes are {', '.join(EMOTIONS)}.")
        inputs = preprocess(torch.tensor(face.pixels, device=self.device)[None, None], self.model.input_size)
        with self._lock:
            return grad_cam(self.model, inputs, LABEL2ID[emotion])[0].cpu().numpy()

    def _classify(self, pixels: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
        """uint8 (N, 1, 48, 48) -> probabilities (N, 6) and each predicted class's heat map (N, 64, 64)."""
        probabilities, heat_maps = [], []
        for part in pixels.split(_FACES_AT_ONCE):
            part = part.to(self.device)
            inputs = preprocess(part, self.model.input_size)
            with self._lock:
                with torch.inference_mode():
                    logits = logits_over_views(self.model, part, self.model.input_size, self.views)
                    probabilities.append(self.model.probabilities(logits))
                heat_maps.append(grad_cam(self.model, inputs, probabilities[-1].argmax(dim=1)))
        return torch.cat(probabilities).cpu(), torch.cat(heat_maps).cpu().numpy()


def _message(faces: tuple[Face, ...]) -> str:
    sentence = faces[0].sentence
    if len(faces) > 1:
        return f"{len(faces)} faces were found. Largest face: {sentence[0].lower()}{sentence[1:]}"
    if faces[0].score is None:
        sentence += " The whole picture was taken as the face."
    return sentence
