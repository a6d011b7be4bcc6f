"""The network, top to bottom: attention, block, model, and its life on the Hugging Face Hub."""

import json
import tempfile
from pathlib import Path

import torch
from huggingface_hub import HfApi, ModelCard, PyTorchModelHubMixin
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fer_model.configs import CONFIGS, DATA_SIZE, PIXEL_MEAN, PIXEL_STD
from fer_model.errors import ModelError
from fer_model.hub import card
from fer_model.hub.download import CONFIG_FILE, WEIGHTS_FILE, fetch, hub_card, hub_wheel
from fer_model.labels import COUNTS, EMOTIONS, class_names


class SqueezeExcite(nn.Module):
    """Channel attention: each channel is scaled by a weight in (0, 1) computed from all channel means.

    Squeeze-and-Excitation, Hu et al. 2018, https://arxiv.org/abs/1709.01507, equations 2 to 4.
    (B, C, H, W) -> (B, C, H, W).
    """

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction, bias=False)
        self.excite = nn.Linear(channels // reduction, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=(2, 3))  # (B, C)
        weights = torch.sigmoid(self.excite(torch.relu(self.squeeze(means))))
        return x * weights[:, :, None, None]


class SpatialAttention(nn.Module):
    """Each position is scaled by a weight in (0, 1) computed from the channels' mean and maximum around it.

    The spatial half of CBAM, Woo et al. 2018, https://arxiv.org/abs/1807.06521, equation 3.
    (B, C, H, W) -> (B, C, H, W).
    """

    def __init__(self, kernel_size: int = 7):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # not amax, whose gradient is shared out among all that equal it: a compiled backward pass that computes x anew
        # in another precision finds none, and divides by zero
        summary = torch.stack((x.mean(dim=1), x.max(dim=1).values), dim=1)  # (B, 2, H, W)
        return x * torch.sigmoid(self.conv(summary))


class ConvBlock(nn.Module):
    """3x3 convolutions with a skip, attention to channels and positions, and a halving of height and width.

    (B, in_channels, H, W) -> (B, out_channels, H // 2, W // 2). `body[-2]` is the last convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        convs: int,
        *,
        channel_attention: bool,
        spatial_attention: bool,
        reduction: int,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(convs):
            layers += [
                nn.Conv2d(in_channels if index == 0 else out_channels, out_channels, 3, padding=1),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers[:-1])  # the last ReLU comes after the sum
        self.skip = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.attention = SqueezeExcite(out_channels, reduction) if channel_attention else nn.Identity()
        self.spatial = SpatialAttention() if spatial_attention else nn.Identity()
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.body(x) + self.skip(x))
        return self.pool(self.spatial(self.attention(x)))


class FERModel(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="fer-model",
    license="mit",
    pipeline_tag="image-classification",
    tags=["facial-expression-recognition", "fer2013", "pytorch"],
):
    """Facial-expression network: images (B, 3, S, S) in [-1, 1] -> logits (B, 6), or (B, 7) with neutral.

    S is `input_size`: 64 pixels, and 48, as many as FER2013's own images have, from V3 on.
    `FERModel(version="v2", classes=6)` builds an untrained network; `class_names` are its classes, in the
    order of its logits. Its weights depend on `seed` alone: in V1 and V2
    convolutions He-normal (He et al. 2015, fan-out), fully connected layers Glorot-uniform
    (Glorot & Bengio 2010), biases 0; in V3 weights and biases uniform within 1 / sqrt(fan-in), which is
    torch's default. Before BatchNorm the size of weights changes nothing but how far a step of SGD moves
    them, and He's, two to three times as large, moved little. BatchNorm scale 1 and shift 0 in all; spatial
    attention begins at 0, the same for all positions.

    `FERModel.from_pretrained(folder_or_hub_id)` loads a trained one, in evaluation mode;
    `save_pretrained` and `push_to_hub` write `config.json`, `model.safetensors` and `README.md`.

    Raises:
        ModelError: for a version that does not exist.
        ValueError: for a number of classes that is neither 6 nor 7.
    """

    def __init__(self, version: str = "v2", seed: int = 0, classes: int = len(EMOTIONS)):
        super().__init__()
        if version not in CONFIGS:
            raise ModelError(f"There is no version {version!r}; the versions are {', '.join(CONFIGS)}.")
        architecture = CONFIGS[version].architecture
        self.version = version
        self.class_names = class_names(classes)
        self.input_size = architecture.input_size
        channels = (3, *architecture.filters)
        self.depth = len(architecture.filters)
        for index, convs in enumerate(architecture.convs):
            block = ConvBlock(
                channels[index],
                channels[index + 1],
                convs,
                channel_attention=architecture.channel_attention,
                spatial_attention=architecture.spatial_attention,
                reduction=architecture.reduction,
            )
            self.add_module(f"block{index + 1}", block)
        self.classifier = nn.Sequential(
            nn.Linear(channels[-1], architecture.hidden),
            nn.ReLU(),
            nn.Dropout(architecture.dropout),
            nn.Linear(architecture.hidden, classes),
        )
        self._initialise(seed, architecture.initial)
        self.set_calibration(temperature=1.0, unsure_below=0.5)

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for index in range(self.depth):
            x = self.get_submodule(f"block{index + 1}")(x)
        return self.classifier(x.mean(dim=(2, 3)))

    @property
    def grad_cam_layer(self) -> nn.Conv2d:
        """The last convolution of the last block: `block4.body[-2]` of V2, `block3.body[-2]` of V1."""
        return self.get_submodule(f"block{self.depth}").body[-2]

    @torch.no_grad()
    def centre_grad_cam_layer(self) -> None:
        """Give the Grad-CAM layer's output the zero of the BatchNorm behind it. No answer changes.

        BatchNorm takes out again whatever constant the bias of the convolution before it adds, so the bias is
        arbitrary, and training leaves it about where it began. Grad-CAM sums the convolution's output with that
        constant in it, and cuts the sum at zero: of V3's heat maps for smiles, two thirds were empty. Here bias and
        running mean move together until BatchNorm only scales, y = (gamma / sigma) x, with gamma its weight and
        sigma the root of its running variance. The map of the convolution is then that of BatchNorm's output.

        Channels that BatchNorm all but closes, |gamma| < 0.01, stay as they are. Training does this to what it saves.
        """
        convolution, norm = self.get_submodule(f"block{self.depth}").body[-2:]
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        mean = torch.where(norm.weight.abs() >= 0.01, norm.bias / scale, norm.running_mean)
        convolution.bias += mean - norm.running_mean
        norm.running_mean.copy_(mean)

    def finished(self) -> "FERModel":
        """A copy as training saves it: with the same answers, and the Grad-CAM layer centred."""
        with torch.random.fork_rng(devices=()):  # torch draws weights before ours replace them
            copy = FERModel(self.version, classes=len(self.class_names))
        copy.load_state_dict(self.state_dict())
        copy.set_calibration(self.temperature, self.unsure_below)
        copy.centre_grad_cam_layer()
        return copy

    def _initialise(self, seed: int, kind: str) -> None:
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if not isinstance(module, nn.Conv2d | nn.Linear):
                continue
            if kind == "uniform":
                bound = module.weight[0].numel() ** -0.5
                nn.init.uniform_(module.weight, -bound, bound, generator=generator)
                if module.bias is not None:
                    nn.init.uniform_(module.bias, -bound, bound, generator=generator)
                continue
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            else:
                nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, SpatialAttention):
                # 49 random taps over maps without a negative value would open or close it everywhere at once
                nn.init.zeros_(module.conv.weight)

    def set_calibration(self, temperature: float, unsure_below: float) -> None:
        """What `probabilities` divides logits by, and the highest probability below which an answer is unsure.

        Both go into config.json. `fer_model.calibration` fits them; 1 and 0.5 are the unfitted defaults.
        """
        self.temperature, self.unsure_below = temperature, unsure_below
        # what save_pretrained writes to config.json
        calibration = {"temperature": temperature, "unsure_below": unsure_below}
        self._hub_mixin_config = describe(self.version, self.class_names) | calibration

    def probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities of logits, both (B, classes): softmax(logits / temperature)."""
        return (logits / self.temperature).softmax(dim=1)

    @property
    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def generate_model_card(
        self, *, folder: str = ".", repo_id: str | None = None, wheel: str | None = None
    ) -> ModelCard:
        """A card without results: a bare network does not know how it was trained or measured."""
        options = {"emotions": self.class_names, "folder": folder, "repo_id": repo_id, "wheel": wheel}
        return ModelCard(card.render(self.version, self.parameter_count, **options))

    def _save_pretrained(self, save_directory: Path) -> None:
        state = {name: tensor.detach().contiguous().cpu() for name, tensor in self.state_dict().items()}
        save_file(state, save_directory / WEIGHTS_FILE, metadata={"format": "pt"})
        # A card that is there may describe other weights: its generated sections must not stay.
        readme = save_directory / "README.md"
        old = readme.read_text(encoding="utf-8") if readme.is_file() else ""
        new = self.generate_model_card(folder=save_directory.as_posix()).content
        readme.write_text(card.merged(old, new), encoding="utf-8")

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Push model",
        private: bool | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
        config: dict | None = None,
        model_card_kwargs: dict | None = None,
        **upload_options,
    ) -> str:
        """Upload config, weights and card, creating the repository if need be.

        The mixin's own would replace the card on the Hub; this one keeps what people wrote in it and renews
        only the generated sections. `fer_model.hub.push_folder` also sends figures and the package.

        Args:
            branch: where to (default: main). upload_options: more for `HfApi.upload_folder`.
            config, model_card_kwargs: the mixin's `save_pretrained` passes them; both are fixed here.

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
            (folder / "README.md").write_text(card.merged(old, new), encoding="utf-8", newline="")
            return api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                commit_message=commit_message,
                revision=branch,
                create_pr=create_pr,
                parent_commit=head,
                **upload_options,
            )

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
    ) -> "FERModel":
        """A trained network in evaluation mode, on the CPU, in float32.

        Stricter than the mixin's own, which loads what fits and leaves the rest random, and falls
        back to a pickle: here every weight must be there, and only safetensors are read.

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
    """`config.json` as a dict, checked against what this code can build."""
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


def _check_weights(model: FERModel, weights: dict[str, Tensor], source: str) -> None:
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
