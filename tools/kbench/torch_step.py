"""Times the steps of kbench's report in PyTorch with transformers and PEFT:
python3 torch_step.py steps.json torch.json DIR [cuda|cpu [seconds]]

DIR has a folder with a config.json for every model. Weights are random and bf16; LoRA of rank 16 on every
linear layer in float32; autocast to bf16, scaled_dot_product_attention, fused AdamW, no checkpointing: what
kbench does. One sequence a step, and half of the tokens to all of them where the report says vary. After that
many seconds it stops; what it has is written after every step.
"""
import json, random, statistics, sys, time
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

LIST, OUT, HOME = sys.argv[1:4]
DEV = sys.argv[4] if len(sys.argv) > 4 else "cuda"
DEADLINE = time.monotonic() + float(sys.argv[5]) if len(sys.argv) > 5 else float("inf")


def build(name):
    config = AutoConfig.from_pretrained(f"{HOME}/{name}")
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(DEV):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    torch.set_default_dtype(torch.float32)
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    for p in model.parameters():
        if p.requires_grad:
            p.data = p.data.float()
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    return model, trained, torch.optim.AdamW(trained, lr=1e-5, fused=DEV == "cuda"), config.vocab_size


def step(model, trained, adam, vocab, tokens):
    ids = torch.randint(vocab, (1, tokens), device=DEV)
    with torch.autocast(DEV, dtype=torch.bfloat16):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    adam.step()
    adam.zero_grad(set_to_none=True)
    loss.item()


def measure(built, record):
    tokens, times, seen = record["tokens"], [], 0
    step(*built, tokens)
    step(*built, tokens)
    if DEV == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for i in range(record["steps"]):
        n = random.randint(tokens - tokens // 2, tokens) if record.get("vary") else tokens
        start = time.perf_counter()
        step(*built, n)
        if DEV == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        seen += n
        if i >= 2 and time.monotonic() > DEADLINE:
            break
    peak = torch.cuda.max_memory_allocated() if DEV == "cuda" else 0
    return {"tokens_per_s": seen / sum(times), "median_s": statistics.median(times), "peak_bytes": peak}


def main():
    out, built, name = {"torch": torch.__version__, "steps": []}, None, None
    for r in json.load(open(LIST))["steps"]:
        try:
            if r.get("error"):
                raise RuntimeError("not asked: ours failed")
            if time.monotonic() > DEADLINE:
                raise RuntimeError("not asked: the budget was spent")
            if r["model"] != name:
                built = None
                if DEV == "cuda":
                    torch.cuda.empty_cache()
                built, name = build(r["model"]), r["model"]
            result = measure(built, r)
            print(f"{r['model']}, {r['tokens']} tokens: torch {result['tokens_per_s']:.0f} tok/s", flush=True)
        except Exception as e:  # out of memory, a model that this transformers lacks
            result = {"error": f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"}
            print(f"{r['model']}, {r['tokens']} tokens: {result['error']}", flush=True)
        out["steps"].append(result)
        with open(OUT, "w") as f:
            json.dump(out, f, indent=1)


main()
