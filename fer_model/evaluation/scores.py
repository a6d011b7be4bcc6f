"""Counts of answers, and each class's scores. Training needs these every epoch, without the library `evaluate`."""

import numpy as np

from fer_model.labels import class_names


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts, int64 (classes, classes): row = true class, column = predicted class."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def class_scores(confusion: np.ndarray) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support of every class, 0 where a ratio has no denominator."""

    def ratio(numerator: int, denominator: int) -> float:
        return float(numerator / denominator) if denominator else 0.0

    scores = {}
    for index, name in enumerate(class_names(len(confusion))):
        hits, support, predicted = confusion[index, index], confusion[index].sum(), confusion[:, index].sum()
        scores[name] = {
            "precision": ratio(hits, predicted),
            "recall": ratio(hits, support),
            "f1": ratio(2 * hits, support + predicted),
            "support": int(support),
        }
    return scores
