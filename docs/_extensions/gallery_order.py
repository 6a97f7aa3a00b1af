"""The order in which the gallery shows its examples."""

from pathlib import Path

READING_ORDER = (
    # first steps
    "quickstart",
    "pipeline",
    "grid_search",
    "compare_models",
    # kinds of input
    "sequences",
    "images",
    "missing_modalities",
    "pretrained_encoder",
    # what a model says, and whether to believe it
    "recovery",
    "local_explanations",
    "routing_explanations",
    "multilabel_routing",
    "uncertainty",
    "redundant",
    "other_explanations",
    "report",
    # what to do with it
    "stacking",
    "saving",
)


class InReadingOrder:
    """Sort key of a file: its place above, and behind those its name."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, filename):
        """Return what to sort by."""
        name = Path(filename).stem.removeprefix("plot_")
        known = name in READING_ORDER
        return (READING_ORDER.index(name) if known else len(READING_ORDER), name)

    def __repr__(self):
        """Return the same text in every run: Sphinx compares settings by it."""
        return type(self).__name__
