"""What is measured, as one `evaluate.Metric`: accuracy, scores by class, confusion, calibration."""

import datasets
import numpy as np

from fer_model.evaluation.hf_evaluate import hf_evaluate
from fer_model.evaluation.scores import class_scores, confusion_matrix

BOOTSTRAP_RESAMPLES = 10_000
CALIBRATION_BINS = 15


class FERMetric(hf_evaluate.Metric):
    """Scores of class probabilities against true labels. Unlike `evaluate.load`, it needs no network.

    `compute(predictions=..., references=...)` takes probabilities (N, classes) of six or seven classes, rows summing
    to 1, and labels (N,). It returns a dict of plain Python numbers (`runs.Scores`):

    - `n`; `accuracy`; `accuracy_ci`, its bootstrap 95 % interval [low, high];
    - `macro_recall`, `macro_f1`: means over the classes that have images; `ece`: see `calibration_error`;
    - `per_class`: {name: {precision, recall, f1, support}}, 0 where a ratio has no denominator;
    - `confusion_matrix`: counts, rows true, columns predicted, both in class order.
    """

    def __init__(self, **kwargs):
        # in memory, so that two processes do not share a cache file
        super().__init__(keep_in_memory=True, **kwargs)

    def _info(self):
        return hf_evaluate.MetricInfo(
            description="Scores for facial-expression recognition.",
            citation="",
            inputs_description="predictions: probabilities (N, classes); references: labels (N,).",
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float32")),
                    "references": datasets.Value("int64"),
                }
            ),
        )

    def _compute(self, predictions, references):
        probabilities = np.asarray(predictions, dtype=np.float64)
        labels = np.asarray(references)
        predicted = probabilities.argmax(axis=1)
        confusion = confusion_matrix(labels, predicted, probabilities.shape[1])
        correct = predicted == labels
        per_class = class_scores(confusion)
        present = [scores for scores in per_class.values() if scores["support"]]
        return {
            "n": len(labels),
            "accuracy": float(correct.mean()),
            "accuracy_ci": bootstrap_interval(int(correct.sum()), len(labels)),
            "macro_recall": float(np.mean([scores["recall"] for scores in present])),
            "macro_f1": float(np.mean([scores["f1"] for scores in present])),
            "ece": calibration_error(probabilities.max(axis=1), correct),
            "per_class": per_class,
            "confusion_matrix": confusion.tolist(),
        }


def bootstrap_interval(correct: int, count: int, seed: int = 0) -> list[float]:
    """Percentile bootstrap 95 % interval of an accuracy (Efron & Tibshirani 1993, chapter 13).

    The number of correct images among `count` drawn with replacement is binomial, so no loop over images is needed.
    """
    resamples = np.random.default_rng(seed).binomial(count, correct / count, BOOTSTRAP_RESAMPLES) / count
    low, high = np.percentile(resamples, [2.5, 97.5])
    return [float(low), float(high)]


def bootstrap_mean(values: np.ndarray, seed: int = 0) -> list[float]:
    """The same of the mean of values (N,) of which few are distinct, such as shared hits: 0, 1/2, 1."""
    distinct, counts = np.unique(values, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(values), counts / len(values), BOOTSTRAP_RESAMPLES)
    low, high = np.percentile(drawn @ distinct / len(values), [2.5, 97.5])
    return [float(low), float(high)]


def mean_with_interval(values: np.ndarray) -> dict:
    """{"value", "ci"}: the mean of any values (N,) of a few hundred images, and its bootstrap 95 % interval."""
    draws = np.random.default_rng(0).integers(len(values), size=(2000, len(values)))
    return {"value": float(values.mean()), "ci": np.percentile(values[draws].mean(axis=1), [2.5, 97.5]).tolist()}


def calibration_bins(confidence: np.ndarray, correct: np.ndarray) -> list[dict[str, float]]:
    """Images grouped by confidence into 15 bins of equal width, as a reliability diagram shows them.

    Each non-empty bin is {low, high, count, confidence (mean), accuracy}. It holds low < confidence <= high.
    """
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    index = np.clip(np.digitize(confidence, edges, right=True) - 1, 0, CALIBRATION_BINS - 1)
    return [
        {
            "low": float(edges[b]),
            "high": float(edges[b + 1]),
            "count": int((index == b).sum()),
            "confidence": float(confidence[index == b].mean()),
            "accuracy": float(correct[index == b].mean()),
        }
        for b in range(CALIBRATION_BINS)
        if (index == b).any()
    ]


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Expected calibration error: mean over images of |accuracy - confidence| of their bin.

    Guo et al. 2017, https://arxiv.org/abs/1706.04599, equation 3, with 15 bins. 0 is perfect.
    """
    return sum(
        item["count"] / len(confidence) * abs(item["accuracy"] - item["confidence"])
        for item in calibration_bins(confidence, correct)
    )


def coverage_curve(confidence: np.ndarray, correct: np.ndarray, steps: int = 50) -> list[dict[str, float]]:
    """Accuracy of the answers that are given, for thresholds from 0 to 1: [{threshold, coverage, accuracy}]."""
    rows = []
    for threshold in np.linspace(0, 1, steps + 1):
        given = confidence >= threshold
        if given.any():
            rows.append(
                {
                    "threshold": float(threshold),
                    "coverage": float(given.mean()),
                    "accuracy": float(correct[given].mean()),
                }
            )
    return rows
