"""Callbacks for ``DeepNet.fit``: early stopping, checkpoints, logs, a progress bar.

Any object with some of the methods of ``training.history.Callback`` is a callback; these come with
xpnet. Each keeps the device waiting only when it needs a number of it: early stopping and logs read
the cost of every epoch, checkpoints the parameters when they write, the bar looks ten times a
second at most.
"""

from xpnet.callbacks.checkpoints import Checkpoints
from xpnet.callbacks.early_stopping import EarlyStopping
from xpnet.callbacks.logs import CSVLog, JSONLinesLog
from xpnet.callbacks.progressbar import ProgressBar
from xpnet.files.checkpoint_folder import latest_checkpoint

__all__ = [
    "CSVLog",
    "Checkpoints",
    "EarlyStopping",
    "JSONLinesLog",
    "ProgressBar",
    "latest_checkpoint",
]


def __dir__() -> list[str]:
    return __all__
