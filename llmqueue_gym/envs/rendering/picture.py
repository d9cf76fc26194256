"""A scene as an RGB image, drawn with Pillow, which is imported with the first frame."""

import math
from functools import cache, lru_cache
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.systems.scene import NO_HUE, Bar, Meter, Panel, Scene, shares

WIDTH, HEIGHT = 640, 400  # px
Colour = tuple[int, int, int]

# The colours of Okabe and Ito, which the colour-blind can tell apart.
_BLUE, _VERMILION, _GREEN = (0, 114, 178), (213, 94, 0), (0, 158, 115)
_HUES: tuple[Colour, ...] = (_BLUE, (230, 159, 0), _GREEN, (204, 121, 167), (86, 180, 233), (214, 200, 40))
_INK, _FAINT, _LINE, _PAPER = (30, 30, 30), (95, 95, 95), (205, 205, 205), (255, 255, 255)
_COLOURS = {"known": (165, 165, 165), "done": _BLUE, "beyond": _VERMILION, "due": _INK, "truth": _GREEN}
_PALE = 0.68  # share of white in what is predicted and not done

_ROW, _MARGIN, _TOP, _FOOT = 16, 10, 50, HEIGHT - 19
_COLUMN, _NAME, _BAR = 300, 50, 130  # px; the note has the rest


def picture(scene: Scene) -> np.ndarray:
    """Return the image, uint8 `(400, 640, 3)`.

    Raises:
        BadInput: Pillow is missing.
    """
    image, draw = _canvas()
    _text(draw, _MARGIN, 5, scene.title, _INK, 14)
    _text(draw, WIDTH // 2 + _MARGIN, 5, scene.state, _VERMILION, 14)
    x = float(_MARGIN)
    for name, value in scene.facts:
        x += _text(draw, x, 26, name, _FAINT) + 5
        x += _text(draw, x, 26, value, _INK) + 16
    draw.line((_MARGIN, 44, WIDTH - _MARGIN, 44), _LINE)
    top = _TOP
    if scene.meter is not None:
        _meter(draw, scene.meter, top)
        top += 2 * _ROW
    for x0, panels in ((_MARGIN, scene.left), (WIDTH // 2 + _MARGIN, scene.right)):
        _column(draw, panels, x0, top)
    _legend(draw, scene)
    return np.array(image)


def _canvas() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        raise BadInput(
            'render_mode="rgb_array" needs Pillow: pip install "llmqueue-gym[render]", or take "ansi"'
        ) from None
    image = Image.new("RGB", (WIDTH, HEIGHT), _PAPER)
    return image, ImageDraw.Draw(image)


def _text(draw: Any, x: float, y: float, words: str, colour: Colour, size: int = 11) -> int:
    """Write words and return their width, px."""
    if not words:
        return 0
    mask = _written(words, size)
    draw.bitmap((round(x), y), mask, colour)
    return int(mask.width)


@cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size=size)


@lru_cache(maxsize=2048)
def _written(words: str, size: int) -> Any:
    """Return words as a mask; most stand in many frames, and writing them is most of the work of a frame."""
    from PIL import Image, ImageDraw

    font = _font(size)
    words = words.replace(" ", "  ")  # the blanks of the font are too narrow
    mask = Image.new("L", (math.ceil(font.getlength(words)), size + 6))
    ImageDraw.Draw(mask).text((0, 0), words, 255, font)
    return mask


def _column(draw: Any, panels: tuple[Panel, ...], x: int, y: int) -> None:
    """Draw panels below one another."""
    rows = (_FOOT - 4 - y) // _ROW
    for panel, shown in zip(panels, shares(panels, rows), strict=True):
        _text(draw, x, y, panel.heading(shown), _FAINT)
        y += _ROW
        for bar in panel.bars[:shown]:
            _row(draw, bar, panel.reach, x, y)
            y += _ROW
        y += _ROW


def _row(draw: Any, bar: Bar, reach: float, x: int, y: int) -> None:
    """Draw a bar with its name and note."""
    x0, top, bottom = x + _NAME, y + 2, y + _ROW - 4

    def place(value: float) -> float:
        return x0 + min(value / reach, 1.0) * _BAR

    def block(begin: float, end: float, colour: Colour, top: int, bottom: int) -> None:
        draw.rectangle((place(begin), top, max(place(end) - 1, place(begin)), bottom), colour)

    if bar.active:
        draw.polygon(((x, top), (x, bottom), (x + 6, (top + bottom) / 2)), _INK)
    _text(draw, x + 9, y, bar.name, _INK)
    hue = _HUES[bar.hue % len(_HUES)] if bar.hue != NO_HUE else _BLUE
    if bar.truth is not None:
        middle = (top + bottom) // 2
        block(0, bar.predicted, _pale(_BLUE), top, middle)
        block(0, bar.truth, _COLOURS["truth"], middle + 1, bottom)
    else:
        colours = {**_COLOURS, "done": hue, "predicted": _pale(hue)}
        for kind, begin, end in bar.spans():
            block(begin, end, colours[kind], top, bottom)
        if bar.active:
            draw.rectangle(
                (x0 - 1, top - 1, max(place(bar.known + max(bar.predicted, bar.done)), x0), bottom + 1), None, _INK
            )
        if bar.due is not None:
            at = place(bar.known + bar.due)
            draw.rectangle((at - 1, top - 2, at, bottom + 2), _COLOURS["due"])
    _text(draw, x0 + _BAR + 8, y, bar.note, _INK)


def _meter(draw: Any, meter: Meter, y: int) -> None:
    """Draw a meter over the whole width."""
    _text(draw, _MARGIN, y + 3, meter.title, _FAINT)
    x0, x1, begin = _MARGIN + _NAME + 20, WIDTH - 170, 0.0
    scale = (x1 - x0) / meter.total
    draw.rectangle((x0 - 1, y, x1 + 1, y + 20), None, _FAINT)
    for amount, hue in meter.parts:
        a, b = x0 + begin * scale, x0 + (begin + amount) * scale
        draw.rectangle((a, y + 1, max(b - 2, a), y + 19), _HUES[hue % len(_HUES)])
        begin += amount
    _text(draw, x1 + 10, y + 3, meter.note, _INK)


def _legend(draw: Any, scene: Scene) -> None:
    """Draw what the colours mean."""
    colours = {**_COLOURS, "predicted": _pale(_BLUE)}
    draw.line((_MARGIN, _FOOT - 3, WIDTH - _MARGIN, _FOOT - 3), _LINE)
    x = float(_MARGIN)
    for kind, words in scene.legend:
        width = 2 if kind == "due" else 10
        draw.rectangle((x, _FOOT + 3, x + width - 1, _FOOT + 12), colours[kind])
        x += width + 18 + _text(draw, x + width + 4, _FOOT, words, _FAINT)


def _pale(colour: Colour) -> Colour:
    """Return a colour mixed with white."""
    red, green, blue = (round(part + (255 - part) * _PALE) for part in colour)
    return red, green, blue
