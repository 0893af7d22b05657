"""Reference values for model/optim/testdata: AdamW and clipping (torch), ReduceLROnPlateau (torch), every learning-rate
schedule and the weight-decay names (transformers).

    python -m venv V && V/bin/pip install torch==2.7.1 numpy==1.26.4 transformers==4.57.6
    V/bin/python tools/golden/optim.py model/optim/testdata

transformers 4.57.6 knows cosine_warmup_with_min_lr; the other schedules are those of 4.52.4. The decayed names follow 4.52.4's
rule, written out below because later versions decay fewer (checked once against 4.52.4's own get_decay_parameter_names).
"""
import json, math, re, sys, warnings
import torch, transformers
warnings.filterwarnings("ignore")


def floats(t):
    return [float(x) for x in t.detach().flatten()]


def adamw():
    """Three parameters in three groups, eight steps, clipped at 1 where the norm is above it."""
    gen = torch.Generator().manual_seed(7)
    shapes = {"w.lora_A.weight": [3, 4], "w.lora_B.weight": [5, 3], "norm.bias": [6]}
    groups = {"w.lora_A.weight": (1, 0.1), "w.lora_B.weight": (16, 0.1), "norm.bias": (16, 0.0)}
    params = {n: torch.nn.Parameter(torch.randn(s, generator=gen)) for n, s in shapes.items()}
    lrs = [0.0, 1e-3, 2e-3, 3e-3, 2.5e-3, 1e-3, 3e-4, 1e-5]
    out = {"betas": [0.9, 0.98], "eps": 1e-8, "max_norm": 1.0, "params": [], "steps": []}
    for n, p in params.items():
        out["params"].append({"name": n, "shape": shapes[n], "lr_scale": groups[n][0], "weight_decay": groups[n][1], "data": floats(p)})
    opt = torch.optim.AdamW([{"params": [p], "lr": 1.0, "weight_decay": groups[n][1]} for n, p in params.items()], betas=(0.9, 0.98), eps=1e-8)
    for i, lr in enumerate(lrs):
        step = {"lr": lr, "grads": {}}
        for n, p in params.items():
            p.grad = torch.randn(shapes[n], generator=gen) * (0.05 if i % 3 == 2 else 3.0)
            step["grads"][n] = floats(p.grad)
        norm = torch.nn.utils.clip_grad_norm_(list(params.values()), 1.0)
        step["norm"], step["clip"] = float(norm), float(torch.clamp(1.0 / (norm + 1e-6), max=1.0))  # as clip_grad_norm_ computes it
        for g, n in zip(opt.param_groups, params):
            g["lr"] = lr * groups[n][0]
        opt.step()
        step["data"] = {n: floats(p) for n, p in params.items()}
        step["m"] = {n: floats(opt.state[p]["exp_avg"]) for n, p in params.items()}
        step["v"] = {n: floats(opt.state[p]["exp_avg_sq"]) for n, p in params.items()}
        out["steps"].append(step)
    return out


CASES = [
    ("constant", {}), ("constant_with_warmup", {}), ("linear", {}), ("cosine", {}), ("cosine", {"num_cycles": 1.25}),
    ("cosine_with_restarts", {}), ("cosine_with_restarts", {"num_cycles": 3}),
    ("polynomial", {}), ("polynomial", {"power": 2.0, "lr_end": 1e-5}), ("inverse_sqrt", {}),
    ("cosine_with_min_lr", {"min_lr_rate": 0.1}), ("cosine_with_min_lr", {"min_lr": 1e-5, "num_cycles": 1}),
    ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.1}), ("cosine_warmup_with_min_lr", {"min_lr": 1e-5, "warmup_lr_rate": 0.2}),
    ("warmup_stable_decay", {"num_decay_steps": 9, "min_lr_ratio": 0.1}),
    ("warmup_stable_decay", {"num_decay_steps": 6, "num_stable_steps": 5, "warmup_type": "1-sqrt", "decay_type": "linear"}),
    ("warmup_stable_decay", {"num_decay_steps": 9, "num_stable_steps": 12, "warmup_type": "cosine", "decay_type": "1-sqrt"}),
    ("warmup_stable_decay", {"num_decay_steps": 9, "num_cycles": 1.5}),
]


def schedules():
    out = []
    for name, kw in CASES:
        for warmup, total in ((0, 25), (5, 25), (1, 3)):
            opt = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
            s = transformers.get_scheduler(name, opt, num_warmup_steps=warmup, num_training_steps=total, scheduler_specific_kwargs=dict(kw))
            values = []
            for _ in range(total + 3):
                values.append(opt.param_groups[0]["lr"])
                opt.step()
                s.step()
            out.append({"name": name, "kwargs": kw, "warmup": warmup, "total": total, "lr": 1e-3, "values": values})
    return out


def plateau():
    metrics = [3.0, 2.5, 2.4999, 2.6, 2.6, 2.6, 2.4, 2.4, 2.4, 2.4, 2.4, 2.4, 2.3, 2.3, 2.3, math.nan, 2.3, 2.3, 2.3, 2.3, 2.3, 2.3]
    out = []
    for kw in ({"patience": 2}, {"patience": 1, "cooldown": 2, "factor": 0.5}, {"patience": 0, "mode": "max", "min_lr": 3e-4},
               {"patience": 1, "threshold": 0.05, "threshold_mode": "abs"}, {"patience": 1, "mode": "max", "threshold_mode": "abs"}, {"patience": 0, "eps": 2e-4}):
        opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
        s = torch.optim.lr_scheduler.ReduceLROnPlateau(opt, **kw)
        values = []
        for m in metrics:
            s.step(m)
            values.append(opt.param_groups[0]["lr"])
        out.append({"kwargs": kw, "lr": 1e-3, "metrics": [None if math.isnan(m) else m for m in metrics], "values": values})
    return out


def decayed():
    """transformers 4.52.4, Trainer.get_decay_parameter_names: the names that contain none of three words."""
    small = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, vocab_size=8)
    out = {}
    for kind, extra in (("llama", {"attention_bias": True}), ("qwen2", {}), ("qwen3", {"head_dim": 4}), ("gemma2", {"head_dim": 4})):
        config = transformers.AutoConfig.for_model(kind, **small, **extra)
        model = transformers.AutoModelForCausalLM.from_config(config)
        for name, _ in model.named_parameters():
            out[name] = not any(re.search(p, name.lower()) for p in ("bias", "layernorm", "rmsnorm"))
    return out


folder = sys.argv[1]
for name, make in (("adamw", adamw), ("schedules", schedules), ("plateau", plateau), ("decayed", decayed)):
    with open(f"{folder}/{name}.json", "w") as f:
        json.dump(make(), f, separators=(",", ":"))
        f.write("\n")
