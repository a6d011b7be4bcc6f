"""The tables of the demo's speed, and the script that measures it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fer_model.report.readme import section
from fer_model.report.speed import COMPARISONS, STARTS, TRAININGS
from helpers import ROOT

MEASURED = {"version": "V9", "cores": 2, "environment": {"processor": "Some CPU"}}


LATENCY = {"median_ms": 120.4, "p95_ms": 1300.6}


def write_demo(folder: Path, **parts: dict) -> str:
    """The README's table of these parts of a demo.json."""
    (folder / "demo.json").write_text(json.dumps({name: MEASURED | part for name, part in parts.items()}))
    return section("demo", folder)


def test_the_table_of_the_demo_says_what_was_measured(tmp_path):
    choice = {"workers": 1, "threads": 2, "default": False, "answers_a_second": 7.26, **LATENCY}
    over_http = {"heat_maps": False, "answers_a_second": 11.04, **LATENCY}
    rates = [{"heat_maps": maps, "answers_a_second": rate} for maps, rate in ((False, 9.96), (True, 6.3))]
    table = write_demo(
        tmp_path,
        photo=LATENCY,
        load={"visitors": 8, "choices": [choice, choice | {"workers": 2, "threads": 1, "default": True}]},
        live={"over_http": [over_http, over_http | {"heat_maps": True}], "in_browser": {"rates": rates}},
        memory={"requests": [100, 550, 1000], "mb": [1000.4, 1010.0, 1010.6]},
        film={"seconds_per_second_of_film": 1.234},
    )
    rows = dict(line.strip("| ").split(" | ") for line in table.splitlines()[2:] if line.startswith("|"))
    assert rows == {
        "a photo, by one visitor": "120 ms (1,301 ms)",
        "photos, by 8 visitors at once, `--workers 1 --threads 2`": "7.3 a second, each after 120 ms (1,301 ms)",
        "photos, by 8 visitors at once, `--workers 2 --threads 1`, the default here": "7.3 a second, each after "
        "120 ms (1,301 ms)",
        "live frames of 640 × 480 over HTTP": "11.0 a second, each after 120 ms (1,301 ms)",
        "live frames of 640 × 480 over HTTP, with heat maps": "11.0 a second, each after 120 ms (1,301 ms)",
        "the same in Chromium on the same cores": "10.0 a second",
        "the same in Chromium on the same cores, with heat maps": "6.3 a second",
        "memory of the server over many photos": "1,000 MB after 100, 1,010 MB after 550, 1,011 MB after 1,000",
        "a second of video, 640 × 480 at 25 frames a second": "1.23 s",
    }
    assert "the same 2 cores (Some CPU). The network was V9." in table


def test_the_table_of_the_demo_says_what_was_not_measured(tmp_path):
    assert "has not been measured" in section("demo", tmp_path)
    live = {"over_http": [], "in_browser": {"skipped": "no chromium was found"}}
    table = write_demo(tmp_path, live=live, memory={"skipped": "it is read from Linux's /proc"})
    assert table.count("not measured: ") == 2
    assert "photo" not in table


@pytest.mark.slow
def test_a_quick_try_writes_what_the_readme_shows(tmp_path):
    file = tmp_path / "demo.json"
    file.write_text(json.dumps({"film": {"from": "another run"}}))
    command = [sys.executable, "scripts/demo_speed.py", "--quick", "--only", "photo", "--output", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(file.read_text())
    assert written.pop("film") == {"from": "another run"}, "parts that are not measured stay"
    assert list(written) == ["photo"]
    assert written["photo"]["command"] == "python scripts/demo_speed.py --only photo --quick"
    assert 0 < written["photo"]["median_ms"] <= written["photo"]["p95_ms"]
    file.write_text(json.dumps(written))
    assert "| a photo, by one visitor | " in section("demo", tmp_path)


@pytest.mark.slow
def test_a_part_that_does_not_exist_is_named():
    command = [sys.executable, "scripts/demo_speed.py", "--only", "photo,speed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "there is no part speed" in done.stderr


def test_the_page_on_speed_says_what_was_measured(tmp_path):
    ratio = {"median": 1.604, "low": 1.5, "high": 1.75, "before_ms": 33.0, "now_ms": 20.0}
    measured = {name: {"v1": ratio, "v3": ratio | {"median": 2.5}} for name in COMPARISONS}
    export = {"kind": "--half", "mb": 7.54, "ms": 12.31, "accuracy": 0.7432}
    environment = {"processor": "Some CPU", "threads": 1, "torch": "2"}
    rest = {"command": "C", "cores": 2, "load_before": 0.1, "test_images": 5945, "environment": environment}
    (tmp_path / "benchmarks.json").write_text(json.dumps({**measured, **rest, "exports": {"v3": [export]}}))
    text = section("speed", tmp_path)
    assert "| 1.60 (1.50 to 1.75) | 2.50 (1.50 to 1.75) |" in text
    assert "| V3 | --half | 7.5 | 12.3 | 74.3 |" in text
    assert "busy" not in text


def test_the_speed_of_training_says_what_was_measured_on_which_machine(tmp_path):
    assert "has been measured yet: no machine" in section("training speed", tmp_path)
    ratio = {"median": 1.604, "low": 1.5, "high": 1.75}
    measured = {name: {"v1": ratio, "v4": ratio | {"median": 2.5}} for name in TRAININGS}
    how = {"command": "C", "mixed_precision": "bf16", "channels_last": True, "compile": False, "load_before": 3.8}
    environment = {"processor": "Some CPU", "threads": 1}
    (tmp_path / "benchmarks.json").write_text(json.dumps({**measured, "training": how | {"environment": environment}}))
    row = {"size": 48, "batch_size": 512, "before": 8000.4, "now": 56000.0, "now_tflops": 200.0}
    gpu = {"date": "2026-12-01", "environment": {"device": "Some GPU"}, "peak": {"matmul_tflops": 800.0}}
    (tmp_path / "gpu.json").write_text(
        json.dumps({**gpu, "speed": {"rows": [row]}, "more": {"failed": "it took too long"}})
    )
    text = section("training speed", tmp_path)
    assert "| 1.60 (1.50 to 1.75) | 2.50 (1.50 to 1.75) |" in text
    assert "bfloat16, channels last, not compiled, on 1 thread (Some CPU, load average 3.8" in text
    assert "On Some GPU, 2026-12-01" in text
    assert "| 48 | 512 | 8,000 | 56,000 | 7.0 | 25.0 |" in text


def test_the_parts_of_the_benchmark_have_their_own_sections(tmp_path):
    for name in ("start", "small faces", "many files", "peers"):
        assert section(name, tmp_path).startswith("Not measured yet")
    about = {"command": "C", "cores": 2, "load_before": 3.5, "environment": {"processor": "Some CPU"}}
    more = {"aim_seconds": 0.5, "seconds_more": 0.31, "cpu_seconds_more": 0.27, "ratio_to_torch": 0.2}
    start = dict.fromkeys(STARTS, more | {"cpu_ratio_to_torch": 0.15})
    start |= {"torch": {"seconds": 2.0, "cpu_seconds": 1.5}}
    ratio = {"median": 6.04, "low": 5.5, "high": 6.75}
    faces = {"found": 100, "found_in_one_look": 10, "times_as_long": ratio}
    cost = {"seconds_an_image": 0.4, "cpu_seconds_an_image": 0.144}
    files = {"one": cost, "several": cost, "times_as_fast": 1.01, "images": 100, "rounds": 3, "processes": 2}
    many = {"faces": {"crowd": faces, "one_large_face": faces}, "files": files | {"cores_used": 1}}
    row = {"name": "fer 9", "photo_ms": 100.4, "face_ms": 0.68, "accuracy": 0.709}
    found = {"start": start | about, "many": many | about, "peers": {"rows": [row], "test_images": 1200} | about}
    (tmp_path / "benchmarks.json").write_text(json.dumps(found))
    assert "| 0.5 | 0.31 (0.27) | 0.20 (0.15) |" in section("start", tmp_path)
    assert "Above the aim" not in section("start", tmp_path)
    start["page"] = start["page"] | {"cpu_seconds_more": 0.51}
    (tmp_path / "benchmarks.json").write_text(json.dumps(found | {"start": start | about}))
    assert "Above the aim even so: the demo's page, beyond `import torch`. Here" in section("start", tmp_path)
    assert "10 are found in one look, and 100 by the rule, which takes 6.0 times" in section("small faces", tmp_path)
    assert "0.144 s = 40 hours" in section("many files", tmp_path)
    assert "This says nothing of the gain, because the run had 1 core" in section("many files", tmp_path)
    assert "| fer 9 | 100 | 0.7 | 70.9 |" in section("peers", tmp_path)
