"""A network for answers only: BatchNorm inside its convolutions, and heat maps as plain tensor operations.

`Folded(model)` answers as `gradcam.explain(model, …)` does, in less time, and can be exported, because it needs no
autograd. Its derivatives are written out, of all classes at once. That of a convolution is a convolution with turned
weights. Those of ReLU, maximum and max-pooling are masks, which the classes share.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_model.model.gradcam import Method, scaled, shown_method
from fer_model.model.network import ConvBlock, FERModel, SpatialAttention, SqueezeExcite

_LAYERS_FROM_END = ("last", "previous", "earlier")  # of gradcam.LAYERS, without "convolution"


class Folded(nn.Module):
    """Images float32 (B, 3, S, S) -> logits (B, classes) and every class's map (B, classes, S, S), as `explain` gives.

    S is the model's `input_size`. The model stays as it is, and later changes of its weights do not come here. Threads
    may share it.

    Args:
        method: of the heat maps; by default the one that is shown of this model.
    """

    def __init__(self, model: FERModel, method: Method | None = None):
        super().__init__()
        self.method = method or shown_method(model)
        blocks: list[Any] = [model.get_submodule(f"block{index + 1}") for index in range(model.depth)]
        # how many blocks lie behind the layer
        self.behind = 0 if self.method.layer == "convolution" else _LAYERS_FROM_END.index(self.method.layer)
        differentiated = blocks[len(blocks) - self.behind :]
        self.blocks: Any = nn.ModuleList(_Block(block, turned=block in differentiated) for block in blocks)
        self.classifier = copy.deepcopy(model.classifier)
        scale, shift = _scale_and_shift(blocks[-1].body[-1])
        self.sign, self.shift = nn.Parameter(scale.sign()[:, None, None]), nn.Parameter(shift[:, None, None])
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x, kept = self._through_blocks(images)
        hidden = self.classifier[0](x).relu()
        last = self.classifier[-1]
        logits = last(hidden)
        # by the last block's pooled output: the same at each of its positions
        gradients = (last.weight * (hidden > 0)[:, None]) @ self.classifier[0].weight
        height, width = kept[-1].output.shape[2:]
        gradients = gradients[..., None, None] / (height // 2 * (width // 2))
        gradients = _before_pooling(gradients, kept[-1].output)
        for index in range(self.behind):
            gradients = self.blocks[-1 - index].back(gradients, kept[-1 - index])
            gradients = _before_pooling(gradients, kept[-2 - index].output)
        activations = kept[-1 - self.behind].output
        if self.method.layer == "convolution":
            # folded, it gives s x + t where it gave x; derivatives by that are 1 / s of those by x. Their product is
            # the same without t, and this divides by no small s
            activations = self.sign * (kept[-1].last - self.shift)
            gradients = self.sign * self.blocks[-1].back_to_sum(gradients, kept[-1])
        return logits, scaled(_maps(activations, gradients, self.method.weighting), images.shape[-2:])

    def logits(self, images: Tensor) -> Tensor:
        """Without heat maps."""
        return self.classifier(self._through_blocks(images)[0])

    def _through_blocks(self, images: Tensor) -> "tuple[Tensor, list[_Kept]]":
        """The means of the last block's channels, (B, K), and what derivatives need of each block."""
        x, kept = images, []
        for block in self.blocks:
            kept.append(block(x))
            x = F.max_pool2d(kept[-1].output, 2)
        return x.mean(dim=(2, 3)), kept


def _maps(activations: Tensor, gradients: Tensor, weighting: str) -> Tensor:
    """Unscaled maps (B, classes, h, w) by a name in `gradcam.WEIGHTINGS`."""
    if weighting == "mean":
        gradients = gradients.mean(dim=(3, 4), keepdim=True)
    elif weighting == "positive":
        gradients = gradients.relu()
    return (gradients * activations[:, None]).sum(dim=2).relu()


@dataclass
class _Kept:
    """What derivatives need of a block's way forward."""

    inner: list[Tensor]  # what the ReLUs inside the body gave
    last: Tensor  # what the body's last convolution gave, with BatchNorm
    sum: Tensor  # with the skip connection, and ReLU
    attended: Tensor  # behind the attention over channels
    output: Tensor  # behind that over positions; not pooled yet


class _Block(nn.Module):
    """A `ConvBlock` without its pooling. Gradients are (B, classes, channels, H, W)."""

    def __init__(self, block: ConvBlock, turned: bool):
        super().__init__()
        layers: list[Any] = list(block.body)
        self.body = nn.ModuleList(map(folded, layers[0::3], layers[1::3]))
        self.skip = folded(*block.skip)
        self.attention, self.spatial = copy.deepcopy(block.attention), copy.deepcopy(block.spatial)
        self.turned = nn.ParameterList(_turned(layer) for layer in (*self.body, self.skip) if turned)
        if isinstance(self.spatial, SpatialAttention):
            self.turned_spatial = nn.Parameter(_turned(self.spatial.conv))

    def forward(self, x: Tensor) -> _Kept:
        inner = [x]
        for convolution in self.body[:-1]:
            inner.append(convolution(inner[-1]).relu())
        last = self.body[-1](inner[-1])
        sum = (last + self.skip(x)).relu()
        attended = self.attention(sum)
        return _Kept(inner[1:], last, sum, attended, self.spatial(attended))

    def back_to_sum(self, gradients: Tensor, kept: _Kept) -> Tensor:
        """By the output -> by the sum that ReLU sees, which is that by the body's last convolution too."""
        if isinstance(self.spatial, SpatialAttention):
            gradients = _back_through_positions(self.spatial, self.turned_spatial, gradients, kept.attended)
        if isinstance(self.attention, SqueezeExcite):
            gradients = _back_through_channels(self.attention, gradients, kept.sum)
        return gradients * (kept.sum > 0)[:, None]

    def back(self, gradients: Tensor, kept: _Kept) -> Tensor:
        """By the output -> by the input."""
        *body, skip = self.turned
        gradients = back_at_sum = self.back_to_sum(gradients, kept)
        for turned, inner in zip(body[:0:-1], kept.inner[::-1], strict=True):
            gradients = _back(gradients, turned) * (inner > 0)[:, None]
        return _back(gradients, body[0]) + _back(back_at_sum, skip)


@torch.no_grad()
def folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution that gives what both give, one after the other, in evaluation mode. Both stay as they are."""
    scale, shift = _scale_and_shift(norm)
    size = int(convolution.kernel_size[0])
    # on no device, because drawing weights takes longer than what follows
    both = nn.Conv2d(convolution.in_channels, convolution.out_channels, size, padding=size // 2, device="meta")
    both.weight = nn.Parameter(convolution.weight * scale[:, None, None, None])
    both.bias = nn.Parameter(shift if convolution.bias is None else shift + scale * convolution.bias)
    return both


@torch.no_grad()
def _scale_and_shift(norm: Any) -> tuple[Tensor, Tensor]:
    """s and t, each (channels,): in evaluation mode a BatchNorm2d is s x + t."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - scale * norm.running_mean


def _turned(convolution: nn.Conv2d) -> Tensor:
    return convolution.weight.flip(2, 3).transpose(0, 1).contiguous()


def _back(gradients: Tensor, turned: Tensor) -> Tensor:
    """By a convolution's output -> by its input."""
    through = F.conv2d(gradients.flatten(0, 1), turned, padding="same")
    return through.unflatten(0, (-1, gradients.shape[1]))


def _before_pooling(gradients: Tensor, x: Tensor) -> Tensor:
    """By what max-pooling gave, (B, classes, K, h or 1, w or 1), -> by what it got, x (B, K, 2 h, 2 w).

    All of it goes to the largest of four values; the first of them, if several are.
    """
    windows = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # (B, K, h, 2, w, 2)
    order = torch.arange(4, 0, -1, device=x.device).view(2, 1, 2)
    rank = (windows == windows.amax(dim=(3, 5), keepdim=True)) * order
    first = rank == rank.amax(dim=(3, 5), keepdim=True)
    spread = gradients[:, :, :, :, None, :, None] * first[:, None]
    return spread.flatten(5, 6).flatten(3, 4)


def _back_through_channels(attention: SqueezeExcite, gradients: Tensor, x: Tensor) -> Tensor:
    hidden = attention.squeeze(x.mean(dim=(2, 3))).relu()
    weights = attention.excite(hidden).sigmoid()  # (B, K)
    by_weights = (gradients * x[:, None]).sum(dim=(3, 4))  # (B, classes, K)
    by_excite = by_weights * (weights * (1 - weights))[:, None]
    by_means = ((by_excite @ attention.excite.weight) * (hidden > 0)[:, None]) @ attention.squeeze.weight
    through_means = by_means / (x.shape[2] * x.shape[3])
    return gradients * weights[:, None, :, None, None] + through_means[..., None, None]


def _back_through_positions(spatial: SpatialAttention, turned: Tensor, gradients: Tensor, x: Tensor) -> Tensor:
    largest = x.amax(dim=1, keepdim=True)
    weights = spatial.conv(torch.cat((x.mean(dim=1, keepdim=True), largest), dim=1)).sigmoid()  # (B, 1, H, W)
    by_weights = (gradients * x[:, None]).sum(dim=2, keepdim=True)  # (B, classes, 1, H, W)
    by_summary = _back(by_weights * (weights * (1 - weights))[:, None], turned)
    by_mean, by_largest = by_summary[:, :, :1], by_summary[:, :, 1:]  # each (B, classes, 1, H, W)
    # values that are equal are 0, and go no further
    return gradients * weights[:, None] + by_mean / x.shape[1] + by_largest * (x == largest)[:, None]
