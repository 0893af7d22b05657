"""Reference outputs of sequence classifiers for model/decoder/testdata/classifier: two small random models of transformers,
one output and three, and their logits of rows of one batch, padded on the right.

    python -m venv V && V/bin/pip install torch==2.7.1 transformers==4.52.4
    V/bin/python tools/golden/classifier.py model/decoder/testdata/classifier
"""
import json, os, sys
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification, Qwen2Config, Qwen2ForSequenceClassification

torch.manual_seed(11)
out = sys.argv[1]
shape = dict(vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3, pad_token_id=3)
rows = [[5, 9, 11, 3], [7, 3, 3], [1, 2, 40, 41, 42, 43, 44], [3, 3], [20]]
for name, config, model, labels in [("llama", LlamaConfig, LlamaForSequenceClassification, 1),
                                    ("qwen2", Qwen2Config, Qwen2ForSequenceClassification, 3)]:
    m = model(config(num_labels=labels, **shape)).eval()
    for p in m.parameters():
        if p.dim() == 1:
            torch.nn.init.normal_(p, 1.0 if "norm" in "".join(n for n, q in m.named_parameters() if q is p) else 0.0, 0.2)
    d = os.path.join(out, name)
    m.save_pretrained(d)
    width = max(map(len, rows))
    ids = torch.tensor([r + [3] * (width - len(r)) for r in rows])
    mask = torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in rows])
    with torch.no_grad():
        logits = m(input_ids=ids, attention_mask=mask).logits
    with open(os.path.join(d, "golden.json"), "w") as f:
        json.dump({"rows": rows, "logits": logits.tolist()}, f)
    print(name, logits.tolist())
