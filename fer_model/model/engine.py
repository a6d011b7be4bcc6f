"""A network's answers, by the fastest way that the machine has: ONNX Runtime on a CPU, else PyTorch.

Same answers: logits and heat maps differ by less than 1e-3 (tests/model/test_engine.py).
"""

import os
import threading
import weakref
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fer_model.errors import ModelError
from fer_model.model.export import for_engine
from fer_model.model.folded import Folded
from fer_model.model.gradcam import explain, shown_method
from fer_model.model.network import FERModel

MANY = 8
"""From so many faces on, PyTorch is as fast for maps of an earlier block, whose derivatives pass the last one."""


def has_onnx_runtime() -> bool:
    """Are onnxruntime and onnx, which prepares its files, installed?"""
    return all(find_spec(name) for name in ("onnxruntime", "onnx"))


class Session:
    """An ONNX file in ONNX Runtime, on the CPU, with as many threads as PyTorch has. Threads may share it.

    It is loaded when it is first run, and again in a process that was forked since or that it was sent to.

    Args:
        content: gives the file's bytes.
    """

    def __init__(self, content: Callable[[], bytes]):
        self._content = content
        self._forget()
        _sessions.add(self)

    def __reduce__(self) -> tuple:
        return Session, (self._content,)

    def _forget(self) -> None:
        self._loading, self._loaded = threading.Lock(), None

    def run(self, array: np.ndarray) -> list[np.ndarray]:
        """The only input -> all outputs, in their order."""
        session = self._session()
        return session.run(None, {session.get_inputs()[0].name: array})

    def _session(self) -> Any:
        with self._loading:
            if self._loaded is None:
                import onnxruntime

                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = torch.get_num_threads()
                # threads that wait for work would take the cores from other requests
                options.add_session_config_entry("session.intra_op.allow_spinning", "0")
                options.log_severity_level = 3  # errors; it warns of what it removes from a graph
                self._loaded = onnxruntime.InferenceSession(
                    self._content(), options, providers=["CPUExecutionProvider"]
                )
            return self._loaded


_sessions: "weakref.WeakSet[Session]" = weakref.WeakSet()
_of_parents: list[Any] = []


def _settle_after_fork() -> None:
    """Make what was copied work in a forked process. No threads are copied, and whoever asks them waits for ever.

    PyTorch gets one thread, as in a DataLoader's workers. Sessions are loaded anew. Those of the parent are kept for
    good, for to delete one is to wait for its threads.
    """
    for session in _sessions:
        torch.set_num_threads(1)
        _of_parents.append(session._loaded)
        session._forget()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_settle_after_fork)


def placed(model: FERModel, device: str | torch.device | None) -> tuple[FERModel, torch.device]:
    """The model in evaluation mode, in float32, on a device, by default the GPU if there is one.

    Raises:
        ModelError: the device is not there, or cannot hold the model.
        TypeError: `model` is no `FERModel`.
    """
    if not isinstance(model, FERModel):
        raise TypeError(
            f"A {type(model).__name__} is no FERModel; use FERPipeline.from_pretrained for a folder or Hub id, and "
            "what a wrapper holds (`.module`, `._orig_mod`)."
        )
    try:
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return model.eval().to(where, torch.float32), where
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch's own kinds, by device
        reason = str(error).splitlines()[0]
        raise ModelError(f"The model cannot be put onto the device {str(device)!r} ({reason}).") from error


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device.

    Raises:
        ModelError: this process was forked from one that has used the GPU.
    """
    try:
        return tensor.to(device)
    except RuntimeError as error:
        if "forked" not in str(error):
            raise
        raise ModelError(
            "A forked process cannot use the GPU of its parent; start it with multiprocessing's method spawn, or make "
            "the pipeline in it."
        ) from error


class Engine:
    """Logits and heat maps of a network in evaluation mode. Threads may share it.

    On a CPU it takes the weights as they are at the first answer.

    Args:
        onnx_runtime: use it on a CPU; by default where it is installed.
    """

    def __init__(self, model: FERModel, onnx_runtime: bool | None = None):
        self.model = model
        on_cpu = next(model.parameters()).device.type == "cpu"
        self.onnx_runtime = on_cpu and (has_onnx_runtime() if onnx_runtime is None else onnx_runtime)
        self._sessions = {maps: Session(partial(for_engine, model, maps)) for maps in (False, True)}
        self._folded: Folded | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S), as the network takes them -> logits float32 (B, classes)."""
        if self.onnx_runtime:
            (logits,) = self._sessions[False].run(images.numpy())
            return torch.from_numpy(logits)
        with torch.inference_mode():
            return self.model(images).float()

    def explain(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """As `gradcam.explain` with the method that is shown of this model."""
        many = len(images) >= MANY and shown_method(self.model).layer in ("previous", "earlier")
        if self.onnx_runtime and not many:
            logits, maps = self._sessions[True].run(images.numpy())
            return torch.from_numpy(logits), torch.from_numpy(maps)
        if images.device.type != "cpu" or many:
            return explain(self.model, images)
        if self._folded is None:
            self._folded = Folded(self.model)
        with torch.inference_mode():
            return self._folded(images)
