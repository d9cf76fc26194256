"""Pages written by hand, made ready for Sphinx: their examples become cells that run, what they link to is copied."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAD = "---\nfile_format: mystnb\nkernelspec:\n  name: python3\n---\n\n"
_FENCE = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((\.\./[^)#\s]+)\)")
_ELSEWHERE = re.compile(r"<!-- examples are run by (\S+) -->")  # in a page whose blocks do not run here
# Commands print to no terminal, and what they print comes as one piece.
_SHELL = """import os
import subprocess

_plain = {{key: value for key, value in os.environ.items() if key not in ("FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE")}}
_into = {{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": _plain}}
_done = subprocess.run(["bash", "-ec", {}], **_into)
print(_done.stdout)
_done.check_returncode()
"""
_PLOT = re.compile(r"--plot (\S+\.png)")


def written(docs: Path, out: Path) -> dict[str, str]:
    """Return the pages of a folder by file name, and copy notebooks and what the pages link to."""
    for notebook in docs.glob("*.ipynb"):
        shutil.copy(notebook, out)
    pages = {path.name: path.read_text(encoding="utf-8") for path in sorted(docs.glob("*.md"))}
    return {name: _with_files(ready(_listed(text, pages)), docs, out) for name, text in pages.items()}


def ready(text: str) -> str:
    """Return a page whose blocks of `python` and `sh` are cells that run; a picture that one draws stands below it."""
    if _ELSEWHERE.search(text):
        return text
    found, count = _FENCE.subn(_cell, text)
    return HEAD + found if count else text


def _listed(text: str, pages: Iterable[str]) -> str:
    """Return a page whose lists of pages name those that are there, where a line such as `plan*` stands for them."""

    def names(line: re.Match[str]) -> str:
        return "".join(f"{page[:-3]}\n" for page in pages if page.startswith(line[1]))

    return re.sub(r"^(\w+)\*\n", names, text, flags=re.MULTILINE)


def _cell(block: re.Match[str]) -> str:
    language, code = block[1], block[2]
    if language == "python":
        return _run(code)
    shown = f"```bash\n{code}```\n\n" + _run(_SHELL.format(repr(code)), "remove-input")
    return shown + "".join(
        "\n\n" + _run(f'from IPython.display import Image\n\nImage("{picture}")\n', "remove-input")
        for picture in _PLOT.findall(code)
    )


def _run(code: str, *tags: str) -> str:
    told = f":tags: [{', '.join(tags)}]\n\n" if tags else ""
    return f"```{{code-cell}} ipython3\n{told}{code}```"


def _with_files(text: str, docs: Path, out: Path) -> str:
    """Return a page that links to copies of files of the checkout."""

    def copied(link: re.Match[str]) -> str:
        path = (docs / link[1]).resolve()
        name = Path("files") / path.relative_to(ROOT)
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":  # what is stored as Markdown is a page that no menu lists
            text = path.read_text(encoding="utf-8")
            title = "" if text.startswith("# ") else f"# {path.stem.replace('_', ' ').capitalize()}\n\n"
            (out / name).write_text(f"---\norphan: true\n---\n\n{title}{text}", encoding="utf-8")
        else:
            shutil.copy(path, out / name)
        return f"]({name})"

    return _LINK.sub(copied, text)
