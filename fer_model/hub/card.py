"""The model card: rendered from what was measured, and merged into what a person wrote.

Generated text stands between markers, `<!-- generated: NAME -->` and `<!-- /generated: NAME -->`; only
that is ever rewritten. Of the YAML front matter, the keys that a person added or changed stay.
"""

import re
import shlex
from pathlib import Path

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from fer_model.configs import CONFIGS, DEFAULT_DATASET, TWIN, Architecture, folder_name, title
from fer_model.errors import FERError
from fer_model.labels import COUNTS, EMOTIONS
from fer_model.runs import all_epochs, length, teachers

TEMPLATE = Path(__file__).parent / "card_template.md"

FER2013_TEST_IMAGES = {6: 5945, 7: 7178}
"""By the number of classes, so without the neutral images or with them: PublicTest and PrivateTest together."""

FER2013_TRAINING_IMAGES = {6: 23_744, 7: 28_709}
"""The same of FER2013's training set, before a validation set is cut from it."""

MEASURED_BY = "fer_model evaluate.py"
"""Marks our results in a card's model-index, beside those that other people entered."""

_SECTION = re.compile(r"<!-- generated: (\w+) -->.*?<!-- /generated: \1 -->", re.DOTALL)
_FRONT_MATTER = re.compile(r"\A---\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)


def render(
    version: str,
    parameters: int,
    *,
    emotions: tuple[str, ...] = EMOTIONS,
    folder: str = ".",
    repo_id: str | None = None,
    metrics: dict | None = None,
    history: dict | None = None,
    wheel: str | None = None,
) -> str:
    """A whole card in Markdown.

    Args:
        parameters: how many numbers the network learned.
        emotions: the names of its classes.
        folder: what the card's examples load, unless there is a `repo_id`, a Hub id.
        metrics: what `evaluate.py` measured of these very weights.
        history: the training run that made them.
        wheel: address of the package's wheel, for `pip install`; without it the card names a clone.
    """
    card = ModelCard.from_template(
        card_data=_card_data(folder_name(version, len(emotions)), metrics, history, repo_id),
        template_path=str(TEMPLATE),
        title=title(version, len(emotions)),
        parameters=parameters,
        emotions=emotions,
        number=COUNTS[len(emotions)],
        input_size=CONFIGS[version].architecture.input_size,
        source=repo_id or folder,
        wheel=wheel,
        metrics=metrics,
        parts=[(name, part) for name, part in _parts(metrics) if part],
        test_set=_test_set(metrics) if metrics else "",
        copy_of=_copy_of(metrics) if metrics else "",
        calibration=_calibration(metrics) if metrics else "",
        measured_by=_shown(metrics["command"]) if metrics else "",
        trained_by=_shown(history["run"]["command"]) if history else "",
        architecture=_architecture(CONFIGS[version].architecture),
        summary=_summary(metrics),
        history=history,
        training=_training(history) if history else "",
        best=history["epochs"][history["best_epoch"] - 1] if history else None,
        percent=lambda share: f"{share:.1%}".replace("%", " %"),
    )
    return str(card).rstrip() + "\n"


def merged(old: str, new: str) -> str:
    """`old` with its generated parts replaced by those of the freshly rendered `new`.

    Sections that `old` lacks are put after the one they follow in `new`. Tags are united; results that
    other people entered in the model-index stay; any other key that `old` has is left as it is.
    """
    if not old.strip():
        return new
    before, after = _front(old), _front(new)
    changes = {key: value for key, value in after.items() if key not in before}
    changes["tags"] = _united(before.get("tags"), after.get("tags"))
    theirs = [name for name in _as_list(before.get("datasets")) if name != DEFAULT_DATASET]  # ours may hold no more
    changes["datasets"] = _united(theirs, after.get("datasets"))
    changes["model-index"] = _joined_index(before.get("model-index"), after.get("model-index"))
    return _rebuilt(old, changes, _sections(new))


def with_results(old: str, new: str) -> str:
    """`old` with the measured figures of `new`: in the model-index, and in the generated sections it has of them."""
    if not old.strip():
        return new
    index = _joined_index(_front(old).get("model-index"), _front(new).get("model-index"))
    ours = {name: text for name, text in _sections(new).items() if name in ("intro", "results")}
    return _rebuilt(old, {"model-index": index}, {name: ours[name] for name in _sections(old) if name in ours})


def personal(text: str) -> str:
    """What of a card's body a person wrote: all that stands outside the generated sections."""
    return _SECTION.sub("", _FRONT_MATTER.sub("", text)).strip()


def _sections(text: str) -> dict[str, str]:
    return {match[1]: match[0] for match in _SECTION.finditer(text)}


def _rebuilt(old: str, changes: dict, sections: dict[str, str]) -> str:
    newline = "\r\n" if 2 * old.count("\r\n") > old.count("\n") else "\n"
    text = _with_sections(old.replace("\r\n", "\n"), sections)
    match = _FRONT_MATTER.match(text)
    front, body = (match[1], text[match.end() :]) if match else ("", "\n" + text)
    expected = {key: value for key, value in (_front(old) | changes).items() if value}
    front = _with_keys(front, {key: value for key, value in changes.items() if value != _front(old).get(key)})
    if {key: value for key, value in _front(f"---\n{front}---\n").items() if value} != expected:
        raise FERError(
            "The card's front matter, the YAML at its top, is written too unusually to be changed; simplify it."
        )
    return f"---\n{front}---\n{body}".replace("\n", newline)


def _with_sections(text: str, sections: dict[str, str]) -> str:
    match = _FRONT_MATTER.match(text)
    end = match.end() if match else 0  # where a section that is missing goes: after the one before it
    for name, section in sections.items():
        found = next((match for match in _SECTION.finditer(text) if match[1] == name), None)
        if found:
            text = text[: found.start()] + section + text[found.end() :]
            end = found.start() + len(section)
        else:
            before, after = text[:end].rstrip("\n"), text[end:].lstrip("\n")
            text = f"{before}\n\n{section}\n" + (f"\n{after}" if after else "")
            end = len(before) + 2 + len(section)
    return text


# Front matter: only the lines of a changed key are rewritten, so that comments and order stay


def _front(text: str) -> dict:
    """The YAML front matter as a dict; empty where there is none.

    Raises:
        FERError: it is no YAML, or no mapping.
    """
    match = _FRONT_MATTER.match(text.replace("\r\n", "\n"))
    try:
        found = (yaml.safe_load(match[1]) or {}) if match else {}
    except yaml.YAMLError as error:
        found = error
    if not isinstance(found, dict):
        raise FERError("The card's front matter, between the lines --- at its top, is not a YAML mapping; mend it.")
    return found


def _with_keys(front: str, changes: dict) -> str:
    """The lines of `front` with some top-level keys set, or removed where the value is None or empty."""
    blocks: list[tuple[str | None, str]] = []  # (key, its lines); comments and blank lines are blocks without a key
    for line in front.splitlines(keepends=True):
        if line[0] in " \t-]}" and line.strip() and blocks:  # goes on with a key, and so do comments in between
            key, lines = blocks.pop()
            while key is None and blocks:
                key, earlier = blocks.pop()
                lines = earlier + lines
            blocks.append((key, lines + line))
        else:
            match = re.match(r"""["']?([^\s#:"'][^:"']*)["']?\s*:""", line)
            blocks.append((match[1] if match else None, line))
    text = {
        key: yaml.safe_dump({key: v}, sort_keys=False, allow_unicode=True) if v else "" for key, v in changes.items()
    }
    present = {key for key, _ in blocks}
    kept = [text.get(key, lines) for key, lines in blocks]
    return "".join(kept + [block for key, block in text.items() if key not in present])


def _joined_index(old, new) -> list | None:
    """A model-index with our old results replaced by the new ones, and everybody else's kept."""
    entries = [dict(entry) for entry in old] if isinstance(old, list) and old else []
    for entry in entries:
        entry["results"] = [result for result in entry.get("results") or [] if not _is_ours(result)]
    if new:
        if not entries:
            entries = [{"name": new[0]["name"], "results": []}]
        entries[0]["results"] = new[0]["results"] + entries[0]["results"]
    return [entry for entry in entries if entry["results"]] or None


def _is_ours(result: dict) -> bool:
    return ((result.get("dataset") or {}).get("args") or {}).get("measured_by") == MEASURED_BY


def _as_list(value) -> list:
    return value if isinstance(value, list) else [value] if value else []


def _united(first, second) -> list:
    return list(dict.fromkeys([*_as_list(first), *_as_list(second)]))


# What the template is filled with


def _card_data(folder: str, metrics: dict | None, history: dict | None, repo_id: str | None) -> ModelCardData:
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
                    dataset_type=_dataset_type(metrics),
                    dataset_name=_test_set(metrics),
                    dataset_split="test",
                    dataset_args={"measured_by": MEASURED_BY},
                    metric_type=kind,
                    metric_name=name,
                    metric_value=round(metrics[key], 4),
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


def _parts(metrics: dict | None) -> list[tuple[str, dict | None]]:
    if not metrics:
        return []
    tta = metrics.get("tta")
    return [
        ("test", metrics),
        ("PrivateTest alone", metrics["private_test"]),
        (
            f"without photos that are in the training set too (correlation ≥ {TWIN})",
            metrics.get("without_twins"),
        ),
        (f"test, {tta['views']} views of each face, {tta['passes']} times the work" if tta else "", tta),
    ]


def _trained_on_fer2013(history: dict | None) -> bool:
    """By the number of images: FER2013 has copies under many names."""
    return bool(history) and sum(history["run"]["images"].values()) in FER2013_TRAINING_IMAGES.values()


def _test_set(metrics: dict) -> str:
    """The test images in words; a set of another size than FER2013's is not called FER2013."""
    name = "FER2013's test set" if _is_fer2013(metrics) else f"the test split of {_dataset_type(metrics)}"
    without = "" if "neutral" in metrics["per_class"] else " without neutral"
    return f"{name}{without} ({metrics['n']:,} images)"


def _is_fer2013(metrics: dict) -> bool:
    return metrics["n"] == FER2013_TEST_IMAGES[len(metrics["per_class"])]


def _copy_of(metrics: dict) -> str:
    """What to say of a copy of FER2013 that is not the Hub's, which the model-index names."""
    if not _is_fer2013(metrics) or metrics["dataset"] == DEFAULT_DATASET:
        return ""
    return f" `{DEFAULT_DATASET}` holds as many images as the copy that was used, and has not been compared with it."


def _calibration(metrics: dict) -> str:
    """What the temperature and the threshold, both fitted on validation images, do on the test images."""
    found = metrics.get("calibration")
    if not found or found["accuracy_when_sure"] is None:
        return ""
    text = (
        f"Logits are divided by a temperature, {found['temperature']:.2f}; without, ECE is {found['ece_before']:.3f}. "
        f"Below {found['unsure_below']:.0%} the answer is called unsure. So it answers {found['coverage']:.0%} of the "
        f"test images, and {found['accuracy_when_sure']:.0%} of these answers are right"
    )
    if found["accuracy_when_unsure"] is not None:
        text += f"; of the answers it withholds {found['accuracy_when_unsure']:.0%} would have been"
    return f"{text}. Both were fitted on validation images.".replace("%", " %")


def _architecture(architecture: Architecture) -> str:
    """The network in a sentence or two."""
    attention = [
        name
        for name, there in (
            ("squeeze-and-excitation (Hu et al. 2018)", architecture.channel_attention),
            ("spatial attention (CBAM, Woo et al. 2018)", architecture.spatial_attention),
        )
        if there
    ]
    channels = ", ".join(map(str, architecture.filters))
    return (
        f"{len(architecture.filters)} residual blocks of 3 × 3 convolutions with {channels} channels"
        + (f", each with {' and '.join(attention)}" if attention else "")
        + f"; global average pooling; {architecture.hidden} hidden units. Input of {architecture.input_size} × "
        f"{architecture.input_size} pixels."
    )


def _dataset_type(metrics: dict) -> str:
    """A Hub id, as a model-index wants it; of a folder, which is nobody else's business, a name."""
    if _is_fer2013(metrics):
        return DEFAULT_DATASET
    name = metrics["dataset"]
    if re.fullmatch(r"\w[\w.-]*/[\w.-]+", name) and not Path(name).exists():
        return name
    return re.sub(r"[^\w.-]+", "-", Path(name).name).strip("-.") or "local"


def _shown(command: str) -> str:
    """A command line as the world may read it."""
    return shlex.join(_public(word) for word in shlex.split(command))


def _public(word: str) -> str:
    """Of an absolute path no more than its name, and the run's before models/; anything else as it is."""
    path = Path(word)
    if not path.is_absolute():
        return word
    return f"{path.parent.name}/models" if path.name == "models" else path.name


def _summary(metrics: dict | None) -> str:
    if not metrics:
        return "These weights have not been measured."
    return (
        f"On {_test_set(metrics)} it is right in {metrics['accuracy']:.1%}; "
        f"its mean recall over the classes is {metrics['macro_recall']:.1%}."
    ).replace("%", " %")


def _training(history: dict) -> str:
    run = history["run"]
    precision = {"no": "float32", "bf16": "bfloat16 mixed precision", "fp16": "float16 mixed precision"}
    epochs = all_epochs(history)
    seconds = sum(row["seconds"] for row in epochs)
    processes = f"{run['num_processes']} process{'es' if run['num_processes'] > 1 else ''}"
    sizes = list(dict.fromkeys(row["size"] for row in epochs))
    shown = f" Training images of {' and then '.join(map(str, sizes))} pixels a side."
    init = run["init"]
    began = f" It began at the weights of `{_public(init['model'])}`{_before(history)}." if init else ""
    began += _taught(history)
    return (
        f"{_recipe(run['recipe'])} on {processes}.{shown} {_augmentation(run['recipe']['augmentation'])}. "
        f"{run['images']['train']:,} training and {run['images']['validation']:,} validation images"
        f"{', no photo on both sides' if run['recipe']['together'] else ''}, seed {run['seed']}, "
        f"{precision.get(run['mixed_precision'], run['mixed_precision'])}, on {run['environment']['processor']} "
        f"({run['environment']['device']}, {run['environment']['threads']} threads), {seconds / 60:.0f} minutes.{began}"
    )


def _taught(history: dict) -> str:
    """The networks that a run learned from, in words, and how long they were trained where that is known."""
    lessons = history["run"].get("teachers")  # V1 and V2 as they are here were trained before there were any
    if not lessons:
        return ""
    names = []
    for model, teacher in zip(lessons["models"], teachers(history), strict=True):
        known = f" ({teacher['run']['version'].upper()}, {length(teacher)} epochs)" if teacher else ""
        names.append(f"`{_public(model['model'])}`{known}")
    share = f"{lessons['share']:.0%}".replace("%", " %")
    return f" {share} of its targets were the probabilities that {' and '.join(names)} gave (knowledge distillation)."


def _before(history: dict) -> str:
    """The runs that a run went on from, in words."""
    if not history["earlier"]:
        return ", of whose training nothing was recorded"
    rates = " and ".join(f"{run['run']['recipe']['lr']:g}" for run in history["earlier"])
    return f"; {length(history)} epochs in all, the earlier ones at {rates}; minutes and pixels are all those"


def _recipe(recipe: dict) -> str:
    """The recipe of a run in words."""
    names = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD with Nesterov momentum"}
    words = [
        names[recipe["optimizer"]],
        f"learning rate {recipe['lr']:g}"
        + (f" after {recipe['warmup']} epochs of warm-up" if recipe["warmup"] else "")
        + (", falling to 0 along a cosine" if recipe["cosine"] else ", no schedule"),
        f"weight decay {recipe['weight_decay']:g}" + (" on weights only" if recipe["decay_weights_only"] else ""),
    ]
    weighting = {0.0: "unweighted", 1.0: "weighted by inverse class frequency"}
    power = recipe["weight_power"]
    loss = f"focal loss (gamma {recipe['focal']:g})" if recipe["focal"] else "cross-entropy"
    words.append(f"{loss} {weighting.get(power, f'weighted by inverse class frequency to the power {power:g}')}")
    words.append(f"label smoothing {recipe['label_smoothing']:g}" if recipe["label_smoothing"] else "no smoothing")
    if recipe["ema"]:
        words.append(f"a moving average of the weights (decay {recipe['ema']:g})")
    if recipe["clip"]:
        words.append(f"gradients clipped to {recipe['clip']:g}")
    words.append(f"batches of {recipe['batch_size']}")
    return ", ".join(words)


def _augmentation(settings: dict) -> str:
    words = [
        f"mirror image with probability {settings['flip']:g}",
        f"rotation up to {settings['rotation']:g}°",
        f"shift up to {settings['translation']:.0%}".replace("%", " %"),
    ]
    if settings["shrink"] != 1 or settings["enlarge"] != 1:
        words.append(f"zoom {settings['shrink']:g} to {settings['enlarge']:g}")
    for name in ("brightness", "contrast", "erasing", "mixup", "cutmix"):
        if settings[name]:
            words.append(f"{name} {settings[name]:g}")
    return "Augmentation: " + ", ".join(words)
