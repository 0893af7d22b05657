"""gguf_write.py: what the gguf package of PyPI (0.19) writes: model/gguf/testdata/written.gguf, a file with every
kind of value and type that export writes, and quantized.json, numbers and their bytes. Run in the repository's root."""
import json

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGUFWriter, quantize

TO = "model/gguf/testdata/"
rng = np.random.default_rng(7)
w = GGUFWriter(TO + "written.gguf", "llama")
w.add_uint32("a.u32", 4000000000)
w.add_int32("a.i32", -5)
w.add_float32("a.f32", 1e-5)
w.add_bool("a.yes", True)
w.add_bool("a.no", False)
w.add_string("a.text", "Ġé")
w.add_uint64("a.u64", 1 << 40)
w.add_array("a.i32s", [1, -2, 3])
w.add_array("a.f32s", [0.5, -1.25])
w.add_array("a.texts", ["x", "", "yz"])
a = rng.standard_normal((3, 5)).astype(np.float32)
b = rng.standard_normal((2, 64)).astype(np.float32)
w.add_tensor("one", a)
for name, kind in [("half", T.F16), ("brain", T.BF16), ("eight", T.Q8_0)]:
    w.add_tensor(name, quantize(b, kind), raw_dtype=kind)
w.add_tensor("last", a[0].copy())
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
with open(TO + "written.json", "w") as f:
    json.dump({"one": [float(x) for x in a.ravel()], "two": [float(x) for x in b.ravel()]}, f)

# Blocks with what rounding can get wrong: halves, zeros, tiny and large numbers, equal magnitudes.
rows = [
    np.zeros(32), np.full(32, 127.0), np.arange(32) - 15.5, (np.arange(32) - 16) * 0.5 * 3.0 / 127, rng.standard_normal(32) * 1e-7,
    rng.standard_normal(32) * 3e4, np.r_[np.full(31, 1e-30), [-1e-30]], np.r_[[1e-38], np.zeros(31)],
    np.r_[[65504 * 127.0], rng.standard_normal(31) * 1e6],
]
rows += [rng.standard_normal(32) * rng.choice([0.02, 1, 30]) for _ in range(23)]
x = np.stack(rows).astype(np.float32)
out = {"values": [float(v) for v in x.ravel()]}
with np.errstate(all="ignore"):
    for kind in (T.F16, T.BF16, T.Q8_0):
        out[kind.name] = quantize(x, kind).tobytes().hex()
with open(TO + "quantized.json", "w") as f:
    json.dump(out, f)
