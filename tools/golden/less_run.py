"""A LESS run in plain PyTorch and PEFT, recorded for algo/train/testdata/less_run.

usage: less_run.py POOL.jsonl EVAL.jsonl MODEL OUT
POOL and EVAL are what `dataflex-cli show --json` prints for the fixture of algo/train's tests.
Writes OUT/start and OUT/end (adapters, B not zero at the start) and OUT/run.json: loss, gradient norm
and learning rate of every step, and the mean cosine of every row at every selection.
Nothing of DataFlex is imported: the run follows golden/README.md's description of upstream.
"""
import json, math, os, sys, torch
from transformers import AutoModelForCausalLM
from peft import LoraConfig, get_peft_model

torch.set_num_threads(1)
pool, evals = ([json.loads(l) for l in open(f)] for f in sys.argv[1:3])
model_dir, out = sys.argv[3:5]
torch.manual_seed(5)
base = AutoModelForCausalLM.from_pretrained(model_dir, torch_dtype=torch.float32, attn_implementation="eager")
model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], task_type="CAUSAL_LM"))
for name, p in model.named_parameters():
    if "lora_B" in name: torch.nn.init.normal_(p, std=0.02)
model.save_pretrained(os.path.join(out, "start"))
params = [p for p in model.parameters() if p.requires_grad]
WARMUP, UPDATE, TIMES, MICRO, GA, LR, SEED, LESS_SEED = 2, 2, 2, 2, 2, 2e-3, 42, 123
TOTAL = WARMUP + UPDATE * TIMES
optimizer = torch.optim.AdamW(params, lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)


def rate(step):
    warm = math.ceil(TOTAL * 0.1)
    if step < warm: return LR * step / max(1, warm)
    return LR * max(0.0, 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, TOTAL - warm))))


def nll(rows):
    n = max(len(r["input_ids"]) for r in rows)
    ids = torch.tensor([r["input_ids"] + [0] * (n - len(r["input_ids"])) for r in rows])
    mask = torch.tensor([[1] * len(r["input_ids"]) + [0] * (n - len(r["input_ids"])) for r in rows])
    labels = torch.tensor([r["labels"] + [-100] * (n - len(r["labels"])) for r in rows])
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
    return torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1), ignore_index=-100, reduction="sum"), int((labels[:, 1:] != -100).sum())


def unit_gradient(row, adam):
    total, n = nll([row])
    g = torch.cat([x.reshape(-1) for x in torch.autograd.grad(total / n, params)])
    if adam:
        m, v = (torch.cat([optimizer.state[p][k].reshape(-1) for p in params]) for k in ("exp_avg", "exp_avg_sq"))
        g = (0.1 * g + 0.9 * m) / ((0.999 * v + 0.001 * g * g).sqrt() + 1e-8)
    return g / g.norm().clamp_min(1e-12)


record = {"steps": [], "selections": []}
generator = lambda seed: torch.Generator().manual_seed(seed)
batch = MICRO * GA
for step in range(TOTAL):
    if step == 0:
        window = torch.randint(0, len(pool), (WARMUP * batch,), generator=generator(LESS_SEED)).tolist()
    elif step >= WARMUP and (step - WARMUP) % UPDATE == 0:
        target = torch.stack([unit_gradient(r, False) for r in evals])
        score = (torch.stack([unit_gradient(r, True) for r in pool]) @ target.T).mean(1)
        window = torch.topk(score, UPDATE * batch).indices.tolist()
        record["selections"].append({"step": step, "indices": window, "score": score.tolist()})
    if step == 0 or step >= WARMUP and (step - WARMUP) % UPDATE == 0:
        start, order = step, [window[i] for i in torch.randperm(len(window), generator=generator(SEED)).tolist()]
    rows = [pool[i] for i in order[(step - start) * batch:(step - start + 1) * batch]]
    labels = sum(l != -100 for r in rows for l in r["labels"])
    optimizer.zero_grad(); loss = 0.0
    for k in range(GA):
        total, _ = nll(rows[k * MICRO:(k + 1) * MICRO])
        (total / labels).backward(); loss += float(total.detach()) / labels
    norm = float(torch.nn.utils.clip_grad_norm_(params, 1.0))
    for group in optimizer.param_groups: group["lr"] = rate(step)
    optimizer.step()
    record["steps"].append({"loss": loss, "grad_norm": norm, "learning_rate": rate(step)})
model.save_pretrained(os.path.join(out, "end"))
json.dump(record, open(os.path.join(out, "run.json"), "w"), indent=1)
