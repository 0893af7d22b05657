"""Writes model/decoder/testdata/recurrent_families: tiny random models of the families with short convolutions or a gated
delta rule, in more than one shape each, with the loss of fixed ids (more than a chunk of the rule), a greedy continuation
and, of every gradient, its length and its product with cos(0), cos(1), … Experts' gradients have the names of the files.
All in float64, and with a large rms_norm_eps: the first token's output of the rule is v times q·k, which may be nearly 0,
and a norm that divides by it makes the last bits of float32 count.
Recorded with torch 2.15.0, transformers 5.24.0.
Usage: python tools/golden/recurrent_families.py model/decoder/testdata/recurrent_families"""
import json, os, shutil, sys
import torch
from transformers import AutoConfig, AutoModelForCausalLM
OUT = sys.argv[1]
torch.set_num_threads(1)
BASE = dict(vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128, pad_token_id=0, bos_token_id=1, eos_token_id=2)
DELTA = dict(BASE, head_dim=8, rms_norm_eps=0.01, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=6, linear_value_head_dim=4, linear_conv_kernel_dim=4, layer_types=["linear_attention", "full_attention", "linear_attention"])
MOE = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8, shared_expert_intermediate_size=12)
MODELS = {
    "lfm2": dict(BASE, layer_types=["conv", "full_attention", "conv"], block_auto_adjust_ff_dim=False),
    "lfm2-biased": dict(BASE, num_key_value_heads=4, full_attn_idxs=[0], conv_bias=True, conv_L_cache=5, intermediate_size=25, block_multiple_of=8, block_ffn_dim_multiplier=1.3, tie_word_embeddings=False, rope_parameters={"rope_type": "default", "rope_theta": 5000.0}),
    "lfm2-attention": dict(BASE, intermediate_size=50, block_multiple_of=4, conv_L_cache=2),
    "qwen3_next": dict(DELTA, **MOE, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}),
    "qwen3_next-dense": dict(DELTA, **MOE, layer_types=None, full_attention_interval=2, mlp_only_layers=[1], linear_num_key_heads=3, linear_num_value_heads=3, linear_conv_kernel_dim=2, norm_topk_prob=False, attention_bias=True, tie_word_embeddings=True, num_key_value_heads=1),
    "qwen3_next-sparse": dict(DELTA, **MOE, decoder_sparse_step=2, linear_num_key_heads=1, linear_num_value_heads=3, linear_key_head_dim=3, linear_value_head_dim=5, num_attention_heads=2),
    "qwen3_5_text": dict(DELTA, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}),
    "qwen3_5_text-biased": dict(DELTA, layer_types=["full_attention", "linear_attention", "linear_attention"], linear_num_key_heads=1, linear_num_value_heads=3, linear_conv_kernel_dim=3, attention_bias=True, tie_word_embeddings=True, num_key_value_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 0, 0], "mrope_interleaved": True}),
    "qwen3_5_text-equal": dict(DELTA, layer_types=None, num_hidden_layers=4, linear_num_value_heads=2, linear_key_head_dim=4, linear_value_head_dim=8, head_dim=12),
    "qwen3_5_moe_text": dict(DELTA, **MOE, router_aux_loss_coef=0.01),
    "qwen3_5_moe_text-tied": dict(DELTA, **dict(MOE, num_experts=3), full_attention_interval=3, layer_types=None, linear_num_value_heads=2, tie_word_embeddings=True, hidden_size=20),
}
g = torch.Generator().manual_seed(3)
ids = torch.randint(3, 48, (1, 70), generator=g)
def spread(m):
    g = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for n, p in sorted(m.named_parameters()): p.copy_(torch.randn(p.shape, generator=g) * .3 + (1 if p.dim() == 1 and "norm" in n and ("lfm2" in m.config.model_type or "linear_attn" in n) else 0))
def gradient(g):
    g = g.double().flatten()
    return [float(g.norm()), float(g @ torch.cos(torch.arange(len(g), dtype=torch.float64)))]
def stored(name, g):
    if name.endswith("experts.gate_up_proj"):
        for e, w in enumerate(g):
            gate, up = w.chunk(2)
            yield name.replace("gate_up_proj", f"{e}.gate_proj.weight"), gate
            yield name.replace("gate_up_proj", f"{e}.up_proj.weight"), up
    elif name.endswith("experts.down_proj"):
        for e, w in enumerate(g): yield name.replace("down_proj", f"{e}.down_proj.weight"), w
    else: yield name, g
shutil.rmtree(OUT, ignore_errors=True); os.makedirs(OUT); recorded = {}
for name, config in MODELS.items():
    m = AutoModelForCausalLM.from_config(AutoConfig.for_model(name.split("-")[0], **config), attn_implementation="eager", experts_implementation="eager").float().eval()
    spread(m); m.save_pretrained(f"{OUT}/{name}")
    for f in os.listdir(f"{OUT}/{name}"):
        if f not in ("config.json", "model.safetensors"): os.remove(f"{OUT}/{name}/{f}")
    c = json.load(open(f"{OUT}/{name}/config.json")) # as folders say it that have no layer_types
    if config.get("layer_types", 0) is None or "full_attn_idxs" in config:
        del c["layer_types"]
        c |= {k: config[k] for k in ("full_attention_interval", "full_attn_idxs") if k in config}
        json.dump(c, open(f"{OUT}/{name}/config.json", "w"), indent=1)
    m, single = m.double(), (torch.Tensor.float, torch.float32)
    torch.Tensor.float, torch.float32 = torch.Tensor.double, torch.float64 # where the models' code asks for float32
    l = m(input_ids=ids, labels=ids, use_cache=False).loss; l.backward(); answer = ids
    with torch.no_grad():
        for _ in range(8): answer = torch.cat([answer, m(input_ids=answer, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    recorded[name] = {"loss": l.item(), "greedy": answer[0, ids.shape[1]:].tolist(), "gradients": {k: gradient(g) for n, p in m.named_parameters() for k, g in stored(n, torch.zeros_like(p) if p.grad is None else p.grad)}}
    torch.Tensor.float, torch.float32 = single
    print(name, l.item())
json.dump({"ids": ids[0].tolist(), "recorded": recorded}, open(f"{OUT}/recorded.json", "w"), indent=1)
