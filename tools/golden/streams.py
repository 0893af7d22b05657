"""Reference values for data/rng and data/torchsort, from torch 2.7.1 and NumPy 1.26.4 on an AMD CPU.

    python tools/golden/streams.py            # rewrites data/rng/testdata and data/torchsort/testdata

On Intel CPUs torch draws Bernoulli and exponential from MKL: run it on another.
"""
import json
import os
import random

import numpy as np
import torch

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def write(path, value):
    with open(os.path.join(ROOT, path), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(v, separators=(",", ":")) for v in value) + "\n]\n")


def torch_streams(s):
    g = lambda: torch.Generator().manual_seed(s)
    w = torch.arange(1, 51, dtype=torch.float32) ** 1.5
    tied = (torch.arange(200) % 3).float()
    e = {
        "randint_37": torch.randint(0, 37, (40,), generator=g()).tolist(),
        "randint_2_30": torch.randint(-5, 2**30, (10,), generator=g()).tolist(),
        "randint_2_40": torch.randint(-5, 2**40, (10,), generator=g()).tolist(),
        "randperm_7": torch.randperm(7, generator=g()).tolist(),
        "randperm_300": torch.randperm(300, generator=g()).tolist(),
        "rand_f32": torch.rand(10, generator=g()).tolist(),
        "rand_f64": torch.rand(10, generator=g(), dtype=torch.float64).tolist(),
        "uniform_f32": torch.empty(40).uniform_(-0.0883883, 0.0883883, generator=g()).tolist(),
        "normal_6": torch.randn(6, generator=g()).tolist(),
        "normal_40": torch.empty(40).normal_(0.5, 0.02, generator=g()).tolist(),
        "bernoulli": torch.empty(64).bernoulli_(0.3, generator=g()).int().tolist(),
        "exponential": torch.empty(20).exponential_(1.5, generator=g()).tolist(),
        "multinomial_norepl": torch.multinomial(w, 20, generator=g()).tolist(),
        "multinomial_repl": torch.multinomial(w, 20, replacement=True, generator=g()).tolist(),
        "multinomial_one_repl": torch.multinomial(w, 1, replacement=True, generator=g()).tolist(),
        "multinomial_zeros": torch.multinomial(tied, 100, generator=g()).tolist(),
        "random_int64": int(torch.empty((), dtype=torch.int64).random_(generator=g())),
    }
    return e


def numpy_streams(s):
    p = np.arange(1, 41) / np.arange(1, 41).sum()
    r = lambda: np.random.default_rng(s)
    l = lambda: np.random.RandomState(s % 2**32)
    both = r()  # one generator through several methods: the half-word buffer must carry over
    chain = [int(both.integers(0, 10)), both.random(), both.permutation(7).tolist(), both.integers(0, 2**40, 3).tolist(),
             both.integers(0, 2**32, 3).tolist(), both.choice(9, 4, replace=False).tolist(), both.random()]
    return {
        "pcg": {
            "integers_1000": r().integers(0, 1000, 20).tolist(),
            "random": r().random(5).tolist(),
            "permutation_30": r().permutation(30).tolist(),
            "choice_100_10": r().choice(100, 10, replace=False).tolist(),
            "choice_100_10_repl": r().choice(100, 10).tolist(),
            "choice_20000_30": r().choice(20000, 30, replace=False).tolist(),
            "choice_20000_500": r().choice(20000, 500, replace=False).tolist(),
            "choice_p": r().choice(40, 12, replace=False, p=p).tolist(),
            "choice_p_repl": r().choice(40, 12, p=p).tolist(),
            "chain": chain,
        },
        "legacy": {
            "permutation_30": l().permutation(30).tolist(),
            "random": l().rand(5).tolist(),
            "randint_37": l().randint(0, 37, 20).tolist(),
            "choice_100_10": l().choice(100, 10, replace=False).tolist(),
            "choice_100_10_repl": l().choice(100, 10).tolist(),
            "choice_p": l().choice(40, 12, replace=False, p=p).tolist(),
            "choice_p_repl": l().choice(40, 12, p=p).tolist(),
            "normal": l().standard_normal(5).tolist(),
            "dirichlet_1": l().dirichlet([1.0] * 4).tolist(),
            "dirichlet": l().dirichlet([0.3, 2.5, 1.0, 7.0]).tolist(),
        },
    }


def python_streams(s):
    shuffled = list(range(20))
    random.Random(s).shuffle(shuffled)
    return {
        "random": random.Random(s).random(),
        "shuffle_20": shuffled,
        "sample_50_8": random.Random(s).sample(range(50), 8),
        "sample_5000_8": random.Random(s).sample(range(5000), 8),
        "getrandbits": [random.Random(s).getrandbits(k) for k in (1, 7, 32, 48)],
    }


def lcg(n, levels, seed):
    out, x = [], seed
    for _ in range(n):
        x = (x * 1664525 + 1013904223) % 2**32
        out.append((x >> 8) % levels)
    return out


def median_killer(n):
    """Median-of-three's worst case, descending: drives introselect and introsort into their heaps."""
    k, a = n // 2, [0] * n
    for i in range(1, k + 1):
        if i % 2:
            a[i - 1], a[i] = i, k + i
        a[k + i - 1] = 2 * i
    return [n - x for x in a]


def topk_cases():
    for seed, (n, levels) in enumerate([(1, 1), (2, 2), (3, 2), (4, 2), (5, 3), (17, 3), (18, 2), (40, 5), (64, 4), (65, 1), (120, 9), (127, 2),
                                        (128, 60), (300, 7), (640, 3), (1000, 10), (3000, 2), (3000, 1), (3000, 4000)]):
        for k in sorted({1, 2, n // 64, n // 64 + 1, n // 8, n // 2, n - 1, n}):
            if 1 <= k <= n:
                yield {"values": "lcg", "n": n, "levels": levels, "seed": seed}, lcg(n, levels, seed), k
    for n in (64, 200, 2000):
        for k in (n // 2, n // 4, n):
            yield {"values": "killer", "n": n}, median_killer(n), k


def checksum(indices):
    h = 0
    for i in indices:
        h = (h * 1000003 + i) % 2**61
    return h


def topk():
    out = []
    for case, values, k in topk_cases():
        idx = torch.topk(torch.tensor(values, dtype=torch.float32), k).indices.tolist()
        out.append({**case, "k": k, "head": idx[:8], "checksum": str(checksum(idx))})
    return out


def quantiles():
    out = []
    for n in (1, 2, 3, 7, 10, 50, 120, 999):
        v = (torch.tensor(lcg(n, 2**24, n), dtype=torch.float64) / 2**22).float()
        for q in (0.0, 0.1, 0.33, 0.5, 0.66, 0.9, 1.0):
            out.append({"n": n, "q": q, "want": torch.quantile(v, q).item()})
    return out


if __name__ == "__main__":
    seeds = [0, 1, 42, 123, 2**31 + 7, 2**40 + 3]
    write("data/rng/testdata/streams.json", [{"seed": s, "torch": torch_streams(s), **numpy_streams(s), "python": python_streams(s)} for s in seeds])
    write("data/torchsort/testdata/topk.json", topk())
    write("data/torchsort/testdata/quantile.json", quantiles())
