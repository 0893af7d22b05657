"""A short LESS run in plain PyTorch and PEFT, in float32 and in bf16, recorded for algo/train/testdata/bf16_run.json.

usage: bf16_run.py POOL.jsonl EVAL.jsonl MODEL START OUT.json
POOL and EVAL are what `dataflex-cli show --json` prints for the fixture of algo/train's tests with
max_samples=6 cutoff_len=32; START is an adapter. bf16 is LLaMA-Factory's: the base model in bf16, the
adapter in float32, the pass under autocast. It takes the rows that the float32 run takes, so that
the two differ by rounding alone: their difference is what a straightforward bf16 costs.
"""
import json, math, sys, torch
from transformers import AutoModelForCausalLM
from peft import PeftModel

torch.set_num_threads(1)
pool, evals = ([json.loads(l) for l in open(f)] for f in sys.argv[1:3])
model_dir, start_dir, out = sys.argv[3:6]
WARMUP, UPDATE, LR, SEED, LESS_SEED = 2, 3, 2e-3, 42, 123
TOTAL = WARMUP + UPDATE
generator = lambda seed: torch.Generator().manual_seed(seed)


def rate(step):
    warm = math.ceil(TOTAL * 0.1)
    if step < warm: return LR * step / max(1, warm)
    return LR * max(0.0, 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, TOTAL - warm))))


def run(dtype, rows=None):
    base = AutoModelForCausalLM.from_pretrained(model_dir, torch_dtype=dtype, attn_implementation="eager")
    model = PeftModel.from_pretrained(base, start_dir, is_trainable=True, autocast_adapter_dtype=True)
    params = [p for p in model.parameters() if p.requires_grad]
    assert all(p.dtype == torch.float32 for p in params)
    before = torch.cat([p.detach().reshape(-1).clone() for p in params])
    optimizer = torch.optim.AdamW(params, lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)

    def nll(row):
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"])
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = model(input_ids=ids).logits[0, :-1]
        return torch.nn.functional.cross_entropy(logits.float(), labels[1:], ignore_index=-100)

    def unit_gradient(row, adam):
        g = torch.cat([x.reshape(-1) for x in torch.autograd.grad(nll(row), params)])
        if adam:
            m, v = (torch.cat([optimizer.state[p][k].reshape(-1) for p in params]) for k in ("exp_avg", "exp_avg_sq"))
            g = (0.1 * g + 0.9 * m) / ((0.999 * v + 0.001 * g * g).sqrt() + 1e-8)
        return g / g.norm().clamp_min(1e-12)

    steps, taken, score = [], [], None
    for step in range(TOTAL):
        if step == 0:
            window = torch.randint(0, len(pool), (WARMUP,), generator=generator(LESS_SEED)).tolist()
        elif step == WARMUP:
            target = torch.stack([unit_gradient(r, False) for r in evals])
            score = (torch.stack([unit_gradient(r, True) for r in pool]) @ target.T).mean(1)
            window = torch.topk(score, UPDATE).indices.tolist()
        if step in (0, WARMUP):
            start, order = step, [window[i] for i in torch.randperm(len(window), generator=generator(SEED)).tolist()]
        row = rows[step] if rows else order[step - start]
        taken.append(row)
        optimizer.zero_grad()
        loss = nll(pool[row])
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(params, 1.0))
        for group in optimizer.param_groups: group["lr"] = rate(step)
        optimizer.step()
        steps.append({"loss": float(loss.detach()), "grad_norm": norm})
    return steps, taken, score, torch.cat([p.detach().reshape(-1) for p in params]) - before


steps, rows, score, update = run(torch.float32)
half_steps, _, half_score, half_update = run(torch.bfloat16, rows)
json.dump({"rows": rows, "steps": steps, "bf16_steps": half_steps, "score": score.tolist(), "bf16_score": half_score.tolist(),
           "bf16_update_error": float((half_update - update).norm() / update.norm())}, open(out, "w"), indent=1)
