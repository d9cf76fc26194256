"""The forms of pages, in `templates/`, and what they call."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from llmqueue_gym.registry import text_of

HERE = Path(__file__).parent / "templates"


def cell(value: Any) -> str:
    """Return what stands in a cell of a table."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("|", r"\|")


def code(value: Any) -> str:
    """Return a value as code in a cell; nothing where there is none."""
    text = cell(text_of(value) if not isinstance(value, str) else value)
    return f"`{text}`" if text else ""


def signature(parameters: dict[str, Any]) -> str:
    """Return parameters as a spec has them."""
    return ",".join(f"{key}=..." if value is None else f"{key}={text_of(value)}" for key, value in parameters.items())


_TEMPLATES = Environment(
    loader=FileSystemLoader(HERE), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
)
_TEMPLATES.globals["inf"] = float("inf")
_TEMPLATES.filters |= {"cell": cell, "code": code, "signature": signature}


def render(template: str, **known: Any) -> str:
    """Return a page of a form."""
    return _TEMPLATES.get_template(template).render(**known)
