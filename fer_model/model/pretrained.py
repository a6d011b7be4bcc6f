"""A network in folders and on the Hub: config.json, strict loading, saving, pushing."""

import json
import reprlib
import tempfile
from pathlib import Path
from typing import Self

from huggingface_hub import HfApi, ModelCard, PyTorchModelHubMixin
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fer_model.configs import CONFIGS, DATA_SIZE, PIXEL_MEAN, PIXEL_STD
from fer_model.errors import ModelError
from fer_model.hub import card
from fer_model.hub.download import fetch, hub_card, hub_wheel
from fer_model.hub.merge import merged
from fer_model.labels import COUNTS, EMOTIONS, class_names
from fer_model.runs import CARD_FILE, CONFIG_FILE, ONNX_FILE, WEIGHTS_FILE

_LARGEST_CONFIG = 1_000_000  # bytes; ours have less than a thousand

_CALIBRATION = {"temperature": (0.01, 100.0), "unsure_below": (0.0, 1.0), "crowd_temperature": (0.01, 100.0)}
"""The values that a config's may have."""

_FLOATS = ("F16", "BF16", "F32", "F64")
"""Kinds of numbers that weights may have, as safetensors call them."""


class Pretrained(nn.Module, PyTorchModelHubMixin):
    """A network that can be calibrated, saved, pushed to the Hub, and loaded strictly."""

    version: str
    class_names: tuple[str, ...]
    temperature: float
    unsure_below: float
    crowd_temperature: float | None

    @property
    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def set_calibration(self, temperature: float, unsure_below: float, crowd_temperature: float | None = None) -> None:
        """What `probabilities` divides logits by, and the highest probability below which an answer is unsure.

        All go into config.json. `calibration.calibrate` fits them; 1 and 0.5 are the unfitted defaults.

        Args:
            crowd_temperature: what `crowd_shares` divides logits by; None for a model that learned from no votes.
        """
        self.temperature, self.unsure_below = temperature, unsure_below
        self.crowd_temperature = crowd_temperature
        calibration = {"temperature": temperature, "unsure_below": unsure_below}
        if crowd_temperature is not None:
            calibration["crowd_temperature"] = crowd_temperature
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
        model = cls(version=config["version"], classes=len(config["id2label"]))
        model.load_state_dict(_read_weights(weights_path, model, source))
        model.set_calibration(
            config.get("temperature", 1.0), config.get("unsure_below", 0.5), config.get("crowd_temperature")
        )
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
    if path.stat().st_size > _LARGEST_CONFIG:
        raise ModelError(f"{source}: config.json has more than {_LARGEST_CONFIG:,} bytes; it is none of this code.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, enormous numbers, enormous depth
        raise ModelError(f"{source}: config.json is not JSON ({error}).") from error
    if not isinstance(config, dict):
        raise ModelError(f"{source}: config.json must hold an object, not a {type(config).__name__}.")
    version = config.get("version")
    if not isinstance(version, str) or version not in CONFIGS:
        raise ModelError(
            f"{source}: config.json says version {reprlib.repr(version)}; this code knows {', '.join(CONFIGS)}. "
            "A newer model needs a newer fer_model."
        )
    names = config.get("id2label")
    count = len(names) if isinstance(names, dict) and len(names) in COUNTS else len(EMOTIONS)
    for key, expected in describe(version, class_names(count)).items():
        if key not in config:
            raise ModelError(f"{source}: config.json lacks {key!r}; it should be {expected!r}.")
        if type(config[key]) is not type(expected) or config[key] != expected:
            raise ModelError(
                f"{source}: config.json has {key} = {_short(config[key])}; this code can only use {expected!r}."
            )
    for key, (lowest, highest) in _CALIBRATION.items():  # older models have none of them
        value = config.get(key, 1.0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= highest:
            raise ModelError(
                f"{source}: config.json has {key} = {_short(value)}; it must be a number from {lowest} to {highest}."
            )
    return config


def _read_weights(path: Path, model: Pretrained, source: str) -> dict[str, Tensor]:
    """The weights, once names, shapes and kinds of numbers are known to be the model's: only then are they read."""
    try:
        with safe_open(path, framework="pt") as file:
            names = {_without_wrapper(name): name for name in file.keys()}  # noqa: SIM118  # it is no dict
            if len(names) < len(file.keys()):
                raise ModelError(f"{source}: {WEIGHTS_FILE} holds weights twice, with and without a wrapper's prefix.")
            stored = {key: file.get_slice(name) for key, name in names.items()}
            _check_weights(
                model, {key: (tuple(one.get_shape()), one.get_dtype()) for key, one in stored.items()}, source
            )
            weights = {key: file.get_tensor(name) for key, name in names.items()}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{source}: {WEIGHTS_FILE} is not a whole safetensors file ({_short(error)}); save or upload it again."
        ) from error
    broken = [key for key, weight in weights.items() if not weight.isfinite().all()]
    broken += [key for key, weight in weights.items() if key.endswith("running_var") and (weight < 0).any()]
    if broken:
        raise ModelError(f"{source}: the weights hold NaN, infinity or negative variances in {', '.join(broken[:3])}.")
    return weights


def _without_wrapper(name: str) -> str:
    """The name of a weight before DistributedDataParallel or torch.compile put their own in front."""
    while (bare := name.removeprefix("module.").removeprefix("_orig_mod.")) != name:
        name = bare
    return name


def _check_weights(model: Pretrained, stored: dict[str, tuple[tuple[int, ...], str]], source: str) -> None:
    """Say in one sentence which tensors do not fit, instead of torch's page of them.

    Args:
        stored: of each tensor its shape, and the safetensors name of its kind of numbers.
    """
    expected = model.state_dict()
    there = [key for key in expected if key in stored]
    problems = [
        f"{len(keys)} {what} ({', '.join(map(_short, keys[:3]))}{', …' if len(keys) > 3 else ''})"
        for what, keys in (
            ("missing", [key for key in expected if key not in stored]),
            ("unexpected", [key for key in stored if key not in expected]),
            (
                "of another shape",
                [
                    f"{key} is {stored[key][0]} and should be {tuple(expected[key].shape)}"
                    for key in there
                    if stored[key][0] != tuple(expected[key].shape)
                ],
            ),
            (
                "of other numbers",
                [
                    f"{key} is {stored[key][1]}"
                    for key in there
                    if stored[key][1] not in (_FLOATS if expected[key].is_floating_point() else ("I64",))
                ],
            ),
        )
        if keys
    ]
    if problems:
        raise ModelError(
            f"{source}: the weights are not those of version {model.version}: {'; '.join(problems)}. "
            "Take both files from one save_pretrained."
        )


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value) if not isinstance(value, Exception) else str(value)
    return text if len(text) <= 300 else f"{text[:300]} …"
