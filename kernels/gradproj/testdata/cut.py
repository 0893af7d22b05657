"""Cut the small golden file of the tests out of persample.safetensors (see shared/golden/README.md); standard library only.

usage: cut.py golden/persample/tiny-llama/persample.safetensors persample.safetensors"""
import json, struct, sys
raw = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", raw[:8])[0]
head, body = json.loads(raw[8:8 + n]), raw[8 + n:]

def rows(name, which):
    a, _ = head[name]["data_offsets"]
    size = {"F32": 4, "F16": 2}[head[name]["dtype"]]
    width = head[name]["shape"][-1] * size
    return head[name]["dtype"], head[name]["shape"][-1], b"".join(body[a + r * width:a + (r + 1) * width] for r in which)

samples, out, data = [0, 5], {}, b""
for name in ["gradient", "projected_f32", "projected_f16", "adam_direction_upstream", "adam_direction_official", "adam_m", "adam_v", "projection_block0_rows0_63", "projection_block3_rows0_63"]:
    which = samples if head[name]["shape"][0] == 16 else range(64) if "rows" in name else [0]
    dtype, width, b = rows(name, which)
    if name.startswith("adam"):  # the first 2048 columns will do
        b, width = b"".join(b[i * width * 4:i * width * 4 + 8192] for i in range(len(which))), 2048
    out[name] = {"dtype": dtype, "shape": [len(which), width], "data_offsets": [len(data), len(data) + len(b)]}
    data += b
h = json.dumps(out).encode()
open(sys.argv[2], "wb").write(struct.pack("<Q", len(h)) + h + data)
