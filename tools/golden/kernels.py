"""Golden values of the kernels, from PyTorch 2.7.1 and transformers 4.52.4 on a CPU.

    python tools/golden/kernels.py          # from the repository's root

writes kernels/{attention,norm,rope,swiglu,xent,adamw}/testdata/torch.json. Inputs are
written next to the outputs, so the Go tests draw no random numbers.
"""

import json
import pathlib

import torch
from torch.nn import functional as F

torch.set_num_threads(1)
ROOT = pathlib.Path(__file__).resolve().parents[2] / "kernels"


def flat(x):
    """A tensor as the shortest decimals that read back as the same float32."""
    return [float(f"{v:.9g}") for v in x.detach().flatten().tolist()]


def write(package, data):
    path = ROOT / package / "testdata" / "torch.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data) + "\n")


def leaf(*shape, gen, scale=1.0):
    return (torch.randn(*shape, generator=gen) * scale).requires_grad_()


def attention(gen):
    segments, heads, kv, dim = [0, 1, 6, 15], 4, 2, 6
    t = segments[-1]
    q, k, v = leaf(t, heads, dim, gen=gen), leaf(t, kv, dim, gen=gen), leaf(t, kv, dim, gen=gen)
    do = torch.randn(t, heads, dim, generator=gen)
    mask = torch.zeros(t, t, dtype=torch.bool)
    for lo, hi in zip(segments, segments[1:]):
        mask[lo:hi, lo:hi] = torch.tril(torch.ones(hi - lo, hi - lo, dtype=torch.bool))
    args = [x.transpose(0, 1)[None] for x in (q, k, v)]
    o = F.scaled_dot_product_attention(*args, attn_mask=mask, enable_gqa=True)[0].transpose(0, 1)
    o.backward(do)
    write("attention", {
        "segments": segments, "heads": heads, "kv_heads": kv, "head_dim": dim,
        "q": flat(q), "k": flat(k), "v": flat(v), "do": flat(do), "o": flat(o),
        "dq": flat(q.grad), "dk": flat(k.grad), "dv": flat(v.grad),
    })


def norm(gen):
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    m = LlamaRMSNorm(20, eps=1e-5)
    m.weight.data = torch.randn(20, generator=gen)
    x, dy = leaf(5, 20, gen=gen), torch.randn(5, 20, generator=gen)
    y = m(x)
    y.backward(dy)
    write("norm", {"eps": 1e-5, "d": 20, "x": flat(x), "w": flat(m.weight), "dy": flat(dy), "y": flat(y),
                   "dx": flat(x.grad), "dw": flat(m.weight.grad)})


def swiglu(gen):
    gate, up, dout = leaf(50, gen=gen, scale=4), leaf(50, gen=gen), torch.randn(50, generator=gen)
    out = F.silu(gate) * up
    out.backward(dout)
    write("swiglu", {"gate": flat(gate), "up": flat(up), "dout": flat(dout), "out": flat(out),
                     "dgate": flat(gate.grad), "dup": flat(up.grad)})


def xent(gen):
    cases = []
    for smoothing, softcap, scale in ((0.0, 0.0, 1.0), (0.1, 0.0, 1.0), (0.0, 4.0, 1.0), (0.05, 6.0, 0.5)):
        h, w = leaf(6, 10, gen=gen), leaf(30, 10, gen=gen)
        targets = torch.tensor([3, -100, 29, 0, -100, 17])
        weight = torch.rand(6, generator=gen)
        z = (h @ w.T) * scale
        if softcap:
            z = softcap * torch.tanh(z / softcap)
        loss = F.cross_entropy(z, targets, reduction="none", label_smoothing=smoothing)
        (loss * weight).sum().backward()
        cases.append({"smoothing": smoothing, "soft_cap": softcap, "logit_scale": scale, "rows": 6, "hidden": 10,
                      "vocab": 30, "h": flat(h), "w": flat(w), "targets": targets.tolist(), "weight": flat(weight),
                      "loss": flat(loss), "dh": flat(h.grad), "dw": flat(w.grad)})
    write("xent", cases)


def rope(gen):
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
    cases = []
    for scaling, theta, max_pos, lengths in (
        (None, 10000.0, 64, [20]),
        ({"rope_type": "linear", "factor": 4.0}, 10000.0, 256, [20]),
        ({"rope_type": "dynamic", "factor": 2.0}, 10000.0, 16, [10, 23, 40, 30, 16, 9]),
        ({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 16}, 500000.0, 512, [40]),
        (yarn, 10000.0, 64, [40]),
        ({**yarn, "beta_fast": 4.0, "beta_slow": 0.5, "attention_factor": 0.9}, 500000.0, 64, [40]),
        ({"rope_type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 0.5}, 10000.0, 64, [40]),
    ):
        for dim in (12, 64):
            config = LlamaConfig(hidden_size=4 * dim, num_attention_heads=4, head_dim=dim, rope_theta=theta,
                                 max_position_embeddings=max_pos, rope_scaling=scaling)
            emb = LlamaRotaryEmbedding(config)
            steps = []
            for n in lengths:
                emb(torch.zeros(1), torch.arange(n)[None])
                steps.append({"seq_len": n, "inv": flat(emb.inv_freq), "scale": float(emb.attention_scaling)})
            pos = torch.tensor([0, 1, 5, lengths[-1] - 1])
            x = torch.randn(1, 2, 4, dim, generator=gen)
            cos, sin = emb(x, torch.cat([pos, torch.arange(lengths[-1])])[None])
            y, _ = apply_rotary_pos_emb(x, x, cos[:, :4], sin[:, :4])
            cases.append({"scaling": scaling or {}, "theta": theta, "max_pos": max_pos, "dim": dim, "steps": steps})
            if dim == 12:
                cases[-1] |= {"pos": pos.tolist(), "x": flat(x.transpose(1, 2)), "y": flat(y.transpose(1, 2))}
    write("rope", cases)


def adamw(gen):
    p = torch.nn.Parameter(torch.randn(40, generator=gen))
    start = flat(p)
    hyper = {"lr": 3e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    opt = torch.optim.AdamW([p], foreach=False, **hyper)
    steps = []
    for i in range(6):
        g = torch.randn(40, generator=gen) * 10.0 ** (i - 3)
        g[i] = 0
        p.grad = g.clone()
        norm = torch.nn.utils.clip_grad_norm_([p], 1.0, foreach=False)
        coef = min(1.0, float((1.0 / (norm + 1e-6)).item()))
        opt.step()
        state = opt.state[p]
        steps.append({"g": flat(g), "grad_scale": coef, "p": flat(p), "m": flat(state["exp_avg"]),
                      "v": flat(state["exp_avg_sq"])})
    write("adamw", {**hyper, "start": start, "steps": steps})


if __name__ == "__main__":
    generator = torch.Generator().manual_seed(20260731)
    for make in (attention, norm, swiglu, xent, rope, adamw):
        make(generator)
