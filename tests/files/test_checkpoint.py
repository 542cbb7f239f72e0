"""Checkpoints: exact, whole at every moment, and a fit that goes on from one is the same fit."""

from __future__ import annotations

import json
import os
import re
import warnings
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
from helpers import assert_pairs_close, assert_pairs_equal
from safetensors.numpy import save

import xpnet
from xpnet.callbacks import Checkpoints, CSVLog, EarlyStopping, JSONLinesLog
from xpnet.core.optimizers import OPTIMIZERS
from xpnet.files.checkpoint import check_architecture, pack, unpack
from xpnet.files.checkpoint_folder import (
    checkpoint_name,
    find_checkpoints,
    is_checkpoint,
    latest_checkpoint,
    prune_checkpoints,
)
from xpnet.files.model import load_model, save_model
from xpnet.schedules import Plateau, WarmUp
from xpnet.training.state import TrainingState

POSIX = os.name == "posix"
RNG = np.random.default_rng(8)
X = RNG.normal(size=(3, 90))
Y = (X[:1] * X[1:2] > 0).astype(float)
X_VALID = RNG.normal(size=(3, 12))
Y_VALID = (X_VALID[:1] * X_VALID[1:2] > 0).astype(float)
ADAM = xpnet.Adam(0.3, 0.7)
MINI = {"optimizer": xpnet.Adam(0.02), "batch_size": 4}  # 23 steps an epoch, the last one short


def make_net(lib=None, dtype="float64", **settings):
    options = lib.options if lib else {"backend": "numpy"}
    return xpnet.DeepNet([3, 5, 1], hidden="tanh", dtype=dtype, seed=1, **options, **settings)


def same_history(one, other):
    for curve in ("cost", "validation_cost", "validation_accuracy"):
        assert getattr(one, curve) == getattr(other, curve)


# -- the state of training as JSON and tensors -------------------------------------------
def round_trip(state, n_parameters):
    config, tensors = pack(state)
    text = json.dumps(config, allow_nan=False)
    return unpack(json.loads(text), tensors | {"mean": np.arange(3.0)}, n_parameters)


def a_state(optimizer=ADAM, dtype=np.float32, **changes):
    rng = np.random.default_rng(4)
    state = TrainingState(
        optimizer=optimizer,
        moments=tuple(rng.normal(size=7).astype(dtype) for _ in range(optimizer.n_moments)),
        epoch=12,
        step=2**40,
        position=3,
        costs=np.array([0.1, 1 / 3, np.nextafter(1.0, 2.0)]),
        weights=np.array([4.0, 4.0, 2.0]),
        history=xpnet.History([1 / 3, 1e-300], [2 / 3, np.pi], [0.5, 0.75], 1.25, "streamed", True),
        schedule={"factor": 0.1 + 0.2, "best": 1 / 3, "since": 2},
        callbacks=[
            ("EarlyStopping", {"best": None, "parameters": [[np.eye(2), np.ones((2, 1), "f4")]]}),
            ("Mine", {"a": np.arange(3), "b": [1, {"c": np.float32(0.1)}, "text", True], "d": ()}),
            ("Mine", {"nan": float("nan"), "inf": -np.inf, "zero": np.array(0.5), "empty": []}),
        ],
    )
    return replace(state, **changes)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_comes_back_as_it_was(name, dtype):
    optimizer = OPTIMIZERS[name].kind()
    optimizer = replace(optimizer, **{f.name: 0.1 + 0.2 for f in fields(optimizer)
                                      if f.type == "float"})  # fmt: skip
    state = a_state(optimizer, dtype)
    found, rest = round_trip(state, 7)
    assert list(rest) == ["mean"]
    for f in fields(state):
        if f.name not in ("moments", "costs", "weights", "callbacks"):
            assert getattr(found, f.name) == getattr(state, f.name)
    assert type(found.optimizer) is type(optimizer)
    for name in ("costs", "weights"):
        np.testing.assert_array_equal(getattr(found, name), getattr(state, name))
    for one, other in zip(found.moments, state.moments, strict=True):
        assert one.dtype == dtype
        np.testing.assert_array_equal(one, other)


def test_what_callbacks_remember_comes_back():
    (stopping, mine, odd), state = round_trip(a_state(), 7)[0].callbacks, a_state()
    assert [name for name, _ in (stopping, mine, odd)] == ["EarlyStopping", "Mine", "Mine"]
    ((W, b),) = stopping[1]["parameters"]
    assert_pairs_equal([(W, b)], state.callbacks[0][1]["parameters"])
    assert (W.dtype, b.dtype) == (np.float64, np.float32)
    assert mine[1]["a"].tolist() == [0, 1, 2]
    assert mine[1]["b"] == [1, {"c": float(np.float32(0.1))}, "text", True]
    assert mine[1]["d"] == []
    assert np.isnan(odd[1]["nan"])
    assert odd[1]["inf"] == -np.inf
    assert (odd[1]["zero"].shape, float(odd[1]["zero"])) == ((), 0.5)


@dataclass(frozen=True)
class Mine(xpnet.GradientDescent):
    """An optimiser of the user's."""


@pytest.mark.parametrize(
    ("state", "error", "said"),
    [
        (a_state(Mine(0.1)), ValueError, "optimizer Mine is a class of yours"),
        (a_state(callbacks=[("C", {"f": print})]), TypeError, r"state\(\) of callback C holds"),
        (a_state(callbacks=[("C", {"k": {1: 2}})]), TypeError, "dict"),
    ],
)
def test_what_cannot_be_kept(state, error, said):
    with pytest.raises(error, match=said):
        pack(state)


def test_moments_of_another_net():
    config, tensors = pack(a_state())
    with pytest.raises(ValueError, match="do not fit its 8 parameters"):
        unpack(config, tensors, 8)
    with pytest.raises(KeyError):
        unpack(config, {k: v for k, v in tensors.items() if "moment2" not in k}, 7)


# -- net.save(training=True), xpnet.load, fit(resume=True) -------------------------------
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_fit_goes_on_from_a_file(lib, tmp_path, dtype):
    x, y = (lib.asarray(a.astype(dtype)) for a in (X, Y))
    whole, parts = make_net(lib, dtype), make_net(lib, dtype)
    options = MINI | {"validation": (x[:, :9], y[:, :9]), "dropout": 0.2, "l1": 1e-4}
    whole.fit(x, y, epochs=5, **options)
    for epochs in (2, 0, 3):
        parts.fit(x, y, epochs=epochs, resume=True, **options)
        parts.save(tmp_path / "m", training=True)
        parts = xpnet.load(tmp_path / "m", **lib.options)
    assert_pairs_equal(lib.host(whole.parameters), lib.host(parts.parameters))
    same_history(whole.history, parts.history)
    assert parts.backend.name == lib.name


def test_without_training_a_file_holds_the_net_alone(tmp_path):
    net = make_net()
    net.fit(X, Y, epochs=1, **MINI)
    net.save(tmp_path / "m")
    assert "training" not in load_model(tmp_path / "m").config
    assert not load_model(tmp_path / "m").tensors
    assert xpnet.load(tmp_path / "m").training_state is None


def test_from_one_library_to_another(lib, tmp_path):
    """The parameters of a fit that moves, against one that stays: equal to rounding."""
    stays, starts = make_net(), make_net()
    stays.fit(X, Y, epochs=6, **MINI)
    starts.fit(X, Y, epochs=3, **MINI)
    starts.save(tmp_path / "m", training=True)
    moved = xpnet.load(tmp_path / "m", **lib.options)
    assert moved.history.cost == starts.history.cost
    moved.fit(lib.asarray(X), lib.asarray(Y), epochs=2, resume=True, **MINI)
    moved.save(tmp_path / "m", training=True)
    back = xpnet.load(tmp_path / "m", backend="numpy")
    back.fit(X, Y, epochs=1, resume=True, **MINI)
    assert_pairs_close(back.parameters, stays.parameters, 1e-9)
    np.testing.assert_allclose(back.history.cost, stays.history.cost, rtol=1e-9)


class BreaksOff:
    """Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch):
        self.epoch, self.position = epoch, None

    def on_steps_end(self, net, progress):
        if progress.epoch == self.epoch:
            self.position = progress.position
            return True
        return False


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_fit_broken_off_in_an_epoch_goes_on(lib, tmp_path, epoch):
    """Steps of a part are the same as those of a whole epoch, on every library."""
    x, y = lib.asarray(X), lib.asarray(Y)
    options = {"optimizer": xpnet.Adam(0.02), "batch_size": 1, "dropout": 0.2}
    options["schedule"] = WarmUp(0.5, Plateau(0.5, 0, 0.3))
    whole, broken = make_net(lib), make_net(lib)
    whole.fit(x, y, epochs=4, **options)
    stops = BreaksOff(epoch)
    history = broken.fit(x, y, epochs=4, callbacks=[Checkpoints(tmp_path), stops], **options)
    assert len(history.cost) == epoch
    assert 0 < stops.position < 90
    path = latest_checkpoint(tmp_path)
    assert path.name == checkpoint_name(epoch, stops.position)
    for net in (broken, xpnet.load(path, **lib.options)):  # in memory, and from the file
        net.fit(x, y, epochs=4 - epoch, resume=True, **options)
        assert_pairs_equal(lib.host(whole.parameters), lib.host(net.parameters))
        same_history(whole.history, net.history)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "version 2, newer than this xpnet, which reads up to 1"),
        ({"version": "1"}, "damaged"),
        ({"optimizer": {"name": "Unknown", "learning_rate": 0.1}}, "trained with 'Unknown'.*AdamW"),
        ({"optimizer": {"name": "Adam", "learning_rate": -0.1}}, "learning_rate=-0.1"),
        ({"epoch": -1}, "epoch=-1"),
        ({"step": 1.5}, "step=1.5"),
        ({"position": 7}, "7 steps"),
        ({"callbacks": 3}, "m: "),
    ],
)
def test_states_that_cannot_be_read(tmp_path, change, said):
    net = make_net()
    net.fit(X, Y, epochs=1, **MINI)
    net.save(tmp_path / "m", training=True)
    model = load_model(tmp_path / "m")
    config = model.config | {"training": model.config["training"] | change}
    save_model(tmp_path / "m", model.parameters, config, model.tensors)
    with pytest.raises(xpnet.ModelFileError, match=said) as raised:
        xpnet.load(tmp_path / "m")
    assert "\n" not in str(raised.value)
    assert not is_checkpoint(tmp_path / "m")


def test_another_architecture_is_told_with_both():
    one = xpnet.DeepNet([3, 5, 1], hidden="tanh", backend="numpy")
    check_architecture("c", one, xpnet.DeepNet([3, 5, 1], hidden="tanh", dtype="float32", seed=7))
    for sizes, settings, said in (
        ([3, 6, 1], {"hidden": "tanh"}, "3-5-1 tanh sigmoid, but this run trains 3-6-1 tanh sigm"),
        ([3, 5, 1], {"hidden": "relu"}, "trains 3-5-1 relu sigmoid"),
        ([3, 1], {"output": "identity"}, "trains 3-1 identity"),
    ):
        with pytest.raises(xpnet.ModelFileError, match=said):
            check_architecture("c", one, xpnet.DeepNet(sizes, **settings))


# -- folders -----------------------------------------------------------------------------
@pytest.fixture
def folder(tmp_path):
    """Checkpoints of epochs 0 to 4, the last one also in the middle of the fifth."""
    net = make_net()
    net.fit(X, Y, epochs=0, **MINI)
    for epoch in range(5):
        net.save(tmp_path / checkpoint_name(epoch), training=True)
    net.save(tmp_path / checkpoint_name(4, 17), training=True)
    return tmp_path


def test_names_sort_by_number():
    assert checkpoint_name(12) == "epoch-000012.safetensors"
    assert checkpoint_name(12, 345) == "epoch-000012-step-000345.safetensors"
    assert checkpoint_name(1234567) == "epoch-1234567.safetensors"


def test_the_latest(folder):
    assert latest_checkpoint(folder).name == checkpoint_name(4, 17)
    (folder / "epoch-1000000.safetensors").write_bytes((folder / checkpoint_name(4)).read_bytes())
    assert latest_checkpoint(folder).name == "epoch-1000000.safetensors"
    assert [found[:2] for found in find_checkpoints(folder)][:3] == [(1000000, 0), (4, 17), (4, 0)]


def test_no_checkpoints(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    assert latest_checkpoint(tmp_path) is latest_checkpoint(tmp_path / "none") is None
    with pytest.raises(NotADirectoryError, match="checkpoints need a folder"):
        latest_checkpoint(tmp_path / "notes.txt")


def test_what_is_passed_over_is_named(folder):
    whole = (folder / checkpoint_name(4)).read_bytes()
    (folder / checkpoint_name(4, 17)).write_bytes(whole[:-9])  # truncated
    (folder / checkpoint_name(5)).write_bytes(whole[:-1] + b"?")  # damaged
    (folder / checkpoint_name(6)).write_bytes(b"PK" + whole)  # foreign
    make_net().save(folder / checkpoint_name(7))  # a model
    (folder / checkpoint_name(8)).mkdir()
    (folder / f".{checkpoint_name(9)}.0a1b2c3d.tmp").write_bytes(whole)
    (folder / "model.safetensors").write_bytes(whole)
    (folder / "notes.txt").write_text("")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert latest_checkpoint(folder).name == checkpoint_name(4)
    said = "\n".join(str(w.message) for w in caught)
    for name, why in (
        (checkpoint_name(4, 17), "truncated"),
        (checkpoint_name(5), "checksum"),
        (checkpoint_name(6), "not a safetensors file"),
        (checkpoint_name(7), "without the state of training"),
        (checkpoint_name(8), "directory"),
        (f".{checkpoint_name(9)}.0a1b2c3d.tmp", "cut off"),
        ("model.safetensors", "not called like a checkpoint"),
    ):
        (line,) = [line for line in said.splitlines() if f"{folder}{os.sep}{name}" in line]
        assert why in line
    assert "notes.txt" not in said
    (folder / checkpoint_name(8)).rmdir()
    for found in find_checkpoints(folder):
        found.path.write_bytes(b"")
    said = r"no checkpoint in .* can be read: .*epoch-000007"
    with pytest.raises(xpnet.ModelFileError, match=said):
        latest_checkpoint(folder)


def test_pruning(folder):
    leftover = folder / f".{checkpoint_name(9)}.0a1b2c3d.tmp"
    for name in (leftover, folder / "model.safetensors", folder / "notes.txt"):
        name.write_bytes(b"")
    prune_checkpoints(folder, 2, folder / checkpoint_name(3))
    assert sorted(os.listdir(folder)) == [
        checkpoint_name(2), checkpoint_name(3), "model.safetensors", "notes.txt"
    ]  # fmt: skip


def test_foreign_files_are_neither_pruned_nor_replaced(folder):
    make_net().save(folder / "model")
    foreign = {1: save({"w": np.zeros(2)}), 2: b"PK", 3: (folder / "model").read_bytes()}
    for epoch, content in foreign.items():
        (folder / checkpoint_name(epoch)).write_bytes(content)
    prune_checkpoints(folder, 1, folder / checkpoint_name(4))
    net = make_net()
    for overwrite in (False, True):
        checkpoints = Checkpoints(folder, overwrite=overwrite)
        with pytest.raises(FileExistsError, match=r"epoch-000003\S+ is called like a checkpoint"):
            net.fit(X, Y, epochs=5, callbacks=[checkpoints], **MINI)
    for epoch, content in foreign.items():
        assert (folder / checkpoint_name(epoch)).read_bytes() == content
    for epoch in foreign:  # what is left of damaged ones may go
        (folder / checkpoint_name(epoch)).write_bytes(b"")
    net.fit(X, Y, epochs=2, callbacks=[Checkpoints(folder, overwrite=True)], **MINI)


# -- the callback ------------------------------------------------------------------------
def test_a_folder_of_a_fit(tmp_path):
    seen = []

    class Looks:
        last = True

        def on_epoch_end(self, net, progress):
            seen.append([found.epoch for found in find_checkpoints(tmp_path / "a" / "b")])

    checkpoints = Checkpoints(tmp_path / "a" / "b", every=2, keep=2)
    make_net().fit(X, Y, epochs=7, callbacks=[checkpoints, Looks()], **MINI)
    assert seen == [[0], [2, 0], [2, 0], [4, 2], [4, 2], [6, 4], [7, 6]]
    assert checkpoints.path == latest_checkpoint(tmp_path / "a" / "b")
    assert all(is_checkpoint(found.path) for found in find_checkpoints(tmp_path / "a" / "b"))


def test_a_fit_with_everything_goes_on_exactly(lib, tmp_path):
    """Schedule, early stopping, logs, dropout, validation: all of it in pieces of one epoch."""
    x, y = lib.asarray(X), lib.asarray(Y)
    valid = lib.asarray(X_VALID), lib.asarray(Y_VALID)

    def callbacks(name):
        return [
            Checkpoints(tmp_path / name, data={"classes": ["no", "yes"]}),
            EarlyStopping(patience=3),
            CSVLog(tmp_path / f"{name}.csv"),
            JSONLinesLog(tmp_path / f"{name}.jsonl"),
        ]

    options = MINI | {"validation": valid, "dropout": 0.3, "l2": 1e-3, "clip_norm": 0.5}
    options["schedule"] = WarmUp(1, Plateau(0.5, 1, 0.01))
    whole, parts = make_net(lib), make_net(lib)
    whole.fit(x, y, epochs=9, callbacks=callbacks("whole"), **options)
    for total in range(1, 10):
        epochs = total - len(parts.history.cost)
        parts.fit(x, y, epochs=epochs, callbacks=callbacks("parts"), resume=True, **options)
        parts = xpnet.load(latest_checkpoint(tmp_path / "parts"), **lib.options)
        assert parts.data == {"classes": ["no", "yes"]}
    same_history(whole.history, parts.history)
    last = xpnet.load(latest_checkpoint(tmp_path / "whole"), **lib.options)
    assert_pairs_equal(lib.host(last.parameters), lib.host(parts.parameters))
    logs = [(tmp_path / f"{name}.jsonl").read_text() for name in ("whole", "parts")]
    one, other = (re.sub(r'"seconds": *[^,}]+', "", log) for log in logs)
    assert one == other


@pytest.mark.parametrize("order", [1, -1], ids=["before", "after"])
def test_a_fit_that_stopped_early_can_be_trained_further(tmp_path, order):
    """The checkpoint is of the last epoch, not of the best one that the net itself ends with."""
    options = MINI | {"validation": (X_VALID, 1.0 - Y_VALID)}
    callbacks = [EarlyStopping(patience=2), Checkpoints(tmp_path, every=100)][::order]
    whole, parts = make_net(), make_net()
    whole.fit(X, Y, epochs=9, **options)
    done = len(parts.fit(X, Y, epochs=9, callbacks=callbacks, **options).cost)
    assert 2 < done < 9
    parts = xpnet.load(latest_checkpoint(tmp_path))
    parts.fit(X, Y, epochs=9 - done, resume=True, **options)
    assert_pairs_equal(whole.parameters, parts.parameters)


def test_callbacks_of_one_kind_each_get_their_own_state_back(tmp_path):
    def callbacks():
        return [
            Checkpoints(tmp_path),
            EarlyStopping(patience=50, restore_best=False),
            EarlyStopping(patience=60, monitor="cost"),
            EarlyStopping(patience=70),
        ]

    options = MINI | {"validation": (X_VALID, 1.0 - Y_VALID)}
    first, second = callbacks(), callbacks()
    make_net().fit(X, Y, epochs=4, callbacks=first, **options)
    net = xpnet.load(latest_checkpoint(tmp_path))
    net.fit(X, Y, epochs=0, callbacks=second, resume=True, **options)
    for before, after in zip(first[1:], second[1:], strict=True):
        for name in ("monitor", "best", "best_epoch", "since"):
            assert getattr(before, name) == getattr(after, name)
    assert (second[1].best_parameters is None, second[3].best_parameters is None) == (True, False)


def test_checkpoints_of_another_run_are_not_lost(tmp_path):
    make_net().fit(X, Y, epochs=3, callbacks=[Checkpoints(tmp_path)], **MINI)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match=r"epoch-000003.*resume=True.*overwrite=True"):
        make_net().fit(X, Y, epochs=3, callbacks=[Checkpoints(tmp_path)], **MINI)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    fresh = Checkpoints(tmp_path, overwrite=True)
    make_net().fit(X, Y, epochs=1, callbacks=[fresh], **MINI)
    assert [found.epoch for found in find_checkpoints(tmp_path)] == [1, 0]


def test_a_diverging_fit_leaves_good_checkpoints(tmp_path):
    """The loop looks for NaN every so many steps only; until then nothing bad is written."""
    net = xpnet.DeepNet([3, 1], output="identity", backend="numpy", dtype="float32")
    with np.errstate(all="ignore"), pytest.raises(xpnet.DivergedError):
        net.fit(X, 1e3 * Y, xpnet.GradientDescent(40.0), batch_size=None, epochs=200,
                callbacks=[Checkpoints(tmp_path)])  # fmt: skip
    kept = [xpnet.load(found.path) for found in find_checkpoints(tmp_path)]
    assert len(kept) == 3
    for net in kept:
        assert all(np.all(np.isfinite(x)) for layer in net.parameters for x in layer)
        assert np.all(np.isfinite(net.history.cost))


class Fails:
    """Any callback that a fit should never come to."""

    def on_epoch_end(self, net, progress):
        raise AssertionError("an epoch was trained")


def test_what_no_file_can_hold_shows_at_once(tmp_path):
    own = xpnet.Activation("mine", value=lambda z, *, xp: z, slope=lambda a, *, xp: a * 0 + 1)
    for net, optimizer, said in (
        (make_net(), Mine(0.1), "optimizer Mine is a class of yours"),
        (xpnet.DeepNet([3, 2, 1], hidden=own), xpnet.Adam(), "activation 'mine'"),
    ):
        with pytest.raises(ValueError, match=said):
            net.fit(X, Y, optimizer, callbacks=[Checkpoints(tmp_path), Fails()])


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="checkpoints need a folder"):
        make_net().fit(X, Y, callbacks=[Checkpoints(tmp_path / "file"), Fails()])
    with pytest.raises(NotADirectoryError):
        make_net().fit(X, Y, callbacks=[Checkpoints(tmp_path / "file" / "below"), Fails()])


@pytest.mark.skipif(not POSIX or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        make_net().fit(X, Y, callbacks=[Checkpoints(tmp_path / "new"), Fails()])
    with pytest.raises(PermissionError, match="the checkpoint was not written"):
        make_net().fit(X, Y, callbacks=[Checkpoints(tmp_path), Fails()])


@pytest.mark.parametrize(("setting", "value"), [("every", 0), ("keep", 0), ("keep", 1.5)])
def test_bad_settings(setting, value):
    with pytest.raises((ValueError, TypeError), match=f"{setting}={value}"):
        Checkpoints("folder", **{setting: value})


# -- a full disk -------------------------------------------------------------------------
@pytest.mark.skipif(not POSIX, reason="a limit of POSIX")
def test_a_full_disk(tmp_path):
    """No file may grow beyond 1000 bytes from the third epoch on; the net itself loses nothing."""
    import resource

    class Fills:
        def on_epoch_end(self, net, progress):
            if progress.epoch == 3:
                resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))

    net, before = make_net(), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(OSError, match="not written") as raised:
            net.fit(X, Y, epochs=9, callbacks=[Checkpoints(tmp_path), Fills()], **MINI)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said = "the checkpoint was not written: File too large; "
    assert f"{said}{checkpoint_name(2)} before it is whole" in str(raised.value)
    assert raised.value.filename.endswith(checkpoint_name(3))
    assert len(net.history.cost) == 3
    assert sorted(os.listdir(tmp_path)) == [checkpoint_name(epoch) for epoch in range(3)]
    xpnet.load(latest_checkpoint(tmp_path)).fit(X, Y, epochs=1, resume=True)
