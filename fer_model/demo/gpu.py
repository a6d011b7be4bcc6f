"""The functions that pass pictures through a network: on a ZeroGPU Space they run where the GPU is."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from fer_model.demo.versions import Versions
from fer_model.images import open_image
from fer_model.inference.pipeline import Face, Place, Result
from fer_model.inference.tracking import Tracker, follow
from fer_model.labels import known_by_any
from fer_model.model.gradcam import TESTED, shown_method


class Network:
    """Three ways through the versions' pipelines. What goes in and comes out can be pickled.

    Args:
        on_gpu: decorator of a ZeroGPU Space (`spaces.GPU`); by default the functions stay as they are.
    """

    def __init__(self, versions: Versions, on_gpu: Callable = lambda function: function):
        self.versions = versions

        @on_gpu
        def recognise(
            version: str | None,
            picture: Path | bytes | Image.Image,
            whole_picture: bool,
            level_eyes: bool,
            heat_maps: bool = True,
        ) -> Result:
            """A PIL image is taken as `open_image` gives it; anything else is opened first."""
            pipeline = versions[version]
            photo = picture if isinstance(picture, Image.Image) else open_image(picture)
            return pipeline.search(photo, whole_picture=whole_picture, level_eyes=level_eyes, heat_maps=heat_maps)

        @on_gpu
        def recognise_by_all(photo: Image.Image, place: Place) -> dict[str, Face]:
            return {name: versions[name].recognise(photo, [place], heat_maps=False)[0] for name in versions.names}

        @on_gpu
        def follow_faces(
            version: str | None, tracker: Tracker, frame: Image.Image, seconds: float, heat_maps: bool
        ) -> Tracker:
            return follow(tracker, versions[version], frame, seconds, heat_maps=heat_maps)

        self.recognise = recognise
        self.recognise_by_all = recognise_by_all
        self.follow_faces = follow_faces

    def unsure_below(self, version: str | None) -> float:
        """The threshold of a version, in [0, 1]."""
        return self.versions[version].model.unsure_below

    def method(self, version: str | None) -> str:
        """How a version's heat maps are made and, where that was tested, how and with what result."""
        model = self.versions[version].model
        tested = (
            f" Tested on {model.version.upper()}: where pixels are uncovered or blurred in the map's order, the answer "
            "changes sooner than in the order of a random map or of a blob in the centre."
        )
        return f"{shown_method(model)}.{tested if model.version in TESTED else ''}"

    def class_names(self, version: str | None = None) -> tuple[str, ...]:
        """What a version can answer, in the order of its probabilities; by default the default version."""
        return self.versions.class_names(version)

    def all_classes(self) -> list[str]:
        """What at least one version can answer, in class order."""
        return known_by_any(self.class_names(version) for version in self.versions.names)
