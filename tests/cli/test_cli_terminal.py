"""The command line on a terminal, a pseudo-terminal that pexpect types into."""

import os
import re
import signal
import sys
import time

import pytest

pexpect = pytest.importorskip("pexpect")

from cli_helpers import WINDOWS, command, utf8, without_codes

from xpnet.files.model import load_model

pytestmark = [
    pytest.mark.skipif(WINDOWS, reason="pseudo-terminals are a matter of Unix"),
    # pexpect forks, and starts another program at once: threads of other tests do not matter.
    pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]


@pytest.fixture
def terminal(here):
    """Start the command line on a terminal of so many columns."""
    children = []

    def terminal(words: str, columns: int = 80, term: str = "xterm"):
        left_out = ("COLUMNS", "LINES", "NO_COLOR", "CI")
        env = {k: v for k, v in utf8(TERM=term).items() if k not in left_out}
        child = pexpect.spawn(
            sys.executable,
            command(*words.split())[1:],
            dimensions=(24, columns),
            env=env,
            encoding="utf-8",
            timeout=60,
        )
        children.append(child)
        return child

    yield terminal
    for child in children:
        child.close(force=True)


def screen(child) -> str:
    """All that is written until the program ends; it must end well."""
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    return child.before


def lines_of(text: str) -> list[str]:
    return [without_codes(line) for line in re.split(r"[\r\n]+", text)]


@pytest.mark.parametrize("columns", [40, 64, 80, 200])
def test_training(terminal, columns):
    shown = screen(terminal("train --epochs 30 --hidden 8", columns))
    lines = lines_of(shown)
    assert max(map(len, lines)) <= columns
    assert any("30/30" in line and "accuracy 0." in line for line in lines)
    assert any("━━━" in line for line in lines)
    assert not any("…" in line for line in lines)
    assert shown.count("validation accuracy") == 1


def test_a_terminal_that_cannot_move_its_cursor(terminal):
    shown = screen(terminal("train --epochs 10 --hidden 8", term="dumb"))
    assert "\x1b" not in shown
    assert len(re.findall(r"^epoch", shown, re.M)) == 10


def test_forty_columns(terminal, ok, blobs):
    words = "train blobs.csv --target side --epochs 6 --hidden 8 --early-stopping 3"
    shown = [screen(terminal(f"{words} --checkpoint-dir ck", 40))]
    for words in (
        "show ck/epoch-000006.safetensors",
        "evaluate model.safetensors blobs.csv",
        "predict model.safetensors blobs.csv",
        "train --help",
        "predict --help",
    ):
        shown.append(screen(terminal(words, 40)))
    to_copy = "    xpnet "  # examples are to be copied, not broken
    lines = [line for text in shown for line in text.splitlines() if not line.startswith(to_copy)]
    assert max(len(without_codes(line)) for line in lines) <= 40
    assert "…" not in "".join(shown)


def test_ctrl_c_and_what_it_says_to_type(terminal, here):
    words = "train --epochs 100000 --hidden 8 --checkpoint-dir ck --checkpoint-every 1000"
    child = terminal(words, 200)
    child.expect("accuracy 0")
    child.sendintr()
    child.expect(r"xpnet: stopped by Ctrl-C after epoch (\d+) of 100000")
    epochs = int(child.match[1])
    child.expect("xpnet: to go on: xpnet ([^\r]+)\r")
    again = child.match[1]
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert load_model(here / "model.safetensors").parameters
    assert again == f"{words} --resume"
    shown = screen(terminal(again.replace("100000", str(epochs + 2)), 200))
    assert "going on from ck/epoch-" in shown
    assert f"{epochs + 2}/{epochs + 2}" in without_codes(shown)


def test_ctrl_c_twice(terminal, here):
    child = terminal("train --epochs 100000 --hidden 512,512 --batch-size full")
    child.expect("accuracy 0")
    child.send("\x03")
    child.send("\x03")
    child.expect(pexpect.EOF)
    child.close()
    # The second one may also come when the program is about to end, and end it.
    assert child.exitstatus == 130 or child.signalstatus == signal.SIGINT
    # The first one may be through before the second comes.
    saved = "stopped by Ctrl-C after" in child.before
    assert saved != ("stopped at once; no model was written" in child.before)
    assert saved == (here / "model.safetensors").exists()


def test_the_cursor_comes_back(terminal):
    """rich hides it while a bar moves."""
    child = terminal("train --epochs 100000 --hidden 8")
    child.expect_exact("\x1b[?25l")
    child.expect("accuracy 0")
    child.sendintr()
    child.expect(pexpect.EOF)
    assert "\x1b[?25h" in child.before


def test_json_beside_a_bar(terminal, here):
    """With stdout in a file the bar is drawn on stderr."""
    child = pexpect.spawn(
        "sh",
        ["-c", " ".join(command("train", "--epochs", "20", "--hidden", "4", "--json")) + " > out"],
        env=utf8(TERM="xterm"),
        encoding="utf-8",
        timeout=60,
    )
    assert "━━━" in screen(child)
    assert os.path.getsize("out") > 100
    assert (here / "out").read_text().startswith("{")


def test_a_terminal_that_goes_away(terminal, here):
    child = terminal("train --epochs 100000 --hidden 8 --checkpoint-dir ck")
    child.expect("accuracy 0")
    # pexpect's own close would send further signals.
    child.ptyproc.fileobj.close()
    child.ptyproc.closed = True
    deadline = time.monotonic() + 60
    while child.ptyproc.isalive() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert child.ptyproc.exitstatus == 129
    assert load_model(here / "model.safetensors").parameters
    assert any("-step-" in name or name > "epoch-000000" for name in os.listdir("ck"))
