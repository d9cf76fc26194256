"""Put the pages of the site together: those written by hand, and those that follow from the registries.

    python docs/generate.py build/docs && sphinx-build -W build/docs build/site      # or: make docs

What is written lies in `docs/`, in plain Markdown. Blocks of `python` and of `sh` are examples that run when the site
is built, those of a page in a process and a folder of their own, and what they print stands below them; blocks of `py`
and of `bash` are only shown.
"""

import shutil
import sys
from pathlib import Path

from made import boards, environments, interface, policies, predictors, profiles, speed
from made.written import written

DOCS = Path(__file__).parent
MAKERS = (environments, policies, predictors, profiles, boards, speed, interface)


def generate(out: Path) -> int:
    """Write all pages to a folder, which is emptied before; return how many."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(DOCS / "_static", out / "_static")
    shutil.copy(DOCS / "conf.py", out)
    pages = written(DOCS, out)
    for maker in MAKERS:
        pages |= maker.pages()
    for name, text in pages.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return len(pages)


if __name__ == "__main__":
    print(f"{generate(Path(sys.argv[1]))} pages in {sys.argv[1]}")
