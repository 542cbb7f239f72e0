"""The Typer application: its commands, and what an error looks like."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

import xpnet
from xpnet.cli.info import info
from xpnet.cli.problem import UsageProblem
from xpnet.cli.train import EXAMPLES, INTERRUPTED, train

# ClickException, the base of all that Typer tells a user: click's in older versions of Typer, a
# private one in newer versions.
TYPER_ERROR: Any = typer.BadParameter.__mro__[2]


def fail(message: str, code: int) -> NoReturn:
    """One line on stderr, then the end."""
    print(f"xpnet: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


class Commands(TyperGroup):
    """Turns every expected error into one line: exit code 2 for usage, 1 for everything else."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> NoReturn:
        # Typer would not go below 50 columns.
        extra.setdefault("terminal_width", min(shutil.get_terminal_size().columns, 100) - 1)
        # Not standalone: errors come out as exceptions and exit codes as the result, so that they
        # can be told in one line here.
        try:
            code = super().main(args, "xpnet", complete_var, False, windows_expand_args, **extra)
        except TYPER_ERROR as error:
            context = getattr(error, "ctx", None)
            see = f" (see {context.command_path} --help)" if context is not None else ""
            # "Value error" is how newer versions of Typer begin a message about a choice.
            message = error.format_message().replace("Value error, ", "").rstrip(".")
            fail(message + see, error.exit_code)
        except UsageProblem as error:
            fail(f"Invalid value for '{error.option}': {error} (see xpnet train --help)", 2)
        except MemoryError as error:
            fail(f"out of memory. {error}", 1)
        except OSError as error:
            where = "" if error.filename is None else f"{error.filename}: "
            fail(where + (error.strerror or str(error)), 1)
        except xpnet.DivergedError as error:
            fail(f"{error}. No model was written", 1)
        except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:
            fail(str(error), 1)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # outside of the training, which has an answer of its own
            fail("interrupted", INTERRUPTED)


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog=EXAMPLES)(train)
app.command()(info)


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
