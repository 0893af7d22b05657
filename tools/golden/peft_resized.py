"""Writes model/decoder/testdata/peft_resized: adapters of tiny models whose vocabulary was resized, or whose head has a bias, as
peft 0.18.1 saves them: with the weights of modules_to_save twice, and with what they were before. Loss of fixed ids with each.
Usage: python tools/golden/peft_resized.py model/decoder/testdata/peft_resized   (torch 2.7.1, transformers 4.52.4, peft 0.18.1)"""
import json, os, shutil, sys
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM
OUT = sys.argv[1]
BASE = dict(vocab_size=24, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2)
MODELS = {"untied": ("llama", {}), "tied": ("llama", dict(tie_word_embeddings=True)), "phi": ("phi", {})}
BOTH = dict(modules_to_save=["embed_tokens", "lm_head"])
ADAPTERS = { # base, rows of its vocabulary, keys of the adapter
    "untied-saved": ("untied", 27, BOTH), "tied-saved": ("tied", 27, BOTH), "untied-embeddings": ("untied", 27, dict(modules_to_save=["embed_tokens"])),
    "phi-saved": ("phi", 27, BOTH), "phi-resized": ("phi", 27, {}), "phi-head": ("phi", 24, dict(target_modules=["q_proj", "lm_head"])),
}
ids = torch.tensor([[1, 5, 9, 3, 2, 20, 7, 7, 11, 18, 3, 0, 12, 23, 9]])
def fill(m, seed, *only):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for n, p in sorted(m.named_parameters()):
            if any(o in n for o in only): p.copy_(torch.randn(p.shape, generator=g) * .3 + (1 if "norm.weight" in n else 0))
def keep(dir, *names):
    for f in os.listdir(dir):
        if f not in names: os.remove(f"{dir}/{f}")
shutil.rmtree(OUT, ignore_errors=True); os.makedirs(OUT); recorded = {}
for name, (kind, config) in MODELS.items():
    m = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **BASE | config)).float()
    fill(m, 3, ""); m.save_pretrained(f"{OUT}/{name}"); keep(f"{OUT}/{name}", "config.json", "model.safetensors")
for name, (base, rows, config) in ADAPTERS.items():
    m = AutoModelForCausalLM.from_pretrained(f"{OUT}/{base}", attn_implementation="eager")
    if rows != BASE["vocab_size"]: m.resize_token_embeddings(rows)
    p = get_peft_model(m, LoraConfig(**dict(r=2, lora_alpha=3, task_type="CAUSAL_LM", target_modules=["q_proj"]) | config)).eval()
    fill(p, 11, "lora_", "modules_to_save"); p.save_pretrained(f"{OUT}/{name}"); keep(f"{OUT}/{name}", "adapter_config.json", "adapter_model.safetensors")
    c = json.load(open(f"{OUT}/{name}/adapter_config.json")); c["base_model_name_or_path"] = base; json.dump(c, open(f"{OUT}/{name}/adapter_config.json", "w"), indent=1)
    recorded[name] = {"base": base, "loss": p(input_ids=ids, labels=ids, use_cache=False).loss.item()}
json.dump({"ids": ids[0].tolist(), "adapters": recorded}, open(f"{OUT}/recorded.json", "w"), indent=1)
