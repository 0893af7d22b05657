"""gguf_families.py FOLDERS FILES: model/gguf/convert/testdata/families.json. FOLDERS holds one Hugging Face folder a family
(../shared/golden/families), FILES the GGUF file of each that `dataflex-cli export export_gguf=f32` wrote. Record only files
that llama.cpp loads and whose logits are transformers' (gguf_llamacpp.py prints that)."""
import json
import sys
from pathlib import Path

from gguf import GGUFReader
from safetensors import safe_open

out = {}
for path in sorted(Path(sys.argv[2]).glob("*.gguf")):
    folder = Path(sys.argv[1]) / path.stem
    if not folder.is_dir():
        continue
    tensors = {}
    for part in sorted(folder.glob("model*.safetensors")):
        with safe_open(part, "np") as f:
            tensors |= {k: list(f.get_slice(k).get_shape()) for k in f.keys()}
    r = GGUFReader(path)
    skip = ("GGUF.", "tokenizer.", "general.name", "dataflex.")
    values = {k: f.contents() for k, f in r.fields.items() if not k.startswith(skip)}
    config = json.loads((folder / "config.json").read_text())
    written = {t.name: [t.tensor_type.name] + [int(d) for d in reversed(t.shape)] for t in r.tensors}
    out[path.stem] = {"config": config, "tensors": tensors, "values": values, "written": written}
TO = Path("model/gguf/convert/testdata/families.json")
TO.parent.mkdir(exist_ok=True)
lines = [json.dumps(k) + ": " + json.dumps(v, separators=(",", ":")) for k, v in out.items()]
TO.write_text("{\n" + ",\n".join(lines) + "\n}\n")
