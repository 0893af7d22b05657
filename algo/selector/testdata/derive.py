# Runs upstream's own selectors (DataFlex 1.1.0, $UPSTREAM/src/dataflex) on given scores and files and
# writes what they pick to upstream.json: python derive.py UPSTREAM
import importlib, json, logging, os, sys, tempfile, types
import numpy as np, torch

def mod(name, **kw):
    m = types.ModuleType(name); m.__dict__.update(kw); sys.modules[name] = m; return m

up = sys.argv[1] + "/src/dataflex"
mod("dataflex"); mod("dataflex.core"); mod("dataflex.core.registry", register_selector=lambda n: (lambda c: c))
mod("dataflex.utils").__path__ = [up + "/utils"]; mod("dataflex.utils.logging", logger=logging.getLogger("x"))
mod("dataflex.train").__path__ = []; mod("dataflex.train.selector").__path__ = [up + "/train/selector"]
get = lambda n, c: getattr(importlib.import_module("dataflex.train.selector." + n), c)

class Accelerator:
    is_main_process = True; num_processes = 1; process_index = 0; device = "cpu"
    def wait_for_everyone(self): pass

class Model:
    def eval(self): pass

r = np.random.default_rng(9)
n, k = 50, 12
here = os.path.dirname(os.path.abspath(__file__))
out = {"rows": n, "num_samples": k}
losses = [(4 + r.normal(size=n)).astype(np.float32).astype(float).tolist()]
for u in range(3):
    losses.append((np.array(losses[-1]) - 0.15 + 0.3 * r.normal(size=n)).astype(np.float32).astype(float).tolist())
out["losses"] = losses

def run(make, updates, **kw):
    with tempfile.TemporaryDirectory() as d:
        s = make(d); picks = []
        for u in range(updates):
            if hasattr(s, "set_score_source"):
                s.set_score_source(lambda pos: [losses[u][p] for p in pos])
            picks.append(s.select(Model(), step_id=4 + 4 * u, num_samples=k, current_update_times=u + 1, update_times=updates))
        return [[int(i) for i in p] for p in picks]

delta = get("delta_loss_selector", "DeltaLossSelector"); loss = get("loss_selector", "LossSelector")
near = get("near_selector", "near_Selector"); tsds = get("tsds_selector", "tsds_Selector")
out["delta_loss"] = run(lambda d: delta(range(n), Accelerator(), None, d), 4)
out["delta_loss_wide"] = run(lambda d: delta(range(n), Accelerator(), None, d, window_size=0.7), 4)
for f in ["low", "medium", "high"]:
    out["loss_" + f] = run(lambda d: loss(range(n), Accelerator(), None, d, focus=f), 4)
out["loss_warm"] = run(lambda d: loss(range(n), Accelerator(), None, d, focus="high", temperature=2.0, quantiles=(0.5, 0.9)), 4)
np.save(here + "/near.npy", np.stack([r.permutation(n)[:20] for _ in range(5)]))
p = r.random(n) ** 4; p[r.permutation(n)[:20]] = 0; p /= p.sum()
np.save(here + "/tsds.npy", p)
out["near"] = run(lambda d: near(range(n), Accelerator(), None, d, indices_path=here + "/near.npy"), 2)
np.random.seed(42)
out["tsds"] = run(lambda d: tsds(range(n), Accelerator(), None, d, probs_path=here + "/tsds.npy"), 3)
json.dump(out, open(here + "/upstream.json", "w"))
print({k: (len(v) if isinstance(v, list) else v) for k, v in out.items()})
