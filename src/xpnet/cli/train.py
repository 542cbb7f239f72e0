"""``xpnet train``: trains a net on a file of examples and writes the model."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import typer

from xpnet import DivergedError, Stream
from xpnet.backends.place import best_for
from xpnet.callbacks import Checkpoints, CSVLog, EarlyStopping, JSONLinesLog, ProgressBar
from xpnet.cli import config, output, run_folder, train_report
from xpnet.cli.encoded import Encoded
from xpnet.cli.interrupt import INTERRUPTED, Interrupt
from xpnet.cli.options import require
from xpnet.cli.recipe import Recipe
from xpnet.cli.run_folder import LOG, RunFiles, described
from xpnet.cli.settings import Settings
from xpnet.cli.solve import solve
from xpnet.cli.training_data import load
from xpnet.distributed import Ranks, launched, launcher
from xpnet.files.atomic import write_atomically
from xpnet.files.outputs import MODEL, refusal


def train(settings: Settings, words: Sequence[str] = ()) -> None:
    """Train a dense net and write it to a file.

    Without DATA it learns 1,797 handwritten digits (8 x 8 pixels; UCI Machine Learning
    Repository, CC BY 4.0).
    """
    with Ranks(launched()) as ranks:
        run = Run(settings, words, ranks)
        with run.interrupt, run.encoded:
            run.prepare()
            if run.recipe.solved:
                ranks.meet()
                ranks.together()
                if ranks.rank:
                    return
            run.train()
            if ranks.rank:
                return
            try:
                run.finish()
            except KeyboardInterrupt:
                output.tell(f"stopped at once; the model is in {run.files.model}")
                run.tell_how_it_ended()
                raise typer.Exit(INTERRUPTED) from None


class Run:
    """The training of one net, what is saved of it, and what is told.

    ``words`` is the command line after "xpnet". Of several ranks all train, and the first one
    writes.
    """

    def __init__(self, settings: Settings, words: Sequence[str], ranks: Ranks) -> None:
        self.settings, self.words, self.ranks = settings, words, ranks
        self.recipe = Recipe.of(settings)
        self.files = RunFiles.of(settings, self.recipe)
        self.console = output.Console(on_stderr=settings.as_json)
        self.interrupt = Interrupt(self._stopping)
        self.encoded = Encoded(self.files.encoded, settings.keep_encoded)

    def prepare(self) -> None:
        """Read the data, and make the net or read it from a checkpoint."""
        settings, files = self.settings, self.files
        if settings.dtype == "float64":
            # JAX reads this when it is first imported, and without it has no float64.
            os.environ.setdefault("JAX_ENABLE_X64", "1")
        if settings.piped and files.folder is not None:
            output.tell(
                f"warning: DATA is piped in: {config.NAME} cannot repeat this run, nor --resume go "
                "on with it, unless the same is piped in again"
            )
        require(self.ranks.size == 1 or not settings.piped, "DATA",
                "is piped in, which several processes cannot read: name a file")  # fmt: skip
        self.ranks.meet()  # until all have looked at the files that are there, nobody writes any
        self.problem = problem = load(settings, self.recipe, self.encoded, self.ranks)
        if self.recipe.solved:  # or not, if it is streamed
            self.recipe = Recipe.of(settings, problem.streamed, len(problem.train))
        self.weights, recipe = problem.weights() if settings.class_weight else None, self.recipe
        placed = settings  # what is recorded names no GPU: each rank takes its own
        if self.ranks.size > 1 and settings.device is None:
            placed = replace(settings, device=launcher.own_gpu(settings.backend))
        net: Any = problem.net(recipe.widths, backend=placed.backend, device=placed.device,
                               seed=placed.seed)  # fmt: skip
        provenance, begins = run_folder.provenance(settings, recipe, problem), None
        if settings.resume and files.checkpoints is not None:
            net, begins = run_folder.begin(
                files.checkpoints, net, provenance, placed, recipe.epochs
            )
        if settings.backend == "best":  # now, as the recipe is told and recorded before the fit
            m = len(problem.train)
            net.to(best_for(net.n_parameters, min(recipe.fit["batch_size"] or m, m))[0])
        self.net, state = net, net.training_state
        self.begun = 0 if state is None else state.step
        train_report.announce(self.console, settings, recipe, problem, net)
        if self.ranks.size > 1:
            self.console.print_line(f"{self.ranks.size} processes train it together")
        if begins is not None:
            self.console.print_line(begins)
        comments = [described(problem.fingerprint), f"{net.backend}, {net.backend.dtype_name}"]
        if self.ranks.rank == 0:
            files.record(config.resolved(settings, recipe, problem, net), comments)
        self.data, self.tensors = problem.saved(recipe.model)
        # A run that goes on replaces what it wrote itself.
        self.replaces = files.model.exists() and state is None
        if self.ranks.rank:
            self.files = files = replace(files, log=None, checkpoints=None)
        self.callbacks = self._make_callbacks(self.data | {run_folder.PROVENANCE: provenance})

    def _make_callbacks(self, data: dict[str, Any]) -> list[Any]:
        """The callbacks of the fit; some are asked for results. Checkpoints hold ``data``."""
        patience, files = self.settings.early_stopping, self.files
        self.cost_name, watched = train_report.cost_name(self.recipe), patience is not None
        self.view = ProgressBar(
            lambda done: train_report.figures(self.problem, done, self.cost_name, watched),
            console=self.console,
        )
        self.stopper = None if patience is None else EarlyStopping(patience)
        self.checkpoints = log = None
        if files.log is not None:
            if files.log.exists() and not LOG.holds(files.log):  # and --force gives it up
                write_atomically(files.log)
            log = (JSONLinesLog if files.log.suffix.lower() == ".jsonl" else CSVLog)(files.log)
        if files.checkpoints is not None and not self.recipe.solved:
            every, tensors = self.settings.checkpoint_every, self.tensors
            self.checkpoints = Checkpoints(files.checkpoints, every, data=data, tensors=tensors)
        made = (self.view, self.interrupt, self.stopper, log, self.checkpoints)
        return [callback for callback in made if callback is not None]

    def _stopping(self, name: str) -> None:
        if self.view.live:
            self.view.note("finishing this step")
        else:
            output.tell(f"{name}: finishing this step; again stops at once")

    def train(self) -> None:
        """Train, and save the model, whatever ends the training."""
        state, held = self.net.training_state, self.problem.validation
        train = self.problem.train.for_fit
        fit: Any = partial(self.net.fit, communicator=self.ranks)
        if self.recipe.solved:
            fit = partial(solve, self.net)
            if self.ranks.size > 1:
                output.tell(f"warning: one process solves {self.recipe.model}, the others end")
        self.interrupt.fitting = True
        try:
            fit(
                *((train,) if isinstance(train, Stream) else train),
                sample_weight=self.weights,
                epochs=self.recipe.epochs - (0 if state is None else state.epoch),
                validation=None if held is None else held.for_fit,
                callbacks=self.callbacks,
                resume=state is not None,
                **self.recipe.fit,
            )
            if self.ranks.rank:
                return
            self.net.save(self.files.model, self.data, self.tensors)
            stopped = self.interrupt.signal is not None
            self._keep_rows(stopped and self.net.training_state.epoch < self.recipe.epochs)
        except KeyboardInterrupt:
            self._keep_rows(True)
            output.tell(f"stopped at once; no model was written{self._last_checkpoint()}")
            self._tell_how_to_go_on()
            raise typer.Exit(self.interrupt.exit_code) from None
        except DivergedError as error:
            raise ArithmeticError(
                f"{error}. No model was written{self._last_checkpoint()}"
            ) from None
        except OSError as error:
            self._keep_rows(True)
            where = error.filename or (self.files.log and str(self.files.log))
            rest = f"{error.strerror or error}{self._save_net_so_far()}"
            raise OSError(error.errno, rest, where) from None
        except ValueError as error:
            self._keep_rows(False)  # they may be what is wrong
            raise ValueError(f"{error}{self._save_net_so_far()}") from None
        finally:
            self.interrupt.fitting = False
            self.view.close()

    # -- what is saved -------------------------------------------------------------------
    def _save_net_so_far(self) -> str:
        """Save the net where a log cannot be written or data not be read; says where, in words."""
        state, model = self.net.training_state, self.files.model
        if state is None or state.step == self.begun:
            return ""
        if self.replaces:  # a whole model is worth more than half of another
            model = model.with_name(f"{model.stem[:55]}-unfinished{model.suffix}")
            if refusal(model, MODEL, {}, self.settings.force) is not None:
                return self._last_checkpoint()
        try:
            self.net.save(model, self.data, self.tensors)
        except OSError:
            return self._last_checkpoint()
        return f"; the net so far is in {model}"

    def _keep_rows(self, unfinished: bool) -> None:
        """Keep the encoded rows of a run that can go on."""
        can_go_on = unfinished and self.checkpoints is not None
        self.encoded.keep = self.settings.keep_encoded or can_go_on

    def _last_checkpoint(self) -> str:
        path = self.checkpoints and self.checkpoints.path
        return f"; the last checkpoint is {path}" if path else ""

    # -- what is told --------------------------------------------------------------------
    def finish(self) -> None:
        """Tell the results, draw the curve, and tell how to go on if a signal came."""
        found = train_report.results(self.net, self.problem, self.files.model)
        stopper, stopped = self.stopper, self.interrupt.signal is not None
        written = f"model written to {self.files.model}"
        written += ", in place of the one that was there" * self.replaces
        if self.settings.as_json:
            if self.replaces:
                output.tell(written)
            found |= {
                "stopped": self.interrupt.name if stopped else None,
                "best_epoch": stopper and stopper.best_epoch,
                "checkpoint": self.checkpoints and str(self.checkpoints.path),
                "run_dir": self.files.folder and str(self.files.folder),
            }
            output.put_json(found)
        else:
            state, epochs = self.net.training_state, self.recipe.epochs
            if state.step == self.begun and not (stopped or self.recipe.solved):
                why = f"{epochs} epochs were done; for more: --epochs N"
                if state.epoch < epochs:
                    why = f"early stopping had ended it after epoch {state.epoch} of {epochs}; for "
                    why += "more, train in another folder with a greater --early-stopping"
                self.console.print_line(f"nothing was left to train: {why}")
            self.console.print_rows(train_report.as_rows(found, self.cost_name))
            if stopper is not None and stopper.best is not None:
                self.console.print_line(
                    f"best validation cost {stopper.best:.4g} after epoch {stopper.best_epoch}; "
                    "the model is that of this epoch"
                )
            self.console.print_line(written)
        if self.files.plot is not None:
            train_report.draw_curve(self.net.history, self.files.plot)
        if stopped:
            self.tell_how_it_ended()
            raise typer.Exit(self.interrupt.exit_code)
        if not self.settings.as_json:
            self.console.check()

    def tell_how_it_ended(self) -> None:
        """After which epoch a signal stopped it, and how to go on."""
        state, epochs = self.net.training_state, self.recipe.epochs
        if self.interrupt.signal is not None:
            middle = f" and {state.position:,} steps" if state.position else ""
            output.tell(
                f"stopped by {self.interrupt.name} after epoch {state.epoch} of {epochs}{middle}"
            )
            if state.epoch < epochs:
                return self._tell_how_to_go_on()
        more = ""
        if self.checkpoints is not None:
            more = f"; its results, or more epochs with --epochs N: {self._words_to_go_on()}"
        output.tell(f"the training is complete{more}")

    def _tell_how_to_go_on(self) -> None:
        if self.checkpoints is not None:
            output.tell(f"to go on: {self._words_to_go_on()}")
        elif not self.recipe.solved:
            output.tell(
                "with --run-dir DIR or --checkpoint-dir DIR a run can go on where it stopped"
            )

    def _words_to_go_on(self) -> str:
        words = [*self.words, *([] if "--resume" in self.words else ["--resume"])]
        return shlex.join([*launcher.words(self.ranks.size), *words])
