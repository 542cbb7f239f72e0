"""Files are replaced in one step: whatever goes wrong, the old one is still there."""

import os
import re
import subprocess
import sys

import pytest

from xpnet.files.atomic import open_atomically, write_atomically


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def test_a_file_appears_when_it_is_whole(path):
    with open_atomically(path) as file:
        file.write(b"n")
        assert path.read_bytes() == b"old"
        file.write(b"ew")
    assert path.read_bytes() == b"new"
    write_atomically(path, b"in ", memoryview(b"parts"))
    assert path.read_bytes() == b"in parts"
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("x"), OSError(5, "x", "other")])
def test_an_error_of_the_writer_is_passed_on(path, error):
    def fails():
        with open_atomically(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(type(error)) as raised:
        fails()
    assert raised.value is error
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


def test_a_failed_flush_leaves_the_old_file(path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as raised:
        write_atomically(path, b"new")
    assert raised.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need rights on Windows")
def test_a_link_stays_a_link(path, tmp_path):
    link = tmp_path / "latest"
    link.symlink_to(path)
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_a_file_that_is_replaced_hands_its_mode_on(path):
    for mode in (0o600, 0o664, 0o444):
        path.chmod(mode)
        with open_atomically(path) as file:
            assert os.fstat(file.fileno()).st_mode & 0o777 == mode  # also while it is written
        assert path.stat().st_mode & 0o777 == mode
    plain = path.with_name("plain")
    plain.touch()
    write_atomically(path.with_name("new"), b"new")
    assert path.with_name("new").stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("letter", ["a", "ß", "🙂"])
def test_a_name_may_be_as_long_as_the_system_takes(path, letter):
    name = letter * (255 // len(letter.encode()))
    try:
        path.with_name(name).touch()
    except OSError:
        pytest.skip("this system's names are shorter")
    write_atomically(path.with_name(name), b"new")
    assert path.with_name(name).read_bytes() == b"new"
    assert sorted(os.listdir(path.parent)) == sorted([path.name, name])


def test_folders_and_devices_are_not_replaced(tmp_path):
    for path in (tmp_path, "/dev/null"):
        if os.path.exists(path):
            with pytest.raises(OSError, match="not a regular file"):
                write_atomically(path, b"new")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")
@pytest.mark.parametrize(
    ("before", "said"),
    [
        # Python ignores SIGXFSZ: beyond the limit a write fails as on a full disk.
        ("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))",
         r"OSError \[Errno \d+\] File too large: 'file'"),
        ("os.chmod('.', 0o500); os.geteuid() or os.setuid(65534)",
         r"PermissionError \[Errno 13\] Permission denied: 'file'"),
    ],
    ids=["full disk", "unwritable folder"],
)  # fmt: skip
def test_a_disk_that_refuses_leaves_the_old_file(path, before, said):
    """In a process of its own."""
    code = f"""
import os
from xpnet.files.atomic import write_atomically
os.chdir({str(path.parent)!r})
{before}
try:
    write_atomically("file", bytes(100_000))
except OSError as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    path.parent.chmod(0o700)
    assert done.stderr == ""
    assert re.fullmatch(said, done.stdout.strip())
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]
