"""The batch of an iteration, which its time depends on: requests are counted in, and out again if they are preempted.

All sums are of whole and half numbers, so the order in which they are made does not matter.
"""

from llmqueue_gym._jit import part_kernel
from llmqueue_gym.requests import DECODING


@part_kernel
def empty(batch):
    """Let a `BATCH` record hold nothing."""
    batch.tokens = batch.prefills = batch.prefill_tokens = batch.prompt_tokens = batch.decodes = batch.pages = 0
    batch.context = batch.pairs = batch.squares = 0.0


@part_kernel
def copy(batch, other):
    """Let a `BATCH` record hold what another one does."""
    other.tokens, other.prefills, other.prefill_tokens = batch.tokens, batch.prefills, batch.prefill_tokens
    other.decodes, other.context, other.pages = batch.decodes, batch.context, batch.pages
    other.pairs, other.squares = batch.pairs, batch.squares


@part_kernel
def count(batch, request, sign):
    """Count in (sign 1) or out (sign -1) what a scheduled request computes."""
    new = sign * request.scheduled
    batch.tokens += new
    if request.status == DECODING:
        batch.decodes += sign
        batch.context += sign * (request.computed + 1)
    else:
        batch.prefills += sign
        batch.prefill_tokens += new
        batch.prompt_tokens += sign * request.prompt
        batch.pairs += new * (request.computed + 0.5 * request.scheduled)
        batch.squares += float(new) * request.scheduled
        batch.pages += sign * ((request.computed + 63) // 64)


@part_kernel
def count_decodes(batch, requests, context):
    """Count in requests that decode and that read so many tokens in all."""
    batch.tokens += requests
    batch.decodes += requests
    batch.context += context
