"""Where a run of ``xpnet train`` puts its files: named one by one, or a folder for all."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from xpnet.cli import config, outfile
from xpnet.cli.problem import UsageProblem, require
from xpnet.cli.settings import Settings
from xpnet.files.atomic import write_atomically
from xpnet.files.checkpoint_folder import find

PICTURES = (".svg", ".png", ".pdf")
INSTALL_PLOT = 'python -m pip install "xpnet[plot]"'


@dataclass(frozen=True)
class Places:
    """None: not wanted.

    Attributes
    ----------
    model : Path
    log, plot : Path or None
    checkpoints : Path or None
        A folder.
    folder : Path or None
        The run folder.
    """

    model: Path
    log: Path | None
    plot: Path | None
    checkpoints: Path | None
    folder: Path | None

    @classmethod
    def of(cls, settings: Settings) -> Places:
        """Raises UsageProblem for what cannot be written, or would be overwritten."""
        folder = settings.run_dir

        def inside(chosen: Path | None, name: str) -> Path | None:
            return folder / name if chosen is None and folder is not None else chosen

        drawable = find_spec("matplotlib") is not None
        require(settings.plot is None or drawable, "--plot",
                f"drawing needs matplotlib: {INSTALL_PLOT}")  # fmt: skip
        places = cls(
            inside(settings.out, "model.safetensors") or Path("model.safetensors"),
            inside(settings.log, "log.csv"),
            inside(settings.plot, "curve.svg") if drawable else None,
            inside(settings.checkpoint_dir, "checkpoints"),
            folder,
        )
        places._check(settings)
        return places

    def _check(self, settings: Settings) -> None:
        outfile.check("--out", settings.out)
        outfile.check("--log", settings.log, (".csv", ".jsonl"))
        outfile.check("--plot", settings.plot, PICTURES)
        if settings.out is None and self.folder is None:
            outfile.check("--out", self.model)
        require(not settings.resume or self.checkpoints is not None, "--resume",
                "goes on in a --run-dir or a --checkpoint-dir; name one")  # fmt: skip
        for option, path in (("--run-dir", self.folder), ("--checkpoint-dir", self.checkpoints)):
            if path is not None:
                _check_folder(option, path)
        if settings.resume:
            self._check_run(settings)
            return
        if self.folder is not None and self.folder.is_dir() and any(self.folder.iterdir()):
            raise UsageProblem(
                "--run-dir", f"{self.folder} is not empty; go on there with --resume, or choose "
                "another folder"
            )  # fmt: skip
        found = find(self.checkpoints) if self.checkpoints is not None else []
        if found:
            raise UsageProblem(
                "--checkpoint-dir", f"{self.checkpoints} holds checkpoints, the latest "
                f"{found[0].path.name}; go on from there with --resume, or choose another folder"
            )  # fmt: skip

    def _check_run(self, settings: Settings) -> None:
        """A folder misspelt must not begin a run on the digits, which need no DATA."""
        begins = settings.data is not None or settings.config is not None
        recorded = self.folder is not None and (self.folder / config.NAME).is_file()
        assert self.checkpoints is not None
        if not (begins or recorded or find(self.checkpoints)):
            raise UsageProblem(
                "--resume", f"there is no run in {self.folder or self.checkpoints} to go on with: "
                "name its folder, or give DATA (or --config) to begin one here; leave --resume "
                "out to begin one on the digits"
            )  # fmt: skip

    def prepare(self, settings: Settings, about: list[str]) -> None:
        """Make the run folder and record ``settings`` in it.

        Raises
        ------
        OSError
            It cannot be written.
        """
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            text = config.written(settings, about)
            write_atomically(self.folder / config.NAME, text.encode())


def _check_folder(option: str, path: Path) -> None:
    """Whether a folder can be made here, or written in if it is there."""
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    require(there.is_dir(), option, f"{there} is not a folder")
    require(os.access(there, os.W_OK), option, f"cannot write in the folder {there}")
