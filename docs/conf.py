"""How Sphinx builds the site from the pages that `generate.py` has put together; `make docs` calls both."""

import os
import re
import sys
from importlib.metadata import version as version_of
from pathlib import Path

# Examples call `llmqueue`, and pictures of theirs need no screen.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
os.environ |= {"COLUMNS": "100", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}

project = "llmqueue_gym"
author = "the authors of llmqueue_gym"
version = release = version_of("llmqueue-gym")

extensions = ["myst_nb", "sphinx_design", "sphinx_copybutton", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
suppress_warnings = ["ref.python"]  # names that packages hand on are found in several places

# Every example runs, each page in a folder of its own.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 1800
nb_execution_raise_on_error = False  # but a warning, so that all are told before the build fails
nb_execution_excludepatterns = ["first_agent*"]  # minutes of training; tests/test_notebook.py runs its cells
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "attrs_inline", "deflist"]
myst_heading_anchors = 3

autodoc_mock_imports = ["torch", "stable_baselines3", "sb3_contrib", "ray", "cma", "tyro"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "code"  # docstrings put names between single backticks

html_theme = "furo"
html_title = "llmqueue_gym"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_search_summary = False  # it takes a server; the site is read from files, too
html_show_sourcelink = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}
pygments_style, pygments_dark_style = "tango", "monokai"
copybutton_exclude = ".linenos, .gp, .go"


def collapse(app, pagename, templatename, context, doctree):
    """Let the menu list the pages of a section on the pages of that section alone: there are hundreds."""
    if whole := context.get("toctree"):
        context["toctree"] = lambda **options: whole(**{**options, "collapse": True})


_LETTERS = re.compile(r"(``.*?``|`[^`]*`)|(?m:^\s*[*-] )|(?<!\*)\*(?!\*)|\||(?<=\w)_(?!\w)", re.DOTALL)


def as_restructured(app, what, name, obj, options, lines):
    """Make docstrings good reStructuredText: what is indented is code, and `*`, `|`, a trailing `_` are letters."""
    blocks, text, last = [], [], 0
    for k, line in enumerate(lines):
        depth = len(line) - len(line.lstrip())
        if line.strip() and k and not lines[k - 1].strip() and depth > last:
            text += [" " * last + "::", ""]
            blocks.append(last)
        if line.strip():
            blocks = [one for one in blocks if one < depth]
            last = depth if not blocks else last
        text.append(line if blocks else "\0" + line)
    plain = re.compile(r"(?:^\0.*\n?)+", re.MULTILINE)
    escaped = plain.sub(lambda part: _LETTERS.sub(_escaped, part[0].replace("\0", "")), "\n".join(text))
    lines[:] = escaped.split("\n")


def _escaped(found):
    if found[1]:  # code; what follows it directly, as in the plural of a name, has to be told from it
        return found[1] + ("\\ " if found.string[found.end() : found.end() + 1].isalnum() else "")
    return found[0] if len(found[0].strip()) < len(found[0]) else "\\" + found[0]


def setup(app):
    """Connect both."""
    app.connect("html-page-context", collapse, priority=100)
    app.connect("autodoc-process-docstring", as_restructured, priority=100)
