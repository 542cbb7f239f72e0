"""A training run that is killed and started again until it is through: see test_checkpoint.py.

python killed_training.py FOLDER EPOCHS [--fast]
"""

import sys
from pathlib import Path
from time import sleep

import numpy as np

import xpnet
from xpnet.callbacks import Checkpoints, EarlyStopping, JSONLinesLog
from xpnet.files.checkpoint_folder import latest_checkpoint
from xpnet.schedules import Cosine, WarmUp


class Slow:
    """Makes the steps of an epoch take some time, so that a kill falls between them too."""

    def on_steps_end(self, net, progress):
        sleep(0.001)

    def on_epoch_end(self, net, progress):
        if progress.epoch == 1:
            print("training", flush=True)
        sleep(0.004)


def main(folder: Path, epochs: int, fast: bool) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4, 200))
    Y = (X[:1] * X[1:2] > 0).astype(float)
    folder.mkdir(exist_ok=True)
    path = latest_checkpoint(folder / "checkpoints")
    if path is None:
        net = xpnet.DeepNet([4, 8, 1], hidden="tanh", backend="numpy", dtype="float64", seed=3)
    else:
        net = xpnet.load(path)
    callbacks = [
        *([] if fast else [Slow()]),
        JSONLinesLog(folder / "log.jsonl"),
        EarlyStopping(patience=epochs, restore_best=True),
        Checkpoints(folder / "checkpoints"),
    ]
    state = net.training_state
    net.fit(
        X[:, :150],
        Y[:, :150],
        xpnet.Adam(0.01),
        epochs=epochs - (0 if state is None else state.epoch),
        batch_size=4,
        validation=(X[:, 150:], Y[:, 150:]),
        callbacks=callbacks,
        dropout=0.1,
        schedule=WarmUp(5, Cosine(final=0.1)),
        resume=True,
    )
    net.save(folder / "model")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), "--fast" in sys.argv)
