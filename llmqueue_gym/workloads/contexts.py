"""Who shares a prefix with whom: contexts of hashed blocks and of sessions, rows of them, and how much repeats."""

from collections.abc import Hashable, Sequence

import numpy as np

from llmqueue_gym.requests import OUTPUT, SEGMENT, Contexts

ENDLESS = 1 << 30  # tokens of an output of unknown length


def of_blocks(blocks: Sequence[Sequence[Hashable]], prompts: np.ndarray, block: int) -> Contexts:
    """Return the contexts of prompts whose blocks have names; equal leading names are a shared prefix.

    Each name is a text. The last block is cut to the prompt's length, names beyond it are not used, and what is not
    named of a prompt belongs to it alone.

    Args:
        blocks: names of each prompt's blocks, in order.
        prompts: tokens `(n,)`.
        block: tokens of a block.
    """
    known: dict[Hashable, int] = {}
    texts = [known.setdefault(name, len(known)) for names in blocks for name in names]
    row = np.repeat(np.arange(len(prompts)), [len(names) for names in blocks])
    segments = np.zeros(len(row), SEGMENT)
    before = block * (np.arange(len(row)) - np.searchsorted(row, row))  # tokens of the prompt before each block
    segments["text"], segments["length"] = texts, np.clip(prompts[row] - before, 0, block)
    used = segments["length"] > 0
    return filled(_laid(segments[used], row[used], OUTPUT + np.arange(len(prompts))), prompts)


def of_sessions(
    sessions: Sequence[Hashable],
    order: np.ndarray,
    prompts: np.ndarray,
    outputs: np.ndarray,
    prefixes: np.ndarray | None = None,
) -> Contexts:
    """Return the contexts of calls in sessions, whose prompts go on from what came before.

    The context of a session after a call is its prompt and its output. Where prefixes are told, a prompt begins with so
    many tokens of the last context that has as many, or of the longest. Otherwise a prompt that is long enough begins
    with the whole last context; one that is shorter than that, but not than the last prompt, with that prompt; and one
    that is shorter still with nothing that is known. All other tokens are the prompt's own.

    Args:
        sessions: of each call `(n,)`.
        order: rows in the order of their calls `(n,)`.
        prompts: tokens `(n,)`.
        outputs: tokens `(n,)`.
        prefixes: tokens that a prompt shares with an earlier context of its session `(n,)`.
    """
    pieces = [np.zeros(0, SEGMENT)] * len(prompts)
    past: dict[Hashable, list[tuple[np.ndarray, int]]] = {}  # contexts of each session so far, and their tokens
    texts: dict[Hashable, list[int]] = {}  # text of a session's own tokens, and how many of it there are
    for i in order.tolist():
        session, prompt, output = sessions[i], int(prompts[i]), int(outputs[i])
        contexts, own = past.setdefault(session, []), texts.setdefault(session, [len(texts), 0])
        if prefixes is not None:
            shared = min(int(prefixes[i]), prompt)
            base, length = next((c for c in reversed(contexts) if c[1] >= shared), _longest(contexts))
            shared = min(shared, length)
        else:
            base, length = contexts[-1] if contexts else _longest(contexts)
            before = length - (int(base[-1]["length"]) if contexts else 0)  # tokens of the last prompt
            shared = length if prompt >= length else before if prompt >= before else 0
        pieces[i] = _followed(_cut(base, shared), own, prompt - shared)
        context = np.append(pieces[i], np.array([(OUTPUT + i, 0, output)], SEGMENT))
        if prefixes is None:
            contexts.clear()  # the last one is enough
        contexts.append((context, prompt + output))
    first = np.cumsum([0, *(len(each) for each in pieces)], dtype=np.int64)
    return Contexts(np.concatenate(pieces), first, OUTPUT + np.arange(len(prompts)))


def picked(contexts: Contexts, rows: np.ndarray) -> Contexts:
    """Return the contexts of some requests `(k,)`, any of them more than once; texts stay what they are."""
    counts = np.diff(contexts.first)[rows]
    first = np.concatenate([[0], np.cumsum(counts)])
    taken = np.repeat(contexts.first[:-1][rows] - first[:-1], counts) + np.arange(first[-1])
    return Contexts(contexts.segments[taken], first, contexts.output[rows])


def retold(contexts: Contexts, times: int) -> Contexts:
    """Return contexts several times over, each time of other texts: who shares does so with those of the same time."""
    texts, counts = contexts.segments["text"], np.diff(contexts.first)
    said = 1 + texts[texts < OUTPUT].max(initial=-1)  # texts that are no outputs
    outputs = 1 + max(int(contexts.output.max()), int(texts.max(initial=0))) - OUTPUT
    segments = np.tile(contexts.segments, times)
    turn = np.repeat(np.arange(times), len(texts))
    segments["text"] += turn * np.where(segments["text"] < OUTPUT, said, outputs)
    first = np.concatenate([[0], np.cumsum(np.tile(counts, times))])
    later = np.repeat(np.arange(times), len(contexts.output)) * outputs
    return Contexts(segments, first, np.tile(contexts.output, times) + later)


def filled(contexts: Contexts, prompts: np.ndarray) -> Contexts:
    """Return contexts whose prompts have so many tokens `(n,)`; what they lack is added as text of their own."""
    row = np.repeat(np.arange(len(prompts)), np.diff(contexts.first))
    lack = prompts - np.bincount(row, contexts.segments["length"], len(prompts)).astype(np.int64)
    short = np.flatnonzero(lack > 0)
    if not len(short):
        return contexts
    texts = contexts.segments["text"]
    more = np.zeros(len(short), SEGMENT)
    more["text"] = 1 + texts[texts < OUTPUT].max(initial=-1) + np.arange(len(short))
    more["length"] = lack[short]
    return _laid(np.append(contexts.segments, more), np.append(row, short), contexts.output)


def beginnings(contexts: Contexts) -> np.ndarray:
    """Return the text that each prompt begins with, counted from 1, and 0 where no other begins with it `(n,)`."""
    head = contexts.segments[contexts.first[:-1]]
    texts = np.where(head["start"] == 0, head["text"], -1)
    _, which, counts = np.unique(texts, return_inverse=True, return_counts=True)
    return np.where(counts[which] > 1, texts + 1, 0)


def repeated_tokens(contexts: Contexts) -> np.ndarray:
    """Return how many leading tokens of each prompt repeat an earlier prompt, or one and its output `(n,)`, int64.

    A cache without end that forgets nothing would have them, were every request done before the next one comes.
    """
    tree = _Tree()
    paths = (tree.walked(pieces) for pieces in _whole(contexts, np.full(len(contexts.output), ENDLESS)))
    known = np.array([sum(tokens for _, tokens, was_there in path if was_there) for path in paths], np.int64)
    return np.minimum(known, _prompts(contexts))


def shared_tokens(contexts: Contexts, outputs: np.ndarray) -> np.ndarray:
    """Return how many leading tokens of each prompt and its output some other one has, earlier or later `(n,)`, int64.

    No cache, whatever it keeps and in whichever order requests are served, holds more of a context because of others.

    Args:
        contexts: of the requests.
        outputs: their output tokens `(n,)`.
    """
    tree, wholes = _Tree(), _whole(contexts, outputs)
    for pieces in wholes:
        tree.walked(pieces)
    paths = [tree.walked(pieces) for pieces in wholes]  # by now nothing is cut any more
    visits = np.bincount([node for path in paths for node, _, _ in path], minlength=tree.nodes)
    return np.array([sum(tokens for node, tokens, _ in path if visits[node] > 1) for path in paths], np.int64)


class _Tree:
    """Contexts as a tree, whose edges are pieces of texts."""

    def __init__(self) -> None:
        self.edges: dict[tuple[int, int, int], tuple[int, int]] = {}  # node, text, start: tokens, and the node behind
        self.nodes = 1

    def walked(self, pieces: list[tuple[int, int, int]]) -> list[tuple[int, int, bool]]:
        """Follow a context from the root, adding what is not there.

        Returns:
            of each edge the node behind it, its tokens, and whether it was there.
        """
        node, path = 0, []
        for text, start, length in pieces:
            while length > 0:
                here = node, text, start
                known = self.edges.get(here)
                if known is None:
                    self.edges[here] = length, self.nodes
                    node, self.nodes = self.nodes, self.nodes + 1
                    path.append((node, length, False))
                    break
                step = min(length, known[0])
                if step < known[0]:  # a fork within what was one piece
                    self.edges[here] = step, self.nodes
                    self.edges[self.nodes, text, start + step] = known[0] - step, known[1]
                    self.nodes += 1
                node, start, length = self.edges[here][1], start + step, length - step
                path.append((node, step, True))
        return path


def _whole(contexts: Contexts, outputs: np.ndarray) -> list[list[tuple[int, int, int]]]:
    """Return the pieces of each prompt, and its output behind them."""
    listed, first = contexts.segments.tolist(), contexts.first.tolist()
    said = zip(contexts.output.tolist(), outputs.tolist(), strict=True)
    return [[*listed[first[i] : first[i + 1]], (text, 0, tokens)] for i, (text, tokens) in enumerate(said)]


def _prompts(contexts: Contexts) -> np.ndarray:
    """Return the tokens of each prompt `(n,)`."""
    ends = np.concatenate([[0], np.cumsum(contexts.segments["length"])])
    return np.diff(ends[contexts.first])


def shared_share(contexts: Contexts) -> float:
    """Return the share of prompt tokens that `repeated_tokens` counts: no cache finds more of them."""
    return float(repeated_tokens(contexts).sum() / max(int(contexts.segments["length"].sum()), 1))


def _laid(segments: np.ndarray, row: np.ndarray, output: np.ndarray) -> Contexts:
    """Return contexts of pieces in any order of rows; those of a row are in order."""
    first = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(output)))])
    return Contexts(segments[np.argsort(row, kind="stable")], first.astype(np.int64), output)


def _longest(contexts: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, int]:
    return max(contexts, key=lambda c: c[1], default=(np.zeros(0, SEGMENT), 0))


def _cut(context: np.ndarray, tokens: int) -> np.ndarray:
    """Return the pieces of the first tokens of a context."""
    ends = np.cumsum(context["length"])
    k = int(np.searchsorted(ends, tokens))
    cut = context[: k + 1 if tokens else 0].copy()
    if len(cut):
        cut[-1]["length"] -= max(int(ends[k]) - tokens, 0)
    return cut


def _followed(pieces: np.ndarray, own: list[int], tokens: int) -> np.ndarray:
    """Return pieces and then so many fresh tokens of the session's own text, which join what they adjoin."""
    text, start = own
    own[1] += tokens
    if not tokens:
        return pieces
    if len(pieces) and pieces["text"][-1] == text and pieces["start"][-1] + pieces["length"][-1] == start:
        pieces["length"][-1] += tokens
        return pieces
    return np.append(pieces, np.array([(text, start, tokens)], SEGMENT))
