"""Writes model/decoder/testdata/gemma4: tiny random models of gemma4_text, in shapes that use every key of its
configuration, with the loss of fixed ids, a greedy continuation and, of every gradient, its length and its product with
cos(0), cos(1), …; and PEFT adapters on all linear modules of two of them, with their loss.
Recorded with torch 2.15.0 (large-epsilon: 2.7.1), transformers 5.24.0, peft 0.21.2.
Usage: python tools/golden/gemma4.py model/decoder/testdata/gemma4"""
import json, os, shutil, sys
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM
OUT = sys.argv[1]
BASE = dict(vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=4, global_head_dim=8, sliding_window=5, hidden_size_per_layer_input=0, layer_types=["sliding_attention", "full_attention", "full_attention"], max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2)
MODELS = {
    "capped": dict(BASE, final_logit_softcapping=3.0, tie_word_embeddings=False, attention_bias=True),
    "own-inputs": dict(BASE, hidden_size_per_layer_input=6, vocab_size_per_layer_input=50),
    "shared": dict(BASE, num_hidden_layers=6, layer_types=["sliding_attention", "full_attention", "sliding_attention", "sliding_attention", "full_attention", "full_attention"], num_kv_shared_layers=3, use_double_wide_mlp=True, hidden_size_per_layer_input=4, vocab_size_per_layer_input=48),
    "equal": dict(BASE, attention_k_eq_v=True, num_global_key_value_heads=1),
    "equal-shared": dict(BASE, attention_k_eq_v=True, hidden_size_per_layer_input=4, vocab_size_per_layer_input=48, num_kv_shared_layers=1, global_head_dim=4, use_bidirectional_attention="vision", rope_parameters={"full_attention": {"rope_type": "proportional", "rope_theta": 500.0, "partial_rotary_factor": 0.7, "factor": 2.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 500.0}}),
    "whole-heads": dict(BASE, rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": 700.0, "partial_rotary_factor": 0.5}, "sliding_attention": {"rope_type": "default", "rope_theta": 700.0}}),
    "large-epsilon": dict(BASE, rms_norm_eps=0.05, attention_k_eq_v=True, enable_moe_block=True, num_experts=4, top_k_experts=2, moe_intermediate_size=8),
    "experts": dict(BASE, enable_moe_block=True, num_experts=4, top_k_experts=2, moe_intermediate_size=8),
}
ADAPTERS = {"adapter-shared": "shared", "adapter-experts": "experts", "adapter-equal": "equal"}
ids = torch.tensor([[1, 5, 9, 33, 2, 40, 7, 7, 41, 18, 3, 12]])
def loss(m): return m(input_ids=ids, labels=ids, use_cache=False).loss
def spread(m):
    g = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for n, p in sorted(m.named_parameters()): p.copy_(torch.randn(p.shape, generator=g) * .3 + (1 if p.dim() == 1 and "bias" not in n else 0))
        for n, b in sorted(m.named_buffers()):
            if n.endswith("layer_scalar"): b.copy_(torch.rand(b.shape, generator=g) + .5)
def gradient(p):
    g = p.grad.double().flatten()
    return [float(g.norm()), float(g @ torch.cos(torch.arange(len(g), dtype=torch.float64)))]
def only(dir, *names):
    for f in os.listdir(dir):
        if f not in names: os.remove(f"{dir}/{f}")
shutil.rmtree(OUT, ignore_errors=True); os.makedirs(OUT); recorded = {}
for name, config in MODELS.items():
    m = AutoModelForCausalLM.from_config(AutoConfig.for_model("gemma4_text", **config), attn_implementation="eager").float().eval()
    spread(m); m.save_pretrained(f"{OUT}/{name}"); only(f"{OUT}/{name}", "config.json", "model.safetensors")
    l = loss(m); l.backward(); answer = ids
    with torch.no_grad():
        for _ in range(8): answer = torch.cat([answer, m(input_ids=answer, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    recorded[name] = {"loss": l.item(), "greedy": answer[0, ids.shape[1]:].tolist(), "gradients": {n: gradient(p) for n, p in m.named_parameters()}}
for name, base in ADAPTERS.items():
    m = AutoModelForCausalLM.from_pretrained(f"{OUT}/{base}", attn_implementation="eager", dtype="float32")
    targets = sorted({n.split(".")[-1] for n, x in m.named_modules() if isinstance(x, torch.nn.Linear) and n != "lm_head"})
    p = get_peft_model(m, LoraConfig(r=2, lora_alpha=4, task_type="CAUSAL_LM", target_modules=targets)).eval()
    g = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for n, w in sorted(p.named_parameters()):
            if "lora_" in n: w.copy_(torch.randn(w.shape, generator=g) * .3)
    p.save_pretrained(f"{OUT}/{name}"); only(f"{OUT}/{name}", "adapter_config.json", "adapter_model.safetensors")
    c = json.load(open(f"{OUT}/{name}/adapter_config.json")); c["base_model_name_or_path"] = base; json.dump(c, open(f"{OUT}/{name}/adapter_config.json", "w"), indent=1)
    recorded[name] = {"base": base, "loss": loss(p).item()}
json.dump({"ids": ids[0].tolist(), "recorded": recorded}, open(f"{OUT}/recorded.json", "w"), indent=1)
