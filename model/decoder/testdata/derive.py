"""Cut ../shared/golden/families/qwen2 down to what TestRecorded reads (standard library only).

usage: derive.py FAMILY_DIR OUT_DIR
The weights are stored as they are, gzipped; of the recorded values the batch, the losses, three rows of the logits
and the gradients of the norms and biases, through which those of all other tensors pass."""
import gzip, json, os, shutil, struct, sys

src, out = sys.argv[1:3]

def read(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8:8 + n])
    head.pop("__metadata__", None)
    return {k: (v["dtype"], v["shape"], raw[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]) for k, v in head.items()}

def write(path, tensors):
    head, data = {}, b""
    for k in sorted(tensors):
        dtype, shape, raw = tensors[k]
        head[k] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)

g = read(src + "/golden.safetensors")
keep = {k: g[k] for k in ("input_ids", "attention_mask", "labels", "loss", "sample_mean_nll")}
dtype, shape, raw = g["logits"]
row = 4 * shape[2]
keep["logits.rows"] = ("F32", [3, shape[2]], b"".join(raw[i * row:(i + 1) * row] for i in (0, 23, 24 + 16)))
for k, (dtype, shape, raw) in g.items():
    if k.startswith("grad.") and len(raw) <= 4 * 48:
        keep[k] = (dtype, shape, raw)
write(out + "/golden.safetensors", keep)
shutil.copy(src + "/config.json", out)
with gzip.GzipFile(out + "/model.safetensors.gz", "wb", 9, mtime=0) as f:
    f.write(open(src + "/model.safetensors", "rb").read())
