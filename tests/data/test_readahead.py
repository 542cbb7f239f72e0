"""The thread that reads ahead ends with its consumer, and no file stays open."""

from __future__ import annotations

import gc
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from stream_helpers import (
    MEMORY,
    NUMBERS,
    ROWS,
    N,
    epoch_of,
    flat,
    readers,
    save,
    save_both,
    write_csv,
    write_parquet,
)

from xpnet.data import file_array
from xpnet.data.open_stream import stream
from xpnet.data.readahead import ReadAhead


def test_one_item_ahead_and_no_more():
    made = []

    def produce():
        for k in range(10):
            made.append(k)
            yield k

    with ReadAhead(produce()) as items:
        for item in items:
            wait_for(lambda item=item: len(made) == min(item + 2, 10))
            time.sleep(0.005)
            assert len(made) <= item + 2
    assert made == list(range(10))


def wait_for(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("end", [KeyboardInterrupt, ValueError, "break", "exhausted"])
def test_the_thread_ends_with_the_consumer(end):
    closed = []

    def batches(epoch):
        try:
            for k in range(20):
                yield np.full((3, 2), k), np.zeros(3)
        finally:
            closed.append(threading.current_thread().name)

    def consume():
        with stream(batches).chunks(0, None) as chunks:
            for chunk in chunks:
                if end == "break":
                    break
                if end != "exhausted" and chunk.X[0, 0] == 3:
                    raise end("enough")

    if isinstance(end, str):
        consume()
    else:
        with pytest.raises(end, match="enough"):
            consume()
    assert readers() == []
    assert closed == ["xpnet-reader"]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal for one thread")
def test_ctrl_c_does_not_wait_for_a_batch_that_hangs():
    hangs, began = threading.Event(), time.monotonic()

    def batches(epoch):
        yield ROWS, NUMBERS
        hangs.wait(30)

    main = threading.main_thread().ident
    threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt), stream(batches).chunks(0, None) as chunks:
        list(chunks)
    assert time.monotonic() - began < 15
    hangs.set()
    wait_for(lambda: readers() == [])


def test_blocks_left_early_end_their_thread(source):
    for block in source.blocks(10):
        assert len(block.X) == 10
        break
    del block
    gc.collect()
    assert readers() == []


def test_what_the_reader_raises_is_raised_in_the_loop():
    """After all that came before it."""

    def batches(epoch):
        yield ROWS, NUMBERS
        yield ROWS, NUMBERS
        raise OSError(5, "the disk is gone")

    seen = 0

    def consume():
        nonlocal seen
        with stream(batches).chunks(0, None) as chunks:
            for _ in chunks:
                seen += 1

    with pytest.raises(OSError, match="the disk is gone"):
        consume()
    assert seen == 2


def test_temporary_files_go_and_no_handle_stays(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    path = save_both(tmp_path / "a.npz", np.savez_compressed, X=ROWS, y=NUMBERS)
    handles = Path("/proc/self/fd")
    before = len(list(handles.iterdir())) if handles.exists() else 0
    with stream(path, folder=folder, memory=MEMORY) as source:
        assert len(flat(epoch_of(source))) == N
    assert list(folder.iterdir()) == []
    for other in (path, save(tmp_path / "X.npy", ROWS), write_csv(tmp_path / "a.csv")):
        opened = stream(other, target="y" if other.suffix == ".csv" else None, folder=folder)
        with opened.chunks(0, 4) as chunks:
            next(iter(chunks))
        del opened, chunks  # not closed: ResourceWarnings are errors
    gc.collect()
    if handles.exists():
        assert len(list(handles.iterdir())) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_a_full_disk_says_what_was_written_where(kind, tmp_path, monkeypatch):
    if kind == "npz":
        path = save_both(tmp_path / "a.npz", np.savez_compressed, X=ROWS, y=NUMBERS)
    else:
        path = write_parquet(tmp_path / "a.parquet")
    monkeypatch.setattr(file_array, "TemporaryFile", lambda **_: open("/dev/full", "wb+"))  # noqa: SIM115
    with pytest.raises(OSError, match=r"No space left on device, unpacking .*folder=") as raised:
        stream(path, target=None if kind == "npz" else "y", memory=MEMORY, folder=tmp_path)
    assert str(path) in str(raised.value)


def test_where_no_thread_starts_items_are_made_in_turn(monkeypatch):
    def refused(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    closed = []

    def numbers():
        try:
            yield from range(5)
        finally:
            closed.append(True)

    with ReadAhead(numbers()) as items:
        assert [next(items), next(items)] == [0, 1]
    assert closed == [True]
    assert list(items) == []
    with ReadAhead(numbers()) as items:
        assert list(items) == [0, 1, 2, 3, 4]
