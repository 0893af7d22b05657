# runs upstream's own offline scripts with faiss replaced by exact search
import sys, types, numpy as np, json, os, logging
faiss=types.ModuleType("faiss")
class Flat:
    def __init__(s,d): pass
class IVF:
    def __init__(s,q,d,n): pass
    def train(s,x): pass
    def add(s,x): s.x=x.astype(np.float64)
    def search(s,q,k):
        d=((q.astype(np.float64)[:,None,:]-s.x[None])**2).sum(-1)
        i=np.argsort(d,axis=1,kind="stable")[:,:k]
        return np.take_along_axis(d,i,1), i
faiss.IndexFlatL2=Flat; faiss.IndexIVFFlat=IVF
sys.modules["faiss"]=faiss
df=types.ModuleType("dataflex"); u=types.ModuleType("dataflex.utils"); l=types.ModuleType("dataflex.utils.logging"); l.logger=logging.getLogger("x")
sys.modules.update({"dataflex":df,"dataflex.utils":u,"dataflex.utils.logging":l})
sys.path.insert(0,"/opt/ref/df/src/dataflex/offline_selector")
from offline_tsds_selector import offline_tsds_Selector as T
from offline_near_selector import offline_near_Selector as Nr
r=np.random.default_rng(5)
centres=r.normal(size=(6,8))
xb=np.concatenate([c+0.35*r.normal(size=(30,8)) for c in centres]+[centres[0]+0.02*r.normal(size=(20,8))]).astype(np.float32)
xb/=np.linalg.norm(xb,axis=1,keepdims=True)
xq=np.concatenate([centres[0]+0.2*r.normal(size=(4,8)),centres[3]+0.2*r.normal(size=(3,8))]).astype(np.float32)
xq/=np.linalg.norm(xq,axis=1,keepdims=True)
xb=xb.astype(np.float32); xq=xq.astype(np.float32)
out="/work/main/algo/tsds/testdata"; os.makedirs(out,exist_ok=True)
np.save(out+"/candidates.npy",xb); np.save(out+"/queries.npy",xq)
class P(T):
    def candidate_sentence_embedding(s): return xb
    def query_sentence_embedding(s): return xq
for name,kw in {"all":dict(alpha=.6,C=5.0,sigma=.75),"some":dict(alpha=.93,C=5.0,sigma=.75),"few":dict(alpha=.97,C=5.0,sigma=.5),"sigma0":dict(alpha=.95,C=5.0,sigma=0)}.items():
    p=P(save_probs_path=f"{out}/{name}.npy",max_K=20,kde_K=20,**kw).selector()
    print(name,(p>0).sum(),p.max(),p.sum())
class N(Nr):
    def candidate_sentence_embedding(s): return xb
    def query_sentence_embedding(s): return xq
out="/work/main/algo/neighbor/testdata"; os.makedirs(out,exist_ok=True)
np.save(out+"/candidates.npy",xb); np.save(out+"/queries.npy",xq)
N(save_indices_path=out+"/indices.npy",max_K=50).selector()
