"""A network in folders and on the Hub: config.json, strict loading, saving, pushing."""

import json
import tempfile
from pathlib import Path
from typing import Self

from huggingface_hub import HfApi, ModelCard, PyTorchModelHubMixin
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fer_model.configs import CONFIGS, DATA_SIZE, PIXEL_MEAN, PIXEL_STD
from fer_model.errors import ModelError
from fer_model.hub import card
from fer_model.hub.download import fetch, hub_card, hub_wheel
from fer_model.hub.merge import merged
from fer_model.labels import COUNTS, EMOTIONS, class_names
from fer_model.runs import CARD_FILE, CONFIG_FILE, ONNX_FILE, WEIGHTS_FILE


class Pretrained(nn.Module, PyTorchModelHubMixin):
    """A network that can be calibrated, saved, pushed to the Hub, and loaded strictly."""

    version: str
    class_names: tuple[str, ...]
    temperature: float
    unsure_below: float

    @property
    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def set_calibration(self, temperature: float, unsure_below: float) -> None:
        """What `probabilities` divides logits by, and the highest probability below which an answer is unsure.

        Both go into config.json. `calibration.calibrate` fits them; 1 and 0.5 are the unfitted defaults.
        """
        self.temperature, self.unsure_below = temperature, unsure_below
        calibration = {"temperature": temperature, "unsure_below": unsure_below}
        self._hub_mixin_config = describe(self.version, self.class_names) | calibration

    def generate_model_card(
        self, *, folder: str = ".", repo_id: str | None = None, wheel: str | None = None
    ) -> ModelCard:
        """A card without results, because the network does not know how it was trained or measured."""
        return ModelCard(
            card.render(
                self.version,
                self.parameter_count,
                emotions=self.class_names,
                folder=folder,
                repo_id=repo_id,
                wheel=wheel,
            )
        )

    def _save_pretrained(self, save_directory: Path) -> None:
        state = {name: tensor.detach().contiguous().cpu() for name, tensor in self.state_dict().items()}
        save_file(state, save_directory / WEIGHTS_FILE, metadata={"format": "pt"})
        # a card that is there may describe other weights, so its generated sections must not stay
        readme = save_directory / CARD_FILE
        old = readme.read_text(encoding="utf-8") if readme.is_file() else ""
        new = self.generate_model_card(folder=save_directory.as_posix()).content
        readme.write_text(merged(old, new), encoding="utf-8")

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Push model",
        private: bool | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
        config: object = None,
        model_card_kwargs: object = None,
        **upload_options,
    ) -> str:
        """Upload config, weights and card, creating the repository if need be.

        The mixin's own method would replace the card on the Hub. This one renews only the generated sections, and
        keeps what people wrote. `fer_model.hub.push.push_folder` also sends figures and the package.

        Args:
            branch: which one to push to (default: main).
            config, model_card_kwargs: the mixin's `save_pretrained` passes them; both are ignored.
            upload_options: more options of `HfApi.upload_folder`.

        Returns:
            The commit's address.
        """
        api = HfApi(token=token)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        head = api.model_info(repo_id, revision=branch).sha
        old = hub_card(repo_id, head, token) or ""
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            self.save_pretrained(folder)
            new = self.generate_model_card(repo_id=repo_id, wheel=hub_wheel(repo_id, head, token)).content
            (folder / CARD_FILE).write_text(merged(old, new), encoding="utf-8", newline="")
            return api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message=commit_message,
                revision=branch,
                create_pr=create_pr,
                parent_commit=head,
                # an ONNX file that is there may hold other weights
                **({"delete_patterns": ONNX_FILE} | upload_options),
            )

    @classmethod
    def from_pretrained(  # type: ignore[override]  # the mixin's also takes the network's own arguments
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
    ) -> Self:
        """A trained network in evaluation mode, on the CPU, in float32.

        Every weight must be there, and only safetensors are read. The mixin's own method loads what fits, leaves the
        rest random, and falls back to a pickle.

        Args:
            pretrained_model_name_or_path: a folder, or a Hub id such as "user/name".
            revision: a branch, tag or commit of the Hub repository.

        Raises:
            ModelError: the files are missing, unreadable, of another version, or not this model's.
        """
        source = str(pretrained_model_name_or_path)
        download = {
            "force_download": force_download,
            "token": token,
            "cache_dir": cache_dir,
            "local_files_only": local_files_only,
            "revision": revision,
        }
        config = _read_config(fetch(source, CONFIG_FILE, download), source)
        weights_path = fetch(source, WEIGHTS_FILE, download)
        try:
            weights = load_file(weights_path)
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{source}: {WEIGHTS_FILE} is not a whole safetensors file ({error}); save or upload it again."
            ) from error
        model = cls(version=config["version"], classes=len(config["id2label"]))
        _check_weights(model, weights, source)
        model.load_state_dict(weights)
        model.set_calibration(config.get("temperature", 1.0), config.get("unsure_below", 0.5))
        return model.eval()


def describe(version: str, names: tuple[str, ...]) -> dict:
    """The content of `config.json`: the version, the names of the classes and the input format."""
    return {
        "architectures": ["FERModel"],
        "version": version,
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
        "input_size": CONFIGS[version].architecture.input_size,
        "data_size": DATA_SIZE,
        "color": "grayscale, repeated in three channels",
        "pixel_mean": PIXEL_MEAN,
        "pixel_std": PIXEL_STD,
    }


def _read_config(path: Path, source: str) -> dict:
    """`config.json` as a dict, once it is known that this code can build what it describes."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{source}: config.json is not JSON ({error}).") from error
    if not isinstance(config, dict):
        raise ModelError(f"{source}: config.json must hold an object, not a {type(config).__name__}.")
    version = config.get("version")
    if not isinstance(version, str) or version not in CONFIGS:
        raise ModelError(
            f"{source}: config.json says version {version!r}; this code knows {', '.join(CONFIGS)}. "
            "A newer model needs a newer fer_model."
        )
    names = config.get("id2label")
    count = len(names) if isinstance(names, dict) and len(names) in COUNTS else len(EMOTIONS)
    for key, expected in describe(version, class_names(count)).items():
        if key not in config:
            raise ModelError(f"{source}: config.json lacks {key!r}; it should be {expected!r}.")
        if type(config[key]) is not type(expected) or config[key] != expected:
            raise ModelError(f"{source}: config.json has {key} = {config[key]!r}; this code can only use {expected!r}.")
    for key, highest in (("temperature", float("inf")), ("unsure_below", 1.0)):  # older models have neither
        value = config.get(key, 1.0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= highest:
            raise ModelError(
                f"{source}: config.json has {key} = {value!r}; it must be a number above 0, at most {highest}."
            )
    return config


def _check_weights(model: Pretrained, weights: dict[str, Tensor], source: str) -> None:
    """Say in one sentence which tensors do not fit, instead of torch's page of them."""
    expected = model.state_dict()
    missing = [key for key in expected if key not in weights]
    unexpected = [key for key in weights if key not in expected]
    reshaped = [
        f"{key} is {tuple(weights[key].shape)} and should be {tuple(expected[key].shape)}"
        for key in expected
        if key in weights and weights[key].shape != expected[key].shape
    ]
    problems = [
        f"{len(keys)} {what} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
        if keys
    ]
    if problems:
        raise ModelError(
            f"{source}: the weights are not those of version {model.version}: {'; '.join(problems)}. "
            "Take both files from one save_pretrained."
        )
    broken = [key for key in expected if weights[key].is_floating_point() and not weights[key].isfinite().all()]
    if broken:
        raise ModelError(f"{source}: the weights hold NaN or infinity in {', '.join(broken[:3])}.")
