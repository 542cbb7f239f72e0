"""The Typer application: its commands, and errors in one line."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

import xpnet
from xpnet import _command
from xpnet.cli import bench, config, evaluate, export, info, predict, show
from xpnet.cli.interrupt import INTERRUPTED
from xpnet.cli.model import Applied
from xpnet.cli.output import library_told, silence, tell
from xpnet.cli.settings import EXAMPLES, Settings
from xpnet.cli.train import train
from xpnet.distributed import launcher

# Typer does not export the base of its errors of usage.
UsageError: Any = typer.BadParameter.__base__


def fail(message: str, code: int) -> NoReturn:
    """Write one line to stderr and exit."""
    tell(f"error: {message}")
    sys.exit(code)


class Commands(TyperGroup):
    """Tells every expected error in one line: exit code 2 for usage, 1 for everything else."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        if launcher.rank():
            silence()
        # Typer would not go below 50 columns.
        extra.setdefault("terminal_width", min(shutil.get_terminal_size().columns, 100) - 1)
        extra.setdefault("obj", {"words": list(sys.argv[1:] if args is None else args)})
        # Not standalone: errors come out as exceptions and exit codes as the result.
        extra |= {"prog_name": "xpnet", "standalone_mode": False}
        try:
            with library_told():
                code = super().main(args, **extra)
        except UsageError as error:
            context = getattr(error, "ctx", None)
            see = f" (see {context.command_path} --help)" if context is not None else ""
            # "Value error" is how newer versions of Typer begin a message about a choice.
            message = error.format_message().replace("Value error, ", "").rstrip(".")
            fail(message + _origin(error) + see, error.exit_code)
        except MemoryError as error:
            fail(f"out of memory. {error}", 1)
        except OSError as error:
            named = "" if error.filename is None else f"{error.filename}: "
            fail(named + (error.strerror or str(error)), 1)
        except (ValueError, TypeError, ArithmeticError, RuntimeError, ImportError) as error:
            fail(str(error), 1)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        try:
            _command.begun()
            asked = super().invoke(ctx)
            if isinstance(asked, Applied):
                asked.run()
        except UsageError as error:
            if error.ctx is not None:  # it knows its command
                raise
            fail(f"{error.format_message()} (see xpnet {ctx.invoked_subcommand} --help)", 2)
        except KeyboardInterrupt:  # a training has an answer of its own
            fail("interrupted", INTERRUPTED)


def _origin(error: Any) -> str:
    """The configuration file that a wrong value comes from, if any, in words."""
    context, param = getattr(error, "ctx", None), getattr(error, "param", None)
    source = context.get_parameter_source(param.name) if context and param else None
    in_file = source is not None and source.name == "DEFAULT_MAP"
    return f", in {error.ctx.obj['config']}" if in_file else ""


class TrainCommand(TyperCommand):
    """``train``: an option for every field of ``Settings``, which Typer makes from the options.

    They may come from a configuration file: the command line wins over it.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # The file must be known before any option gets its value, so the words are read twice.
        given = {} if ctx.resilient_parsing else self.make_parser(ctx).parse_args(list(args))[0]
        path = given.get("config")
        if path is None and given.get("resume") and given.get("run_dir"):
            recorded = Path(given["run_dir"]) / config.NAME
            path = recorded if recorded.is_file() else None
        if path is not None:
            ctx.default_map = config.read(Path(path))
            ctx.obj = {**(ctx.obj or {}), "config": path}
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> None:
        train(super().invoke(ctx), (ctx.obj or {}).get("words", ()))


app = typer.Typer(
    cls=Commands, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]}
)
app.command("train", cls=TrainCommand, help=train.__doc__, epilog=EXAMPLES)(Settings)
app.command("predict", epilog=predict.EXAMPLES)(predict.Prediction)
app.command("evaluate", epilog=evaluate.EXAMPLES)(evaluate.Evaluation)
app.command(epilog=export.EXAMPLES)(export.export)
app.command(epilog=show.EXAMPLES)(show.show)
app.command(epilog=info.EXAMPLES)(info.info)
app.command(epilog=bench.EXAMPLES)(bench.bench)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"xpnet {xpnet.__version__}")
        raise typer.Exit


@app.callback(
    invoke_without_command=True,
    epilog="""Examples:

\b
  xpnet train                            handwritten digits, on NumPy
  xpnet train data.csv --target price    your own table
  xpnet train --backend torch            the same net on PyTorch
  xpnet predict model.safetensors new.csv
  xpnet evaluate model.safetensors test.csv
  xpnet show model.safetensors           what is in a model file
  xpnet info                             which array libraries are here""",
)
def xpnet_command(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Dense neural networks on the array library you choose."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
