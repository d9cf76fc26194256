"""How long an iteration takes, given its batch: one function, one branch for each form of cost profile.

`numbers` of each form, and the time in s:

* roofline: floor, base, token, pair, context. The time is
  max(floor, base + token * tokens) + pair * pairs + context * context.
* phases: prefill base, per token, per square; switch; decode base, per context token, per request below `switch`
  decodes; the same three from there on; overhead, overhead per token. The form of DistServe; prefill and decode parts
  add up, and in a mixed batch the larger base counts.
* splitwise: mixed; k, tokens (k,), times (k,); b, c, batches (b,), contexts (c,), times (b, c). Linear between the
  points and beyond them; a mixed batch takes `mixed` times the prefill of all its tokens.
* distserve: prefill base, per token, per square; decode base, per context token, per request below `switch` decodes;
  the same three from there on; switch; host, host per token of whole prompts and context; and all twelve once more
  for stages of a pipeline but the first. As DistServe's simulator has it, for side-by-side runs: decodes in a batch
  with prompts cost what the host takes for them and nothing else.
* vidur-tables: layers; linear; decode; prefill of new prompts; prefill of later chunks. Vidur's lookups, for
  side-by-side runs.
* experts: fixed, experts, share, overlap, token, pair, context. A roofline of a mixture of experts, of which N tokens
  read 1 - (1 - share)^N on average, if each goes to its share of them at random: with
  read = fixed + experts * (1 - (1 - share)^tokens) the time is
  max(read, overlap * read + token * tokens) + pair * pairs + context * context.
"""

from llmqueue_gym._jit import lean_kernel, part_kernel

ROOFLINE, PHASES, SPLITWISE, VIDUR_TABLES, EXPERTS, DISTSERVE = 0, 1, 2, 3, 4, 5
FORMS = ("roofline", "phases", "splitwise", "vidur-tables", "experts", "distserve")

# Shapes of Vidur's tables as they lie in `numbers`, one after another behind the number of layers.
LINEAR, DECODE, DECODE_PAGES, NEW, PAGES, CHUNK = 512, 128, 65, 4096, 65, 512


@lean_kernel
def iteration_time(form, numbers, batch):
    """Return the time of an iteration, s.

    Args:
        form: index into `FORMS`.
        numbers: coefficients of the form `(k,)`.
        batch: `BATCH` record.
    """
    if form == ROOFLINE:
        time = max(numbers[0], numbers[1] + numbers[2] * batch.tokens)
        return time + numbers[3] * batch.pairs + numbers[4] * batch.context
    if form == PHASES:
        return phases_time(numbers, batch)
    if form == SPLITWISE:
        return splitwise_time(numbers, batch)
    return other_time(form, numbers, batch)  # one more branch here would cost the forms above some percent


@part_kernel
def straight_line(form, numbers, batch):
    """Return how the time of an iteration of decodes alone depends on their context, to the last bit.

    Args:
        form: as in `iteration_time`.
        numbers: as there.
        batch: `BATCH` record of decodes alone, whose context may be anything.

    Returns:
        whether it is a sum of two terms; the first, s; and the factor of the context in the second.
    """
    if form == ROOFLINE:
        return True, max(numbers[0], numbers[1] + numbers[2] * batch.tokens) + numbers[3] * batch.pairs, numbers[4]
    return False, 0.0, 0.0


@part_kernel
def other_time(form, numbers, batch):
    """Return the time of an iteration by one of the other forms, s."""
    if form == DISTSERVE:
        return distserve_time(numbers, batch)
    return experts_time(numbers, batch) if form == EXPERTS else vidur_time(numbers, batch)


@part_kernel
def experts_time(numbers, batch):
    """Return the time of an iteration of a mixture of experts, s."""
    read = numbers[0] + numbers[1] * (1.0 - (1.0 - numbers[2]) ** float(batch.tokens))
    time = max(read, numbers[3] * read + numbers[4] * batch.tokens)
    return time + numbers[5] * batch.pairs + numbers[6] * batch.context


@part_kernel
def phases_time(numbers, batch):
    """Return the time of an iteration by DistServe's form, s."""
    base = time = 0.0
    if batch.prefills > 0:
        base = numbers[0]
        time += numbers[1] * batch.prefill_tokens + numbers[2] * batch.squares
    if batch.decodes > 0:
        k = 4 if batch.decodes < numbers[3] else 7
        base = max(base, numbers[k])
        time += numbers[k + 1] * batch.context + numbers[k + 2] * batch.decodes
    return base + time + numbers[10] + numbers[11] * batch.tokens


@part_kernel
def interval(numbers, first, count, x):
    """Return the i in 0..count-2 whose interval of the grid at `first` has x, an end one where x lies outside."""
    i = 0
    while i < count - 2 and numbers[first + i + 1] <= x:
        i += 1
    return i


@part_kernel
def splitwise_time(numbers, batch):
    """Return the time of an iteration by tables of whole prompts and whole decode batches, s."""
    k = int(numbers[1])
    if batch.prefills > 0:
        i = 2 + interval(numbers, 2, k, float(batch.tokens))
        slope = (numbers[i + k + 1] - numbers[i + k]) / (numbers[i + 1] - numbers[i])
        time = numbers[i + k] + slope * (batch.tokens - numbers[i])
        time = max(time, numbers[2 + k] * 0.5)  # extrapolated below the first point, never to nothing
        return time * numbers[0] if batch.decodes > 0 else time
    at = 2 + 2 * k
    b, c = int(numbers[at]), int(numbers[at + 1])
    rows, columns, table = at + 2, at + 2 + b, at + 2 + b + c
    x, y = float(batch.decodes), batch.context / batch.decodes
    i, j = interval(numbers, rows, b, x), interval(numbers, columns, c, y)
    u = (x - numbers[rows + i]) / (numbers[rows + i + 1] - numbers[rows + i])
    v = (y - numbers[columns + j]) / (numbers[columns + j + 1] - numbers[columns + j])
    corner = table + i * c + j
    low = numbers[corner] * (1 - v) + numbers[corner + 1] * v
    high = numbers[corner + c] * (1 - v) + numbers[corner + c + 1] * v
    return max(low * (1 - u) + high * u, numbers[table] * 0.5)


@part_kernel
def distserve_time(numbers, batch):
    """Return the time of an iteration as DistServe's simulator has it, s."""
    if batch.prefills > 0:
        time = numbers[0] + numbers[1] * batch.prefill_tokens + numbers[2] * batch.squares
    else:
        k = 3 if batch.decodes < numbers[9] else 6
        time = numbers[k] + numbers[k + 1] * batch.context + numbers[k + 2] * batch.decodes
    return time + numbers[10] + numbers[11] * (batch.prompt_tokens + batch.context - batch.decodes)


@part_kernel
def vidur_time(numbers, batch):
    """Return the time of an iteration by Vidur's own tables, s."""
    time = numbers[1 + min((batch.tokens + 7) // 8, LINEAR) - 1]
    at = 1 + LINEAR
    if batch.decodes > 0:
        pages = (int(batch.context / batch.decodes) + 63) // 64  # Vidur cuts the mean to a whole number
        found = numbers[at + (min(batch.decodes, DECODE) - 1) * DECODE_PAGES + min(pages, DECODE_PAGES - 1)]
        time += found * (1.1 if batch.decodes > 1 else 1.0)
    at += DECODE * DECODE_PAGES
    if batch.prefills > 0:
        new = round(batch.squares**0.5)
        if batch.pages == 0:
            found = numbers[at + min(new, NEW) - 1]
        else:
            found = numbers[at + NEW + min(batch.pages, PAGES - 1) * CHUNK + min(new, CHUNK) - 1]
        time += found * (1.1 if batch.prefills > 1 else 1.0)
    return time * numbers[0]
