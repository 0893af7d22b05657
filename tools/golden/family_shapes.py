"""Records other shapes of every family than testdata and ../shared hold: random small configurations that turn biases, tied heads, windows,
rope scaling, norms of heads, groups of experts, shared experts, kinds of layers and the like on and off. Form: that of golden/families.
Compare: DATAFLEX_FAMILIES=OUT go test ./model/decoder ./model/generate -run TestFamilies. Recorded with transformers 5.24.0.
All values are of transformers in float64; float32.grad.* are its gradients in float32, from which the test takes how far rounding moves them.
Usage: python tools/golden/family_shapes.py OUT FIRST-LAST [name...]: seeds of the configurations"""
import contextlib, os, random, sys, torch, traceback
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM
torch.set_num_threads(1)
def rope(r, d, theta=None, partial=None, kinds=("default","linear","dynamic","yarn","llama3","longrope")):
    k = r.choice(kinds); p = {"rope_type": k, "rope_theta": float(theta or r.choice([5000.0, 10000.0, 1e6]))}
    if partial: p["partial_rotary_factor"] = partial
    rot = int(d * (partial or 1))
    if k in ("linear", "dynamic"): p["factor"] = r.choice([2.0, 3.5])
    if k == "yarn":
        p |= {"factor": r.choice([2.0, 4.0]), "original_max_position_embeddings": r.choice([8, 16, 64]), "beta_fast": r.choice([4.0, 32.0]), "beta_slow": 1.0}
        if r.random() < .4: p["attention_factor"] = r.choice([0.8, 1.3])
        elif r.random() < .4: p |= {"mscale": 0.7, "mscale_all_dim": r.choice([0.7, 1.2])}
        if r.random() < .4: p["truncate"] = False
    if k == "llama3": p |= {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": r.choice([16, 32])}
    if k == "longrope":
        p |= {"short_factor": [1 + .1 * i for i in range(rot // 2)], "long_factor": [1.5 + .3 * i for i in range(rot // 2)], "original_max_position_embeddings": r.choice([64, 128]), "factor": r.choice([2.0, 4.0])}
    return p
def base(r, n=None, mha=False, hd=None, hidden=True):
    h = r.choice([2, 4, 6, 8]); kv = h if mha else r.choice([k for k in range(1, h + 1) if h % k == 0]); d = r.choice([4, 8, 12, 16])
    c = dict(vocab_size=r.choice([97, 131, 200, 256]), hidden_size=h * d, intermediate_size=r.choice([36, 52, 80, 100]), num_hidden_layers=n or r.choice([1, 2, 3, 4]), num_attention_heads=h, num_key_value_heads=kv, max_position_embeddings=r.choice([64, 256]),
             bos_token_id=1, eos_token_id=2, pad_token_id=0, initializer_range=0.12)
    if hd: c["head_dim"] = d
    if hd and hidden and r.random() < .5: c["hidden_size"] = r.choice([24, 40, 56])
    return c, (c.get("head_dim") or d)
def flag(r): return r.random() < .5
def window(r): return r.choice([3, 5, 7, 100])
def kinds(r, n, other="sliding_attention"):
    return [r.choice(["full_attention", other]) for _ in range(n)]
def moe(r, count, groups=False):
    e = r.choice([3, 5, 6]) if not groups else r.choice([8, 12])
    return {count: e, "num_experts_per_tok": r.randint(1, min(3, e)), "moe_intermediate_size": r.choice([12, 20, 32])}
def aux(r): return {"output_router_logits": flag(r), "router_aux_loss_coef": r.choice([0.02, 0.3])}
def F(name, r):
    c, d = base(r)
    if name == "llama": c, d = base(r, hd=flag(r)); return "llama", c | dict(attention_bias=flag(r), mlp_bias=flag(r), tie_word_embeddings=flag(r), rope_parameters=rope(r, d))
    if name == "mistral": c, d = base(r, hd=flag(r)); return name, c | dict(sliding_window=r.choice([None, window(r)]), tie_word_embeddings=flag(r), rope_parameters=rope(r, d))
    if name == "qwen2": return name, c | dict(use_sliding_window=flag(r), sliding_window=window(r), max_window_layers=r.choice([0, 1, 2]), tie_word_embeddings=flag(r), rope_parameters=rope(r, d))
    if name == "qwen3": c, d = base(r, hd=True); return name, c | dict(use_sliding_window=flag(r), sliding_window=window(r), max_window_layers=r.choice([0, 1, 2]), attention_bias=flag(r), tie_word_embeddings=flag(r), rope_parameters=rope(r, d))
    if name == "gemma": c, d = base(r, hd=True); return name, c | dict(attention_bias=flag(r), tie_word_embeddings=flag(r), rope_parameters=rope(r, d))
    if name == "gemma2": c, d = base(r, hd=True); return name, c | dict(sliding_window=window(r), query_pre_attn_scalar=r.choice([8, 20]), attention_bias=flag(r), tie_word_embeddings=flag(r), attn_logit_softcapping=r.choice([None, 5.0]), final_logit_softcapping=r.choice([None, 4.0]), layer_types=kinds(r, c["num_hidden_layers"]), rope_parameters=rope(r, d))
    if name == "gemma3_text":
        c, d = base(r, hd=True); return name, c | dict(sliding_window=window(r), query_pre_attn_scalar=r.choice([8, 20]), attention_bias=flag(r), tie_word_embeddings=flag(r), final_logit_softcapping=r.choice([None, 4.0]), layer_types=kinds(r, c["num_hidden_layers"]), rope_parameters={"full_attention": rope(r, d), "sliding_attention": rope(r, d, kinds=("default",))})
    if name == "phi3":
        pr = r.choice([1.0, 0.5]); return name, c | dict(sliding_window=r.choice([None, window(r)]), tie_word_embeddings=flag(r), original_max_position_embeddings=64, rope_parameters=rope(r, d, partial=pr, kinds=("default",)))
    if name == "olmo2": return name, c | dict(attention_bias=flag(r), tie_word_embeddings=flag(r), rope_parameters=rope(r, d))
    if name == "granite": return name, c | dict(attention_bias=flag(r), mlp_bias=flag(r), tie_word_embeddings=flag(r), embedding_multiplier=3.0, logits_scaling=r.choice([1.0, 2.5]), residual_multiplier=0.4, attention_multiplier=0.3, rope_parameters=rope(r, d))
    if name in ("glm4", "glm"): c, d = base(r, hd=True); return name, c | dict(attention_bias=flag(r), tie_word_embeddings=flag(r), rope_parameters=rope(r, d, partial=r.choice([0.5, 1.0, 0.25 if d % 8 == 0 else .5])))
    if name == "mixtral": c, d = base(r, hd=flag(r)); return name, c | dict(num_local_experts=r.choice([3, 5]), num_experts_per_tok=r.choice([1, 2, 3]), sliding_window=r.choice([None, window(r)]), tie_word_embeddings=flag(r), rope_parameters=rope(r, d)) | aux(r)
    if name == "qwen2_moe": return name, c | moe(r, "num_experts") | aux(r) | dict(shared_expert_intermediate_size=r.choice([12, 28]), decoder_sparse_step=r.choice([1, 2]), norm_topk_prob=flag(r), mlp_only_layers=r.choice([[], [0]]), qkv_bias=flag(r), use_sliding_window=flag(r), sliding_window=window(r), max_window_layers=1, tie_word_embeddings=flag(r), rope_parameters=rope(r, d))
    if name == "qwen3_moe": c, d = base(r, hd=True); return name, c | moe(r, "num_experts") | aux(r) | dict(decoder_sparse_step=r.choice([1, 2]), norm_topk_prob=flag(r), mlp_only_layers=r.choice([[], [0]]), attention_bias=flag(r), use_sliding_window=flag(r), sliding_window=window(r), tie_word_embeddings=flag(r), rope_parameters=rope(r, d))
    if name == "smollm3": c, d = base(r, n=4); return name, c | dict(r.choice([dict(no_rope_layer_interval=r.choice([2, 3])), dict(no_rope_layers=[r.choice([0, 1]) for _ in range(4)])]), use_sliding_window=flag(r), sliding_window=window(r), layer_types=r.choice([None, kinds(r, 4)]), attention_bias=flag(r), mlp_bias=flag(r), tie_word_embeddings=flag(r), rope_parameters=rope(r, d))
    if name == "olmo": return name, c | dict(clip_qkv=r.choice([None, 0.4]), attention_bias=flag(r), tie_word_embeddings=flag(r), rope_parameters=rope(r, d))
    if name == "olmo3": return name, c | dict(sliding_window=window(r), attention_bias=flag(r), tie_word_embeddings=flag(r), layer_types=r.choice([None, kinds(r, c["num_hidden_layers"])]), rope_parameters=rope(r, d))
    if name == "olmoe": return name, c | moe(r, "num_experts") | aux(r) | dict(norm_topk_prob=flag(r), clip_qkv=r.choice([None, 0.4]), attention_bias=flag(r), tie_word_embeddings=flag(r), rope_parameters=rope(r, d))
    if name == "seed_oss": c, d = base(r, hd=True); return name, c | dict(attention_bias=flag(r), attention_out_bias=flag(r), mlp_bias=flag(r), tie_word_embeddings=flag(r), rope_parameters=rope(r, d))
    if name == "ernie4_5": c, d = base(r, hd=flag(r)); return name, c | dict({} if "head_dim" in c else {"head_dim": d}, use_bias=flag(r), tie_word_embeddings=flag(r), rope_parameters=rope(r, d))
    if name == "hunyuan_v1_dense": c, d = base(r, hd=True); return name, c | dict(attention_bias=flag(r), tie_word_embeddings=flag(r), rope_parameters=r.choice([rope(r, d), {"rope_type": "dynamic", "alpha": 1000.0, "factor": 1.0, "rope_theta": 10000.0}]))
    if name == "exaone4": return name, c | dict(sliding_window=r.choice([None, window(r)]), tie_word_embeddings=flag(r), layer_types=r.choice([None, kinds(r, c["num_hidden_layers"])]), rope_parameters=rope(r, d))
    if name == "granitemoe": return name, c | dict(num_local_experts=r.choice([3, 5]), num_experts_per_tok=r.choice([1, 2, 3]), attention_bias=flag(r), tie_word_embeddings=flag(r), embedding_multiplier=3.0, logits_scaling=r.choice([1.0, 2.5]), residual_multiplier=0.4, attention_multiplier=0.3, rope_parameters=rope(r, d)) | aux(r)
    if name == "arcee": c, d = base(r, hd=flag(r)); return name, c | dict(attention_bias=flag(r), mlp_bias=flag(r), tie_word_embeddings=flag(r), rope_parameters=rope(r, d))
    if name == "gpt_neox": return name, {k: v for k, v in c.items() if k != "num_key_value_heads"} | dict(use_parallel_residual=flag(r), attention_bias=flag(r), hidden_act=r.choice(["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"]), tie_word_embeddings=flag(r), rope_parameters=rope(r, d, partial=r.choice([1.0, .5])))
    if name == "phi": return name, c | dict(qk_layernorm=flag(r), tie_word_embeddings=flag(r), hidden_act=r.choice(["gelu_new", "gelu"]), rope_parameters=rope(r, d, partial=r.choice([1.0, .5])))
    if name == "stablelm": return name, c | dict(use_qkv_bias=flag(r), qk_layernorm=flag(r), use_parallel_residual=flag(r), tie_word_embeddings=flag(r), rope_parameters=rope(r, d, partial=r.choice([1.0, .5])))
    if name == "starcoder2": return name, c | dict(sliding_window=r.choice([None, window(r)]), use_bias=flag(r), norm_epsilon=1e-5, tie_word_embeddings=flag(r), rope_parameters=rope(r, d))
    if name == "cohere": return name, c | dict(logit_scale=r.choice([.1, .5]), use_qk_norm=flag(r), attention_bias=flag(r), tie_word_embeddings=flag(r), rope_parameters=rope(r, d))
    if name == "cohere2": c, d = base(r, hd=True); return name, c | dict(logit_scale=r.choice([.1, .5]), sliding_window=window(r), attention_bias=flag(r), tie_word_embeddings=flag(r), layer_types=r.choice([None, kinds(r, c["num_hidden_layers"])]), rope_parameters=rope(r, d))
    if name == "nemotron": c, d = base(r, hd=True); return name, c | dict(attention_bias=flag(r), mlp_bias=flag(r), tie_word_embeddings=flag(r), rope_parameters=rope(r, d, partial=r.choice([1.0, .5])))
    if name == "gpt2": return name, dict(vocab_size=c["vocab_size"], n_positions=64, n_embd=c["hidden_size"], n_layer=c["num_hidden_layers"], n_head=c["num_attention_heads"], n_inner=r.choice([None, 40]), scale_attn_weights=flag(r), activation_function=r.choice(["gelu_new", "gelu"]), tie_word_embeddings=flag(r), bos_token_id=1, eos_token_id=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, initializer_range=0.12)
    if name == "falcon":
        x = r.choice([dict(new_decoder_architecture=True, num_kv_heads=c["num_key_value_heads"], num_ln_in_parallel_attn=r.choice([None, 1, 2])), dict(new_decoder_architecture=False, multi_query=flag(r), parallel_attn=flag(r))])
        return name, {k: v for k, v in c.items() if k not in ("num_key_value_heads", "intermediate_size")} | x | dict(bias=flag(r), alibi=False, ffn_hidden_size=r.choice([None, 44]), activation=r.choice(["gelu", "gelu_new"]), tie_word_embeddings=flag(r), hidden_dropout=0.0, attention_dropout=0.0, rope_parameters=rope(r, d))
    if name == "gpt_oss":
        c, d = base(r, hd=True); return name, c | dict(sliding_window=window(r), num_local_experts=r.choice([3, 5]), num_experts_per_tok=r.choice([1, 2, 3]), attention_bias=flag(r), tie_word_embeddings=flag(r), layer_types=r.choice([None, kinds(r, c["num_hidden_layers"])]), swiglu_limit=r.choice([0.6, 7.0]), rope_parameters=rope(r, d)) | aux(r)
    mla = lambda mha=True: dict(base(r, mha=True)[0], q_lora_rank=r.choice([None, 10, 24]), kv_lora_rank=r.choice([9, 20]), qk_rope_head_dim=r.choice([4, 8]), qk_nope_head_dim=r.choice([6, 12]), v_head_dim=r.choice([5, 12, 16]))
    def routed(): 
        g = r.choice([1, 2, 4]); e = r.choice([8, 12]); tg = r.randint(1, g); k = r.randint(1, min(4, tg * e // g))
        return dict(n_routed_experts=e, num_experts_per_tok=k, n_shared_experts=r.choice([1, 2]), n_group=g, topk_group=tg, moe_intermediate_size=r.choice([12, 20]), norm_topk_prob=flag(r), routed_scaling_factor=r.choice([0.5, 1.0, 2.5]))
    if name == "deepseek_v3":
        c = mla(); m = routed(); yarn = dict(rope(r, c["qk_rope_head_dim"], kinds=("default", "yarn", "linear")))
        return name, c | m | dict(first_k_dense_replace=r.choice([0, 1, 2]), attention_bias=flag(r), rope_interleave=flag(r), tie_word_embeddings=flag(r), rope_parameters=yarn)
    if name == "youtu": c = mla(); return name, c | dict(attention_bias=flag(r), rope_interleave=flag(r), tie_word_embeddings=flag(r), rope_parameters=rope(r, c["qk_rope_head_dim"], kinds=("default", "yarn")))
    if name == "glm4_moe_lite":
        c = mla(); m = routed(); return name, c | m | dict(mlp_layer_types=[r.choice(["sparse", "dense"]) for _ in range(c["num_hidden_layers"])], attention_bias=flag(r), rope_interleave=flag(r), tie_word_embeddings=flag(r), rope_parameters=rope(r, c["qk_rope_head_dim"], kinds=("default", "yarn")))
    if name == "glm4_moe": c, d = base(r, hd=True); return name, c | routed() | dict(first_k_dense_replace=r.choice([0, 1, 2]), use_qk_norm=flag(r), attention_bias=flag(r), tie_word_embeddings=flag(r), rope_parameters=rope(r, d, partial=r.choice([.5, 1.0])))
    if name == "ernie4_5_moe":
        n = c["num_hidden_layers"]; s = r.randint(0, n - 1)
        c.pop("pad_token_id"); return name, c | dict(pad_token_id=0, moe_num_experts=r.choice([3, 5]), moe_k=r.choice([1, 2, 3]), moe_intermediate_size=r.choice([12, 20]), moe_num_shared_experts=r.choice([0, 1, 2]), moe_layer_start_index=s, moe_layer_end_index=r.choice([-1, n - 1, s]), moe_layer_interval=r.choice([1, 2]), use_bias=flag(r), tie_word_embeddings=flag(r), rope_parameters=rope(r, d)) | aux(r)
    delta = lambda: (lambda k: dict(linear_num_key_heads=k, linear_num_value_heads=k * r.choice([1, 2, 3]), linear_key_head_dim=r.choice([4, 12, 20]), linear_value_head_dim=r.choice([4, 16, 20]), linear_conv_kernel_dim=r.choice([2, 3, 4])))(r.choice([1, 2, 3]))
    if name in ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"):
        c, d = base(r, hd=True, n=r.choice([2, 3, 4])); n = c["num_hidden_layers"]
        x = c | delta() | dict(layer_types=[r.choice(["linear_attention", "full_attention"]) for _ in range(n)], attention_bias=flag(r), tie_word_embeddings=flag(r), rope_parameters=rope(r, d, partial=r.choice([.5, 1.0]), kinds=("default", "yarn", "linear")))
        if name != "qwen3_5_text": x |= moe(r, "num_experts") | aux(r) | dict(shared_expert_intermediate_size=r.choice([12, 28]))
        if name == "qwen3_next": x |= dict(norm_topk_prob=flag(r), decoder_sparse_step=r.choice([1, 2]), mlp_only_layers=r.choice([[], [0]]))
        return name, x
    if name == "lfm2": n = c["num_hidden_layers"]; return name, c | dict(layer_types=[r.choice(["conv", "full_attention"]) for _ in range(n)], conv_L_cache=r.choice([2, 3, 5]), conv_bias=flag(r), block_auto_adjust_ff_dim=flag(r), block_multiple_of=r.choice([8, 16]), block_ffn_dim_multiplier=r.choice([1.0, 1.3]), tie_word_embeddings=flag(r), rope_parameters=rope(r, d))
    if name == "llama4_text":
        c, d = base(r, hd=True); n = c["num_hidden_layers"]
        return name, c | dict(intermediate_size_mlp=r.choice([20, 44]), num_local_experts=r.choice([2, 4]), num_experts_per_tok=r.choice([1, 2]), interleave_moe_layer_step=r.choice([1, 2]), moe_layers=r.choice([None, sorted(r.sample(range(n), r.randint(0, n)))]), no_rope_layers=r.choice([None, [r.choice([0, 1]) for _ in range(n)]]), no_rope_layer_interval=r.choice([2, 4]), attention_chunk_size=r.choice([None, 4, 16]), use_qk_norm=flag(r), attention_bias=flag(r), attn_temperature_tuning=flag(r), floor_scale=r.choice([2, 8]), attn_scale=.4, tie_word_embeddings=flag(r), rope_parameters=rope(r, d))
    if name == "ministral3": c, d = base(r, hd=True); return name, c | dict(sliding_window=r.choice([None, window(r)]), tie_word_embeddings=flag(r), rope_parameters=dict(rope(r, d, kinds=("yarn",)), llama_4_scaling_beta=r.choice([0.1, 0.5])))
    if name == "gemma4_text":
        c, d = base(r, hd=True, n=r.choice([3, 5, 6])); n = c["num_hidden_layers"]; v = c["vocab_size"]
        lt = kinds(r, n); lt[-1] = "full_attention"; lt[0] = "sliding_attention"; shared = r.choice([0, 0, 1]) if n > 3 else 0
        kv = c["num_key_value_heads"]
        x = c | dict(global_head_dim=r.choice([d, 2 * d]), sliding_window=window(r), layer_types=lt, hidden_size_per_layer_input=r.choice([0, 8, 12]), vocab_size_per_layer_input=v, num_kv_shared_layers=0, attention_k_eq_v=flag(r), final_logit_softcapping=r.choice([None, 3.0]), tie_word_embeddings=flag(r))
        if flag(r): x |= dict(enable_moe_block=True, num_experts=r.choice([3, 5]), top_k_experts=r.choice([1, 2]), moe_intermediate_size=20)
        if "full_attention" in lt[:-2] and lt.count("sliding_attention") > 1 and flag(r): x |= dict(num_kv_shared_layers=1, use_double_wide_mlp=flag(r))
        if x["attention_k_eq_v"]: x["num_global_key_value_heads"] = r.choice([1, kv])
        return name, x
    if name == "minimax_m2": c, d = base(r, hd=True); return name, c | dict(num_local_experts=r.choice([3, 5]), num_experts_per_tok=r.choice([1, 2, 3]), tie_word_embeddings=flag(r), rope_parameters=rope(r, d, partial=r.choice([.5, 1.0]))) | aux(r)
    if name == "nanochat": return name, c | dict(attention_bias=flag(r), tie_word_embeddings=flag(r), final_logit_softcapping=r.choice([None, 4.0, 15.0]), rope_parameters=rope(r, d))
    raise KeyError(name)
NAMES = "llama mistral qwen2 qwen3 gemma gemma2 gemma3_text phi3 olmo2 granite glm4 glm mixtral qwen2_moe qwen3_moe smollm3 olmo olmo3 olmoe seed_oss ernie4_5 hunyuan_v1_dense exaone4 granitemoe arcee gpt_neox phi stablelm starcoder2 cohere cohere2 nemotron gpt2 falcon gpt_oss deepseek_v3 youtu glm4_moe_lite glm4_moe ernie4_5_moe qwen3_next qwen3_5_text qwen3_5_moe_text lfm2 llama4_text ministral3 gemma4_text minimax_m2 nanochat".split()
@contextlib.contextmanager
def in_float64():
    """transformers computes norms, softmaxes and the delta rule in float32 by name: here that name is float64."""
    names = {(torch, "float32"): torch.float64, (torch, "float"): torch.float64, (torch.Tensor, "float"): torch.Tensor.double}
    was = {(o, n): getattr(o, n) for o, n in names}
    for (o, n), v in names.items(): setattr(o, n, v)
    try: yield
    finally:
        for (o, n), v in was.items(): setattr(o, n, v)
def pass_of(m, input_ids, attention_mask, labels):
    """Logits, losses, what the routers say and every gradient."""
    m.zero_grad()
    o = m(input_ids=input_ids, attention_mask=attention_mask, labels=labels); o.loss.backward()
    if not torch.isfinite(o.loss): raise ValueError("loss")
    T = {"logits": o.logits.detach(), "loss": o.loss.detach().reshape(1)}
    lp = torch.log_softmax(o.logits[:, :-1].detach().double(), -1); t = labels[:, 1:]; mask = t != -100
    nll = -(lp.gather(-1, t.clamp(min=0).unsqueeze(-1)).squeeze(-1)) * mask
    T["sample_mean_nll"] = nll.sum(1) / mask.sum(1)
    if getattr(o, "aux_loss", None) is not None and torch.is_tensor(o.aux_loss): T["aux_loss"] = o.aux_loss.detach().reshape(1)
    for i, x in enumerate(getattr(o, "router_logits", None) or ()): T[f"router_logits.{i}"] = x.detach().clone()
    for n, p in m.named_parameters(): T["grad." + n] = (p.grad if p.grad is not None else torch.zeros_like(p)).clone()
    return T
def one(out, name, seed):
    r = random.Random(f"{name}-{seed}")
    kind, kw = F(name, r); kw = {k: v for k, v in kw.items()}
    torch.manual_seed(seed)
    cfg = AutoConfig.for_model(kind, **kw)
    for key in ("rms_norm_eps", "layer_norm_eps", "norm_eps", "layer_norm_epsilon", "norm_epsilon"):
        if getattr(cfg, key, None) is not None and flag(r): setattr(cfg, key, 0.03)  # so that a norm which ignores it shows
    cfg._attn_implementation = "eager"
    if getattr(cfg, "_experts_implementation", None) is not None: cfg._experts_implementation = "eager"
    m = AutoModelForCausalLM.from_config(cfg, attn_implementation="eager").float()
    g = torch.Generator().manual_seed(seed + 1)
    for n, p in sorted(list(m.named_parameters()) + [b for b in m.named_buffers() if "correction_bias" in b[0]]):
        if p.dim() == 1 or "correction_bias" in n: p.data += 0.2 * torch.randn(p.shape, generator=g)
        if "correction" in n or "sinks" in n or "dt_bias" in n: p.data.copy_(.3 * torch.randn(p.shape, generator=g))
    m.eval(); V = kw["vocab_size"]
    S = 24; lens = [24, 17, 9]
    ids = torch.zeros(3, S, dtype=torch.long); am = torch.zeros(3, S, dtype=torch.long); lab = torch.full((3, S), -100)
    for b, L in enumerate(lens):
        ids[b, :L] = torch.randint(3, V, (L,), generator=g); am[b, :L] = 1; lab[b, :L] = ids[b, :L]; lab[b, :3 + b] = -100
    batch = {"input_ids": ids, "attention_mask": am, "labels": lab}
    single = pass_of(m, **batch)
    d = f"{out}/{name}-{seed}"; os.makedirs(d, exist_ok=True); m.save_pretrained(d)
    with in_float64():
        m.double(); T = pass_of(m, **batch)
        with torch.no_grad():
            cur = ids[:1, :9].clone()
            for _ in range(12): cur = torch.cat([cur, m(input_ids=cur).logits[:, -1:].argmax(-1)], 1)
    T |= batch | {"greedy": cur} | {"float32." + k: v for k, v in single.items() if k.startswith("grad.")}
    save_file({k: (v.float() if v.is_floating_point() else v).contiguous() for k, v in T.items()}, f"{d}/golden.safetensors")
    return round(T["loss"].item(), 4)
out, seeds = sys.argv[1], sys.argv[2]
lo, hi = map(int, seeds.split("-"))
for n in sys.argv[3:] or NAMES:
    for s in range(lo, hi + 1):
        try: l = one(out, n, s)
        except Exception as e: print("FAIL", n, s, repr(e)[:200], traceback.extract_tb(e.__traceback__)[-1].name, flush=True)
    print(n, l, flush=True)
