"""Plots of what the studies measure."""

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from fer_model.data.votes import ANSWERS
from fer_model.evaluation.plots import save

COLUMNS = 5


def accuracy_over_time(found: dict, accuracies: dict[str, float], path: Path) -> None:
    """Test accuracy over the time for a face, without heat maps: in PyTorch, in ONNX Runtime, as exported files;
    and that of peers.

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
    for row in found.get("peers", {}).get("rows", ()):
        if row["name"] not in accuracies:  # the others are ours
            place = row["face_ms"], 100 * row["accuracy"]
            axes.plot(*place, "s", color="C2")
            axes.annotate(row["name"], place, xytext=(0, 7), textcoords="offset points")
    axes.set(xlabel="ms for a face (hollow: PyTorch; full: ONNX Runtime)", ylabel="test accuracy of six, %")
    axes.set_xlim(left=0)
    axes.margins(y=0.2)
    axes.grid(alpha=0.3)
    save(figure, path)


def robustness(found: dict, path: Path) -> None:
    """A panel a change, a line a version: accuracy by strength, with 95 % intervals; on the left the unchanged faces.

    Args:
        found: results/robustness.json.
    """
    versions = sorted(found)
    changes = found[versions[0]]["changes"]
    rows = -(-(len(changes) + 1) // COLUMNS)  # one panel more, for the legend
    figure = Figure(figsize=(3 * COLUMNS, 2.8 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, sharey=True).flatten()
    for axes, (name, change) in zip(panels, changes.items(), strict=False):
        for version in versions:
            scores = [found[version]["unchanged"], *found[version]["changes"][name]["levels"]]
            values = [100 * row["accuracy"]["value"] for row in scores]
            low, high = zip(*(row["accuracy"]["ci"] for row in scores), strict=True)
            (line,) = axes.plot(values, "o-", ms=3, label=f"{version.upper()}, {found[version]['classes']} classes")
            band = [[100 * share for share in bound] for bound in (low, high)]
            axes.fill_between(range(len(scores)), *band, color=line.get_color(), alpha=0.12, lw=0)
        axes.set_xticks(range(len(scores)), ["none", *(f"{row['amount']:g}" for row in change["levels"])], fontsize=8)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel(change["unit"], fontsize=8)
        axes.grid(alpha=0.3)
    for axes in panels[len(changes) :]:
        axes.axis("off")
    for axes in panels[::COLUMNS]:
        axes.set_ylabel("accuracy, %", fontsize=9)
    panels[0].set_ylim(0, 100)
    panels[len(changes)].legend(*panels[0].get_legend_handles_labels(), loc="center", frameon=False)
    images = ", ".join(f"{version.upper()} {found[version]['images']:,}" for version in versions)
    figure.suptitle(f"Accuracy on changed test images (a sample: {images}); bands are 95 % intervals", fontsize=11)
    save(figure, path)


def heat_map_tests(found: dict, path: Path) -> None:
    """Insertion against deletion of every kind of heat map, a panel a version; up and to the left is better.

    Args:
        found: results/faithfulness.json.
    """
    figure = Figure(figsize=(4 * len(found) + 6, 4.5), layout="constrained")
    panels = figure.subplots(1, len(found), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (version, part) in zip(panels, sorted(found.items()), strict=True):
        for number, (name, figures) in enumerate(part["test"]["methods"].items()):
            x, y = figures["deletion"], figures["insertion"]
            bars = {"xerr": _reach(x), "yerr": _reach(y)}
            kind, colour = "X" if name.startswith("baseline") else "o", colormaps["tab20"](number)
            axes.errorbar(x["value"], y["value"], **bars, fmt=kind, ms=9, lw=0.8, color=colour, label=name)
            if name == part["shown"]:
                axes.plot(x["value"], y["value"], "o", ms=16, mfc="none", mec="black")
        axes.set(title=f"{version.upper()}; ringed is what is shown", xlabel="deletion (lower is better)")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("insertion (higher is better)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    save(figure, path)


def _reach(figure: dict) -> list[list[float]]:
    """How far an interval reaches below and above its value."""
    low, high = figure["ci"]
    return [[figure["value"] - low], [high - figure["value"]]]


def vote_shares(shares: dict[str, dict[str, float]], path: Path) -> None:
    """What people say of the images of each label: the mean shares of their votes, by `study`."""
    values = np.array([list(row.values()) for row in shares.values()])
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(values):
        colour = "white" if share > 0.55 else "black"
        axes.text(column, row, f"{share:.0%}", ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(len(ANSWERS)), ANSWERS, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(shares)), list(shares))
    axes.set(xlabel="what ten people say", ylabel="FER2013's label", title="Votes for the test images")
    figure.colorbar(image, label="share of the votes", shrink=0.8)
    save(figure, path)
