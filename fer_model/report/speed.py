"""The numbers on how fast answers and starts are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fer_model.configs import VERSIONS
from fer_model.report.markdown import percent, table
from fer_model.runs import read_json

STARTS = {
    "package": "`import fer_model`, beyond `import torch`",
    "first_answer": "the pipeline's first answer, beyond that",
    "page": "the demo's page, beyond `import torch`",
}
"""What each start in results/benchmarks.json is."""


def start_table(results: Path) -> dict[str, Any]:
    """How long starts take, and which take longer than they should; None where it has not been measured."""
    measured = _part("start", results)
    if measured is None:
        return {"measured": None}
    rows, missed = [], []
    for name, what in STARTS.items():
        one = measured[name]
        seconds = f"{one['seconds_more']:.2f} ({one['cpu_seconds_more']:.2f})"
        rows.append(
            (what, one["aim_seconds"], seconds, f"{one['ratio_to_torch']:.2f} ({one['cpu_ratio_to_torch']:.2f})")
        )
        if one["cpu_seconds_more"] > one["aim_seconds"]:
            missed.append(what)
    return {
        "measured": measured,
        "table": table(("start", "aim, s", "s", "times `import torch`"), rows),
        "missed": missed,
    }


def small_faces(results: Path) -> dict[str, Any]:
    """What the closer look at large photos costs and finds."""
    measured = _part("many", results)
    return {"measured": measured, **(measured["faces"] if measured else {})}


def many_files(results: Path) -> dict[str, Any]:
    """What files take in one process and in several, and how many hours a million of them."""
    measured = _part("many", results)
    if measured is None:
        return {"measured": None}
    files = measured["files"]
    hours = 1_000_000 * files["several"]["cpu_seconds_an_image"] / 3600
    return {"measured": measured, "files": files, "one": files["one"], "several": files["several"], "hours": hours}


def peers(results: Path) -> dict[str, Any]:
    """Our newest version beside packages of others; None where they have not been measured."""
    measured = _part("peers", results)
    if measured is None:
        return {"measured": None}
    rows = []
    for row in measured["rows"]:
        name = row["name"].upper() if row["name"] in VERSIONS else row["name"]
        rows.append((name, f"{row['photo_ms']:.0f}", f"{row['face_ms']:.1f}", percent(row["accuracy"])))
    head = ("", "ms for a photo of one face", "ms for a face alone", "accuracy, %")
    return {"measured": measured, "table": table(head, rows)}


def _part(name: str, results: Path) -> dict[str, Any] | None:
    """Of what `python -m fer_model bench` has measured."""
    return (read_json(results / "benchmarks.json") or {}).get(name)


COMPARISONS = {
    "predict_vs_eager_fp32": "a face, its probabilities and all heat maps; to PyTorch in float32",
    "probabilities_vs_eager_fp32": "a face, its probabilities only; to the same",
    "batch_of_32_vs_eager_fp32": "32 faces with all heat maps; to the same",
    "shown_maps_vs_grad_cam_before": "a face with the heat maps that are shown; to Grad-CAM at the last convolution "
    "in PyTorch",
    "gradcam_vs_package": "a face with all heat maps; to the package grad-cam",
    "photo_vs_before": "a photo of one face, detection included; to PyTorch and OpenCV",
    "eight_visitors_vs_before": "photos by 8 visitors at once; to the same",
}
"""What a ratio in results/benchmarks.json is of."""


def benchmarks(results: Path) -> dict[str, Any]:
    """The ratios of every version, and the exported files; None where nothing was measured."""
    measured = read_json(results / "benchmarks.json")
    if measured is None:
        return {"measured": None}
    versions = list(measured["predict_vs_eager_fp32"])
    rows = [(what, *(_ratio(measured[name][version]) for version in versions)) for name, what in COMPARISONS.items()]
    exports = [
        (version.upper(), kind["kind"], f"{kind['mb']:.1f}", f"{kind['ms']:.1f}", percent(kind["accuracy"]))
        for version, kinds in measured["exports"].items()
        for kind in kinds
    ]
    return {
        "measured": measured,
        "table": table(("what, compared to what", *map(str.upper, versions)), rows),
        "exports": table(("version", "exported as", "MB", "ms", "accuracy, %"), exports),
    }


TRAININGS = {
    "train_vs_bare_step": "our epoch; to as many bare steps on one prepared mini-batch",
    "train_vs_plain": "our epoch; to images changed one by one in two workers, float32, eager",
}
"""What a training's ratio in results/benchmarks.json is of."""


def training(results: Path) -> dict[str, Any]:
    """The ratios of every version on a CPU, and what scripts/gpu_check.py found on a GPU; None where not measured."""
    measured, gpu = read_json(results / "benchmarks.json") or {}, read_json(results / "gpu.json")
    found: dict[str, Any] = {"measured": measured.get("training"), "gpu": gpu}
    if found["measured"]:
        versions = list(measured["train_vs_plain"])
        rows = [(what, *(_ratio(measured[name][version]) for version in versions)) for name, what in TRAININGS.items()]
        found["table"] = table(("what, compared to what", *map(str.upper, versions)), rows)
    if gpu:
        kinds = [row for part in ("speed", "more") for row in gpu[part].get("rows", ())]
        peak = gpu["peak"].get("matmul_tflops")
        rows = [
            (
                str(row["size"]),
                str(row["batch_size"]),
                f"{row['before']:,.0f}",
                f"{row['now']:,.0f}",
                f"{row['now'] / row['before']:.1f}",
                percent(row["now_tflops"] / peak) if peak else "",
            )
            for row in kinds
        ]
        head = ("pixels", "mini-batch", "images/s before", "images/s", "times as fast", "of the matrix peak, %")
        found["gpu_table"] = table(head, rows)
    return found


def _ratio(measured: dict) -> str:
    return f"{measured['median']:.2f} ({spread(measured)})"


def spread(measured: dict) -> str:
    """The middle 80 % of the rounds of a ratio."""
    return f"{measured['low']:.2f} to {measured['high']:.2f}"


def demo_table(results: Path) -> dict[str, Any]:
    """A row for each thing that was measured; no table where nothing was."""
    parts = read_json(results / "demo.json")
    if parts is None:
        return {"table": None}
    kinds = {"photo": _photo_rows, "load": _load_rows, "live": _live_rows, "film": _video_rows, "memory": _memory_rows}
    rows = [row for name, measured in parts.items() for row in kinds[name](measured)]
    machines = {f"{part['cores']} cores ({part['environment']['processor']})" for part in parts.values()}
    return {
        "table": table(("asked", "answered"), rows),
        "machines": sorted(machines),
        "versions": sorted({part["version"] for part in parts.values()}),
    }


def _photo_rows(photo: dict) -> Iterator[tuple[str, str]]:
    yield "a photo, by one visitor", _latency(photo)


def _load_rows(load: dict) -> Iterator[tuple[str, str]]:
    for choice in load["choices"]:
        options = f"`--workers {choice['workers']} --threads {choice['threads']}`"
        default = ", the default here" if choice["default"] else ""
        yield (
            f"photos, by {load['visitors']} visitors at once, {options}{default}",
            f"{choice['answers_a_second']:.1f} a second, each after {_latency(choice)}",
        )


def _live_rows(live: dict) -> Iterator[tuple[str, str]]:
    names = {False: "", True: ", with heat maps"}
    for way in live["over_http"]:
        rate = f"{way['answers_a_second']:.1f} a second, each after {_latency(way)}"
        yield f"live frames of 640 × 480 over HTTP{names[way['heat_maps']]}", rate
    browser = "the same in Chromium on the same cores"
    if "skipped" in live["in_browser"]:
        yield browser, f"not measured: {live['in_browser']['skipped']}"
    for way in live["in_browser"].get("rates", ()):
        yield browser + names[way["heat_maps"]], f"{way['answers_a_second']:.1f} a second"


def _video_rows(video: dict) -> Iterator[tuple[str, str]]:
    yield "a second of video, 640 × 480 at 25 frames a second", f"{video['seconds_per_second_of_film']:.2f} s"


def _memory_rows(memory: dict) -> Iterator[tuple[str, str]]:
    if "skipped" in memory:
        yield "memory", f"not measured: {memory['skipped']}"
        return
    sizes = ", ".join(
        f"{size:,.0f} MB after {count:,}" for size, count in zip(memory["mb"], memory["requests"], strict=True)
    )
    yield "memory of the server over many photos", sizes


def _latency(measured: dict) -> str:
    return f"{measured['median_ms']:,.0f} ms ({measured['p95_ms']:,.0f} ms)"
