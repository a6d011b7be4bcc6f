"""The figure of `robustness`: a panel a change, a line a version."""

from pathlib import Path

from matplotlib.figure import Figure

COLUMNS = 5


def robustness(found: dict, path: Path) -> None:
    """Accuracy by strength, from the unchanged faces on the left to the strongest change, with 95 % intervals.

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
    path.parent.mkdir(parents=True, exist_ok=True)
    # no software version or date in the file, so that the same figures give the same bytes
    figure.savefig(path, dpi=90, metadata={"Software": None})
