"""A page for each cost profile: its constants, sources and error."""

from llmqueue_gym.profiles import PROFILES
from llmqueue_gym.profiles.estimated import REPLICAS
from made.asked import asked
from made.templates import render


def pages() -> dict[str, str]:
    """Return the pages by file name."""
    entries = [{**asked("profile", "show", name), "name": name} for name in PROFILES if name != "file"]
    described = {entry["name"]: entry["description"] for entry in asked("profile", "list")["profiles"]}
    for entry in entries:
        entry["description"], entry["estimate"] = described[entry["name"]], entry["name"] in REPLICAS
    made = {f"profiles/{entry['name']}.md": render("profile.md.jinja", entry=entry) for entry in entries}
    return {"profiles/index.md": render("profiles.md.jinja", entries=entries), **made}
