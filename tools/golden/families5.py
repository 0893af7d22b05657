"""Writes model/decoder/testdata/transformers5: a tiny random model of every family that loads here, and a PEFT adapter
of each shape, as transformers 5.24 and peft 0.21 save them, with the loss of 12 fixed ids.
Usage: python tools/golden/families5.py model/decoder/testdata/transformers5"""
import json, os, shutil, sys
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM
OUT = sys.argv[1]
BASE = dict(vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2)
MOE = dict(num_experts_per_tok=2, moe_intermediate_size=16)
FAMILIES = {
    "llama": {}, "mistral": {"sliding_window": 6}, "qwen2": {}, "qwen3": {"head_dim": 8}, "gemma": {"head_dim": 8}, "gemma2": {"head_dim": 8, "sliding_window": 6, "query_pre_attn_scalar": 8},
    "gemma3_text": {"head_dim": 8, "sliding_window": 6, "query_pre_attn_scalar": 8, "layer_types": ["sliding_attention", "full_attention"]}, "phi3": {"original_max_position_embeddings": 64}, "olmo2": {}, "granite": {}, "glm4": {"head_dim": 8},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2}, "qwen2_moe": {"num_experts": 4, "shared_expert_intermediate_size": 16, **MOE}, "qwen3_moe": {"num_experts": 4, "head_dim": 8, **MOE},
    "smollm3": {"no_rope_layers": [1, 0]}, "olmo3": {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}, "olmoe": {"num_experts": 4, "num_experts_per_tok": 2}, "seed_oss": {"head_dim": 8}, "ernie4_5": {"head_dim": 8},
    "hunyuan_v1_dense": {"head_dim": 8}, "exaone4": {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}, "glm": {"head_dim": 8},
    # Shapes of which the families' own say nothing: a factor beside original_max_position_embeddings, a list that decides without the switch, a window in every layer.
    "mistral-longrope": {"head_dim": 4, "rope_parameters": {"rope_type": "longrope", "rope_theta": 5000.0, "factor": 4.0, "original_max_position_embeddings": 32, "short_factor": [1.0, 1.5], "long_factor": [2.0, 3.0]}},
    "smollm3-listed": {"sliding_window": 4, "use_sliding_window": False, "layer_types": ["sliding_attention", "full_attention"], "no_rope_layers": [0, 1]},
    "qwen3_moe-window": {"num_experts": 4, "head_dim": 8, "use_sliding_window": True, "sliding_window": 4, **MOE},
}
ADAPTERS = {
    "plain": dict(target_modules=["q_proj", "v_proj"]), "rslora": dict(target_modules="all-linear", use_rslora=True), "patterns": dict(target_modules=["q_proj", "k_proj", "down_proj"], rank_pattern={"q_proj": 2}, alpha_pattern={"layers.1.self_attn.k_proj": 3}),
    "layers": dict(target_modules=["q_proj", "up_proj"], layers_to_transform=[1]), "excluded": dict(target_modules="all-linear", exclude_modules=["o_proj"]), "saved": dict(target_modules=["q_proj"], modules_to_save=["lm_head"]), "dora": dict(target_modules=["q_proj", "gate_proj"], use_dora=True),
}
ids = torch.tensor([[1, 5, 9, 33, 2, 60, 7, 7, 41, 18, 3, 12]])
def loss(m): return float(m(input_ids=ids, labels=ids, use_cache=False).loss)
def spread(m, seed):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for n, p in sorted(m.named_parameters()): p.copy_((torch.randn(p.shape, generator=g) * .15 + (1 if "norm" in n and p.dim() == 1 and "gemma" not in m.config.model_type else 0)).float())
shutil.rmtree(OUT, ignore_errors=True); os.makedirs(OUT); losses = {}
for name, extra in FAMILIES.items():
    try:
        m = AutoModelForCausalLM.from_config(AutoConfig.for_model(name.split("-")[0], **(BASE | extra)), attn_implementation="eager").float().eval()
    except Exception as e: print(name, type(e).__name__, str(e)[:100]); continue
    spread(m, 7); m.save_pretrained(f"{OUT}/{name}")
    for f in os.listdir(f"{OUT}/{name}"):
        if f not in ("config.json", "model.safetensors"): os.remove(f"{OUT}/{name}/{f}")
    losses[name] = loss(m)
for name, extra in ADAPTERS.items():
    m = AutoModelForCausalLM.from_pretrained(f"{OUT}/llama", attn_implementation="eager").float()
    p = get_peft_model(m, LoraConfig(r=4, lora_alpha=6, task_type="CAUSAL_LM", **extra)).eval()
    g = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for n, w in sorted(p.named_parameters()):
            if "lora_B" in n: w.copy_(torch.randn(w.shape, generator=g) * .3)
            if "modules_to_save" in n or "magnitude" in n: w.mul_(1 + .2 * torch.randn(w.shape, generator=g))
    p.save_pretrained(f"{OUT}/adapter_{name}")
    c = json.load(open(f"{OUT}/adapter_{name}/adapter_config.json")); c["base_model_name_or_path"] = "llama"; json.dump(c, open(f"{OUT}/adapter_{name}/adapter_config.json", "w"), indent=1)
    if os.path.exists(f"{OUT}/adapter_{name}/README.md"): os.remove(f"{OUT}/adapter_{name}/README.md")
    losses[f"adapter_{name}"] = loss(p)
json.dump({"ids": ids[0].tolist(), "losses": losses}, open(f"{OUT}/losses.json", "w"), indent=1)
print(losses)
