"""Passes over the calls of programs, compiled; `programs` imports them only where it needs them."""

from llmqueue_gym._jit import kernel


@kernel
def write_depths(parents, first, depth):  # type: ignore[no-untyped-def]
    """Write the number of calls on the longest path before each call `(n,)`; parents lie above."""
    for row in range(len(depth)):
        for edge in range(first[row], first[row + 1]):
            depth[row] = max(depth[row], depth[parents[edge]] + 1)


@kernel
def write_to_come(program, depth, amounts, begins, of_level, found):  # type: ignore[no-untyped-def]
    """Write the amounts of all calls of each one's program that are as deep as it or deeper `(n,)`.

    Args:
        program: of each call `(n,)`.
        depth: of each call `(n,)`.
        amounts: of each call `(n,)`.
        begins: where the depths of each program begin in `of_level` `(programs + 1,)`.
        of_level: space, zeros.
        found: written.
    """
    for row in range(len(program)):
        of_level[begins[program[row]] + depth[row]] += amounts[row]
    for p in range(len(begins) - 1):
        for level in range(begins[p + 1] - 2, begins[p] - 1, -1):
            of_level[level] += of_level[level + 1]
    for row in range(len(program)):
        found[row] = of_level[begins[program[row]] + depth[row]]


@kernel
def write_paths(parents, first, found, most):  # type: ignore[no-untyped-def]
    """Add the most that any path of children has to what each call has `(n,)`; children lie below."""
    for row in range(len(found) - 1, -1, -1):
        found[row] += most[row]
        for edge in range(first[row], first[row + 1]):
            most[parents[edge]] = max(most[parents[edge]], found[row])
