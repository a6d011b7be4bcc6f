"""What each change is worth: short trainings on equal budgets, one change at a time.

    python -m fer_model.ablation --list
    python -m fer_model.ablation v1-to-v2 --dataset ../shared/data/fer2013 --mixed-precision bf16

This writes results/ablation/v1-to-v2.json and .png; v2-to-v3 writes results/v3/ablation.json and .png. Every row is
one `train.py`; its command stands in the result. Interrupted studies go on where they were: a row that stands in the
result is not trained again unless its command, network or recipe has changed since. Validation accuracy only: no test
image is read. The runs themselves go to runs/ablation and may be deleted. On a GPU, which one such training does not
fill, --jobs 8 trains eight rows at once.
"""

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fer_model import cli
from fer_model.configs import CONFIGS, DEFAULT_DATASET
from fer_model.errors import TrainingError
from fer_model.evaluation import plots
from fer_model.training.checkpoints import write_json

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Row:
    """One training: what is new in it, and its own arguments for train.py."""

    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """Rows on one budget: so many epochs over so many images (None: all), with some arguments in common."""

    question: str
    epochs: int
    limit: int | None
    rows: tuple[Row, ...]
    arguments: tuple[str, ...] = ()


def _row(name: str, arguments: str) -> Row:
    return Row(name, tuple(shlex.split(arguments)))


# V2's options that V3 changes, in the order in which the study gives them up
_V3_STEPS = (
    (
        "SGD with Nesterov momentum and a rate of 0.05, in batches of 64",
        ("optimizer", "lr", "weight_decay", "decay_weights_only", "batch_size"),
    ),
    ("warm-up and cosine", ("warmup", "cosine")),
    ("square roots of the class weights", ("weight_power",)),
    ("label smoothing", ("label_smoothing",)),
    (
        "stronger augmentation",
        tuple(f"augmentation.{name}" for name in ("shrink", "enlarge", "brightness", "contrast", "erasing")),
    ),
    ("moving average of the weights", ("ema",)),
    ("mixup", ("augmentation.mixup",)),
    ("the first half at 32 pixels: V3", ("size", "share_at_end")),
)


def _v2_to_v3() -> tuple[Row, ...]:
    """V2; V3's network with V2's recipe; and from there V3's recipe, option by option."""
    kept = [name for _, names in _V3_STEPS for name in names]
    rows = [
        _row("V2 as designed", "--version v2"),
        _row("+ input of 48 pixels", "--version v2-48-pixels"),
        _row("+ smaller initial weights", "--version v2-48-uniform"),
        Row("+ spatial attention", ("--version", "v3", *_options_of_v2(kept))),
    ]
    for step, names in _V3_STEPS:
        kept = [name for name in kept if name not in names]
        rows.append(Row(f"+ {step}", ("--version", "v3", *_options_of_v2(kept))))
    return (
        tuple(rows)
        + tuple(
            _row(f"V3, but {name}", f"--version v3 {arguments}")
            for name, arguments in (
                ("focal loss, gamma 2, and no label smoothing", "--set focal=2 --set label_smoothing=0"),
                ("AdamW with a rate of 0.001", "--set optimizer=adamw --set lr=0.001 --set weight_decay=0.05"),
                ("with seed 1", "--seed 1"),
            )
        )
        + (_row("V2, but with seed 1", "--version v2 --seed 1"),)
    )


def _options_of_v2(names: list[str]) -> list[str]:
    """Arguments that give V3's recipe V2's values of some options."""
    theirs, ours = (_options(version) for version in ("v2-48-pixels", "v3"))
    return [word for name in names if theirs[name] != ours[name] for word in ("--set", f"{name}={theirs[name]}")]


def _options(version: str) -> dict:
    """A version's recipe, by the names that `train.py --set` knows."""
    recipe = asdict(CONFIGS[version].recipe)
    return recipe | {f"augmentation.{name}": value for name, value in recipe["augmentation"].items()}


STUDIES = {
    "v1-to-v2": Study(
        "From V1 to V2, one change at a time, each on top of those before it",
        epochs=16,  # networks of four blocks begin slowly
        limit=8000,
        rows=(
            _row("V1 as designed", "--version v1"),
            _row("+ a fourth block, 512 filters", "--version v1-four-blocks"),
            _row("+ channel attention", "--version v2 --lr 3e-4 --set weight_decay=0"),
            _row("+ learning rate 1e-4", "--version v2 --set weight_decay=0"),
            _row("+ weight decay 1e-4: V2", "--version v2"),
            _row("V1, seed 1", "--version v1 --seed 1"),
            _row("V2, seed 1", "--version v2 --seed 1"),
        ),
    ),
    "v2-to-v3": Study(
        "From V2 to V3, one step at a time, each on top of those before it; then V3 with other choices",
        epochs=12,
        limit=12000,
        rows=_v2_to_v3(),
        arguments=("--set", "together=true", "--set", "validation_fraction=0.2"),  # one split for each seed
    ),
    "collapse": Study(
        "Does V1 collapse to one class? At which learning rates and seeds, and without class weights",
        epochs=8,  # in three, over half as many images, V1 has learned nothing yet at any rate
        limit=8000,
        rows=tuple(
            _row(f"learning rate {lr}, seed {seed}{note}", f"--version v1 --lr {lr} --seed {seed}{extra}")
            for lr, seed, note, extra in (
                ("3e-4", 0, "", ""),
                ("3e-4", 1, "", ""),
                ("3e-4", 2, "", ""),
                ("1e-3", 0, "", ""),
                ("1e-3", 1, "", ""),
                ("3e-3", 0, "", ""),
                ("3e-3", 1, "", ""),
                ("1e-2", 0, "", ""),
                ("1e-2", 1, "", ""),
                ("3e-4", 0, ", no class weights", " --set weight_power=0"),
                ("1e-2", 0, ", no class weights", " --set weight_power=0"),
            )
        ),
    ),
}


def output_file(name: str) -> Path:
    """Where a study's result goes, from the repository's root."""
    return Path("results/v3/ablation.json" if name == "v2-to-v3" else f"results/ablation/{name}.json")


def run_study(
    name: str,
    study: Study,
    dataset: str,
    folder: Path,
    output: Path,
    options: list[str],
    precision: str = "no",
    jobs: int = 1,
) -> dict:
    """Train every row that is not done yet; write and return what came out.

    Args:
        folder: where the runs go, one folder a row. output: the JSON file, rewritten after every row, and with it
            the picture of the same name.
        options: more arguments for every train.py.
        precision: of the training, as `accelerate launch --mixed_precision` has it.
        jobs: how many rows are trained at once.

    Raises:
        TrainingError: a training failed, or `output` holds rows, and none of them is this study's.
    """
    output = output.resolve()
    commands = [_command(study, row, dataset, options) for row in study.rows]
    keys = [_key(precision, command, row) for command, row in zip(commands, study.rows, strict=True)]
    known = {row["key"]: row for row in json.loads(output.read_text())["rows"]} if output.is_file() else {}
    if known and not known.keys() & set(keys):
        raise TrainingError(
            f"{output} holds trainings on another dataset, budget or precision, or of another recipe; "
            "give --dataset and --mixed-precision as they were then, name another file with --output, or delete it."
        )
    runs = [folder / name / key for key in keys]
    typed = [
        _typed(precision, [*command, "--output-dir", str(run)]) for command, run in zip(commands, runs, strict=True)
    ]

    failed = threading.Event()

    def train(index: int) -> dict:
        if failed.is_set():
            raise CancelledError
        print(f"[{index + 1}/{len(keys)}] {study.rows[index].name}: {typed[index]}", flush=True)
        try:
            history = _trained(study.rows[index], commands[index], dataset, runs[index].resolve(), precision)
        except BaseException:
            failed.set()
            raise
        return {"key": keys[index], **_summary(history)}

    def write() -> dict:
        rows = [
            {"name": row.name, **known[key], "command": command}
            for key, row, command in zip(keys, study.rows, typed, strict=True)
            if key in known
        ]
        result = {
            "command": _study_command(name, study, dataset, precision),
            "question": study.question,
            "epochs": study.epochs,
            "limit": study.limit,
            "rows": rows,
        }
        write_json(output, result)
        plots.study(result, output.with_suffix(".png"))
        return result

    for index, (key, row) in enumerate(zip(keys, study.rows, strict=True)):
        if key in known:
            print(f"[{index + 1}/{len(keys)}] {row.name}: done before", flush=True)
    with ThreadPoolExecutor(jobs) as pool:
        missing = [pool.submit(train, index) for index, key in enumerate(keys) if key not in known]
        try:
            for done in as_completed(missing):
                if done.exception() is None:  # also of those that ran beside one that failed
                    known[done.result()["key"]] = done.result()
                    write()
        except BaseException:  # Ctrl-C
            failed.set()
            raise
    for done in missing:
        done.result()  # raises the first failure; what it kept from beginning comes after it
    return write()


def _study_command(name: str, study: Study, dataset: str, precision: str) -> str:
    command = ["python", "-m", "fer_model.ablation", name, "--dataset", dataset, "--mixed-precision", precision]
    command += ["--epochs", str(study.epochs)]
    return shlex.join(command + (["--limit", str(study.limit)] if study.limit else []))


def _command(study: Study, row: Row, dataset: str, options: list[str]) -> list[str]:
    command = ["train.py", "--dataset", dataset, "--epochs", str(study.epochs), *row.arguments, *study.arguments]
    command += ["--set", f"patience={study.epochs}", *options]  # all epochs of the budget
    return command + (["--limit", str(study.limit)] if study.limit else [])


def _key(precision: str, command: list[str], row: Row) -> str:
    """Names a row by all that decides its figures, so that it is never shown with another one's."""
    config = CONFIGS[row.arguments[row.arguments.index("--version") + 1]]
    everything = json.dumps([precision, command, asdict(config)])
    return hashlib.sha256(everything.encode()).hexdigest()[:12]


def _typed(precision: str, command: list[str]) -> str:
    """A row's training as one would type it, on any machine."""
    return shlex.join(["accelerate", "launch", "--num_processes", "1", "--mixed_precision", precision, *command])


def _trained(row: Row, command: list[str], dataset: str, run: Path, precision: str) -> dict:
    """The history of the row's training in the folder `run`, after what is missing of it."""
    if not _finished(run):
        launcher = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1"]
        launcher += ["--num_machines", "1", "--mixed_precision", precision, "--dynamo_backend", "no"]
        # train.py is started in the repository, whatever folder this is called from
        here = [str(Path(word).resolve()) if word == dataset and Path(word).exists() else word for word in command]
        done = subprocess.run([*launcher, *here, "--output-dir", str(run), "--resume"], cwd=ROOT, check=False)
        if done.returncode:
            raise TrainingError(f"The row {row.name!r} failed; the same command goes on with it.")
    return json.loads((run / "history.json").read_text())


def _finished(run: Path) -> bool:
    history = run / "history.json"
    return history.is_file() and json.loads(history.read_text())["stopped"] is not None


def _summary(history: dict) -> dict:
    epochs = history["epochs"]
    best = epochs[history["best_epoch"] - 1]
    return {
        "validation_accuracy": best["validation_accuracy"],
        "validation_macro_recall": best["validation_macro_recall"],
        "validation_accuracy_by_epoch": [epoch["validation_accuracy"] for epoch in epochs],
        "macro_recall_by_epoch": [epoch["validation_macro_recall"] for epoch in epochs],
        "train_loss_by_epoch": [epoch["train_loss"] for epoch in epochs],
        "seconds": sum(epoch["seconds"] for epoch in epochs),
        "training_flops": sum(epoch["training_flops"] for epoch in epochs),
        "processor": history["run"]["environment"]["processor"],
        "device": history["run"]["environment"]["device"],
        "images": history["run"]["images"],
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m fer_model.ablation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", nargs="?", choices=list(STUDIES))
    parser.add_argument("--dataset", default=DEFAULT_DATASET, metavar="ID_OR_PATH")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/ablation"), metavar="DIR", help="where the trainings go"
    )
    parser.add_argument(
        "--mixed-precision",
        choices=("no", "bf16"),
        default="no",
        help="bf16 is much faster on GPUs and on CPUs that have bfloat16 instructions, and much slower on others",
    )
    parser.add_argument(
        "--jobs", type=cli.positive, default=1, metavar="N", help="rows trained at once, on a GPU (default: 1)"
    )
    parser.add_argument(
        "--epochs", type=cli.positive, metavar="N", help="another budget than the study's (see --output)"
    )
    parser.add_argument("--limit", type=cli.positive, metavar="N", help="images of another budget")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where the result goes (default: the study's file)")
    parser.add_argument("--list", action="store_true", help="show the studies and their rows")
    args = parser.parse_args(argv)
    if args.list or not args.study:
        for name, study in STUDIES.items():
            print(f"{name}: {study.question} ({study.epochs} epochs, {study.limit or 'all'} images)")
            print("".join(f"    {row.name:<45} {shlex.join(row.arguments)}\n" for row in study.rows))
        return
    planned, options = STUDIES[args.study], ["--channels-last"]
    study = replace(planned, epochs=args.epochs or planned.epochs, limit=args.limit or planned.limit)
    if study != planned and not args.output:
        parser.error("another budget gives another result: say with --output where it may go")
    output = args.output or output_file(args.study)
    result = run_study(args.study, study, args.dataset, args.runs, output, options, args.mixed_precision, args.jobs)
    for row in result["rows"]:
        print(f"{row['name']:<45} {row['validation_accuracy']:>7.2%} {row['validation_macro_recall']:>7.2%}")
    print(f"written: {output} and {output.with_suffix('.png')}")


if __name__ == "__main__":
    cli.run("fer_model.ablation", main, "interrupted; the same command goes on")
