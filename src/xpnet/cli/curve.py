"""The learning curve of a run as a file."""

from __future__ import annotations

from pathlib import Path

from xpnet.files.atomic import open_atomically
from xpnet.training.history import History


def draw(history: History, path: Path) -> None:
    """Costs and accuracy over the epochs, as .svg, .png or .pdf; nothing if there are no epochs.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    if not history.cost:
        return
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    from xpnet.plotting import LearningCurveDisplay

    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    LearningCurveDisplay.from_history(history, ax=figure.subplots())
    kind = path.suffix.lower().removeprefix(".")
    # No date and no random names, so that the same run gives the same picture.
    dateless = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with open_atomically(path) as file, rc_context({"svg.hashsalt": "xpnet"}):
        figure.savefig(file, format=kind, metadata=dateless.get(kind))
