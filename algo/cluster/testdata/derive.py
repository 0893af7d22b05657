# runs upstream's own clustering code (torch, float32) on small vectors
import sys, types, json, logging, numpy as np, torch
def mod(name, **kw):
    m=types.ModuleType(name); m.__dict__.update(kw); sys.modules[name]=m; return m
mod("dataflex"); mod("dataflex.core"); mod("dataflex.core.registry",register_selector=lambda n:(lambda c:c))
mod("dataflex.utils"); mod("dataflex.utils.logging",logger=logging.getLogger("x")); mod("dataflex.utils.selector_io",load_cached_selection=None,save_selection=None)
pkg=mod("dataflex.train"); sel=mod("dataflex.train.selector"); sel.__path__=["/opt/ref/df/src/dataflex/train/selector"]; pkg.__path__=[]
class Less: pass
mod("dataflex.train.selector.less_selector",LessSelector=Less)
import importlib
C=importlib.import_module("dataflex.train.selector.cluster_less_selector").ClusterLessSelector
r=np.random.default_rng(11)
centres=r.normal(size=(7,10))
x=np.concatenate([c+0.5*r.normal(size=(13,10)) for c in centres]).astype(np.float32)
x=x[r.permutation(len(x))]
x/=np.linalg.norm(x,axis=1,keepdims=True)
f=torch.tensor(x)
out={"assign":{}, "representatives":{}}
def make(**kw):
    s=C.__new__(C); s.seed=42; s.num_clusters=None; s.cluster_size=10; s.clustering_max_iter=6; s.assignment_chunk_size=32; s.lsh_num_bits=None; s.samples_per_cluster=3; s.representative_strategy="random"
    s.__dict__.update(kw); return s
for name,kw in {"kmeans":{}, "kmeans30":dict(clustering_method="kmeans",num_clusters=30,seed=3), "spherical_kmeans":{}, "spherical30":dict(clustering_method="cosine_kmeans",num_clusters=30,seed=5), "farthest_first":{}, "random_projection_lsh":{}, "lsh7":dict(clustering_method="lsh",lsh_num_bits=7), "random_partition":{}}.items():
    s=make(**{"clustering_method":name,**kw}); out["assign"][name]=s._run_clustering(f).tolist()
ids=torch.tensor(out["assign"]["kmeans"])
for st in ["random","nearest","farthest","mixed"]:
    s=make(representative_strategy=st); out["representatives"][st]=s._sample_representatives(ids,8,f)
np.save("/work/main/algo/cluster/testdata/vectors.npy",x)
json.dump(out,open("/work/main/algo/cluster/testdata/upstream.json","w"))
print({k:max(v)+1 for k,v in out["assign"].items()}, out["representatives"]["mixed"][:9])
