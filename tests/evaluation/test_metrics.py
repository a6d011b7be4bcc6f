"""The metric against scikit-learn, and calibration against cases that can be counted by hand."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from fer_model.evaluation import plots
from fer_model.evaluation.expectations import check_expectations
from fer_model.evaluation.metrics import FERMetric, bootstrap_interval, calibration_bins, calibration_error
from fer_model.labels import EMOTIONS, class_names


@pytest.fixture(scope="module")
def sample():
    generator = np.random.default_rng(0)
    labels = generator.choice(6, 500, p=[0.35, 0.2, 0.2, 0.15, 0.02, 0.08])
    probabilities = generator.dirichlet(np.ones(6), 500)
    probabilities[np.arange(500), labels] += 0.4
    probabilities[:, 4] = 0  # one class is never predicted
    return (probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float32), labels


@pytest.fixture(scope="module")
def scores(sample):
    return FERMetric().compute(predictions=sample[0], references=sample[1])


def test_scores_equal_those_of_scikit_learn(sample, scores):
    predicted, labels = sample[0].argmax(axis=1), sample[1]
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(
        labels, predicted, labels=range(6), zero_division=0
    )
    assert scores["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted))
    assert scores["macro_recall"] == pytest.approx(recall.mean())
    assert scores["macro_f1"] == pytest.approx(f1.mean())
    assert scores["confusion_matrix"] == sklearn_metrics.confusion_matrix(labels, predicted, labels=range(6)).tolist()
    for index, name in enumerate(EMOTIONS):
        assert scores["per_class"][name] == pytest.approx(
            {"precision": precision[index], "recall": recall[index], "f1": f1[index], "support": support[index]}
        )
    assert scores["per_class"]["disgust"]["precision"] == 0


def test_seven_classes_are_scored_with_neutral_as_the_seventh():
    generator = np.random.default_rng(2)
    labels, probabilities = generator.integers(7, size=300), generator.dirichlet(np.ones(7), 300)
    scores = FERMetric().compute(predictions=probabilities.astype(np.float32), references=labels)
    predicted = probabilities.argmax(axis=1)
    assert list(scores["per_class"]) == [*EMOTIONS, "neutral"]
    assert scores["confusion_matrix"] == sklearn_metrics.confusion_matrix(labels, predicted).tolist()
    recall = sklearn_metrics.recall_score(labels, predicted, average=None)
    assert scores["per_class"]["neutral"]["recall"] == pytest.approx(recall[6])
    assert scores["macro_recall"] == pytest.approx(recall.mean())


def test_batches_give_the_same_as_all_at_once(sample, scores):
    metric = FERMetric()
    for start in range(0, 500, 37):
        metric.add_batch(predictions=sample[0][start : start + 37], references=sample[1][start : start + 37])
    assert metric.compute() == scores


def test_the_interval_is_that_of_resampled_images():
    correct = np.array([1] * 140 + [0] * 60)
    generator = np.random.default_rng(1)
    resampled = generator.choice(correct, (4000, 200)).mean(axis=1)
    low, high = bootstrap_interval(140, 200)
    assert low == pytest.approx(np.percentile(resampled, 2.5), abs=0.01)
    assert high == pytest.approx(np.percentile(resampled, 97.5), abs=0.01)
    assert bootstrap_interval(140, 200) == [low, high]


def test_calibration_error_of_cases_counted_by_hand():
    # four images at 0.9, of which three are right; four at 0.5, of which two are
    confidence = np.array([0.9] * 4 + [0.5] * 4)
    correct = np.array([1, 1, 1, 0, 1, 1, 0, 0], dtype=bool)
    assert calibration_error(confidence, correct) == pytest.approx(0.5 * 0.15 + 0.5 * 0.0)
    assert calibration_error(np.ones(5), np.ones(5, dtype=bool)) == 0


def test_every_image_is_in_one_bin_and_its_bin_holds_its_confidence(sample):
    confidence = np.append(sample[0].max(axis=1), [1.0, 1 / 15])
    bins = calibration_bins(confidence, np.ones(len(confidence), dtype=bool))
    assert sum(item["count"] for item in bins) == len(confidence)
    assert all(item["low"] <= item["confidence"] <= item["high"] for item in bins)


def _history(*accuracies):
    epochs = [{"epoch": i + 1, "validation_accuracy": a} for i, a in enumerate(accuracies)]
    return {"epochs": epochs, "earlier": []}


def _metrics(confusion):
    confusion = np.array(confusion)
    recalls = confusion.diagonal() / confusion.sum(axis=1)
    return {
        "accuracy": confusion.trace() / confusion.sum(),
        "confusion_matrix": confusion.tolist(),
        "per_class": {name: {"recall": recall} for name, recall in zip(EMOTIONS, recalls, strict=True)},
    }


def test_a_good_model_meets_all_expectations():
    found = check_expectations(_metrics(np.eye(6, dtype=int) * 7 + 1), _history(0.3, 0.4, 0.5, 0.6))
    assert all(item["met"] for item in found.values())
    assert len(found) == 5


def test_a_collapsed_model_meets_none():
    confusion = np.zeros((6, 6), dtype=int)
    confusion[:, 0] = 10
    found = check_expectations(_metrics(confusion), _history(0.3, 0.3, 0.3))
    assert not any(item["met"] for item in found.values())
    assert found["all_classes_predicted"]["value"] == 1


def test_an_instant_plateau_is_no_gradual_improvement():
    good = _metrics(np.eye(6, dtype=int) * 7 + 1)
    assert not check_expectations(good, _history(0.3, 0.6, 0.6, 0.59))["gradual_improvement"]["met"]
    assert not check_expectations(good, None)["gradual_improvement"]["met"]


def test_the_expectations_of_six_classes_do_not_apply_to_seven():
    probabilities = np.eye(7, dtype=np.float32)
    metrics = FERMetric().compute(predictions=probabilities, references=np.arange(7))
    assert check_expectations(metrics, _history(0.3, 0.4, 0.5, 0.6)) is None


@pytest.mark.parametrize("classes", [6, 7])
def test_the_pictures_show_every_class_that_was_measured(classes, monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    names = list(class_names(classes))
    metrics = FERMetric().compute(predictions=np.eye(classes, dtype=np.float32), references=np.arange(classes))
    plots.confusion(metrics, None)
    plots.class_bars(metrics, None)
    plots.mean_maps({}, {}, dict.fromkeys(names, 0), "a method", None)
    matrix, bars, maps = figures
    for ticks in (matrix.axes[0].get_xticklabels(), matrix.axes[0].get_yticklabels()):
        assert [tick.get_text() for tick in ticks] == names
    assert len(matrix.axes[0].texts) == classes**2
    assert [tick.get_text() for tick in bars.axes[0].get_xticklabels()] == [f"{name}\n(1)" for name in names]
    assert [axes.get_title().splitlines()[0] for axes in maps.axes[:classes]] == names
