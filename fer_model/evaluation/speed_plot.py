"""The plot of accuracy over time, as a PNG file."""

from pathlib import Path

from matplotlib.figure import Figure

from fer_model.evaluation.plots import save


def accuracy_over_time(found: dict, accuracies: dict[str, float], path: Path) -> None:
    """Test accuracy over the time for a face, without heat maps: in PyTorch, in ONNX Runtime, as exported files.

    Args:
        found: what is in results/benchmarks.json. accuracies: of each version, in [0, 1].
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for version, times in found["probabilities_vs_eager_fp32"].items():
        accuracy = 100 * accuracies[version]
        axes.plot([times["before_ms"], times["now_ms"]], [accuracy] * 2, ":", color="grey")
        axes.plot(times["before_ms"], accuracy, "o", mfc="white", color="C0")
        axes.plot(times["now_ms"], accuracy, "o", color="C0")
        axes.annotate(version.upper(), (times["now_ms"], accuracy), xytext=(0, 7), textcoords="offset points")
    for version, kinds in found["exports"].items():
        for kind in kinds[1:]:
            place = kind["ms"], 100 * kind["accuracy"]
            axes.plot(*place, "D", color="C1")
            axes.annotate(f"{version.upper()} {kind['kind']}", place, xytext=(0, -15), textcoords="offset points")
    axes.set(xlabel="ms for a face (hollow: PyTorch; full: ONNX Runtime)", ylabel="test accuracy, %")
    axes.set_xlim(left=0)
    axes.margins(y=0.2)
    axes.grid(alpha=0.3)
    save(figure, path)
