"""Times the cases of kbench's report in PyTorch: python3 torch_bench.py kbench.json torch.json [cuda|cpu [seconds]]

The same shapes, with operands out of the cache and medians between events, as kbench does it; what each
case is in torch stands in HOW. Cases without a counterpart are left out. One that fails is an error in
the report and does not stop the others. After that many seconds it stops; what it has is written after
every case.
"""
import json, statistics, sys, time
import torch
import torch.nn.functional as F

REPORT, OUT = sys.argv[1], sys.argv[2]
DEV = sys.argv[3] if len(sys.argv) > 3 else "cuda"
DEADLINE = time.monotonic() + float(sys.argv[4]) if len(sys.argv) > 4 else float("inf")
torch.backends.cuda.matmul.allow_tf32 = False
HALF = torch.bfloat16


def rand(*shape, dtype=torch.float32, std=1.0, grad=False):
    return (torch.randn(*shape, device=DEV) * std).to(dtype).requires_grad_(grad)


def gemm(kind):
    def setup(d, t):
        m, n, k = d["m"], d["n"], d["k"]
        a = rand(k, m, dtype=t).t() if kind == "tn" else rand(m, k, dtype=t)
        b = rand(n, k, dtype=t).t() if kind == "nt" else rand(k, n, dtype=t)
        return lambda: torch.matmul(a, b)
    return setup


def gemm_lora(kind):
    def setup(d, t):
        base = gemm(kind)({"m": d["m"], "n": d["n"], "k": d["k"]}, t)
        u = rand(d["m"], d["r"], dtype=t)
        l = rand(d["n"], d["r"], dtype=t).t() if kind == "nt" else rand(d["r"], d["n"], dtype=t)
        return lambda: torch.addmm(base(), u, l)
    return setup


def lora_forward(d, t):
    x, y = rand(d["t"], d["in"]), rand(d["t"], d["out"])
    a, b = rand(d["r"], d["in"]), rand(d["out"], d["r"])
    return lambda: y.addmm_(x @ a.t(), b.t())


def lora_backward(d, t):
    dy, x, dx = rand(d["t"], d["out"]), rand(d["t"], d["in"]), rand(d["t"], d["in"])
    a, b, u = rand(d["r"], d["in"]), rand(d["out"], d["r"]), rand(d["t"], d["r"])
    da, db = torch.zeros_like(a), torch.zeros_like(b)
    def run():
        v = dy @ b
        dx.addmm_(v, a), da.addmm_(v.t(), x), db.addmm_(dy.t(), u)
    return run


def attention(backward):
    def setup(d, t):
        batch, n, h, kv, dim = d["tokens"] // d["length"], d["length"], d["heads"], d["kv"], d["dim"]
        q = rand(batch, h, n, dim, dtype=t, grad=backward)
        k, v = (rand(batch, kv, n, dim, dtype=t, grad=backward) for _ in range(2))
        many = {"enable_gqa": True} if kv != h else {}
        if not backward:
            return lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, **many)
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True, **many)
        do = torch.randn_like(o)
        return lambda: torch.autograd.grad(o, (q, k, v), do, retain_graph=True)
    return setup


def xent(grads):
    def setup(d, t):
        h, w = rand(d["rows"], d["hidden"], dtype=t, grad=grads > 0), rand(d["vocab"], d["hidden"], dtype=t, std=0.02, grad=grads > 1)
        target = torch.randint(d["vocab"], (d["rows"],), device=DEV)
        def run():
            loss = F.cross_entropy((h @ w.t()).float(), target, reduction="sum")
            if grads:
                torch.autograd.grad(loss, (h, w)[:grads])
        return run
    return setup


def gradproj(d, t):
    n, tok, i, o, r, dim = d["samples"], d["tokens"], d["in"], d["out"], d["rank"], d["dim"]
    x, u, dy, v = rand(n, tok, i), rand(n, tok, r), rand(n, tok, o), rand(n, tok, r)
    size = r * (i + o)
    m, s, out = rand(size), rand(size).square(), torch.zeros(n, dim, device=DEV)
    def run():
        g = torch.cat([torch.bmm(v.mT, x).flatten(1), torch.bmm(dy.mT, u).flatten(1)], 1)
        g = ((0.1 * g + 0.9 * m) / ((0.999 * s + 0.001 * g * g).sqrt() + 1e-8)).to(HALF)
        for lo in range(0, size, 16384):  # R is made on the way, as TRAK's BasicProjector makes it
            signs = torch.randint(2, (min(16384, size - lo), dim), device=DEV, dtype=torch.int8).to(HALF).mul_(2).sub_(1)
            out.add_(g[:, lo:lo + 16384] @ signs)
    return run


def norm(backward):
    def setup(d, t):
        x, w = rand(d["rows"], d["d"], grad=backward > 0), rand(d["d"], grad=backward > 1)
        if not backward:
            return lambda: F.rms_norm(x, (d["d"],), w, 1e-5)
        y = F.rms_norm(x, (d["d"],), w, 1e-5)
        dy = torch.randn_like(y)
        return lambda: torch.autograd.grad(y, (x, w)[:backward], dy, retain_graph=True)
    return setup


def layernorm(backward):
    def setup(d, t):
        x, w, b = rand(d["rows"], d["d"], grad=backward), rand(d["d"]), rand(d["d"])
        if not backward:
            return lambda: F.layer_norm(x, (d["d"],), w, b, 1e-5)
        y = F.layer_norm(x, (d["d"],), w, b, 1e-5)
        dy = torch.randn_like(y)
        return lambda: torch.autograd.grad(y, x, dy, retain_graph=True)
    return setup


def gelu(backward):
    def setup(d, t):
        x = rand(d["n"], grad=backward)
        if not backward:
            return lambda: F.gelu(x)
        y = F.gelu(x)
        dy = torch.randn_like(y)
        return lambda: torch.autograd.grad(y, x, dy, retain_graph=True)
    return setup


def swiglu(backward):
    def setup(d, t):
        gate, up = rand(d["n"], grad=backward), rand(d["n"], grad=backward)
        if not backward:
            return lambda: F.silu(gate) * up
        y = F.silu(gate) * up
        dy = torch.randn_like(y)
        return lambda: torch.autograd.grad(y, (gate, up), dy, retain_graph=True)
    return setup


def rope(d, t):
    x = rand(d["tokens"], d["heads"], d["dim"])
    angle = torch.arange(d["tokens"], device=DEV)[:, None] * 500000 ** (-torch.arange(0, d["dim"], 2, device=DEV) / d["dim"])
    cos, sin = (torch.cat([f(angle)] * 2, 1)[:, None] for f in (torch.cos, torch.sin))
    half = d["dim"] // 2
    return lambda: x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


def embed_forward(d, t):
    table, ids = rand(d["vocab"], d["d"], dtype=t), torch.randint(d["vocab"], (d["tokens"],), device=DEV)
    return lambda: F.embedding(ids, table).float()


def embed_backward(d, t):
    table, ids, dy = torch.zeros(d["vocab"], d["d"], device=DEV), torch.randint(d["vocab"], (d["tokens"],), device=DEV), rand(d["tokens"], d["d"])
    return lambda: table.index_add_(0, ids, dy)


def adamw(d, t):
    p = rand(d["n"], grad=True)
    p.grad = rand(d["n"])
    opt = torch.optim.AdamW([p], lr=1e-4, weight_decay=0.01, fused=DEV == "cuda")
    if t != HALF:
        return opt.step
    half = p.detach().to(HALF)
    return lambda: (opt.step(), half.copy_(p.detach()))


def dropout(d, t):
    x = rand(d["rows"], d["cols"])
    return lambda: F.dropout(x, 0.1)


def vector(f):
    def setup(d, t):
        x, y = rand(d["n"]), rand(d["n"])
        half = x.to(HALF)
        return lambda: f(x, y, half)
    return setup


HOW = {
    "gemm_nn": ("matmul", gemm("nn")), "gemm_nt": ("matmul", gemm("nt")), "gemm_tn": ("matmul", gemm("tn")),
    "gemm_lora_nn": ("matmul + addmm", gemm_lora("nn")), "gemm_lora_nt": ("matmul + addmm", gemm_lora("nt")),
    "lora_nn": ("matmul", gemm("nn")), "lora_nt": ("matmul", gemm("nt")), "lora_tn": ("matmul", gemm("tn")),
    "lora_forward": ("2 matmuls", lora_forward), "lora_backward": ("4 matmuls", lora_backward),
    "attention_forward": ("SDPA", attention(False)), "attention_backward": ("SDPA", attention(True)),
    "xent_loss": ("matmul + cross_entropy", xent(0)), "xent_dh": ("matmul + cross_entropy", xent(1)),
    "xent_dh_dw": ("matmul + cross_entropy", xent(2)),
    "gradproj_rademacher": ("bmm, randint, matmul bf16", gradproj),
    "norm_forward": ("rms_norm", norm(0)), "norm_backward": ("rms_norm", norm(1)), "norm_backward_dw": ("rms_norm", norm(2)),
    "layernorm_forward": ("layer_norm", layernorm(False)), "layernorm_backward": ("layer_norm", layernorm(True)),
    "gelu_forward": ("gelu", gelu(False)), "gelu_backward": ("gelu", gelu(True)),
    "swiglu_forward": ("silu * up", swiglu(False)), "swiglu_backward": ("silu * up", swiglu(True)), "rope": ("cos, sin, cat", rope),
    "dropout": ("dropout", dropout),
    "embed_forward": ("embedding", embed_forward), "embed_backward": ("index_add_", embed_backward), "adamw": ("AdamW fused", adamw),
    "reduce_sum_squares": ("vector_norm + item", vector(lambda x, y, h: torch.linalg.vector_norm(x).item())),
    "reduce_axpy": ("add_", vector(lambda x, y, h: y.add_(x, alpha=1e-9))),
    "cast_narrow": ("to", vector(lambda x, y, h: h.copy_(x))), "cast_widen": ("to", vector(lambda x, y, h: x.copy_(h))),
    "copy": ("copy_", vector(lambda x, y, h: y.copy_(x))),
}


def measure(run, flush):
    times = []
    for i in range(100):
        flush.zero_()
        if DEV == "cuda":
            a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            a.record(), run(), b.record()
            b.synchronize()
            times.append(a.elapsed_time(b) / 1e3)
        else:
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        if i >= 9 and sum(times) > 0.3:
            break
    return statistics.median(times[3:])


def main():
    report = json.load(open(REPORT))
    flush = torch.empty((256 if DEV == "cuda" else 1) << 18, device=DEV)
    out = {"torch": torch.__version__, "median_s": {}, "how": {}, "errors": {}}
    for r in report["records"]:
        if r["op"] not in HOW or r.get("variant") or r.get("error"):
            continue
        if time.monotonic() > DEADLINE:
            break
        how, setup = HOW[r["op"]]
        try:
            out["median_s"][r["name"]] = measure(setup(r["dims"], HALF if r["type"] == "bf16" else torch.float32), flush)
            out["how"][r["name"]] = how
            print(f"{r['name']:64} {1e3 * out['median_s'][r['name']]:9.3f} ms  {how}", flush=True)
        except Exception as e:  # out of memory, a function this torch lacks
            out["errors"][r["name"]] = f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"
            print(f"{r['name']:64} {out['errors'][r['name']]}", flush=True)
        if DEV == "cuda":
            torch.cuda.empty_cache()
        with open(OUT, "w") as f:
            json.dump(out, f, indent=1)


main()
