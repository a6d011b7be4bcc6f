"""Weights and configs that are none, or that somebody tampered with. Each ends in a model or in a sentence."""

import json
import os
import pickle
import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm

from fer_model.errors import ModelError
from fer_model.model.network import FERModel

MODEL, SENTENCE = "a model", "a sentence"

# values of no config: of other kinds, negative, enormous, deep
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(10**18, 10**30) | st.floats() | st.text(max_size=40),
    lambda some: st.lists(some, max_size=4) | st.dictionaries(st.text(max_size=8), some, max_size=4),
    max_leaves=8,
)


def survive(examples: int) -> dict:
    """The listed cases, then as many configs, and as many files of weights, as `examples`; hypothesis makes them."""
    with tempfile.TemporaryDirectory() as place:
        trial = Trial(Path(place))
        for name, expected, change in tqdm(list(cases()), desc="cases", unit="case"):
            got = trial.outcome(change)
            trial.cases[got] += 1
            if got != expected:
                trial.wrong.append(f"{name}: {got}")
        before = _megabytes()
        fuzzed = {"configs": fuzz_configs(trial, examples), "weights": fuzz_weights(trial, examples)}
        return {
            "cases": {**trial.cases, "not as expected": trial.wrong},
            "fuzzed": fuzzed,
            "faults": trial.faults,
            "slowest_seconds": round(trial.slowest, 2),
            "memory_mb": {"before fuzzing": before, "peak": _megabytes()},
        }


class Trial:
    """One folder with a model, changed and restored for each case."""

    def __init__(self, place: Path):
        self.whole, self.folder = place / "whole", place / "model"
        FERModel(version="v1", seed=0).save_pretrained(self.whole)
        self.config = json.loads((self.whole / "config.json").read_text(encoding="utf-8"))
        self.weights = (self.whole / "model.safetensors").read_bytes()
        self.cases: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.faults: dict[str, str] = {}
        self.slowest = 0.0

    def outcome(self, change: Callable[[Path], str | Path | None]) -> str:
        """What comes of a folder after a change, or of the source that the change returns."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.whole, self.folder)
        start = time.monotonic()
        try:
            source = change(self.folder)
            model = FERModel.from_pretrained(self.folder if source is None else source)
            with torch.inference_mode():
                model(torch.zeros(1, 3, model.input_size, model.input_size))
            return MODEL
        except ModelError as error:
            if len(str(error)) > 3000:
                self.faults.setdefault("a sentence that is too long", str(error)[:200])
            return SENTENCE
        except Exception as error:  # what is looked for
            self.faults.setdefault(type(error).__name__, str(error)[:200])
            return type(error).__name__
        finally:
            self.slowest = max(self.slowest, time.monotonic() - start)


def fuzz_configs(trial: Trial, examples: int) -> dict[str, int]:
    found: Counter[str] = Counter()
    keys = st.sampled_from([*trial.config, "auto_map", "num_labels", "_name_or_path"])

    @settings(max_examples=examples, database=None, deadline=None, phases=[Phase.generate], derandomize=True)
    @given(st.dictionaries(keys, _VALUES, min_size=1, max_size=3), st.booleans())
    def run(changes: dict, drop: bool) -> None:
        config = trial.config | changes
        if drop:
            config.pop(next(iter(changes)))
        text = json.dumps(config)
        found[trial.outcome(lambda folder: _write(folder / "config.json", text.encode()))] += 1

    run()
    return dict(found)


def fuzz_weights(trial: Trial, examples: int) -> dict[str, int]:
    found: Counter[str] = Counter()
    header = 8 + int.from_bytes(trial.weights[:8], "little")

    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(
        st.lists(st.tuples(st.integers(0, header + 200), st.binary(min_size=1, max_size=12)), min_size=1, max_size=4),
        st.none() | st.integers(0, len(trial.weights)),
    )
    def run(changes: list[tuple[int, bytes]], length: int | None) -> None:
        content = bytearray(trial.weights)
        for at, new in changes:
            content[at : at + len(new)] = new
        found[trial.outcome(lambda folder: _write(folder / "model.safetensors", bytes(content[:length])))] += 1

    run()
    return dict(found)


def cases() -> Iterator[tuple[str, str, Callable[[Path], str | Path | None]]]:
    """Names, what is expected, and the change to a folder."""
    yield "nothing changed", MODEL, lambda folder: None
    for prefix in ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."):
        yield f"keys with {prefix}", MODEL, _keys(lambda key, p=prefix: p + key)
    yield "keys with model.", SENTENCE, _keys(lambda key: f"model.{key}")
    yield "keys of a megabyte", SENTENCE, _keys(lambda key: key + "x" * 1_000_000 if key.endswith("1.bias") else key)
    yield "the same weight twice", SENTENCE, _weights(lambda w: w | {"module.classifier.0.bias": torch.zeros(128)})
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        yield f"weights of {kind}", MODEL, _weights(lambda w, k=kind: {key: _cast(one, k) for key, one in w.items()})
    for kind in (torch.int8, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn):
        yield f"weights of {kind}", SENTENCE, _weights(lambda w, k=kind: {key: _cast(one, k) for key, one in w.items()})
    for name, number in (("NaN", float("nan")), ("infinity", float("inf"))):
        yield (
            f"a weight of {name}",
            SENTENCE,
            _weights(lambda w, n=number: w | {"classifier.0.bias": torch.full((128,), n)}),
        )
    key = "block1.body.1.running_var"
    yield "negative variances", SENTENCE, _weights(lambda w: w | {key: -w[key]})
    yield "one weight too many", SENTENCE, _weights(lambda w: w | {"extra": torch.zeros(3)})
    yield "one weight of another shape", SENTENCE, _weights(lambda w: w | {key: torch.ones(65)})
    yield "another program's weights", SENTENCE, _weights(lambda w: {"transformer.h.0.attn.weight": torch.zeros(9, 9)})
    yield "no weights", SENTENCE, _weights(lambda w: {})
    head = b'{"a":{"dtype":"F32","shape":[%d,%d],"data_offsets":[0,%d]}}'
    for name, content in {
        "an empty file": b"",
        "seven bytes": b"1234567",
        "a header that says 2^63 bytes": (2**63).to_bytes(8, "little") + b"{}",
        "a header of 90 MB of blanks": (90_000_000).to_bytes(8, "little") + b"{}".ljust(90_000_000),
        "a deep header": _file(b"[" * 100_000),
        "a tensor of 4 exabytes": _file(head % (2**31, 2**29, 2**62)),
        "a shape that overflows": _file(head % (2**40, 2**40, 4)),
        "offsets outside of the file": _file(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[900,904]}}'),
        "offsets in reverse": _file(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}', bytes(4)),
        "an unknown dtype": _file(b'{"a":{"dtype":"X99","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
        "a pickle under the name of safetensors": pickle.dumps({"a": 1}),
        "a zip of PyTorch's": b"PK\3\4" + bytes(100),
        "GGUF": b"GGUF" + bytes(100),
        "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "HTML": b"<!DOCTYPE html><html>404</html>",
    }.items():
        yield name, SENTENCE, lambda folder, c=content: _write(folder / "model.safetensors", c)
    for share in (0.001, 0.01, 0.5, 0.999):
        yield f"the first {share:.1%} of the weights", SENTENCE, lambda folder, s=share: _cut(folder, s)
    yield from _configs()
    yield from _paths()


def _configs() -> Iterator[tuple[str, str, Callable]]:
    for name, changes in {
        "an enormous input": {"input_size": 10**12},
        "a negative input": {"input_size": -64},
        "a version of another kind": {"version": ["v1"]},
        "a version that leads elsewhere": {"version": "../../v1"},
        "a version of a megabyte": {"version": "v" * 1_000_000},
        "a million classes": {"id2label": {str(number): "x" for number in range(1000)}},
        "a temperature of 0": {"temperature": 0},
        "a negative temperature": {"temperature": -1.0},
        "an infinite temperature": {"temperature": float("inf")},
        "a temperature that is no number": {"temperature": float("nan")},
        "a temperature of 10^300": {"temperature": 10**300},
        "a temperature as text": {"temperature": "1"},
        "a threshold of 7": {"unsure_below": 7},
        "a threshold that is no number": {"unsure_below": float("nan")},
    }.items():
        yield name, SENTENCE, lambda folder, c=changes: _change_config(folder, c)
    more = {
        "auto_map": {"AutoModel": "evil.Evil"},
        "trust_remote_code": True,
        "layers": 10**9,
        "__class__": "os.system",
    }
    yield "code of its own, and keys that nobody knows", MODEL, lambda folder: _change_config(folder, more)
    for name, content in {
        "no JSON": b"{",
        "a list": b"[1]",
        "nothing in it": b"",
        "no UTF-8": b'{"version": "\xff"}',
        "a UTF-16 file": '{"version": "v1"}'.encode("utf-16"),
        "100,000 brackets": b"[" * 100_000,
        "a number of 100,000 digits": b'{"version": ' + b"9" * 100_000 + b"}",
        "ten megabytes": b'{"version": "' + b"x" * 10_000_000 + b'"}',
    }.items():
        yield f"a config: {name}", SENTENCE, lambda folder, c=content: _write(folder / "config.json", c)


def _paths() -> Iterator[tuple[str, str, Callable]]:
    sources = ("", "/", "..", "../..", "a\0b", "user/../../etc", "/etc/passwd", "~/model", "x" * 5000, "user/na me")
    sources += ("file:///etc", "http://127.0.0.1/x", "C:\\models", "user/name/extra", "user/--name", "-rf", "\udcff/x")
    for source in sources:
        yield f"the path {source[:20]!r}", SENTENCE, lambda folder, s=source: s
    yield "a path with .. that leads back", MODEL, lambda folder: folder / ".." / folder.name
    yield "a file in place of the folder", SENTENCE, lambda folder: folder / "config.json"
    yield "weights that are a folder", SENTENCE, lambda folder: _replace(folder, lambda file: file.mkdir())
    yield "weights that are a link to nowhere", SENTENCE, lambda folder: _replace(folder, lambda f: f.symlink_to("no"))
    yield "weights that are a pipe", SENTENCE, lambda folder: _replace(folder, os.mkfifo)
    yield (
        "weights that are a link to a device",
        SENTENCE,
        lambda folder: _replace(folder, lambda f: f.symlink_to("/dev/zero")),
    )
    yield (
        "a pickle alone",
        SENTENCE,
        lambda folder: _replace(folder, lambda file: file.with_name("pytorch_model.bin").write_bytes(pickle.dumps({}))),
    )


def _write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


def _replace(folder: Path, make: Callable[[Path], object]) -> None:
    file = folder / "model.safetensors"
    file.unlink()
    make(file)


def _cut(folder: Path, share: float) -> None:
    file = folder / "model.safetensors"
    os.truncate(file, int(file.stat().st_size * share))


def _change_config(folder: Path, changes: dict) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def _weights(change: Callable[[dict], dict]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        file = folder / "model.safetensors"
        save_file(change({key: one.clone() for key, one in load_file(file).items()}), file)

    return apply


def _keys(change: Callable[[str], str]) -> Callable[[Path], None]:
    return _weights(lambda weights: {change(key): one for key, one in weights.items()})


def _cast(tensor: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    return tensor.to(kind) if tensor.is_floating_point() else tensor


def _file(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def _megabytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000
