"""The models that a demo offers, each loaded when it is first asked for."""

import threading
from pathlib import Path

from fer_model.configs import VERSIONS
from fer_model.errors import ImageError
from fer_model.inference.pipeline import FERPipeline
from fer_model.labels import COUNTS
from fer_model.runs import CONFIG_FILE, default_model, folder_name, read_json, title, trained_models


class Versions:
    """Pipelines by the names that visitors choose: "V1", "V2" …

    Args:
        sources: folders or Hub ids; the first is the default and is loaded at once.

    Raises:
        ModelError: the first cannot be loaded.
    """

    def __init__(self, sources: list[str]):
        first = FERPipeline.from_pretrained(sources[0])
        self._lock = threading.Lock()
        self._sources: dict[str, str] = {}
        self._loaded: dict[str, FERPipeline] = {}
        for index, source in enumerate(sources):
            name = title(first.model.version, len(first.model.class_names)) if index == 0 else _name(source)
            if name in self._sources:  # two trainings of one design
                name = f"{name}, {source}"
            self._sources[name] = source
        self._loaded[self.default] = first

    @classmethod
    def among(cls, results: Path, sources: list[str] | None = None) -> "Versions":
        """Those named, or all with weights under `results`, those that know neutral and the newest first.

        Without any it is the one that the variable FER_MODEL names.

        Raises:
            ModelError: there is none.
        """
        found = [folder for classes in reversed(COUNTS) for folder in trained_models(results, classes)]
        return cls(sources or found or [default_model(results)])

    @property
    def names(self) -> list[str]:
        return list(self._sources)

    @property
    def default(self) -> str:
        return self.names[0]

    def source(self, name: str) -> str:
        """The folder or Hub id of a version."""
        return self._sources[self._known(name)]

    def __getitem__(self, name: str | None) -> FERPipeline:
        """The pipeline of that name; of the default for None.

        Raises:
            ImageError: there is no version of that name.
            ModelError: it cannot be loaded.
        """
        name = self._known(name or self.default)
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = FERPipeline.from_pretrained(self._sources[name])
            return self._loaded[name]

    def class_names(self, name: str | None = None) -> tuple[str, ...]:
        """What a version can answer, in the order of its probabilities. A folder's config says it before it is loaded.

        Raises:
            ImageError: there is no version of that name.
            ModelError: it cannot be loaded.
        """
        name = self._known(name or self.default)
        config = None if name in self._loaded else read_json(Path(self._sources[name]) / CONFIG_FILE)
        return tuple(config["id2label"].values()) if config else self[name].model.class_names

    def _known(self, name: str) -> str:
        if not isinstance(name, str) or name not in self._sources:
            raise ImageError(f"There is no version {name!r} here; choose {', '.join(self.names)}.")
        return name


def _name(source: str) -> str:
    """What a version is called before it is loaded: by its folder, results/v2/models, or by its Hub id."""
    path = Path(source)
    if path.name != "models":
        return source
    titles = {folder_name(version, classes): title(version, classes) for version in VERSIONS for classes in COUNTS}
    return titles.get(path.parent.name, path.parent.name.upper())
