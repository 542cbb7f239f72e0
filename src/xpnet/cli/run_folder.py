"""Where a run of ``xpnet train`` puts its files, and how a run goes on from a checkpoint there.

Each checkpoint records, beside the net, its provenance: the data and every option that the
parameters depend on. Only the device, the library and the number of epochs may change.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import xpnet
from xpnet.callbacks import CSVLog
from xpnet.cli import config, output
from xpnet.cli.options import INSTALL_PLOT, check_output, check_output_folder, require
from xpnet.cli.problem import Problem
from xpnet.cli.recipe import Recipe, schedule_text
from xpnet.cli.settings import Settings
from xpnet.core import schedules
from xpnet.files.atomic import write_atomically
from xpnet.files.checkpoint import check_architecture
from xpnet.files.checkpoint_folder import find_checkpoints, latest_checkpoint
from xpnet.files.outputs import MODEL, PICTURE, Kind

LOG = Kind.beginning("log of xpnet train",
                     {".csv": CSVLog.head.encode(), ".jsonl": b'{"epoch": '})  # fmt: skip
RECORD = Kind.beginning("record of xpnet train", {".toml": b"# " + config.FIRST_LINE.encode()})
PROVENANCE = "run"  # its key in the data of a checkpoint
_AS_ASKED = ("dtype", "seed", "column", "ignore", "robust", "l1", "clip_norm", "early_stopping",
             "class_weight")  # fmt: skip


@dataclass(frozen=True)
class RunFiles:
    """Output paths of a run; None where that output was not asked for.

    ``checkpoints``, ``encoded`` and ``folder``, the run folder, are folders.
    """

    model: Path
    log: Path | None
    plot: Path | None
    checkpoints: Path | None
    folder: Path | None

    @property
    def encoded(self) -> Path:
        """Where the rows of a stream go until the end of the run."""
        beside = self.model.with_name(f"{self.model.name}.encoded")
        return beside if self.folder is None else self.folder / "encoded"

    @classmethod
    def of(cls, settings: Settings, recipe: Recipe) -> RunFiles:
        """Raises UsageProblem for what cannot be written, or would be overwritten."""
        folder, drawable = settings.run_dir, find_spec("matplotlib") is not None

        def inside(chosen: Path | None, name: str) -> Path | None:
            return folder / name if chosen is None and folder is not None else chosen

        require(settings.plot is None or drawable, "--plot",
                f"drawing needs matplotlib: {INSTALL_PLOT}")  # fmt: skip
        files = cls(
            model=inside(settings.out, "model.safetensors") or Path("model.safetensors"),
            log=inside(settings.log, "log.csv"),
            plot=inside(settings.plot, "curve.svg") if drawable else None,
            checkpoints=inside(settings.checkpoint_dir, "checkpoints"),
            folder=folder,
        )
        files._check(settings, recipe.held_out)
        return files

    def _check(self, settings: Settings, held_out: float | Path) -> None:
        folder, checkpoints = self.folder, self.checkpoints
        check_output_folder("--run-dir", folder)
        check_output_folder("--checkpoint-dir", checkpoints)
        found = [] if checkpoints is None else find_checkpoints(checkpoints)
        if settings.resume:
            # A folder misspelt must not begin a run on the digits, which need no DATA.
            require(checkpoints is not None, "--resume",
                    "goes on in a --run-dir or a --checkpoint-dir; name one")  # fmt: skip
            recorded = folder is not None and (folder / config.NAME).is_file()
            begins = settings.data is not None or settings.config is not None
            require(recorded or begins or bool(found), "--resume",
                    f"there is no run in {folder or checkpoints} to go on with: name its folder, "
                    "or give DATA (or --config) to begin one here; leave --resume out to begin one "
                    "on the digits")  # fmt: skip
        else:
            empty = folder is None or not folder.is_dir() or not any(folder.iterdir())
            other = "with --resume, or choose another folder"
            require(empty, "--run-dir", f"{folder} is not empty; go on there {other}")
            latest = found[0].path.name if found else ""
            require(not found, "--checkpoint-dir", f"{checkpoints} holds checkpoints, the latest "
                    f"{latest}; go on from there {other}")  # fmt: skip
        others = {"DATA": settings.data, "--config": settings.config,
                  "--validation": held_out if isinstance(held_out, Path) else None,
                  **{f"the checkpoint {c.path.name}": c.path for c in found}}  # fmt: skip
        for option, chosen, path, kind in (
            ("--out", settings.out, self.model, MODEL),
            ("--log", settings.log, self.log, LOG),
            ("--plot", settings.plot, self.plot, PICTURE),
        ):
            option = option if chosen is not None or folder is None else "--run-dir"
            if path is not None and (option != "--run-dir" or path.exists()):
                check_output(option, path, kind, others, settings.force)
                others[option] = path
        if folder is not None and (folder / config.NAME).exists():
            check_output("--run-dir", folder / config.NAME, RECORD, {}, settings.force)

    def record(self, settings: Settings, comments: list[str]) -> None:
        """Make the run folder, if any, and write ``settings`` there; raises OSError."""
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            text = config.as_toml(settings, comments)
            write_atomically(self.folder / config.NAME, text.encode())


def provenance(settings: Settings, recipe: Recipe, problem: Problem) -> dict[str, Any]:
    """What the parameters of a run depend on, as JSON can hold it.

    "data" is ``Problem.fingerprint``; the others are options by their long names.
    """
    fit = recipe.fit
    schedule = schedules.prepared(fit["schedule"], recipe.epochs)
    share = recipe.held_out if isinstance(recipe.held_out, float) else "a file"
    return {
        "data": problem.fingerprint,
        "options": {
            "task": problem.task,
            "validation": share,
            "stream": problem.streamed,
            "optimizer": recipe.optimizer,
            "lr": fit["optimizer"].learning_rate,
            "batch-size": fit["batch_size"] or "full",
            "schedule": schedule_text(schedule),
            "l2": fit["l2"],
            "dropout": list(fit["dropout"] or ()),
            **{config.long_name(name): getattr(settings, name) for name in _AS_ASKED},
        },
    }


def begin(
    folder: Path, fresh: Any, now: dict[str, Any], settings: Settings, epochs: int
) -> tuple[Any, str]:
    """The net of the last checkpoint, or ``fresh`` where there is none yet; and which, in words.

    ``now`` is the provenance of this run. What cannot be read is passed over and told on stderr.

    Raises
    ------
    ModelFileError
        It is of other data, another net, or other options; the message names both.
    UsageProblem
        It has been trained for more epochs than this run is to have.
    """
    with warnings.catch_warnings(record=True) as passed:
        warnings.simplefilter("always")
        path = latest_checkpoint(folder)
    for warning in passed:
        output.tell(str(warning.message))
    if path is None:
        return fresh, f"no checkpoint in {folder} yet: starting afresh"
    net = xpnet.load(path, backend=settings.backend, device=settings.device)
    then = net.data.pop(PROVENANCE, None)
    if not isinstance(then, dict) or net.training_state is None:
        raise xpnet.ModelFileError(f"{path} is no checkpoint of xpnet train")
    data, same = then.get("data"), {k: v for k, v in now["data"].items() if k != "name"}
    if not isinstance(data, dict) or not same.items() <= data.items():
        raise xpnet.ModelFileError(
            f"{path} is a checkpoint of other data: {described(data)}, but this run has "
            f"{described(now['data'])}"
        )
    check_architecture(path, net, fresh)
    options = then.get("options") or {}
    for name, value in now["options"].items():
        if options.get(name) != value:
            raise xpnet.ModelFileError(
                f"{path} was made with --{name} {_as_given(options.get(name))}, but this run has "
                f"--{name} {_as_given(value)}: go on with the former, or start afresh in another "
                "folder"
            )
    done = net.training_state.epoch
    require(done <= epochs, "--epochs",
            f"{path} has {done} epochs behind it; --epochs counts them too")  # fmt: skip
    return net, f"going on from {path}"


def described(fingerprint: Any) -> str:
    """The fingerprint of data, in words."""
    if not isinstance(fingerprint, dict):
        return "unknown"
    keys = ("rows", "features", "checksum")
    rest = ", ".join(f"{key} {fingerprint[key]}" for key in keys if key in fingerprint)
    return f"{fingerprint.get('name')} ({rest})"


def _as_given(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "0"
    return "none" if value is None else str(value)
