"""The network, top to bottom: attention, block, model. What the Hub needs of it is in `pretrained`."""

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from fer_model.configs import CONFIGS
from fer_model.errors import ModelError
from fer_model.labels import EMOTIONS, class_names
from fer_model.model.pretrained import Pretrained


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
        # not amax, which shares its gradient among all values equal to it: a compiled backward pass computes x anew in
        # another precision, finds none, and divides by zero
        summary = torch.stack((x.mean(dim=1), x.max(dim=1).values), dim=1)  # (B, 2, H, W)
        return x * torch.sigmoid(self.conv(summary))


class ConvBlock(nn.Module):
    """3x3 convolutions with a skip, attention over channels and positions, and a halving of height and width.

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
    Pretrained,
    library_name="fer-model",
    license="mit",
    pipeline_tag="image-classification",
    tags=["facial-expression-recognition", "fer2013", "pytorch"],
):
    """Facial-expression network: images (B, 3, S, S) in [-1, 1] -> logits (B, 6), or (B, 7) with neutral.

    S is `input_size`: 64 pixels for V1 and V2, and 48 for V3, the size of FER2013's own images.
    `FERModel(version="v2", classes=6)` builds an untrained network. `class_names` are its classes, in the order of
    its logits. `FERModel.from_pretrained(folder_or_hub_id)` loads a trained one, in evaluation mode.
    `save_pretrained` and `push_to_hub` write `config.json`, `model.safetensors` and `README.md`.

    The first weights depend on `seed` alone. In V1 and V2 convolutions are He-normal (He et al. 2015, fan-out), fully
    connected layers Glorot-uniform (Glorot & Bengio 2010), and biases 0. In V3 weights and biases are uniform within
    1 / sqrt(fan-in), torch's default. Before BatchNorm the size of weights only decides how far a step of SGD moves
    them; He's are two to three times as large, and moved little. BatchNorm begins at scale 1 and shift 0, and spatial
    attention at 0, the same for all positions.

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
        block: Any = self.get_submodule(f"block{self.depth}")
        return block.body[-2]

    @torch.no_grad()
    def centre_grad_cam_layer(self) -> None:
        """Give the Grad-CAM layer's output the zero of the BatchNorm behind it. No answer changes.

        BatchNorm removes whatever constant the convolution's bias adds, so the bias is arbitrary, and training leaves
        it about where it began. Grad-CAM sums the convolution's output with that constant, and cuts the sum at zero:
        two thirds of V3's heat maps for smiles were empty. Here bias and running mean move together until BatchNorm
        only scales, y = (gamma / sigma) x, with gamma its weight and sigma the root of its running variance. The map
        of the convolution is then that of BatchNorm's output.

        Channels that BatchNorm almost closes, |gamma| < 0.01, stay as they are. Training saves all models so.
        """
        block: Any = self.get_submodule(f"block{self.depth}")
        convolution, norm = block.body[-2:]
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        mean = torch.where(norm.weight.abs() >= 0.01, norm.bias / scale, norm.running_mean)
        convolution.bias += mean - norm.running_mean
        norm.running_mean.copy_(mean)

    def for_release(self) -> "FERModel":
        """A copy as training saves it, with the same answers and the Grad-CAM layer centred."""
        with torch.random.fork_rng(devices=()):  # torch draws weights before ours replace them
            copy = FERModel(self.version, classes=len(self.class_names))
        copy.load_state_dict(self.state_dict())
        copy.set_calibration(self.temperature, self.unsure_below, self.crowd_temperature)
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
                # 49 random weights over maps without a negative value would open or close it everywhere
                nn.init.zeros_(module.conv.weight)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities of logits, both (B, classes): softmax(logits / temperature)."""
        return (logits / self.temperature).softmax(dim=1)

    def crowd_shares(self, logits: Tensor) -> Tensor | None:
        """The shares of people who would give each answer, (B, classes); None if no votes were learned from."""
        return None if self.crowd_temperature is None else (logits / self.crowd_temperature).softmax(dim=1)

    def digest(self) -> str:
        """SHA-256 over the names and values of all weights, and the calibration. Equal models have the same."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        if (self.temperature, self.unsure_below) != (1.0, 0.5):
            digest.update(repr((self.temperature, self.unsure_below)).encode())
        if self.crowd_temperature is not None:
            digest.update(repr(self.crowd_temperature).encode())
        return digest.hexdigest()
