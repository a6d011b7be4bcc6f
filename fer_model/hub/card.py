"""The model card: how a model was trained, and what was measured. Its words are in the templates beside this file."""

import re
import shlex
from pathlib import Path
from typing import Any, Protocol

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, FileSystemLoader

from fer_model.configs import CONFIGS, DATA_SIZE, DEFAULT_DATASET, NEAR_DUPLICATE
from fer_model.hub.merge import MEASURED_BY, merged
from fer_model.labels import COUNTS, EMOTIONS
from fer_model.records import History, Metrics, Scores
from fer_model.runs import ONNX_FILE, ROOT, Run, all_epochs, folder_name, length, parts, read_json, teachers, title

FER2013_TEST_IMAGES = {6: 5945, 7: 7178}
"""By the number of classes: PublicTest and PrivateTest together, without the neutral images or with them."""

FER2013_TRAINING_IMAGES = {6: 23_744, 7: 28_709}
"""The same for FER2013's training set, before validation images are taken from it."""


class Network(Protocol):
    """What a card says of a `FERModel`."""

    version: str
    class_names: tuple[str, ...]

    @property
    def parameter_count(self) -> int: ...

    def digest(self) -> str: ...


def write_card(run: Run, model: Network) -> None:
    """Bring the card of the run's model up to date with the metrics.json and history.json of its folder.

    What a person wrote outside the generated sections stays.
    """
    old = run.card.read_text(encoding="utf-8") if run.card.is_file() else ""
    run.card.write_text(merged(old, model_card(run, model)), encoding="utf-8")


def model_card(
    run: Run, model: Network, repo_id: str | None = None, wheel: str | None = None, onnx: bool = False
) -> str:
    """The generated card. Metrics of other weights than the model's are left out.

    Args:
        repo_id: the Hub id that the card's examples name.
        wheel: the address of the package's wheel, for its `pip install`.
        onnx: there is an ONNX file beside the weights, and the card shows how to run it.
    """
    metrics = run.metrics()
    if metrics and metrics["model_sha256"] != model.digest():
        metrics = None
    return render(
        model.version,
        model.parameter_count,
        emotions=model.class_names,
        folder=_seen_from_root(run.models),
        repo_id=repo_id,
        metrics=metrics,
        history=run.history(),
        wheel=wheel,
        onnx=onnx,
        robustness=_robustness(run, model),
    )


def hardest(tested: dict, count: int = 3) -> list[tuple[str, float, float]]:
    """The changes of photos that cost most accuracy at the middle one of their five strengths.

    Args:
        tested: the entry of a version in robustness.json.

    Returns:
        (name of the change, amount, accuracy lost), the worst first.
    """
    rows = [(name, *_middle(change)) for name, change in tested["changes"].items()]
    return sorted(rows, key=lambda row: -row[2])[:count]


def _middle(change: dict) -> tuple[float, float]:
    level = change["levels"][len(change["levels"]) // 2]
    return level["amount"], level["lost"]["value"]


def _robustness(run: Run, model: Network) -> dict | None:
    """What `python -m fer_model robustness` found of these weights; None if it measured others, or nothing."""
    tested = (read_json(run.folder.parent / "robustness.json") or {}).get(run.folder.name)
    return tested if tested and tested["model_sha256"] == model.digest() else None


def render(
    version: str,
    parameters: int,
    *,
    emotions: tuple[str, ...] = EMOTIONS,
    folder: str = ".",
    repo_id: str | None = None,
    metrics: Metrics | None = None,
    history: History | None = None,
    wheel: str | None = None,
    onnx: bool = False,
    robustness: dict | None = None,
) -> str:
    """A whole card in Markdown.

    Args:
        parameters: how many numbers the network learned.
        emotions: the names of its classes.
        folder: what the card's examples load, unless there is a `repo_id`, a Hub id.
        metrics: what `evaluate.py` measured of these weights.
        history: the training run that made them.
        wheel: the address of the package's wheel, for `pip install`. Without it the card names a clone.
        onnx: an ONNX file is there too.
        robustness: what was measured of these weights on changed photos.
    """
    environment = _environment()
    words: Any = environment.get_template("card_sentences.jinja").module  # its attributes are the template's macros
    test_set = words.test_set(metrics, _is_fer2013(metrics), _dataset_type(metrics)) if metrics else ""
    text = environment.get_template("card_template.md").render(
        card_data=_card_data(folder_name(version, len(emotions)), metrics, history, repo_id, test_set).to_yaml(),
        title=title(version, len(emotions)),
        parameters=parameters,
        emotions=emotions,
        number=COUNTS[len(emotions)],
        input_size=CONFIGS[version].architecture.input_size,
        source=repo_id or folder,
        wheel=wheel,
        onnx=ONNX_FILE if onnx else "",
        data_size=DATA_SIZE,
        metrics=metrics,
        parts=_parts(metrics) if metrics else [],
        test_set=test_set,
        copy_of=words.copy_of(DEFAULT_DATASET) if metrics and _is_another_copy(metrics) else "",
        robustness=robustness,
        hardest=hardest(robustness) if robustness else [],
        calibration=words.calibration(metrics["calibration"]) if metrics and _tells(metrics) else "",
        crowd=words.crowd(metrics["votes"], metrics) if metrics and "votes" in metrics else "",
        classes=words.classes(metrics) if metrics else "",
        measured_by=_shown(metrics["command"]) if metrics else "",
        trained_by=_shown(history["run"]["command"]) if history else "",
        architecture=words.architecture(CONFIGS[version].architecture),
        summary=words.summary(metrics, test_set),
        history=history,
        training=_training(history, words) if history else "",
        best=history["epochs"][history["best_epoch"] - 1] if history else None,
    )
    return text.rstrip() + "\n"


def _environment() -> Environment:
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=False)
    environment.filters |= {
        "percent": lambda share, digits=0: f"{share:.{digits}%}".replace("%", " %"),
        "thousands": "{:,}".format,
        "g": "{:g}".format,
    }
    return environment


def _card_data(
    folder: str, metrics: Metrics | None, history: History | None, repo_id: str | None, test_set: str
) -> ModelCardData:
    results = []
    if metrics:
        for kind, name, value in (
            ("accuracy", "Accuracy", metrics["accuracy"]),
            ("recall", "Macro recall", metrics["macro_recall"]),
            ("f1", "Macro F1", metrics["macro_f1"]),
        ):
            results.append(
                EvalResult(
                    task_type="image-classification",
                    dataset_type=_dataset_type(metrics),
                    dataset_name=test_set,
                    dataset_split="test",
                    dataset_args={"measured_by": MEASURED_BY},
                    metric_type=kind,
                    metric_name=name,
                    metric_value=round(value, 4),
                )
            )
    return ModelCardData(
        model_name=repo_id.split("/")[-1] if repo_id else f"fer2013-{folder}",
        library_name="fer-model",
        license="mit",
        pipeline_tag="image-classification",
        tags=["facial-expression-recognition", "emotion-recognition", "fer2013", "grad-cam", "pytorch"],
        datasets=[DEFAULT_DATASET] if _trained_on_fer2013(history) else None,
        metrics=["accuracy", "recall", "f1"],
        eval_results=results or None,
    )


def _parts(metrics: Metrics) -> list[tuple[str, Scores]]:
    """The rows of the table of results, with their names."""
    tta = metrics.get("tta")
    parts: list[tuple[str, Scores | None]] = [
        ("test", metrics),
        ("PrivateTest alone", metrics["private_test"]),
        (
            f"without photos that are in the training set too (correlation ≥ {NEAR_DUPLICATE})",
            metrics.get("without_twins"),
        ),
        (f"test, {tta['views']} views of each face, {tta['passes']} times the work" if tta else "", tta),
    ]
    return [(name, part) for name, part in parts if part]


def _trained_on_fer2013(history: History | None) -> bool:
    """Told by the number of images, because FER2013 has copies under many names."""
    return history is not None and sum(history["run"]["images"].values()) in FER2013_TRAINING_IMAGES.values()


def _is_fer2013(metrics: Metrics) -> bool:
    return metrics["n"] == FER2013_TEST_IMAGES[len(metrics["per_class"])]


def _is_another_copy(metrics: Metrics) -> bool:
    """Whether the figures are from another copy of FER2013 than the Hub's, which the model-index names."""
    return _is_fer2013(metrics) and metrics["dataset"] != DEFAULT_DATASET


def _tells(metrics: Metrics) -> bool:
    """Whether there is something to say of temperature and threshold."""
    found = metrics.get("calibration")
    return bool(found) and found["accuracy_when_sure"] is not None


def _dataset_type(metrics: Metrics) -> str:
    """A Hub id, as a model-index wants it. Of a folder only the name is told."""
    if _is_fer2013(metrics):
        return DEFAULT_DATASET
    name = metrics["dataset"]
    if re.fullmatch(r"\w[\w.-]*/[\w.-]+", name) and not Path(name).exists():
        return name
    return re.sub(r"[^\w.-]+", "-", Path(name).name).strip("-.") or "local"


def _training(history: History, words: Any) -> str:
    run, epochs = history["run"], all_epochs(history)
    began = taught = ""
    if run["init"]:
        rates = [f"{before['run']['recipe']['lr']:g}" for before in history["earlier"]]
        began = words.began([_public(part["model"]) for part in parts(run["init"])], length(history), rates)
    if told := run.get("teachers"):  # older histories have no such entry
        models = [
            (_public(model["model"]), *((known["run"]["version"].upper(), length(known)) if known else (None, None)))
            for model, known in zip(told["models"], teachers(history), strict=True)
        ]
        taught = words.taught(told["share"], models)
    if told := run.get("votes"):
        taught += words.voted(told["share"])
    sizes = list(dict.fromkeys(row["size"] for row in epochs))
    return words.training(run, sizes, sum(row["seconds"] for row in epochs) / 60, began, taught)


def _shown(command: str) -> str:
    """A command line without absolute paths."""
    return shlex.join(_public(word) for word in shlex.split(command))


def _public(word: str) -> str:
    """Of an absolute path only the name, and before models/ the run's. Anything else stays as it is."""
    path = Path(word)
    if not path.is_absolute():
        return word
    return f"{path.parent.name}/models" if path.name == "models" else path.name


def _seen_from_root(folder: Path) -> str:
    """A folder's path from the root of the repository, if it lies in there."""
    resolved = folder.resolve()
    return (resolved.relative_to(ROOT) if resolved.is_relative_to(ROOT) else folder).as_posix()
