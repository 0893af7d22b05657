"""Writes model/decoder/testdata/plain_families: tiny random models of the families with LayerNorm, MLPs without a gate,
biases, parallel residuals or learned positions, in more than one shape each, and PEFT adapters on two of them, with the
loss of fixed ids, a greedy continuation and, of every gradient, its length and its product with cos(0), cos(1), …
Recorded with torch 2.7.1, transformers 4.57.6, peft 0.18.1.
Usage: python tools/golden/plain_families.py model/decoder/testdata/plain_families"""
import json, os, shutil, sys
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM
OUT = sys.argv[1]
BASE = dict(vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2)
GPT2 = dict(vocab_size=48, n_embd=16, n_layer=2, n_head=4, n_positions=32, bos_token_id=1, eos_token_id=2, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0)
MODELS = {
    "gpt_neox": dict(BASE, rotary_pct=0.5), "gpt_neox-serial": dict(BASE, rotary_pct=1.0, use_parallel_residual=False, attention_bias=False, hidden_act="gelu_new", tie_word_embeddings=True),
    "phi": dict(BASE, partial_rotary_factor=0.5), "phi-qknorm": dict(BASE, num_key_value_heads=None, qk_layernorm=True, hidden_act="gelu"),
    "stablelm": dict(BASE, partial_rotary_factor=0.5, use_qkv_bias=True), "stablelm-parallel": dict(BASE, partial_rotary_factor=1.0, use_parallel_residual=True),
    "starcoder2": dict(BASE, sliding_window=5), "starcoder2-plain": dict(BASE, use_bias=False, hidden_act="relu2", tie_word_embeddings=False, num_key_value_heads=1),
    "cohere": dict(BASE, logit_scale=0.25), "cohere-qknorm": dict(BASE, logit_scale=0.5, use_qk_norm=True, attention_bias=True, tie_word_embeddings=False),
    "nemotron": dict(BASE, partial_rotary_factor=0.5), "nemotron-biased": dict(BASE, attention_bias=True, mlp_bias=True, head_dim=8, tie_word_embeddings=True),
    "falcon": dict(BASE, new_decoder_architecture=True, num_kv_heads=2), "falcon-multiquery": dict(BASE, multi_query=True), "falcon-serial": dict(BASE, multi_query=False, parallel_attn=False, bias=True, tie_word_embeddings=False),
    "falcon-onenorm": dict(BASE, new_decoder_architecture=True, num_kv_heads=2, num_ln_in_parallel_attn=1, ffn_hidden_size=20),
    "gpt2": GPT2, "gpt2-unscaled": dict(GPT2, n_inner=20, scale_attn_weights=False, activation_function="gelu", tie_word_embeddings=False),
}
ADAPTERS = {
    "adapter-gpt2": ("gpt2", dict(target_modules=["c_attn", "c_fc", "c_proj"])), "adapter-gpt2-dora": ("gpt2", dict(target_modules=["c_attn", "mlp.c_proj"], use_dora=True)),
    "adapter-gpt_neox": ("gpt_neox", dict(target_modules=["query_key_value", "dense_4h_to_h"], modules_to_save=["embed_in", "embed_out"])), "adapter-phi": ("phi", dict(target_modules=["dense", "fc1"], modules_to_save=["lm_head"])),
}
ids = torch.tensor([[1, 5, 9, 33, 2, 40, 7, 7, 41, 18, 3, 12]])
def loss(m): return m(input_ids=ids, labels=ids, use_cache=False).loss
def spread(m):
    g = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for n, p in sorted(m.named_parameters()): p.copy_(torch.randn(p.shape, generator=g) * .3 + (1 if p.dim() == 1 and "weight" in n and m.config.model_type != "nemotron" else 0))
def gradient(p):
    g = p.grad.double().flatten()
    return [float(g.norm()), float(g @ torch.cos(torch.arange(len(g), dtype=torch.float64)))]
shutil.rmtree(OUT, ignore_errors=True); os.makedirs(OUT); recorded = {}
for name, config in MODELS.items():
    m = AutoModelForCausalLM.from_config(AutoConfig.for_model(name.split("-")[0], **config), attn_implementation="eager").float().eval()
    spread(m); m.save_pretrained(f"{OUT}/{name}")
    for f in os.listdir(f"{OUT}/{name}"):
        if f not in ("config.json", "model.safetensors"): os.remove(f"{OUT}/{name}/{f}")
    l = loss(m); l.backward(); answer = ids
    with torch.no_grad():
        for _ in range(8): answer = torch.cat([answer, m(input_ids=answer).logits[:, -1:].argmax(-1)], 1)
    recorded[name] = {"loss": l.item(), "greedy": answer[0, ids.shape[1]:].tolist(), "gradients": {n: gradient(p) for n, p in m.named_parameters()}}
for name, (base, config) in ADAPTERS.items():
    m = AutoModelForCausalLM.from_pretrained(f"{OUT}/{base}", attn_implementation="eager").float()
    p = get_peft_model(m, LoraConfig(r=3, lora_alpha=6, task_type="CAUSAL_LM", **config)).eval()
    g = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for n, w in sorted(p.named_parameters()):
            if "lora_B" in n: w.copy_(torch.randn(w.shape, generator=g) * .3)
            if "modules_to_save" in n or "magnitude" in n: w.mul_(1 + .2 * torch.randn(w.shape, generator=g))
    p.save_pretrained(f"{OUT}/{name}")
    c = json.load(open(f"{OUT}/{name}/adapter_config.json")); c["base_model_name_or_path"] = base; json.dump(c, open(f"{OUT}/{name}/adapter_config.json", "w"), indent=1)
    if os.path.exists(f"{OUT}/{name}/README.md"): os.remove(f"{OUT}/{name}/README.md")
    recorded[name] = {"base": base, "loss": loss(p).item(), "fan_in_fan_out": c["fan_in_fan_out"]}
json.dump({"ids": ids[0].tolist(), "recorded": recorded}, open(f"{OUT}/recorded.json", "w"), indent=1)
