"""gguf_llamacpp.py FOLDERS FILES: loads every GGUF file in llama.cpp (llama-cpp-python 0.3.36) and compares the logits with
those that transformers recorded (FOLDERS/NAME/golden.safetensors), and the greedy tokens."""
import sys
from pathlib import Path

import numpy as np
from llama_cpp import Llama
from safetensors.numpy import load_file

F32 = 0  # of the cache: its usual float16 costs three digits
for path in sorted(Path(sys.argv[2]).glob("*.gguf")):
    g = load_file(Path(sys.argv[1]) / path.stem / "golden.safetensors")
    m = Llama(str(path), n_ctx=64, logits_all=True, verbose=False, use_mmap=False, type_k=F32, type_v=F32)
    worst = 0.0
    for ids, mask, want in zip(g["input_ids"], g["attention_mask"].astype(bool), g["logits"]):
        n = int(mask.sum())  # padding is on the right
        m.reset()
        m.eval([int(x) for x in ids[:n]])
        worst = max(worst, np.abs(np.array(m.scores[:n]) - want[:n]).max() / np.abs(want[:n]).max())
    greedy = [int(x) for x in g["greedy"][0]]
    out = greedy[:9]
    m.reset()
    m.eval(out)
    while len(out) < len(greedy):
        out.append(int(np.argmax(m.scores[m.n_tokens - 1])))
        m.eval(out[-1:])
    print(f"{path.stem:20s} worst logit error {worst:.1e} of the largest; greedy tokens {'equal' if out == greedy else 'differ'}")
