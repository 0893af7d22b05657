"""Writes model/decoder/testdata/multimodal: tiny random …ForConditionalGeneration models, in the layouts that
transformers 5 writes and that files of before have, with the loss of fixed ids, a greedy continuation and, of every
gradient of the language model, its length and its product with cos(0), cos(1), …; and a PEFT adapter on the language
model of each, as get_peft_model names it on the whole model, with its loss.
Recorded with torch 2.15.0, transformers 5.24.0, peft 0.21.2.
Usage: python tools/golden/multimodal.py model/decoder/testdata/multimodal [name…]"""
import json, os, shutil, sys
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForImageTextToText
OUT = sys.argv[1]
TEXT = dict(vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2)
TOWER = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4)
QWEN = dict(depth=1, hidden_size=8, intermediate_size=8, num_heads=2, out_hidden_size=16, patch_size=2)
MODELS = {
    "gemma3": dict(text_config=dict(TEXT, head_dim=8, sliding_window=5, sliding_window_pattern=2, query_pre_attn_scalar=8), vision_config=TOWER, mm_tokens_per_image=4, image_token_index=47),
    "mistral3": dict(text_config=dict(TEXT, model_type="mistral", head_dim=8, tie_word_embeddings=False), vision_config=dict(TOWER, model_type="pixtral", head_dim=4), image_token_index=47, tie_word_embeddings=False),
    "mistral3-ministral3": dict(text_config=dict(TEXT, model_type="ministral3", head_dim=8, rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}), vision_config=dict(TOWER, model_type="pixtral", head_dim=4), image_token_index=47),
    "qwen2_vl": dict(text_config=dict(TEXT, rope_scaling={"type": "mrope", "mrope_section": [1, 1]}, rope_theta=5000.0), vision_config=dict(depth=1, embed_dim=8, hidden_size=16, num_heads=2, mlp_ratio=1, patch_size=2), image_token_id=47, tie_word_embeddings=True),
    "qwen2_5_vl": dict(text_config=dict(TEXT, rope_scaling={"type": "mrope", "mrope_section": [1, 1]}), vision_config=dict(QWEN, fullatt_block_indexes=[0]), image_token_id=47),
    "qwen3_vl": dict(text_config=dict(TEXT, head_dim=8, rope_scaling={"rope_type": "default", "mrope_interleaved": True, "mrope_section": [2, 1, 1]}), vision_config=dict(QWEN, deepstack_visual_indexes=[0], num_position_embeddings=16), image_token_id=47),
    "llava": dict(text_config=dict(TEXT, model_type="llama"), vision_config=dict(TOWER, model_type="clip_vision_model"), image_token_index=47),
    "glm4v": dict(text_config=dict(TEXT, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5, "mrope_section": [1]}), vision_config=dict(QWEN, intermediate_size=8, image_size=8), image_token_id=47),
    "glm_ocr": dict(text_config=dict(TEXT, head_dim=8, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0, "mrope_section": [2, 1, 1]}), vision_config=dict(QWEN, intermediate_size=8, image_size=8), image_token_id=47),
    "internvl": dict(text_config=dict(TEXT, model_type="qwen2"), vision_config=dict(TOWER, image_size=[8, 8], patch_size=[4, 4]), image_token_id=47),
    "smolvlm": dict(text_config=dict(TEXT, model_type="llama"), vision_config=TOWER, image_token_id=47, scale_factor=1),
    "qwen3_5": dict(text_config=dict(TEXT, head_dim=8, layer_types=["linear_attention", "full_attention"], linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=4, linear_value_head_dim=4, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5, "mrope_interleaved": True, "mrope_section": [1, 1, 0]}), vision_config=dict(QWEN, num_position_embeddings=16), image_token_id=47),
    "qwen3_5_moe": dict(text_config=dict(TEXT, head_dim=8, layer_types=["linear_attention", "full_attention"], linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=4, linear_value_head_dim=4, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8, shared_expert_intermediate_size=8, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5, "mrope_interleaved": True, "mrope_section": [1, 1, 0]}), vision_config=dict(QWEN, num_position_embeddings=16), image_token_id=47),
    "llama4": dict(text_config=dict(TEXT, head_dim=4, intermediate_size_mlp=24, num_local_experts=4, num_experts_per_tok=1, interleave_moe_layer_step=2, attention_chunk_size=8), vision_config=dict(TOWER, vision_output_dim=8, projector_input_dim=8, projector_output_dim=8, intermediate_size=32, pixel_shuffle_ratio=0.5)),
    "gemma4": dict(text_config=dict(TEXT, num_hidden_layers=3, head_dim=4, global_head_dim=8, sliding_window=5, layer_types=["sliding_attention", "full_attention", "full_attention"], num_kv_shared_layers=1, hidden_size_per_layer_input=4, vocab_size_per_layer_input=48), vision_config=dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, head_dim=4, patch_size=2, position_embedding_size=4), audio_config=None, image_token_id=47),
}
# Other layouts: the model, and how its tensors' names begin instead. transformers 4.52 to 4.57 name them as the modules
# are, earlier ones and 5 as files have been all along.
LAYOUTS = {
    "gemma3-modules": ("gemma3", [("language_model.model.", "model.language_model."), ("vision_tower.", "model.vision_tower."), ("multi_modal_projector.", "model.multi_modal_projector.")]),
    "llava-modules": ("llava", [("language_model.model.", "model.language_model."), ("language_model.lm_head.", "lm_head."), ("vision_tower.", "model.vision_tower."), ("multi_modal_projector.", "model.multi_modal_projector.")]),
    "qwen2_vl-flat": ("qwen2_vl", []),
}
ids = torch.tensor([[1, 5, 9, 33, 2, 40, 7, 7, 41, 18, 3, 12]])
def text_of(m):  # of llama4, whose whole model fails on text alone in transformers 5.24
    x = m.base_model.model if isinstance(m, PeftModel) else m
    return x.language_model if x.config.model_type == "llama4" else m
def loss(m): return text_of(m)(input_ids=ids, labels=ids, use_cache=False).loss
def spread(m):
    g = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for n, p in sorted(m.named_parameters()): p.copy_(torch.randn(p.shape, generator=g) * .3 + (1 if p.dim() == 1 and "norm" in n and "gemma3" not in m.config.model_type else 0))
        for n, b in sorted(m.named_buffers()):
            if n.endswith("layer_scalar"): b.copy_(torch.rand(b.shape, generator=g) + .5)
def gradients(m):  # by the names of files, which have qwen3_5_moe's experts apart
    for n, p in m.named_parameters():
        if p.grad is None: continue
        if m.config.model_type != "qwen3_5_moe" or ".experts." not in n: yield n, p.grad; continue
        path, name = n.rsplit(".", 1)
        for i, g in enumerate(p.grad):
            for part, x in zip(("gate_proj", "up_proj"), g.chunk(2)) if name == "gate_up_proj" else [("down_proj", g)]: yield f"{path}.{i}.{part}.weight", x
def gradient(g):
    g = g.double().flatten()
    return [float(g.norm()), float(g @ torch.cos(torch.arange(len(g), dtype=torch.float64)))]
def only(dir, *names):
    for f in os.listdir(dir):
        if f not in names: os.remove(f"{dir}/{f}")
os.makedirs(OUT, exist_ok=True); path = f"{OUT}/recorded.json"
recorded = json.load(open(path))["recorded"] if os.path.exists(path) else {}
wanted = sys.argv[2:] or [*MODELS, *LAYOUTS]
def read(dir): return AutoModelForImageTextToText.from_pretrained(dir, attn_implementation="eager", dtype="float32").eval()
def record(name, m):
    m.zero_grad(); l = loss(m); l.backward(); answer = ids
    with torch.no_grad():
        for _ in range(8): answer = torch.cat([answer, text_of(m)(input_ids=answer, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    recorded[name] = {"loss": l.item(), "greedy": answer[0, ids.shape[1]:].tolist(), "gradients": {n: gradient(g) for n, g in gradients(m)}}
for name in wanted:
    dir = f"{OUT}/{name}"; shutil.rmtree(dir, ignore_errors=True)
    if name in LAYOUTS:
        base, renames = LAYOUTS[name]; os.makedirs(dir); shutil.copy(f"{OUT}/{base}/config.json", dir); tensors = {}
        for n, t in load_file(f"{OUT}/{base}/model.safetensors").items():
            for a, b in renames:
                if n.startswith(a): n = b + n[len(a):]; break
            tensors[n] = t
        save_file(tensors, f"{dir}/model.safetensors", metadata={"format": "pt"})
        if name == "qwen2_vl-flat":  # all of the language model's keys lie beside vision_config
            c = json.load(open(f"{dir}/config.json")); text = c.pop("text_config"); text.pop("model_type"); c = {**text, **c}; json.dump(c, open(f"{dir}/config.json", "w"), indent=1)
        record(name, read(dir)); continue
    m = AutoModelForImageTextToText.from_config(AutoConfig.for_model(name.split("-")[0], **MODELS[name]), attn_implementation="eager").float().eval()
    spread(m); m.save_pretrained(dir); only(dir, "config.json", "model.safetensors")
    m = read(dir); record(name, m)
    text = "language_model" if name not in ("smolvlm",) else "text_model"
    targets = [n for n, x in m.named_modules() if "Linear" in type(x).__name__ and text in n and "lm_head" not in n]
    p = get_peft_model(m, LoraConfig(r=2, lora_alpha=4, task_type="CAUSAL_LM", target_modules=targets)).eval()
    g = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for n, w in sorted(p.named_parameters()):
            if "lora_" in n: w.copy_(torch.randn(w.shape, generator=g) * .3)
    shutil.rmtree(f"{OUT}/adapter-{name}", ignore_errors=True); p.save_pretrained(f"{OUT}/adapter-{name}"); only(f"{OUT}/adapter-{name}", "adapter_config.json", "adapter_model.safetensors")
    c = json.load(open(f"{OUT}/adapter-{name}/adapter_config.json")); c["base_model_name_or_path"] = name; json.dump(c, open(f"{OUT}/adapter-{name}/adapter_config.json", "w"), indent=1)
    recorded[f"adapter-{name}"] = {"base": name, "loss": loss(p).item()}
json.dump({"ids": ids[0].tolist(), "recorded": dict(sorted(recorded.items()))}, open(path, "w"), indent=1)
