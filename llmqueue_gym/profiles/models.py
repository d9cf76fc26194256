"""Models: what their architecture says about memory."""

from dataclasses import dataclass

from llmqueue_gym.profiles.base import kv_bytes, kv_capacity
from llmqueue_gym.profiles.gpus import GPU


@dataclass(frozen=True)
class Model:
    """The part of an architecture that memory depends on, weights and cache in 16-bit numbers.

    Attributes:
        name: of the model.
        parameters: in all.
        layers: attention layers.
        kv_heads: heads with keys and values of their own.
        head_dim: numbers in a head.
    """

    name: str
    parameters: float
    layers: int
    kv_heads: int
    head_dim: int

    @property
    def kv_bytes_per_token(self) -> float:
        """Bytes of the keys and values of one token."""
        return kv_bytes(self.layers, self.kv_heads, self.head_dim)

    def kv_tokens_on(self, gpu: GPU, count: int = 1) -> int:
        """Return the tokens that fit on so many GPUs: 0.9 of their memory, less two bytes for each parameter."""
        return kv_capacity(count * gpu.memory_bytes, 2 * self.parameters, self.kv_bytes_per_token)


# Parameters follow from the published configurations: embeddings, attention, feed-forward and norms counted.
LLAMA2_7B = Model("Llama-2-7B", 6_738_415_616, layers=32, kv_heads=32, head_dim=128)
LLAMA2_70B = Model("Llama-2-70B", 68_976_648_192, layers=80, kv_heads=8, head_dim=128)
LLAMA3_8B = Model("Llama-3-8B", 8_030_261_248, layers=32, kv_heads=8, head_dim=128)
BLOOM_176B = Model("BLOOM-176B", 176_247_271_424, layers=70, kv_heads=112, head_dim=128)
# Of these the capacities are stated by a source, so that the rounded counts in their names do.
OPT_13B = Model("OPT-13B", 13e9, layers=40, kv_heads=40, head_dim=128)
OPT_66B = Model("OPT-66B", 66e9, layers=64, kv_heads=72, head_dim=128)
GPT3_175B = Model("GPT-3 175B", 175e9, layers=96, kv_heads=96, head_dim=128)

CAPACITY = "kv_tokens computed: 0.9 of the GPUs' memory less bf16 weights, activations not subtracted"
