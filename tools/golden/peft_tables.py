"""Writes model/decoder/testdata/peft_tables: adapters on the embeddings and the head as peft 0.18.1 saves them, with the loss of
fixed ids, the gradients' norms and sums, the losses of four steps of AdamW, and the loss once merged.
Usage: python tools/golden/peft_tables.py model/decoder/testdata/peft_tables   (torch 2.7.1, transformers 4.57.6, peft 0.18.1)"""
import json, os, shutil, sys, warnings
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import torch
from peft import LoraConfig, PeftModel, TrainableTokensConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM
warnings.filterwarnings("ignore")
OUT = sys.argv[1]
BASE = dict(vocab_size=24, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2)
MODELS = {"untied": ("llama", dict(tie_word_embeddings=False)), "tied": ("llama", dict(tie_word_embeddings=True)), "gemma2": ("gemma2", dict(head_dim=4, sliding_window=6, query_pre_attn_scalar=8, tie_word_embeddings=True))}
TABLES = ["q_proj", "embed_tokens", "lm_head"]
ADAPTERS = {
    "lora": ("untied", dict(target_modules=TABLES)), "lora_tied": ("tied", dict(target_modules=TABLES)), "lora_gemma2": ("gemma2", dict(target_modules=TABLES, use_rslora=True)),
    "head": ("untied", dict(target_modules=["lm_head"])), "embeddings": ("tied", dict(target_modules="model.embed_tokens")), "patterns": ("untied", dict(target_modules=TABLES, rank_pattern={"lm_head": 2, "embed_tokens": 5}, alpha_pattern={"embed_tokens": 3})),
    "tokens": ("untied", dict(target_modules=["q_proj"], trainable_token_indices=[9, 3, 23, 0])), "tokens_tied": ("tied", dict(target_modules=["q_proj"], trainable_token_indices=[9, 3, 23])),
    "tokens_gemma2": ("gemma2", dict(target_modules=["q_proj"], trainable_token_indices={"embed_tokens": [9, 3, 0]})), "tokens_both": ("untied", dict(target_modules=["q_proj"], trainable_token_indices={"embed_tokens": [9, 3], "lm_head": [5, 9, 2]})),
    "tokens_head": ("untied", dict(target_modules=["embed_tokens"], trainable_token_indices={"lm_head": [5, 9, 2]})),
    "tokens_tied_head": ("tied", dict(target_modules=["q_proj"], trainable_token_indices={"lm_head": [9, 3]})), "tokens_tied_both": ("tied", dict(target_modules=["q_proj"], trainable_token_indices={"embed_tokens": [9, 3], "lm_head": [3, 5]})),
    "tokens_twice": ("untied", dict(target_modules=["q_proj"], trainable_token_indices=[9, 3, 9])), "grown": ("untied", dict(target_modules=["q_proj"])), "grown_tied": ("tied", dict(target_modules=["q_proj"])),
    "tokens_grown": ("untied", dict(target_modules=["q_proj"], trainable_token_indices=[24, 9])), "tokens_grown_tied": ("tied", dict(target_modules=["q_proj"], trainable_token_indices=[24, 9])),
    "only_tokens": ("untied", dict(token_indices=[9, 3])), "only_tokens_tied": ("tied", dict(token_indices=[9, 3])), "only_tokens_grown": ("untied", dict(token_indices=[9, 24], target_modules=["embed_tokens", "lm_head"])), "only_tokens_grown_tied": ("tied", dict(token_indices=[9, 24])),
    "lookahead": ("untied", dict(target_modules=r"^(?!.*mlp)(model(?=\.).*\.(q_proj|up_proj)|lm_head)$")), "path": ("untied", dict(target_modules=["model.embed_tokens", "q_proj"])),
    "dora": ("untied", dict(target_modules=TABLES, use_dora=True)), "dora_tied": ("tied", dict(target_modules=TABLES, use_dora=True)), "dora_gemma2": ("gemma2", dict(target_modules=TABLES, use_dora=True)),
}
ids = torch.tensor([[1, 5, 9, 3, 2, 20, 7, 7, 11, 18, 3, 0, 12, 23, 9]])
def loss(m): return m(input_ids=ids, labels=ids, use_cache=False).loss
def strip(folder):
    for f in os.listdir(folder):
        if f not in ("config.json", "model.safetensors", "adapter_config.json", "adapter_model.safetensors"): os.remove(f"{folder}/{f}")
shutil.rmtree(OUT, ignore_errors=True); os.makedirs(OUT); os.chdir(OUT); golden = {"ids": ids[0].tolist(), "adapters": {}}
for name, (kind, extra) in MODELS.items():
    m = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(BASE | extra)), attn_implementation="eager").float()
    g = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for n, p in sorted(m.named_parameters()): p.copy_(torch.randn(p.shape, generator=g) * .3 + (1 if "norm" in n and kind == "llama" else 0))
    m.save_pretrained(name); strip(name)
for name, (base, extra) in ADAPTERS.items():
    def load():
        m = AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager").float()
        if "grown" in name: torch.manual_seed(3); m.resize_token_embeddings(26)
        return m
    p = get_peft_model(load(), TrainableTokensConfig(task_type="CAUSAL_LM", **extra) if "only" in name else LoraConfig(r=3, lora_alpha=6, task_type="CAUSAL_LM", **extra)).train()
    g = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for n, w in sorted(p.named_parameters()):
            if w.requires_grad: w.copy_(w * (1 + .2 * torch.randn(w.shape, generator=g)) if "magnitude" in n else w + .3 * torch.randn(w.shape, generator=g))
    if "grown" in name: ids[0, 6] = 24
    p.save_pretrained(name); strip(name)
    c = json.load(open(f"{name}/adapter_config.json")); c["target_modules"] = c["target_modules"] if isinstance(c["target_modules"], str) else sorted(c["target_modules"]); json.dump(c, open(f"{name}/adapter_config.json", "w"), indent=2)
    q = PeftModel.from_pretrained(load(), name)
    assert float(loss(q)) == float(loss(p)), name
    r = golden["adapters"][name] = {"base": base, "id6": int(ids[0, 6]), "loss": float(loss(p)), "gradients": {}, "steps": [], "after": {}}
    if base == "untied" or "tokens" in name: r["merged"] = float(loss(q.merge_and_unload())) if name not in ("tokens_tied_head", "tokens_tied_both") else None  # a tied model's matrix gets both adapters: peft warns of it
    loss(p).backward()
    trained = [(n, w) for n, w in p.named_parameters() if w.requires_grad]
    v = lambda x: [float(x.sum()), float(x.abs().sum()), float(x.flatten()[0]), float(x.flatten()[-1]), float((x.flatten() * torch.arange(x.numel())).sum())]
    for n, w in trained: r["gradients"][n.replace(".default", "")] = v(w.grad)
    o = torch.optim.AdamW([w for _, w in trained], lr=.02, weight_decay=.1)
    for _ in range(4):
        o.zero_grad(); l = loss(p); l.backward(); o.step(); r["steps"].append(float(l))
    for n, w in trained: r["after"][n.replace(".default", "")] = v(w.detach())
    ids[0, 6] = 7
    print(name, [n for n, _ in trained], sorted(__import__("safetensors.torch", fromlist=["x"]).load_file(f"{name}/adapter_model.safetensors")))
json.dump(golden, open("golden.json", "w"), indent=1)
