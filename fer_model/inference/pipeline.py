"""An image in, faces with probabilities and heat maps out.

pipeline = FERPipeline.from_pretrained("results/v2/models")
result = pipeline("photo.jpg")
print(result.message, [(face.box, face.label, face.probabilities) for face in result.faces])
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fer_model.errors import ModelError
from fer_model.images import ImageSource, open_image
from fer_model.inference.crop import crop_face
from fer_model.inference.detector import SMALL_IMAGE, Box, shared_detector
from fer_model.inference.guards import look
from fer_model.labels import LABEL2ID
from fer_model.model.engine import Engine, moved, placed
from fer_model.model.network import FERModel
from fer_model.model.preprocess import preprocess, to_face
from fer_model.model.tta import VIEWS, logits_over_views

_FACES_AT_ONCE = 32  # more faces pass the network in parts, so that memory does not grow with a crowd

NO_FACE = (
    "No face was found in this picture. Try one in which a face is larger, upright and well lit; "
    "if the whole picture is a face, say so."
)

NOT_SEEN = "No upright face can be made out here."
"""The doubt of a place whose crop the detector does not take for a face, however it is turned."""

LYING = "The face seems to lie on its side or to stand on its head."
"""The doubt of a place that would be turned upright, had `level_eyes` not been switched off."""


@dataclass(frozen=True)
class Place:
    """Where in a photo a face is, in the terms of `Face`."""

    box: Box
    score: float | None
    tilt: float
    doubt: str = ""


@dataclass(frozen=True)
class Face:
    """One face of a photo.

    box: (left, top, right, bottom) in pixels of the upright photo.
    score: the detector's confidence in [0, 1]; None where the whole image was taken as the face.
    probabilities: {class name: probability}, calibrated, in class order, summing to 1.
    crop: the square that was cut out, RGB.
    pixels: what the network saw, uint8 (48, 48), before it was resized to S x S, the model's `input_size`.
    heat_maps: one for every class, in class order, float32 (classes, S, S) in [0, 1]; None if not asked for.
    unsure: the highest probability is below the model's threshold, or there is a doubt: the answer may well be wrong.
    tilt: degrees by which the face is turned clockwise in the photo. Its crop is turned back by as many.
    doubt: why the crop may show no upright face; empty where it does.
    crowd: {class name: share of people who would give this answer}, of a model that learned from ten people's votes;
        None of others. `probabilities` tell what FER2013's label would be, which is one person's answer.
    """

    box: Box
    score: float | None
    probabilities: dict[str, float]
    crop: Image.Image
    pixels: np.ndarray
    heat_maps: np.ndarray | None = None
    unsure: bool = False
    tilt: float = 0.0
    doubt: str = ""
    crowd: dict[str, float] | None = None

    @property
    def place(self) -> Place:
        """Where it is, for another network's answer to the same crop."""
        return Place(self.box, self.score, self.tilt, self.doubt)

    @property
    def label(self) -> str:
        """The class with the highest probability."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def ten_people(self) -> dict[str, int]:
        """How many of ten people would give each answer, most first; together ten. Empty without `crowd`."""
        shares = self.crowd or {}
        counts = {name: int(10 * share) for name, share in shares.items()}
        for name in sorted(shares, key=lambda name: counts[name] - 10 * shares[name])[: 10 - sum(counts.values())]:
            counts[name] += 1  # the largest remainders, so that ten are ten
        return {name: counts[name] for name in sorted(counts, key=counts.__getitem__, reverse=True) if counts[name]}

    @property
    def heat_map(self) -> np.ndarray:
        """The map for the predicted class, float32 (S, S) in [0, 1]."""
        return self.heat_map_of(self.label)

    def heat_map_of(self, emotion: str) -> np.ndarray:
        """The map for any class: float32 (S, S), values in [0, 1].

        Raises:
            ValueError: there is no class of that name, or the heat maps were not asked for.
        """
        if emotion not in self.probabilities:
            raise ValueError(f"There is no class {emotion!r}; the classes are {', '.join(self.probabilities)}.")
        if self.heat_maps is None:
            raise ValueError("This face has no heat maps: it was recognised with heat_maps=False.")
        return self.heat_maps[LABEL2ID[emotion]]

    @property
    def sentence(self) -> str:
        """What the model makes of this face, for people."""
        share = f"{self.probabilities[self.label]:.0%}"
        if self.unsure:
            return f"{self.doubt} The model is unsure: its best guess is {self.label}, at {share}.".lstrip()
        return f"The expression looks like {self.label} ({share})."


@dataclass(frozen=True)
class Result:
    """What was found in one image: the upright RGB `image`, its `faces` (largest first), and a sentence."""

    image: Image.Image
    faces: tuple[Face, ...]
    message: str


class FERPipeline:
    """Face detection, cropping, classification and heat maps. Holds no state between calls; threads may share it.

    It can be sent to other processes. A forked one works with one thread, and cannot use its parent's GPU.

    Args:
        model: a trained network; it is put into evaluation mode, float32 and onto `device`.
        device: where the network runs; the GPU if there is one.
        views: "plain", or the average over "flip" or "ten-crop", at two and ten times the cost (see `model.tta`).

    Raises:
        ModelError: the device is not there, or cannot hold the model.
        TypeError: `model` is no `FERModel`.
        ValueError: there are no such views.
    """

    def __init__(self, model: FERModel, device: str | torch.device | None = None, views: str = "plain"):
        if views not in VIEWS:
            raise ValueError(f"There are no views {views!r}; choose {', '.join(VIEWS)}.")
        self.views = views
        self.model, self.device = placed(model, device)
        self._engine = Engine(self.model)

    @classmethod
    def from_pretrained(
        cls, model: str | Path, *, device: str | torch.device | None = None, views: str = "plain", **hub_options
    ) -> "FERPipeline":
        """From a folder or Hub id; `hub_options` (revision, token, …) as in `FERModel.from_pretrained`."""
        return cls(FERModel.from_pretrained(model, **hub_options), device, views)

    def __call__(
        self,
        image: ImageSource,
        *,
        whole_picture: bool = False,
        level_eyes: bool = True,
        heat_maps: bool = True,
        small_faces: bool | None = None,
    ) -> Result:
        """Recognise every face in one image.

        Args:
            image: a path, the bytes of a file, a PIL image, or an RGB array (see `images.open_image`).
            whole_picture: take the image as a face crop and do not search it. An image of at most 96 x 96 pixels is
                always taken so.
            level_eyes: turn each face upright before it is shown to the network. Without, one that lies is doubted.
            heat_maps: also compute every class's map (`gradcam.shown_method`). Without, an answer takes less time.
            small_faces: search more closely, as `FaceDetector.detect` does; by default only large photos that need it.

        Returns:
            A `Result`. An image without a face gives no faces and a message that says so.

        Raises:
            ImageError: the image cannot be read.
        """
        photo = open_image(image)
        return self.search(
            photo,
            whole_picture=whole_picture,
            level_eyes=level_eyes,
            heat_maps=heat_maps,
            small_faces=small_faces,
        )

    def search(
        self,
        photo: Image.Image,
        *,
        whole_picture: bool = False,
        level_eyes: bool = True,
        heat_maps: bool = True,
        small_faces: bool | None = None,
    ) -> Result:
        """The same for an upright RGB image, as `open_image` gives it."""
        if whole_picture or max(photo.size) <= SMALL_IMAGE:
            places = [Place((0, 0, *photo.size), None, 0.0)]
        else:
            found = shared_detector().detect(photo, small_faces=small_faces)
            places = [Place(face.box, face.score, face.tilt if level_eyes else 0.0) for face in found]
        places = [checked(photo, place, level_eyes) for place in places]
        faces = self.recognise(photo, places, heat_maps=heat_maps)
        return Result(photo, faces, _message(faces) if faces else NO_FACE)

    def recognise(self, photo: Image.Image, places: list[Place], *, heat_maps: bool = True) -> tuple[Face, ...]:
        """The faces at known places of an RGB photo, in the same order."""
        if not places:
            return ()
        crops = [_crop(photo, place) for place in places]
        pixels = torch.stack([to_face(crop) for crop in crops])  # (N, 1, 48, 48)
        logits, maps = self._classify(pixels, heat_maps)
        probabilities, crowd = self.model.probabilities(logits), self.model.crowd_shares(logits)
        return tuple(
            Face(
                box=place.box,
                score=place.score,
                probabilities=self._named(probabilities[index]),
                crop=crops[index],
                pixels=pixels[index, 0].numpy(),
                heat_maps=None if maps is None else maps[index],
                unsure=bool(place.doubt) or float(probabilities[index].max()) < self.model.unsure_below,
                tilt=place.tilt,
                doubt=place.doubt,
                crowd=None if crowd is None else self._named(crowd[index]),
            )
            for index, place in enumerate(places)
        )

    def _named(self, values: torch.Tensor) -> dict[str, float]:
        return dict(zip(self.model.class_names, values.tolist(), strict=True))

    def _classify(self, pixels: torch.Tensor, heat_maps: bool) -> tuple[torch.Tensor, np.ndarray | None]:
        """uint8 (N, 1, 48, 48) -> logits (N, classes) and, if asked for, heat maps (N, classes, S, S)."""
        answers, maps = [], []
        for part in pixels.split(_FACES_AT_ONCE):
            part = moved(part, self.device)
            if heat_maps:
                logits, some_maps = self._engine.explain(preprocess(part, self.model.input_size))
                maps.append(some_maps.cpu())
            if self.views != "plain" or not heat_maps:  # `explain` has given the plain view's logits
                logits = logits_over_views(self._engine, part, self.model.input_size, self.views)
            answers.append(logits.cpu())
        if not all(part.isfinite().all() for part in answers):  # no class would be the most probable
            raise ModelError("The model's answer is no number: its weights are damaged, or were never trained.")
        return torch.cat(answers), torch.cat(maps).numpy() if heat_maps else None


def checked(photo: Image.Image, place: Place, level_eyes: bool = True) -> Place:
    """The place after a second look (`guards.look`): its face turned upright, or doubted."""
    seen = look(_crop(photo, place))
    if not seen.is_face:
        return replace(place, doubt=NOT_SEEN)
    if not seen.turned:
        return place
    if not level_eyes:
        return replace(place, doubt=LYING)
    # an image that is a face as a whole keeps its right angles
    tilt = seen.turned if place.score is None else place.tilt + seen.turned + seen.tilt
    return replace(place, tilt=(tilt + 180) % 360 - 180)


def _crop(photo: Image.Image, place: Place) -> Image.Image:
    if place.score is None:
        return photo.rotate(place.tilt, expand=True) if place.tilt else photo
    return crop_face(photo, place.box, place.tilt)


def _message(faces: tuple[Face, ...]) -> str:
    sentence = faces[0].sentence
    if len(faces) > 1:
        return f"{len(faces)} faces were found. Largest face: {sentence[0].lower()}{sentence[1:]}"
    if faces[0].score is None:
        sentence += " The whole picture was taken as the face."
    return sentence
