"""How fast the demo is, as Markdown for the README."""

import json
from collections.abc import Iterator
from pathlib import Path


def cold_start_sentence(results: Path) -> str:
    """How long the demo takes from its start, in Markdown."""
    file = results / "cold_start.json"
    if not file.is_file():
        return "How long the demo takes to start has not been measured: `python scripts/cold_start.py` does."
    measured = json.loads(file.read_text(encoding="utf-8"))
    page, answer = (f"{measured[key]:.1f} s" for key in ("seconds_to_page", "seconds_to_first_answer"))
    return (
        f"On this machine, not counting a container's own start, `python app.py` shows its page after {page} and has "
        f"answered the first photo after {answer} (median of {measured['rounds']} starts on {measured['cores']} cores; "
        f"`{measured['command']}`)."
    )


def demo_table(results: Path) -> str:
    """How fast the demo answers, in Markdown: a row for each thing that was measured."""
    file = results / "demo.json"
    if not file.is_file():
        return "The demo's speed has not been measured: `python scripts/demo_speed.py` does."
    parts = json.loads(file.read_text(encoding="utf-8"))
    rows = {"photo": _photo_rows, "load": _load_rows, "live": _live_rows, "film": _film_rows, "memory": _memory_rows}
    lines = ["| asked | answered |", "|---|---|"]
    for name, measured in parts.items():
        lines += [f"| {what} | {figure} |" for what, figure in rows[name](measured)]
    versions = {part["version"] for part in parts.values()}
    machines = {f"{part['cores']} cores ({part['environment']['processor']})" for part in parts.values()}
    lines.append(
        "\nTimes are medians, and in brackets what 95 % stay below; who asks runs on the same "
        f"{' and '.join(sorted(machines))}. The network was {' and '.join(sorted(versions))}. From "
        "`results/demo.json`, which `python scripts/demo_speed.py` writes."
    )
    return "\n".join(lines)


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


def _film_rows(film: dict) -> Iterator[tuple[str, str]]:
    yield "a second of film, 640 × 480 at 25 frames a second", f"{film['seconds_per_second_of_film']:.2f} s"


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
