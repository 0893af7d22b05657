"""Times one LoRA training step of transformers + PEFT on the CPU, the peer of tools/bench.

usage: step.py MODEL RANK BATCH SEQ STEPS PRECISION
PRECISION is float32, bfloat16 (the model in bf16, the adapters too) or autocast. Prints
{"seconds": median of a step} as JSON. Random ids, labels everywhere, AdamW, 2 threads.
"""
import contextlib, json, statistics, sys, time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

model, (rank, batch, seq, steps), precision = sys.argv[1], map(int, sys.argv[2:6]), sys.argv[6]
torch.set_num_threads(2)
dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
net = AutoModelForCausalLM.from_pretrained(model, torch_dtype=dtype, attn_implementation="sdpa")
net = get_peft_model(net, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"), autocast_adapter_dtype=False)
net.train()
trained = [p for p in net.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-4)
cast = (lambda: torch.autocast("cpu", dtype=torch.bfloat16)) if precision == "autocast" else contextlib.nullcontext
draw, took = torch.Generator().manual_seed(0), []
for step in range(steps + 2):
    ids = torch.randint(3, net.config.vocab_size, (batch, seq), generator=draw)
    start = time.perf_counter()
    with cast():
        loss = net(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    if step >= 2:
        took.append(time.perf_counter() - start)
print(json.dumps({"seconds": statistics.median(took)}))
