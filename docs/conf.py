"""Settings of the documentation."""

import os
import sys
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

import sklearn_mmfusion

project = "sklearn-mmfusion"
author = "The sklearn-mmfusion developers"
project_copyright = f"2026, {author}"
release = version = sklearn_mmfusion.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "markdown_pages",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_extensions", "_templates", "changes", "examples"]
templates_path = ["_templates"]

autosummary_generate = True
# Members are documented in the pages that autosummary makes; numpydoc would list them twice.
numpydoc_show_class_members = False

# Types are in the docstrings, where they say shapes too.
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"

# Docstrings that are inherited from scikit-learn refer to pages of its documentation.
suppress_warnings = ["ref.ref"]

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "plot_",
    "within_subsection_order": "gallery_order.InReadingOrder",
    "remove_config_comments": True,
    "download_all_examples": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "sklearn-mmfusion"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False}
html_show_sourcelink = False
# Pages without others beneath them have nothing to show in the left column.
html_sidebars = {"install": [], "contributing": []}
