"""A page for each board: its scenarios, its ranking and who wins where."""

from llmqueue_gym.boards.ranked import Ranked
from llmqueue_gym.boards.words import ahead
from llmqueue_gym.policies import TRUTH
from made.policies import folder
from made.ranks import ranked
from made.templates import render


def pages() -> dict[str, str]:
    """Return the pages by file name."""
    made = {f"boards/{name}.md": page(one) for name, one in ranked().items()}
    return {"boards/index.md": render("boards.md.jinja", found=list(ranked().values())), **made}


def page(one: Ranked) -> str:
    """Return the page of a board."""
    links = {}
    for row in one.rows:
        part = next((part for part in one.on.kind.policies.parts if row["policy"] in part), None)
        name = f"**{row['policy']}**" if row["learned"] else row["policy"]
        links[row["policy"]] = f"[{name}](../policies/{folder(part.made.kind)}/{row['policy']}.md)" if part else name
    return render("board.md.jinja", on=one.on, one=one, rows=one.rows, links=links, truth=TRUTH, ahead=ahead)
