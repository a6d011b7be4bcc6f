"""The five expectations of V2's design, checked against what was measured."""

from fer_model.labels import EMOTIONS
from fer_model.records import History, Scores
from fer_model.runs import all_epochs

MIN_ACCURACY = 0.5
MIN_IMPROVEMENT = 0.05
MIN_NEW_BESTS = 3


def check_expectations(metrics: Scores, history: History | None) -> dict[str, dict] | None:
    """The five expectations, each {"met": bool, "value": figure, "expected": sentence}.

    None for a model of seven classes, because the design is about six, and where a class has no test images.

    Args:
        metrics: the scores of the whole test set.
        history: the run's. Without one the last expectation is not met and has no value.
    """
    confusion = metrics["confusion_matrix"]
    if len(confusion) != len(EMOTIONS) or not all(map(sum, confusion)):
        return None
    predicted = sum(any(row[column] for row in confusion) for column in range(len(EMOTIONS)))
    recall = min(scores["recall"] for scores in metrics["per_class"].values())
    diagonal = sum(row[index] == max(row) and row[index] > 0 for index, row in enumerate(confusion))
    gain, new_bests = _improvement(history)
    return {
        "all_classes_predicted": _expectation(
            predicted == len(EMOTIONS), predicted, "predictions spread over all six classes (classes predicted)"
        ),
        "every_recall_above_zero": _expectation(recall > 0, recall, "recall above 0 for every class (lowest recall)"),
        "accuracy_50_percent": _expectation(
            metrics["accuracy"] >= MIN_ACCURACY, metrics["accuracy"], "accuracy of 50-60 % or more"
        ),
        "diagonal_confusion_matrix": _expectation(
            diagonal == len(EMOTIONS),
            diagonal,
            "a diagonal confusion matrix (rows whose largest cell is on the diagonal)",
        ),
        "gradual_improvement": _expectation(
            gain is not None and gain >= MIN_IMPROVEMENT and new_bests >= MIN_NEW_BESTS,
            gain,
            f"gradual improvement in the history (best minus first validation accuracy, at least {MIN_IMPROVEMENT}, "
            f"by {MIN_NEW_BESTS} or more epochs that each set a new best)",
        ),
    }


def _improvement(history: History | None) -> tuple[float | None, int]:
    """Best minus first validation accuracy, and how many later epochs set a new best."""
    if not history or not history["epochs"]:
        return None, 0
    accuracies = [row["validation_accuracy"] for row in all_epochs(history)]
    new_bests = sum(value > max(accuracies[:index]) for index, value in enumerate(accuracies) if index > 0)
    return max(accuracies) - accuracies[0], new_bests


def _expectation(met: bool, value: float | int | None, expected: str) -> dict:
    return {"met": bool(met), "value": value, "expected": expected}
