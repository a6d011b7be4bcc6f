"""What was trained and measured, as Markdown for the README."""

import json
from pathlib import Path
from typing import NamedTuple

from fer_model.configs import CONFIGS, INPUT_SIZE, folder_name, title
from fer_model.errors import FERError
from fer_model.histories import all_epochs, length
from fer_model.hub import weights_digest
from fer_model.labels import COUNTS, EMOTIONS
from fer_model.modeling import FERModel
from fer_model.training import forward_flops


def results_table(results: Path) -> str:
    """One row a version that has a `metrics.json`, in Markdown; those of seven classes last."""
    columns = ("parameters", "epochs (best)", "accuracy (95 %)", "ten crops", "PrivateTest", "without twins")
    columns += ("macro recall", "ECE", "recall " + " · ".join(EMOTIONS))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    for folder in (results / folder_name(version, classes) for classes in COUNTS for version in CONFIGS):
        file = folder / "metrics.json"
        if file.is_file():
            metrics = json.loads(file.read_text(encoding="utf-8"))
            model = FERModel.from_pretrained(folder / "models")
            if metrics["model_sha256"] != weights_digest(model):
                raise FERError(f"{file} is of another model than the one beside it: run evaluate.py anew.")
            history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
            lines.append(_row(model, metrics, history))
    return "\n".join(lines)


def _row(model: FERModel, metrics: dict, history: dict) -> str:
    low, high = (_percent(value) for value in metrics["accuracy_ci"])
    recalls = [f"{100 * scores['recall']:.0f}" for scores in metrics["per_class"].values()]
    recalls[len(EMOTIONS) :] = [f"neutral {recall}" for recall in recalls[len(EMOTIONS) :]]  # the head names six
    cells = (
        title(model.version, len(model.class_names)),
        f"{model.parameter_count:,}",
        f"{length(history)} ({history['best_epoch']})",
        f"**{_percent(metrics['accuracy'])}** ({low}–{high})",
        *(
            _percent(metrics[part]["accuracy"]) if metrics.get(part) else "–"
            for part in ("tta", "private_test", "without_twins")
        ),
        _percent(metrics["macro_recall"]),
        f"{metrics['ece']:.3f}",
        " · ".join(recalls),
    )
    return "| " + " | ".join(cells) + " |"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


class Effort(NamedTuple):
    """What one epoch of training took."""

    images: int
    size: int  # pixels a side
    flops: float
    seconds: float  # on a machine that may have done other work, and may not be another run's


def effort_table(results: Path) -> str:
    """What the training of every version took, in Markdown, and how soon V3 was as good as V2 became."""
    lines = ["| | images shown | FLOPs | minutes | precision | processor |", "|---|---|---|---|---|---|"]
    histories, efforts = {}, {}
    for version in CONFIGS:
        file = results / version / "history.json"
        if file.is_file():
            history = histories[version] = json.loads(file.read_text(encoding="utf-8"))
            efforts[version] = _efforts(version, history)
            shown, flops, seconds = (
                sum(getattr(effort, name) for effort in efforts[version]) for name in ("images", "flops", "seconds")
            )
            run = history["run"]
            precision = {"no": "float32", "bf16": "bfloat16"}.get(run["mixed_precision"], run["mixed_precision"])
            lines.append(
                f"| {version.upper()} | {shown / 1000:,.0f} thousand | {flops / 1e15:.2f} · 10¹⁵ | {seconds / 60:,.0f} "
                f"| {precision} | {run['environment']['processor']}, {run['environment']['threads']} threads |"
            )
    if "v2" in efforts and "v3" in efforts:
        lines.append("\n" + _overtaking(histories["v2"], histories["v3"], efforts, results / "training_speed.json"))
    return "\n".join(lines)


def _efforts(version: str, history: dict) -> list[Effort]:
    """Of all epochs of all runs, in order; older histories hold neither size nor FLOPs, and were at 64 pixels."""
    model = FERModel(version=version)
    found = []
    for run in (*history.get("earlier", []), history):
        images = run["run"]["images"]["train"]
        for epoch in run["epochs"]:
            flops = epoch.get("training_flops") or 3 * forward_flops(model, INPUT_SIZE) * images
            found.append(Effort(images, epoch.get("size", INPUT_SIZE), flops, epoch["seconds"]))
    return found


def _overtaking(v2: dict, v3: dict, efforts: dict[str, list[Effort]], speed: Path) -> str:
    if any(run["run"]["version"] != "v3" for run in v3.get("earlier", [])):
        return "V3 began at another version's weights, so this run does not show how soon it would be as good as V2."
    accuracies = {
        name: [row["validation_accuracy"] for row in all_epochs(history)] for name, history in (("v2", v2), ("v3", v3))
    }
    best = max(accuracies["v2"])
    epoch = next((index for index, value in enumerate(accuracies["v3"], start=1) if value >= best), None)
    if epoch is None:
        return f"V3 has not reached V2's best validation accuracy, {_percent(best)} %."
    taken = {"v2": efforts["v2"][: accuracies["v2"].index(best) + 1], "v3": efforts["v3"][:epoch]}
    flops = {version: sum(effort.flops for effort in epochs) for version, epochs in taken.items()}
    share = f"{100 * flops['v3'] / flops['v2']:.0f} % of the FLOPs"
    if speed.is_file():
        rows = json.loads(speed.read_text(encoding="utf-8"))["rows"]
        pace = {(row["version"], row["size"]): row["seconds_per_image"] for row in rows}
        time = {
            version: sum(effort.images * pace[version, effort.size] for effort in epochs)
            for version, epochs in taken.items()
        }
        share += f" and {100 * time['v3'] / time['v2']:.0f} % of the time"
    return (
        f"V3 reached V2's best validation accuracy, {_percent(best)} %, in its epoch {epoch}, with {share} V2 had "
        "needed"
        + (" (at each one's pace on one machine, `results/training_speed.json`)" if speed.is_file() else "")
        + ". V3's validation images are photos that occur once; V2's may have copies among those it learned."
    )


def data_table(results: Path) -> str:
    """Copies of photos in FER2013, one row a threshold, in Markdown."""
    data = json.loads((results / "data.json").read_text(encoding="utf-8"))
    lines = [
        "| copies | pairs | mirrored | within training | training–test | within test | with two labels | test images "
        "with one in training | of the six classes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    near = {f"correlation ≥ {threshold}": counts for threshold, counts in data["near"].items()}
    for name, counts in {"exact": data["exact"], **near}.items():
        between = {tuple(key.split(", ")): count for key, count in counts["pairs_between"].items()}
        inside = between.get(("Training", "Training"), 0)
        across = sum(count for (a, b), count in between.items() if a == "Training" != b)
        cells = (
            name,
            counts["pairs"],
            counts["mirrored"],
            inside,
            across,
            counts["pairs"] - inside - across,
            f"{counts['different_label'] / counts['pairs']:.1%}".replace("%", " %"),
            counts["test_images_with_one_in_train"],
            counts["test_images_with_one_in_train_six_classes"],
        )
        lines.append("| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else cell for cell in cells) + " |")
    exact = data["exact"]
    lines.append(
        f"\n{exact['extra_copies']:,} of the {sum(data['images'].values()):,} images are exact copies of another "
        f"({exact['groups']:,} photos); {sum(data['blank'].values())} are of a single grey."
    )
    return "\n".join(lines)
