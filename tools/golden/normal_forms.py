"""Writes data/tokenizer/testdata/normal_forms.json: what Hugging Face's normalizers make of characters that are younger than
their Unicode tables, alone and among marks. Usage: python tools/golden/normal_forms.py data/tokenizer/testdata   (tokenizers 0.22.2)"""
import json, random, sys
from tokenizers import normalizers as N
FORMS = {"NFC": N.NFC(), "NFD": N.NFD(), "NFKC": N.NFKC(), "NFKD": N.NFKD()}
YOUNG = "\u32ff\ua7f2\uab69\U000107a4\U00011930\U00011935\U00011938\U0001e030\U0001f16c\U0001fbf3\u07fd\u0898\u08d3\u09fe\u0c3c\u0eba\u1715\u1ac5\u1df8\ua82c\U00010f48\U00011943\U0001e4ec"
OLD = "ae\u0301\u0316\u0345\u0334\u0327é\u1e69ﬁ²かが\u3099한\u1100\u1161क\u093cﷺ"
r, texts = random.Random(9), list(YOUNG) + ["\U00011935\U00011930", "令和㋿ ﬁ", "e\u0301\u08d3\u0316"]
texts += ["".join(r.choice(YOUNG if r.random() < .3 else OLD) for _ in range(r.randint(2, 12))) for _ in range(150)]
out = [{"text": t} | {k: f.normalize_str(t) for k, f in FORMS.items()} for t in texts]
json.dump(out, open(f"{sys.argv[1]}/normal_forms.json", "w"), indent=0)
