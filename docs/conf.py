"""Sphinx's settings for the site: Markdown pages whose Python blocks are run by the build."""

from __future__ import annotations

import inspect
import os
import re
import tomllib
import warnings
from importlib.util import find_spec
from pathlib import Path

from sphinx.application import Sphinx

import xpnet

HERE = Path(__file__).parent
# Kernels of the pages and of the gallery: one style of pictures, one thread for each process.
os.environ.setdefault("MATPLOTLIBRC", str(HERE / "matplotlibrc"))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["XPNET_ROOT"] = str(HERE.parent)  # where a page finds benchmarks/results

project = "xpnet"
author = "The xpnet developers"
release = version = xpnet.__version__
extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery", "auto_gallery/*.ipynb"]
templates_path = ["_templates"]
nitpicky = True  # a link to nothing is a warning

# MathJax is served from the site itself: this package carries its files.
(MATHJAX,) = find_spec("sphinx-mathjax-offline").submodule_search_locations
html_static_path = ["_static", f"{MATHJAX}/static"]
html_css_files = ["site.css"]
html_favicon = "_static/favicon.svg"
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system
mathjax_path = "mathjax/tex-chtml.js"

html_theme = "pydata_sphinx_theme"
html_title = "xpnet"
html_show_sourcelink = False
toc_object_entries_show_parents = "hide"
html_theme_options = {
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}

myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_show_tb = True  # a failed block is a warning, and warnings are errors
nb_execution_timeout = 120
nb_merge_streams = True
nb_render_markdown_format = "myst"  # tables and links in what a block gives back
nb_code_prompt_show = "Code"
nb_code_prompt_hide = "Code"

# A process of the gallery that has imported PyTorch is replaced, as it has grown: joblib warns.
warnings.filterwarnings("ignore", "A worker stopped while some jobs were given")
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "abort_on_example_error": True,
    "parallel": 2,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "remove_config_comments": True,
    "download_all_examples": False,
}

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say them in words
numpydoc_show_class_members = False

FRONT_MATTER = "---\nfile_format: mystnb\nkernelspec: {name: python3}\n---\n"
BLOCK = re.compile(r"(?:^% ([a-z-]+)\n\n?)?^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NESTED = re.compile(r"^(:{3,})\{[^\n]*\n.*?^\1$", re.MULTILINE | re.DOTALL)
PROMPTS = ":mystnb: {code_prompt_show: Answer, code_prompt_hide: Answer}\n"
OPTIONS = {
    "raises": ":tags: [raises-exception]\n",
    "hide-input": ":tags: [hide-input]\n",
    "answer": f":tags: [hide-cell]\n{PROMPTS}",
}


def run_python(app: Sphinx, page: str, source: list[str]) -> None:
    """Turn each Python block of a page into a cell that the build runs.

    A block inside tabs or cards is shown as it stands, and run in a hidden cell behind them.
    ``% raises`` above a block: an error is its outcome; ``% hide-input``: its code is folded;
    ``% answer``: code and output are folded, as the answer to an exercise.
    """
    text = source[0]
    if "```python\n" not in text:
        return

    def unseen(nest: re.Match[str]) -> str:
        blocks = "".join(
            f"\n```{{code-cell}}\n:tags: [remove-cell]\n{code}```\n"
            for _, code in BLOCK.findall(nest[0])
        )
        return nest[0].replace("```python\n", "```{code-block} python\n") + blocks

    def cell(block: re.Match[str]) -> str:
        options = OPTIONS[block[1]] if block[1] else ""
        return f"```{{code-cell}}\n{options}{block[2]}```"

    source[0] = FRONT_MATTER + BLOCK.sub(cell, NESTED.sub(unseen, text))


TOOLS = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))["tool"]
NOT_DOCUMENTED = re.compile("|".join(TOOLS["numpydoc_validation"]["exclude"]))


def skip_member(
    app: Sphinx, what: str, name: str, member: object, skip: bool, options: object
) -> bool | None:
    """Leave out what other libraries' base classes bring, and what pyproject.toml leaves out."""
    function = inspect.unwrap(getattr(member, "fget", member))
    ours = (getattr(function, "__module__", None) or "").startswith("xpnet")
    page = app.env.docname.rpartition("/")[2]  # the public name, such as xpnet.DeepNet
    return skip or not ours or bool(NOT_DOCUMENTED.search(f"{page}.{name}")) or None


def setup(app: Sphinx) -> None:
    app.connect("autodoc-skip-member", skip_member)
    app.connect("source-read", run_python)
