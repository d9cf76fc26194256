"""The benchmark as one web page that needs nothing else: no network, no library, no font."""

import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from llmqueue_gym.evaluation.bench.data import told
from llmqueue_gym.evaluation.bench.parts import warnings
from llmqueue_gym.evaluation.bench.track import TRACKS, Track

Row = Mapping[str, Any]


def write_page(path: Path, found: Row) -> None:
    """Write the page; whoever reads the file meets the old one or the new one, never half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(page(found), encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def page(found: Row) -> str:
    """Return the page of a result: a tab for each track that was played."""
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    played = {name: TRACKS.make(name) for name in found["tracks"]}
    tabs = "".join(f'<a href="#{name}">{escape(track.title)}</a>' for name, track in played.items())
    return template.substitute(
        meta=escape(_meta(found)),
        tabs=f'<nav class="tabs" aria-label="Tracks">{tabs}</nav>' if len(played) > 1 else "",
        tracks="\n".join(_part(track, found["tracks"][name]) for name, track in played.items()),
        provenance=_provenance(found, played),
    )


def _part(track: Track, found: Row) -> str:
    return (
        f'<div class="part" id="{track.name}">\n<h2 class="track-title">{escape(track.headline(found))}</h2>\n'
        f"{warnings(found, track.blocks)}\n{track.section(found)}</div>"
    )


def _meta(found: Row) -> str:
    made = found["provenance"]
    kind = "A quick run, whose numbers are rough. " if found["quick"] else ""
    return f"{kind}{found['seeds']} runs of each policy in each case, {made['time'][:10]}, version {made['version']}."


def _provenance(found: Row, played: Mapping[str, Track]) -> str:
    made = found["provenance"]
    words = {
        "Software": f"llmqueue-gym {made['version']}" + (f", commit {made['commit']}" if made["commit"] else ""),
        "Runs with": f"Python {made['python']}, NumPy {made['numpy']}, Numba {made['numba']}",
        "Machine": made["platform"],
        "Time": f"{made['time']}, {found['seconds']:.0f} s",
        "Seeds": f"0 to {found['seeds'] - 1}",
    }
    for name, track in played.items():
        for block, note in found["tracks"][name]["data"].items():
            words[track.blocks[block]] = f"{told(note)} {note['source']}. Licence: {note['licence']}."
    return "".join(f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in words.items())
