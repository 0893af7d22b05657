"""Reference outputs of phi3's longrope for model/decoder/testdata/longrope: a small random model of transformers, and for rows
on both sides of the length of pre-training, each as a batch of one: the losses and the logits of its last position; the
gradient of the sum of all rows' losses; and greedy continuations across that length, without a cache.

    python -m venv V && V/bin/pip install torch==2.7.1 transformers==4.52.4
    V/bin/python tools/golden/longrope.py model/decoder/testdata/longrope
"""
import json, os, sys
import torch
from transformers import Phi3Config, Phi3ForCausalLM

torch.manual_seed(15)
out = sys.argv[1]
config = Phi3Config(vocab_size=48, hidden_size=32, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                    num_key_value_heads=2, max_position_embeddings=64, original_max_position_embeddings=12, pad_token_id=0,
                    bos_token_id=1, eos_token_id=2, partial_rotary_factor=0.75, initializer_range=0.3, attn_implementation="eager",
                    rope_scaling={"type": "longrope", "short_factor": [1.0, 1.3, 1.7], "long_factor": [2.0, 3.5, 5.0]})
m = Phi3ForCausalLM(config).eval()
m.save_pretrained(out)
rows = [torch.randint(3, 48, (n,)).tolist() for n in (13, 5, 12, 20, 1, 16)]
losses, logits = [], []
for r in rows:
    z = m(input_ids=torch.tensor([r])).logits[0]
    loss = torch.nn.functional.cross_entropy(z[:-1], torch.tensor(r[1:]), reduction="none") if len(r) > 1 else z.sum() * torch.zeros(0)
    loss.sum().backward()
    losses.append(loss.tolist())
    logits.append(z[-1].tolist())
greedy = []
for r in rows:
    ids = list(r)
    with torch.no_grad():
        for _ in range(10):
            ids.append(int(m(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    greedy.append(ids[len(r):])
grads = {n: p.grad.flatten().tolist() for n, p in m.named_parameters() if p.numel() <= 48 * 32}
with open(os.path.join(out, "golden.json"), "w") as f:
    json.dump({"rows": rows, "losses": losses, "logits": logits, "greedy": greedy,
               "grads": {n: [float(f"{x:.7g}") for x in g] for n, g in grads.items() if "norm" in n or "o_proj" in n}}, f)
