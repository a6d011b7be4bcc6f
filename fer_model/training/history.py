"""What a run records, and how far it is."""

from dataclasses import asdict, dataclass, field

from accelerate import Accelerator
from torch import Tensor

from fer_model.configs import Recipe
from fer_model.data.dataset import FERData, fingerprint
from fer_model.machine import environment
from fer_model.model.calibration import calibrate
from fer_model.model.network import FERModel
from fer_model.records import About, Ancestry, Epoch, History, Settings
from fer_model.runs import Run, write_json
from fer_model.training.distillation import Crowd, Teachers
from fer_model.training.warm_start import Start

HEADER = (
    f"{'epoch':>5} {'train loss':>11} {'train acc':>10} {'val loss':>9} {'val acc':>8} {'val recall':>11} "
    f"{'seconds':>8} {'images/s':>9}"
)


@dataclass
class Best:
    """The best network so far, and its answers to the validation images, until both are written as the result.

    On a GPU an epoch may take less time than writing does, so several epochs share one checkpoint.
    """

    model: FERModel
    logits: Tensor | None = None
    labels: Tensor | None = None
    written: bool = True

    def take(self, model: FERModel, logits: Tensor, labels: Tensor) -> None:
        """Copy the network as it is now."""
        self.model.load_state_dict(model.state_dict())
        self.logits, self.labels, self.written = logits, labels, False

    def released(self) -> FERModel:
        """The network as training saves it: for release, and calibrated."""
        result = self.model.for_release()
        if self.logits is not None and self.labels is not None:
            calibrate(result, self.logits, self.labels)
        return result


@dataclass
class Progress:
    """How far a run is. Every checkpoint holds it, by the two methods that Accelerate asks for."""

    recipe: Recipe
    epochs: list[Epoch] = field(default_factory=list)
    best: Best | None = None

    def state_dict(self) -> dict:
        best = self.best and {"model": self.best.model.state_dict(), "answers": (self.best.logits, self.best.labels)}
        return {"epochs": self.epochs, "best": best}

    def load_state_dict(self, state: dict) -> None:
        self.epochs = state["epochs"]
        if self.best and (saved := state.get("best")):  # older checkpoints have none
            self.best.model.load_state_dict(saved["model"])
            self.best.logits, self.best.labels = saved["answers"]

    @property
    def best_epoch(self) -> int:
        """The first epoch with the highest validation accuracy, counted from 1; 0 before any.

        Epochs at the recipe's last image size come before all others. A network that was trained on smaller images
        than it is validated on has a validation accuracy without meaning.
        """
        if not self.epochs:
            return 0
        last = self.recipe.last_size
        return max(self.epochs, key=lambda row: (row["size"] == last, row["validation_accuracy"]))["epoch"]

    def waited(self) -> int:
        """How many epochs ago the best one was."""
        return len(self.epochs) - self.best_epoch

    @property
    def stopped(self) -> str | None:
        """Why training is over; None while it is not."""
        at_last_size = bool(self.epochs) and self.epochs[-1]["size"] == self.recipe.last_size
        if at_last_size and self.waited() >= self.recipe.patience:
            return f"no better validation accuracy for {self.recipe.patience} epochs"
        if len(self.epochs) >= self.recipe.epochs:
            return f"{self.recipe.epochs} epochs done"
        return None


def history_of(settings: Settings, progress: Progress, origin: Ancestry) -> History:
    """What history.json holds."""
    return {
        "run": settings,
        "epochs": progress.epochs,
        "best_epoch": progress.best_epoch,
        "stopped": progress.stopped,
        **origin,
    }


def write_history(run: Run, history: History, accelerator: Accelerator) -> None:
    """Write `history.json`, on the main process."""
    if accelerator.is_main_process:
        write_json(run.history_file, history)


def settings_of(
    start: Start,
    train: FERData,
    validation: FERData,
    weights: list[float],
    recipe: Recipe,
    accelerator: Accelerator,
    *,
    seed: int,
    about: About,
    teachers: Teachers | None,
    crowd: Crowd | None,
    channels_last: bool,
) -> Settings:
    """The entry "run" of a history. A resumed run must have the same."""
    # the number of epochs may change when a run is resumed, unless the schedule stretches over them
    stretches = recipe.cosine or recipe.share_at_end
    settings: Settings = {
        **about,
        "init": start.init,
        "teachers": teachers.describe() if teachers else None,
        "version": start.model.version,
        "classes": len(start.model.class_names),
        "seed": seed,
        "recipe": {key: value for key, value in asdict(recipe).items() if key != "epochs" or stretches},
        "images": {"train": len(train), "validation": len(validation)},
        "validation_sha256": fingerprint(validation.images),
        "class_weights": weights,
        "num_processes": accelerator.num_processes,
        "mixed_precision": accelerator.mixed_precision,
        "compile": accelerator.state.dynamo_plugin.backend.value != "NO",
        "channels_last": channels_last,
        "environment": environment(accelerator.device),
    }
    if crowd:
        settings["votes"] = crowd.describe()
    return settings


def row_of(epoch: Epoch) -> str:
    """An epoch's line under `HEADER`."""
    return (
        f"{epoch['epoch']:>5} {epoch['train_loss']:>11.4f} {epoch['train_accuracy']:>10.2%} "
        f"{epoch['validation_loss']:>9.4f} {epoch['validation_accuracy']:>8.2%} "
        f"{epoch['validation_macro_recall']:>11.2%} {epoch['seconds']:>8.1f} {epoch['images_per_second']:>9.1f}"
    )
