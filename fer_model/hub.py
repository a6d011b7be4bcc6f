"""The model card, filled from what was measured, and the upload to the Hugging Face Hub."""

import hashlib
import json
import shlex
import shutil
import tempfile
from pathlib import Path

from huggingface_hub import EvalResult, HfApi, ModelCard, ModelCardData

from fer_model.data import DEFAULT_DATASET
from fer_model.errors import FERError
from fer_model.labels import EMOTIONS
from fer_model.modeling import CONFIG_FILE, WEIGHTS_FILE, FERModel

TEMPLATE = Path(__file__).parent / "card_template.md"

FER2013_TEST_IMAGES = 5945
"""PublicTest and PrivateTest together, without their neutral images."""

FER2013_TRAINING_IMAGES = 23_744
"""FER2013's training set without its neutral images, before a validation set is cut from it."""


def weights_digest(model: FERModel) -> str:
    """SHA-256 over names and values of all weights: the same weights in any file have the same digest."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write_card(results: Path) -> Path:
    """Write `results`/models/README.md from the metrics.json and history.json beside that folder.

    Metrics of other weights than the ones in the folder are left out.
    """
    path = results / "models" / "README.md"
    path.write_text(model_card(results), encoding="utf-8")
    return path


def model_card(results: Path, repo_id: str | None = None) -> str:
    """The card's text; `repo_id` is the Hub id its examples name (default: the local folder)."""
    model = FERModel.from_pretrained(results / "models")
    history = _read(results / "history.json")
    metrics = _read(results / "metrics.json")
    if metrics and metrics["model_sha256"] != weights_digest(model):
        metrics = None
    card = ModelCard.from_template(
        card_data=_card_data(model, metrics, history, repo_id),
        template_path=str(TEMPLATE),
        version=model.version,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        emotions=EMOTIONS,
        source=repo_id or (results / "models").as_posix(),
        metrics=metrics,
        parts=[(name, part) for name, part in _parts(metrics) if part],
        test_set=_test_set(metrics) if metrics else "",
        summary=_summary(metrics),
        history=history,
        training=_training(history) if history else "",
        best=history["epochs"][history["best_epoch"] - 1] if history else None,
        percent=lambda share: f"{share:.1%}".replace("%", " %"),
    )
    return str(card).rstrip() + "\n"


def push_folder(results: Path, repo_id: str) -> str:
    """Upload the model's three files to the Hub, creating the repository if need be; returns its address.

    Raises:
        FERError: the upload failed. Nothing local is changed; the message says how to try again.
    """
    try:
        api = HfApi()
        repo_id = api.create_repo(repo_id, exist_ok=True).repo_id
        # from a copy, because the card on the Hub names the Hub id in its examples
        with tempfile.TemporaryDirectory() as folder:
            for name in (CONFIG_FILE, WEIGHTS_FILE):
                shutil.copy(results / "models" / name, folder)
            (Path(folder) / "README.md").write_text(model_card(results, repo_id), encoding="utf-8")
            api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Upload model, config and card")
    except FERError:
        raise
    except Exception as error:  # HTTP, network and Xet errors share no base class
        again = shlex.join(["hf", "upload", repo_id, str(results / "models"), "."])
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FERError(
            f"The upload to {repo_id} failed ({type(error).__name__}: {reason}). "
            f"Nothing is lost: the model is in {results / 'models'}. "
            f"Log in with `hf auth login` if need be; try again with:\n  {again}"
        ) from error
    return f"pushed to {repo_id}"


def _parts(metrics: dict | None) -> list[tuple[str, dict | None]]:
    return [("test", metrics), ("PrivateTest alone", metrics["private_test"])] if metrics else []


def _read(path: Path) -> dict | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _card_data(model: FERModel, metrics: dict | None, history: dict | None, repo_id: str | None) -> ModelCardData:
    results = []
    if metrics:
        for kind, name, key in (
            ("accuracy", "Accuracy", "accuracy"),
            ("recall", "Macro recall", "macro_recall"),
            ("f1", "Macro F1", "macro_f1"),
        ):
            results.append(
                EvalResult(
                    task_type="image-classification",
                    dataset_type=DEFAULT_DATASET if metrics["n"] == FER2013_TEST_IMAGES else metrics["dataset"],
                    dataset_name=_test_set(metrics),
                    dataset_split="test",
                    metric_type=kind,
                    metric_name=name,
                    metric_value=round(metrics[key], 4),
                )
            )
    return ModelCardData(
        model_name=repo_id.split("/")[-1] if repo_id else f"fer2013-{model.version}",
        library_name="fer-model",
        license="mit",
        pipeline_tag="image-classification",
        tags=["facial-expression-recognition", "emotion-recognition", "fer2013", "grad-cam", "pytorch"],
        datasets=[DEFAULT_DATASET] if _trained_on_fer2013(history) else None,
        metrics=["accuracy", "recall", "f1"],
        eval_results=results or None,
    )


def _trained_on_fer2013(history: dict | None) -> bool:
    """By the number of images: FER2013 has copies under many names."""
    return bool(history) and sum(history["run"]["images"].values()) == FER2013_TRAINING_IMAGES


def _test_set(metrics: dict) -> str:
    """The test images in words; a set of another size than FER2013's is not called FER2013."""
    if metrics["n"] == FER2013_TEST_IMAGES:
        return f"FER2013's test set without neutral ({metrics['n']:,} images)"
    return f"the test split of {metrics['dataset']} without neutral ({metrics['n']:,} images)"


def _summary(metrics: dict | None) -> str:
    if not metrics:
        return "These weights have not been measured."
    return (
        f"On {_test_set(metrics)} it is right in {metrics['accuracy']:.1%}; "
        f"its mean recall over the classes is {metrics['macro_recall']:.1%}."
    ).replace("%", " %")


def _training(history: dict) -> str:
    run = history["run"]
    recipe = run["recipe"]
    augmentation = recipe["augmentation"]
    precision = {"no": "float32", "bf16": "bfloat16 mixed precision", "fp16": "float16 mixed precision"}
    seconds = sum(row["seconds"] for row in history["epochs"])
    return (
        f"Adam, learning rate {recipe['lr']:g}, weight decay {recipe['weight_decay']:g}, batches of "
        f"{recipe['batch_size']} on {run['num_processes']} process{'es' if run['num_processes'] > 1 else ''}, "
        f"cross-entropy weighted by inverse class frequency, no schedule and no label smoothing. "
        f"Augmentation: mirror image with probability {augmentation['flip']:g}, rotation up to "
        f"{augmentation['rotation']:g}°, shift up to {augmentation['translation']:.0%}".replace("%", " %")
        + f". {run['images']['train']:,} training and {run['images']['validation']:,} validation images, "
        f"seed {run['seed']}, "
        f"{precision.get(run['mixed_precision'], run['mixed_precision'])}, on {run['environment']['processor']} "
        f"({run['environment']['device']}, {run['environment']['threads']} threads), {seconds / 60:.0f} minutes."
    )
