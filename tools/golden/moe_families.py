"""Writes model/checkpoint/testdata/mxfp4.json, random blocks and what they mean, and model/decoder/testdata/moe_families: tiny random models of the families with latent attention, routers by scores,
sinks, chunks or experts of their own kind, in more than one shape each, and PEFT adapters on some of them, with the loss of
fixed ids, the balance loss, a greedy continuation and, of every gradient of the loss without it, its length and its product
with cos(0), cos(1), … (stacked experts that are saved apart: of each by itself).
Recorded with torch 2.15.0, transformers 5.24.0, peft 0.21.2.
gpt_oss-mxfp4's experts are codes, which transformers makes numbers of; its gradients are not recorded.
Usage: python tools/golden/moe_families.py model/decoder/testdata/moe_families model/checkpoint/testdata/mxfp4.json"""
import base64, json, os, shutil, sys
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM
OUT = sys.argv[1]
BASE = dict(vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2)
MOE = dict(BASE, moe_intermediate_size=8, num_experts_per_tok=2, n_routed_experts=6, n_shared_experts=1, n_group=1, topk_group=1)
MLA = dict(MOE, num_key_value_heads=4, q_lora_rank=10, kv_lora_rank=9, qk_rope_head_dim=4, qk_nope_head_dim=6, v_head_dim=5)
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 8, "beta_fast": 4.0}
GROUPS = dict(n_routed_experts=8, num_experts_per_tok=3, n_group=4, topk_group=2)
MODELS = {
    "glm4_moe": dict(MOE, head_dim=8, use_qk_norm=True, attention_bias=True, first_k_dense_replace=1, routed_scaling_factor=1.5),
    "glm4_moe-grouped": dict(MOE, **GROUPS | dict(head_dim=4, n_shared_experts=2, first_k_dense_replace=2, norm_topk_prob=False, tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 5000.0, "partial_rotary_factor": 1.0})),
    "deepseek_v3": dict(MLA, **GROUPS | dict(first_k_dense_replace=1, attention_bias=True, rope_parameters=dict(YARN, mscale=0.7, mscale_all_dim=1.3))),
    "deepseek_v3-halves": dict(MLA, q_lora_rank=None, v_head_dim=12, rope_interleave=False, first_k_dense_replace=0, norm_topk_prob=False, tie_word_embeddings=True, n_shared_experts=2, routed_scaling_factor=0.5),
    "glm4_moe_lite": dict(MLA, mlp_layer_types=["sparse", "dense", "sparse"], rope_parameters=YARN),
    "glm4_moe_lite-plain": dict(MLA, q_lora_rank=None, attention_bias=True, n_shared_experts=2, n_group=2, topk_group=1, num_experts_per_tok=3, norm_topk_prob=False),
    "youtu": {k: v for k, v in MLA.items() if "expert" not in k and "group" not in k and "moe" not in k},
    "ernie4_5_moe": dict(BASE, num_hidden_layers=4, moe_intermediate_size=8, moe_k=2, moe_num_experts=5, moe_num_shared_experts=2, moe_layer_start_index=1, moe_layer_end_index=3, moe_layer_interval=2, use_bias=True, moe_norm_min=0.6, tie_word_embeddings=False),
    "ernie4_5_moe-lean": dict(BASE, moe_intermediate_size=12, moe_k=3, moe_num_experts=4, moe_num_shared_experts=0, moe_layer_start_index=0, head_dim=8),
    "gpt_oss": dict(BASE, num_hidden_layers=4, head_dim=8, sliding_window=5, num_local_experts=4, num_experts_per_tok=2, swiglu_limit=0.75, rope_parameters=dict(YARN, truncate=False)),
    "gpt_oss-plain": dict(BASE, head_dim=4, sliding_window=3, num_local_experts=3, num_experts_per_tok=1, swiglu_alpha=0.9, attention_bias=False, tie_word_embeddings=True, layer_types=["full_attention", "sliding_attention", "sliding_attention"], rope_parameters={"rope_type": "default", "rope_theta": 5000.0}),
    "llama4_text": dict(BASE, num_hidden_layers=4, head_dim=8, intermediate_size_mlp=20, num_local_experts=4, num_experts_per_tok=1, interleave_moe_layer_step=2, no_rope_layer_interval=2, attention_chunk_size=5, floor_scale=3, attn_scale=0.6),
    "llama4_text-two": dict(BASE, head_dim=4, intermediate_size_mlp=16, num_local_experts=4, num_experts_per_tok=2, moe_layers=[0, 2], no_rope_layers=[0, 1, 1], attention_chunk_size=None, use_qk_norm=False, attention_bias=True, attn_temperature_tuning=False, tie_word_embeddings=True),
    "llama4_text-mixed": dict(BASE, head_dim=8, intermediate_size_mlp=16, num_local_experts=2, num_experts_per_tok=1, no_rope_layers=[1, 0, 1], layer_types=["full_attention", "chunked_attention", "chunked_attention"], attention_chunk_size=4, floor_scale=2),
}
ADAPTERS = {
    "adapter-deepseek_v3": ("deepseek_v3", ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"]),
    "adapter-gpt_oss": ("gpt_oss", ["q_proj", "k_proj", "v_proj", "o_proj"]),
    "adapter-llama4_text": ("llama4_text", ["q_proj", "o_proj", "gate_proj", "down_proj"]),
}
ids = torch.tensor([[1, 5, 9, 33, 2, 40, 7, 7, 41, 18, 3, 12, 30, 8, 22, 11]])
def loss(m): return m(input_ids=ids, labels=ids, use_cache=False).loss
def spread(m):
    g = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for n, p in sorted(list(m.named_parameters()) + [b for b in m.named_buffers() if "correction_bias" in b[0]]):
            norm = p.dim() == 1 and "norm" in n
            p.copy_(torch.randn(p.shape, generator=g) * .3 + (1 if norm else 0))
def gradient(g):
    g = g.double().flatten()
    return [float(g.norm()), float(g @ torch.cos(torch.arange(len(g), dtype=torch.float64)))]
def gradients(m):
    apart = "mlp.experts.0.gate_proj.weight" in " ".join(SAVED)
    for n, p in m.named_parameters():
        if p.grad is None: continue
        if not apart or ".experts." not in n or n.endswith("bias"):
            yield n, gradient(p.grad); continue
        for i, g in enumerate(p.grad):
            at = n.rsplit(".", 1)[0] + f".{i}."
            if n.endswith("gate_up_proj"):
                half = g.shape[0] // 2
                yield at + "gate_proj.weight", gradient(g[:half]); yield at + "up_proj.weight", gradient(g[half:])
            else: yield at + "down_proj.weight", gradient(g)
shutil.rmtree(OUT, ignore_errors=True); os.makedirs(OUT); recorded = {}
from safetensors import safe_open
for name, config in MODELS.items():
    m = AutoModelForCausalLM.from_config(AutoConfig.for_model(name.split("-")[0], **config), attn_implementation="eager").float().eval()
    spread(m); m.save_pretrained(f"{OUT}/{name}")
    for f in os.listdir(f"{OUT}/{name}"):
        if f not in ("config.json", "model.safetensors"): os.remove(f"{OUT}/{name}/{f}")
    SAVED = list(safe_open(f"{OUT}/{name}/model.safetensors", "pt").keys())
    l = loss(m); l.backward(); answer = ids
    with torch.no_grad():
        for _ in range(8): answer = torch.cat([answer, m(input_ids=answer).logits[:, -1:].argmax(-1)], 1)
        aux = getattr(m(input_ids=ids, labels=ids, output_router_logits=True), "aux_loss", None) if "youtu" not in name else None
    recorded[name] = {"loss": l.item(), "aux": 0 if aux is None else aux.item(), "greedy": answer[0, ids.shape[1]:].tolist(), "gradients": dict(gradients(m))}
from safetensors.torch import save_file
from transformers.integrations.mxfp4 import _convert_moe_packed_tensors
def packed(g, *shape, lowest=120, highest=126): return torch.randint(0, 256, (*shape, 16), generator=g, dtype=torch.uint8), torch.randint(lowest, highest + 1, shape, generator=g, dtype=torch.uint8)
g = torch.Generator().manual_seed(5)
blocks, scales = packed(g, 2, 19, 3, lowest=3, highest=250)
json.dump({"shape": list(blocks.shape), "blocks": base64.b64encode(blocks.numpy().tobytes()).decode(), "scales": base64.b64encode(scales.numpy().tobytes()).decode(), "bits": _convert_moe_packed_tensors(blocks, scales).view(torch.uint16).flatten().tolist()}, open(sys.argv[2], "w"))
name, config = "gpt_oss-mxfp4", dict(BASE, hidden_size=32, intermediate_size=32, num_hidden_layers=2, head_dim=8, sliding_window=5, num_local_experts=2, num_experts_per_tok=1)
m = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt_oss", **config), attn_implementation="eager").float().eval()
spread(m); T = {}
for n, p in list(m.state_dict().items()):
    if n.endswith(("gate_up_proj", "down_proj")):
        b, s = packed(g, p.shape[0], p.shape[2], p.shape[1] // 32)
        T[n + "_blocks"], T[n + "_scales"] = b, s
        p.copy_(_convert_moe_packed_tensors(b, s).float())
    else: T[n] = p.to(torch.bfloat16); p.copy_(T[n].float())
m.config.save_pretrained(f"{OUT}/{name}"); save_file(T, f"{OUT}/{name}/model.safetensors", {"format": "pt"})
c = json.load(open(f"{OUT}/{name}/config.json")); c["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]}; json.dump(c, open(f"{OUT}/{name}/config.json", "w"), indent=1)
recorded[name] = {"loss": loss(m).item(), "packed": True}
print("transformers reads its own folder:", loss(AutoModelForCausalLM.from_pretrained(f"{OUT}/{name}", attn_implementation="eager", dtype=torch.float32).eval()).item(), "and ours has", recorded[name]["loss"])
torch.manual_seed(3)
for name, (base, targets) in ADAPTERS.items():
    m = AutoModelForCausalLM.from_pretrained(f"{OUT}/{base}", attn_implementation="eager").float()
    p = get_peft_model(m, LoraConfig(r=3, lora_alpha=6, task_type="CAUSAL_LM", target_modules=targets)).eval()
    g = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for n, w in sorted(p.named_parameters()):
            if "lora_B" in n: w.copy_(torch.randn(w.shape, generator=g) * .3)
    p.save_pretrained(f"{OUT}/{name}")
    c = json.load(open(f"{OUT}/{name}/adapter_config.json")); c["base_model_name_or_path"] = base; json.dump(c, open(f"{OUT}/{name}/adapter_config.json", "w"), indent=1)
    if os.path.exists(f"{OUT}/{name}/README.md"): os.remove(f"{OUT}/{name}/README.md")
    recorded[name] = {"base": base, "loss": loss(p).item()}
json.dump({"ids": ids[0].tolist(), "recorded": recorded}, open(f"{OUT}/recorded.json", "w"), indent=1)
