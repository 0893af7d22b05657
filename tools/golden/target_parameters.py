"""Writes model/decoder/testdata/target_parameters: tiny random mixtures of experts with PEFT adapters on the tensors that hold
their experts (target_parameters), and the loss of fixed ids with each. Adapters named NAME-old have the factors as peft before
0.19 took them, NAME-one is on one of the two tensors, NAME-square on experts whose matrices are square.
Recorded with torch 2.7.1, transformers 5.24.0, peft 0.21.0 and, with a second argument, after that, peft 0.18.1.
Usage: python tools/golden/target_parameters.py model/decoder/testdata/target_parameters [OLD]"""
import json, os, sys
import torch, transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM
OUT, OLD = sys.argv[1], len(sys.argv) > 2
BASE = dict(vocab_size=32, hidden_size=8, intermediate_size=6, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, head_dim=4, pad_token_id=0, bos_token_id=1, eos_token_id=2)
MODELS = {
    "qwen3_moe": dict(num_experts=3, num_experts_per_tok=2, moe_intermediate_size=6, decoder_sparse_step=2),
    "qwen3_moe-square": dict(num_experts=3, num_experts_per_tok=2, moe_intermediate_size=4),
    "deepseek_v3": dict(n_routed_experts=3, num_experts_per_tok=2, n_group=1, topk_group=1, n_shared_experts=1, moe_intermediate_size=6, first_k_dense_replace=1, kv_lora_rank=5, q_lora_rank=None, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=4),
    "glm4_moe": dict(n_routed_experts=3, num_experts_per_tok=2, n_group=1, topk_group=1, n_shared_experts=1, moe_intermediate_size=6, first_k_dense_replace=1),
    "mixtral": dict(num_local_experts=3, num_experts_per_tok=2),
    "granitemoe": dict(num_local_experts=3, num_experts_per_tok=2),
    "gpt_oss": dict(num_local_experts=3, num_experts_per_tok=2),
    "gpt_oss-square": dict(num_local_experts=3, num_experts_per_tok=2, intermediate_size=8),
    "llama4_text": dict(num_local_experts=3, num_experts_per_tok=1, intermediate_size_mlp=10, interleave_moe_layer_step=2),
    "llama4_text-square": dict(num_local_experts=3, num_experts_per_tok=1, intermediate_size=4, intermediate_size_mlp=10, interleave_moe_layer_step=2),
    "gemma4_text": dict(enable_moe_block=True, num_experts=3, top_k_experts=2, moe_intermediate_size=6, global_head_dim=8, layer_types=["sliding_attention", "full_attention"], sliding_window=5, hidden_size_per_layer_input=0),
}
ids = torch.tensor([[1, 5, 9, 30, 2, 11, 7, 7, 23, 18, 3, 12]])
def loss(m): return m(input_ids=ids, labels=ids, use_cache=False).loss.item()
def fill(m, seed, only=""):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for n, p in sorted(m.named_parameters()):
            if only in n: p.copy_(torch.randn(p.shape, generator=g) * .4 + (1 if p.dim() == 1 and "norm" in n else 0))
def only(dir, *names):
    for f in os.listdir(dir):
        if f not in names: os.remove(f"{dir}/{f}")
os.makedirs(OUT, exist_ok=True)
path = f"{OUT}/recorded.json"
recorded = json.load(open(path)) if os.path.exists(path) else {"ids": ids[0].tolist(), "adapters": {}}
def adapter(name, base, **config):
    m = AutoModelForCausalLM.from_pretrained(f"{OUT}/{base}", attn_implementation="eager", dtype="float32", experts_implementation="eager").eval()
    p = get_peft_model(m, LoraConfig(**(dict(r=2, lora_alpha=3, task_type="CAUSAL_LM", target_modules=["q_proj"]) | config))).eval()
    fill(p, 11, "lora_"); p.save_pretrained(f"{OUT}/{name}"); only(f"{OUT}/{name}", "adapter_config.json", "adapter_model.safetensors")
    c = json.load(open(f"{OUT}/{name}/adapter_config.json")); c["base_model_name_or_path"] = base; json.dump(c, open(f"{OUT}/{name}/adapter_config.json", "w"), indent=1)
    recorded["adapters"][name] = {"base": base, "loss": loss(p)}
BOTH = ["experts.gate_up_proj", "experts.down_proj"]
if OLD:
    for name in MODELS: adapter(name + "-old", name, target_parameters=BOTH)
else:
    for name, config in MODELS.items():
        m = AutoModelForCausalLM.from_config(AutoConfig.for_model(name.split("-")[0], **BASE | config)).float().eval()
        fill(m, 7); m.save_pretrained(f"{OUT}/{name}"); only(f"{OUT}/{name}", "config.json", "model.safetensors")
        adapter(name + "-adapter", name, target_parameters=BOTH)
    adapter("qwen3_moe-one", "qwen3_moe", target_modules=[], target_parameters=["layers.1.mlp.experts.down_proj"], use_rslora=True)
    adapter("mixtral-one", "mixtral", target_parameters=["experts.gate_up_proj"], rank_pattern={r".*\.gate_up_proj": 3}, alpha_pattern={r".*\.gate_up_proj": 5})
json.dump(recorded, open(path, "w"), indent=1)
