"""What can be told of a network without running it on data: which weights it has, and what a pass costs."""

import hashlib

import torch
from torch.utils.flop_counter import FlopCounterMode

from fer_model.model.network import FERModel


def weights_digest(model: FERModel) -> str:
    """SHA-256 over names and values of all weights, and the calibration; of equal models the same in any file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    if (model.temperature, model.unsure_below) != (1.0, 0.5):
        digest.update(repr((model.temperature, model.unsure_below)).encode())
    return digest.hexdigest()


def forward_flops(model: FERModel, size: int) -> int:
    """Floating-point operations of one image's way through the network, as torch counts them."""
    training = model.training
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, size, size))
    model.train(training)
    return counter.get_total_flops()
