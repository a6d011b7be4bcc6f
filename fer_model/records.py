"""The forms of history.json and metrics.json, the two files that a run writes."""

from typing import Any, NotRequired, TypedDict


class Origin(TypedDict):
    """Weights that a run began at or learned from: a folder or Hub id, and the model's digest.

    A mean of several models' weights has a digest of its own, and their names joined by " + ".
    """

    model: str
    sha256: str
    mean_of: NotRequired[list["Origin"]]


class About(TypedDict):
    """Where a run's images come from, and the command that repeats it."""

    command: str
    dataset: str
    dataset_revision: str | None
    limit: int | None


class Settings(About):
    """How a run was started: the entry "run" of history.json."""

    init: Origin | None
    teachers: NotRequired[dict[str, Any] | None]
    votes: NotRequired[dict[str, Any]]
    version: str
    classes: int
    seed: int
    recipe: dict[str, Any]
    images: dict[str, int]
    train_sha256: NotRequired[str]
    validation_sha256: str
    class_weights: list[float]
    num_processes: int
    mixed_precision: str
    compile: bool
    channels_last: bool
    environment: dict[str, Any]


class TrainingScores(TypedDict):
    """Of an epoch's training images, as they were shown. The loss is the recipe's, the accuracy lies in [0, 1]."""

    train_loss: float
    train_accuracy: float


class ValidationScores(TypedDict):
    """Of an epoch's validation images. The loss is the weighted cross-entropy; the others lie in [0, 1]."""

    validation_loss: float
    validation_accuracy: float
    validation_macro_recall: float


class VoteScores(TypedDict):
    """Of an epoch's validation images, beside what ten people said of them (`data.votes`).

    The agreement, in [0, 1], is with the class that at least half of them chose, where there is one. The cross-entropy
    is the mean over all images with votes, not weighted and before calibration.
    """

    majority_agreement: float | None
    cross_entropy: float


class Epoch(TrainingScores, ValidationScores):
    """One row of a history."""

    epoch: int
    seconds: float
    images_per_second: float
    learning_rate: float
    size: int
    training_flops: float
    validation_votes: NotRequired[VoteScores]


class Ancestry(TypedDict):
    """The histories that led to a run's first weights, oldest first, and the same for each of its teachers.

    Where it began at the mean of several models' weights, "earlier" led to the first of them.
    """

    earlier: NotRequired[list["History"]]
    averaged_with: NotRequired[list[list["History"]]]  # what led to each of the others
    taught_by: NotRequired[list[list["History"]]]


class History(Ancestry):
    """history.json."""

    run: Settings
    epochs: list[Epoch]
    best_epoch: int
    stopped: str | None


class Scores(TypedDict):
    """What `FERMetric` computes, for a test set or a part of it."""

    n: int
    accuracy: float
    accuracy_ci: list[float]
    macro_recall: float
    macro_f1: float
    ece: float
    per_class: dict[str, dict[str, float]]
    confusion_matrix: list[list[int]]


class ScoresByPart(Scores):
    """The same, also for PrivateTest, and for the images without a near-duplicate in the training set."""

    private_test: Scores | None
    without_twins: NotRequired[Scores | None]


class Figure(TypedDict):
    """A share in [0, 1] or a mean, its bootstrap 95 % interval, and the number of images."""

    value: float
    ci: list[float]
    n: int


class VoteMetrics(TypedDict):
    """A network beside the votes of ten people, on test images (`evaluation.votes`).

    crowd_accuracy: how often their favourite among the classes is the label.
    majority_agreement: how often the answer is the class that at least half of them chose, where there is one.
    clean_accuracy, disputed_accuracy: how often it is the label, where that class is the label, and where the favourite
        of all their answers is not.
    """

    crowd_accuracy: Figure | None
    majority_agreement: Figure | None
    clean_accuracy: Figure | None
    disputed_accuracy: Figure | None
    by_certainty: list[dict[str, Any]]
    distribution: dict[str, Any]
    people: NotRequired[dict[str, Any]]  # of a network that learned from votes (`evaluation.votes.as_people`)


class ViewScores(ScoresByPart):
    """The scores of the average over several views of each face, and its cost relative to one view."""

    views: str
    passes: int
    times_the_seconds_of_plain: float
    six_classes: NotRequired[ScoresByPart]


class SixOfSeven(ScoresByPart):
    """A network of seven classes, asked for the best of six, on the images of these six."""

    votes: NotRequired[VoteMetrics]


class Metrics(ScoresByPart):
    """metrics.json, as evaluate.py writes it. Older files lack some entries."""

    classes_present: NotRequired[list[str]]
    skipped: NotRequired[dict[str, int]]
    expectations: dict[str, dict[str, Any]] | None
    calibration: dict[str, Any]
    heat_maps: NotRequired[dict[str, dict[str, int]]]
    tta: NotRequired[ViewScores | None]
    votes: NotRequired[VoteMetrics]
    ferplus: NotRequired[dict[str, Any]]
    six_classes: NotRequired[SixOfSeven]
    model: str
    version: str
    model_sha256: str
    dataset: str
    command: str
    environment: dict[str, Any]
