"""What holds for every format that a net is written in."""

import os
import subprocess
import sys

import pytest

from xpnet import Activation, DeepNet


@pytest.mark.parametrize("write", ["save", "to_onnx", "to_torch", "to_sklearn"])
def test_own_activations(tmp_path, write):
    """A function of the user's, also if it is called like one of the library's."""
    own = Activation("relu", value=lambda z, *, xp: z**2, slope=lambda a, *, xp: a)
    if write in ("to_torch", "to_sklearn"):
        pytest.importorskip(write.removeprefix("to_"))
    path = [tmp_path / "file"] if write in ("save", "to_onnx") else []
    with pytest.raises(ValueError, match="'relu' is a function of yours"):
        getattr(DeepNet([2, 3, 1], own), write)(*path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("name", "package"), [("torch", "torch"), ("sklearn", "scikit-learn")])
def test_a_missing_library_is_named_with_its_extra(name, package):
    """In a process of its own, where the import fails."""
    code = f"""
import sys
sys.modules[{name!r}] = None
from xpnet import DeepNet
try:
    DeepNet([1, 1]).to_{name}()
except ImportError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"python -m pip install {package}" in said.stdout
