"""How fast training is on a GPU, and how close to the CPU's: the parts of scripts/gpu_check.py."""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from fer_model.configs import CONFIGS, Augmentation, Recipe
from fer_model.data.dataset import FERData, batches, shuffled
from fer_model.evaluation.predict import progress_bar
from fer_model.model.network import FERModel
from fer_model.training.distillation import TeacherTargets
from fer_model.training.fit import make_accelerator
from fer_model.training.optim import AUTO_BATCH, for_batch, make_average, make_optimizer, make_schedule
from fer_model.training.step import Step, forward_flops, train_epoch

V4 = CONFIGS["v4"]

IMAGES = 30_000
"""How many have votes in `step_of`: more than the training set has."""


def step_of(device: torch.device, recipe: Recipe, size: int, *, captured: bool = True, bf16: bool = True) -> Step:
    """A step of V4 as a training takes it. It learns from votes too; here every image has the same ones."""
    model = FERModel("v4", seed=0, classes=V4.classes).to(device).to(memory_format=torch.channels_last)
    if bf16:
        # as Accelerate does it
        model.forward = torch.autocast(device.type, torch.bfloat16)(model.forward)  # type: ignore[method-assign]
    optimizer = make_optimizer(model, recipe, fused=device.type == "cuda")
    schedule, average = make_schedule(optimizer, recipe, 1000), make_average(model, recipe)
    taught = TeacherTargets(torch.full((IMAGES, V4.classes), 1 / V4.classes, device=device), V4.votes or 0.5)
    weights = torch.ones(V4.classes, device=device)
    captured = captured and device.type == "cuda"
    step = Step(model, optimizer, schedule, average, weights, recipe, size, torch.channels_last, taught, captured)
    model.train()
    return step


def measure_peak(device: torch.device, tiny: bool, train: FERData) -> dict:
    """How fast the device multiplies bfloat16 matrices and copies, at best: medians of ten."""
    size = 256 if tiny else 8192
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    target = torch.empty_like(left)
    multiplying = [seconds(lambda: torch.matmul(left, right, out=target), device) for _ in range(12)][2:]
    large = torch.empty(8 * size * size, dtype=torch.int32, device=device).random_()
    other = torch.empty_like(large)
    copying = [seconds(lambda: other.copy_(large), device) for _ in range(12)][2:]
    return {
        "matmul_tflops": 2 * size**3 / statistics.median(multiplying) / 1e12,
        "copy_tb_per_second": 2 * large.nbytes / statistics.median(copying) / 1e12,
    }


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long the device takes for some work."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    started = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - started


def measure_correct(device: torch.device, tiny: bool, train: FERData) -> dict:
    """The first gradients and the losses of 20 steps, beside those of the CPU in float32, with nothing random."""
    count, steps, size = (8, 3, 16) if tiny else (64, 20, 48)
    still = Augmentation(flip=0, rotation=0, translation=0)
    recipe = replace(V4.recipe, batch_size=count, augmentation=still, lr=0.01)
    torch.backends.cudnn.allow_tf32 = False
    truth = "cpu, float32"
    ways: dict[str, dict] = {
        truth: {"captured": False, "bf16": False},
        "eager, float32": {"captured": False, "bf16": False},
        "captured, float32": {"bf16": False},
        "captured, bfloat16": {},
    }
    accelerator = accelerator_here()
    losses: dict[str, Tensor] = {}
    gradients: dict[str, Tensor] = {}
    for name, options in ways.items():
        step = step_of(torch.device("cpu") if name == truth else device, recipe, size, **options)
        for module in step.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        data, places = train.to(step.weights.device), torch.arange(steps * count, device=step.weights.device)
        remember = partial(_remember_gradients, gradients, name)
        step.optimizer.register_step_pre_hook(remember)
        seen = [
            step(data.images[some], data.labels[some], some, accelerator)[0].mean()
            for some in places.remainder(len(train)).split(count)
        ]
        losses[name] = torch.stack(seen).cpu()
    return {
        name: {
            "gradients_apart": float((gradients[name] - gradients[truth]).norm() / gradients[truth].norm()),
            "losses_apart": float(((losses[name] - losses[truth]) / losses[truth]).abs().max()),
            "losses": [round(value, 5) for value in losses[name].tolist()],
        }
        for name in ways
    }


def _remember_gradients(gradients: dict[str, Tensor], name: str, optimizer: torch.optim.Optimizer, *_: object) -> None:
    """Those of the first step, just before the optimizer takes it."""
    if name not in gradients:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients[name] = torch.cat([p.grad.detach().flatten().cpu() for p in parameters])


def measure_speed(
    device: torch.device, tiny: bool, train: FERData, kinds: tuple = ((48, AUTO_BATCH), (32, AUTO_BATCH))
) -> dict:
    """Images a second, as training was before and as it is now.

    Before, steps were not recorded, mini-batches were copied, and answers were gathered in each step.
    """
    rows: list[dict] = []
    for size, count in ((16, 8),) if tiny else kinds:
        recipe = for_batch(V4.recipe, count)
        before, now = _epoch_before(device, recipe, size, train), _epoch_now(device, recipe, size, train)
        times: dict = {"before": [], "now": []}
        for _ in range(4):
            for name, epoch in (("before", before), ("now", now)):
                times[name].append(seconds(epoch, device))
        rate = {name: len(train) / statistics.median(values[1:]) for name, values in times.items()}  # first: compiles
        flops = 3 * forward_flops(FERModel("v4", classes=V4.classes), size)
        rows.append({"size": size, "batch_size": count, **rate, "now_tflops": rate["now"] * flops / 1e12})
        print(json.dumps({"rows": rows}), flush=True)  # what there is, should time run out
    return {"rows": rows}


def measure_more(device: torch.device, tiny: bool, train: FERData) -> dict:
    """`measure_speed` with other mini-batches."""
    return measure_speed(device, tiny, train, ((48, 1024), (48, 64)))


def _epoch_now(device: torch.device, recipe: Recipe, size: int, train: FERData) -> Callable:
    accelerator, step, data = accelerator_here(), step_of(device, recipe, size), train.to(device)
    loader = shuffled(len(train), recipe.batch_size)
    return lambda: train_epoch(step, data, loader, accelerator, "now")


def _epoch_before(device: torch.device, recipe: Recipe, size: int, train: FERData) -> Callable:
    """As training was until commit 130e7e0."""
    accelerator, step = accelerator_here(), step_of(device, recipe, size, captured=False)
    step.optimizer = make_optimizer(step.model, recipe)  # not fused
    step.schedule = make_schedule(step.optimizer, recipe, 1000)
    loader = accelerator.prepare(batches(train, recipe.batch_size))

    def epoch() -> Tensor:
        seen = []
        for faces, labels, indices in progress_bar(loader, "before", accelerator):
            seen.append(accelerator.gather_for_metrics(step(faces, labels, indices, accelerator).T))
        return torch.cat(seen).cpu()

    return epoch


def accelerator_here() -> Accelerator:
    return make_accelerator(Path(tempfile.gettempdir()), 0)


def measure_profile(device: torch.device, tiny: bool, train: FERData) -> dict:
    """Where the time of ten steps goes, kernel by kernel, and whether a step ever waits for the device."""
    size, count = (16, 8) if tiny else (48, AUTO_BATCH)
    accelerator = accelerator_here()
    step, data = step_of(device, for_batch(V4.recipe, count), size), train.to(device)
    some = torch.arange(count, device=device)

    def ten_steps() -> None:
        for _ in range(10):
            step(data.images[some], data.labels[some], some, accelerator)

    ten_steps()
    waits = "not on a CPU"
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
        ten_steps()
        torch.cuda.set_sync_debug_mode("default")
        waits = "never"
    plain = seconds(ten_steps, device)
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=kinds) as profiled:
        seconds(ten_steps, device)
    key = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    times = seconds_on(device, profiled.key_averages(), key)
    top = sorted(times.items(), key=lambda item: -item[1])[:25]
    return {
        "waits": waits,
        "milliseconds_of_a_step": 100 * plain,
        "busy_share": sum(times.values()) / plain,  # what is missing are gaps between kernels
        "table": profiled.key_averages().table(sort_by=key, row_limit=60),
        "top": [{"kernel": name[:120], "share": round(value / sum(times.values()), 4)} for name, value in top],
    }


def seconds_on(device: torch.device, events: Iterable, key: str) -> dict[str, float]:
    """What ran on the device, and for how long.

    On CUDA the profiler also lists each operation of the processor with the time of the kernels that it has started.
    """
    kind = DeviceType.CUDA if device.type == "cuda" else DeviceType.CPU
    own = [event for event in events if event.device_type == kind and not event.is_user_annotation]
    return {event.key: getattr(event, key) / 1e6 for event in own}
