"""Models: how large their weights are, how much of them a token computes with, and what it leaves in the cache."""

from dataclasses import dataclass

from llmqueue_gym.profiles.base import kv_bytes, kv_capacity
from llmqueue_gym.profiles.gpus import GPU


@dataclass(frozen=True)
class Model:
    """The part of an architecture that memory and times depend on; weights and cache in 16-bit numbers unless told.

    Attributes:
        name: of the model.
        parameters: in all.
        layers: attention layers.
        kv_heads: heads with keys and values of their own.
        head_dim: numbers in a head; with latent attention the mean of those of a query and of a value.
        heads: heads of queries.
        hidden: numbers of a token between layers.
        vocabulary: tokens; input and output embeddings are matrices of their own.
        experts: of a layer; 0 in a dense model.
        chosen: experts that a token goes to.
        expert_parameters: of all experts that are chosen among, in all layers.
        latent: numbers of a token that a layer keeps in place of keys and values; 0 without latent attention.
    """

    name: str
    parameters: float
    layers: int
    kv_heads: int
    head_dim: int = 128
    heads: int = 0
    hidden: int = 0
    vocabulary: int = 0
    experts: int = 0
    chosen: int = 0
    expert_parameters: float = 0.0
    latent: int = 0

    @property
    def kv_bytes_per_token(self) -> float:
        """Bytes of the keys and values of one token."""
        return self.kv_bytes(2)

    def kv_bytes(self, bytes_each: float = 2) -> float:
        """Return the bytes that one token leaves in the cache, in numbers of so many bytes."""
        if self.latent:
            return float(self.layers * self.latent * bytes_each)
        return kv_bytes(self.layers, self.kv_heads, self.head_dim, bytes_each)

    def kv_bytes_held(self, count: int, bytes_each: float = 2) -> float:
        """Return the bytes that all of so many GPUs together keep of a token.

        What cannot be split by heads is kept on every GPU: the latent numbers, and heads where there are more GPUs.
        """
        copies = count if self.latent else max(1.0, count / self.kv_heads)
        return copies * self.kv_bytes(bytes_each)

    def kv_tokens_on(self, gpu: GPU, count: int = 1, weight_bytes: float = 2, bytes_each: float = 2) -> int:
        """Return the tokens that fit on so many GPUs: 0.9 of their memory, less the bytes of each parameter."""
        held = self.kv_bytes_held(count, bytes_each)
        return kv_capacity(count * gpu.memory_bytes, weight_bytes * self.parameters, held)

    @property
    def multiplied(self) -> float:
        """Parameters that a token of a prompt is multiplied with: no embeddings, and of the experts those chosen."""
        idle = self.expert_parameters * (1 - self.chosen / self.experts) if self.experts else 0.0
        return self.parameters - idle - 2.0 * self.vocabulary * self.hidden

    @property
    def always_read(self) -> float:
        """Parameters that every iteration reads: all but the experts chosen among and the input embeddings."""
        return self.parameters - self.expert_parameters - float(self.vocabulary) * self.hidden


# Parameters follow from the published configurations: embeddings, attention, feed-forward and norms counted.
LLAMA2_7B = Model("Llama-2-7B", 6_738_415_616, 32, 32, heads=32, hidden=4096, vocabulary=32_000)
LLAMA2_70B = Model("Llama-2-70B", 68_976_648_192, 80, 8, heads=64, hidden=8192, vocabulary=32_000)
LLAMA3_8B = Model("Llama-3-8B", 8_030_261_248, 32, 8, heads=32, hidden=4096, vocabulary=128_256)
LLAMA31_8B = Model("Llama-3.1-8B", 8_030_261_248, 32, 8, heads=32, hidden=4096, vocabulary=128_256)
LLAMA31_70B = Model("Llama-3.1-70B", 70_553_706_496, 80, 8, heads=64, hidden=8192, vocabulary=128_256)
QWEN3_32B = Model("Qwen3-32B", 32_762_123_264, 64, 8, heads=64, hidden=5120, vocabulary=151_936)
QWEN3_30B_A3B = Model(
    "Qwen3-30B-A3B",
    30_532_122_624,
    48,
    4,
    heads=32,
    hidden=2048,
    vocabulary=151_936,
    experts=128,
    chosen=8,
    expert_parameters=28_991_029_248,
)
DEEPSEEK_V3 = Model(  # queries and keys of 192 numbers, values of 128; 58 of 61 layers have experts
    "DeepSeek-V3",
    671_026_419_200,
    61,
    128,
    head_dim=160,
    heads=128,
    hidden=7168,
    vocabulary=129_280,
    experts=256,
    chosen=8,
    expert_parameters=653_908_770_816,
    latent=576,
)
BLOOM_176B = Model("BLOOM-176B", 176_247_271_424, 70, 112)
# Of these the capacities are stated by a source, so that the rounded counts in their names do.
OPT_13B = Model("OPT-13B", 13e9, 40, 40)
OPT_66B = Model("OPT-66B", 66e9, 64, 72)
GPT3_175B = Model("GPT-3 175B", 175e9, 96, 96)

LLAMAS = (LLAMA2_7B, LLAMA2_70B, LLAMA3_8B, LLAMA31_8B, LLAMA31_70B)
OTHERS = (QWEN3_32B, QWEN3_30B_A3B, DEEPSEEK_V3, BLOOM_176B, OPT_13B, OPT_66B, GPT3_175B)
MODELS = {model.name: model for model in (*LLAMAS, *OTHERS)}
