# Tiny tokenizers of our own making, trained on a few sentences, and the ids the
# Hugging Face library gives (npm tokenizers 0.23.2, see oracle.js).
import json,re,collections,random,os
TEXT=("The cat sat on the mat. A dog ran after the cat and the cat ran away from the dog. "
"In 2024 there were 365 days, in 1999 too. It's what they'd said: we'll see, you've won, I'm here. "
"Café, naïve, Zürich, über, señor. Привет, мир! 你好，世界。今天天气很好。 こんにちは "
"def main(): return 0\n\tfor i in range(10):\n    print(i)\n\n\n")*3
def alphabet():
    a={};n=0
    for b in range(256):
        if 33<=b<=126 or 161<=b<=172 or b>=174: a[b]=chr(b)
        else: a[b]=chr(256+n); n+=1
    return a
AL=alphabet()
def train(words,n):
    merges=[];words=collections.Counter(words)
    while len(merges)<n:
        pairs=collections.Counter()
        for w,c in words.items():
            for x in zip(w,w[1:]): pairs[x]+=c
        if not pairs: break
        (a,b),c=max(pairs.items(),key=lambda kv:(kv[1],kv[0]))
        if c<2: break
        merges.append((a,b)); new=collections.Counter()
        for w,cnt in words.items():
            o=[];i=0
            while i<len(w):
                if i+1<len(w) and w[i]==a and w[i+1]==b: o.append(a+b);i+=2
                else: o.append(w[i]);i+=1
            new[tuple(o)]+=cnt
        words=new
    return merges
def added(*specs):
    out=[]
    for i,c,f in specs:
        d=dict(id=i,content=c,single_word=False,lstrip=False,rstrip=False,normalized=False,special=True); d.update(f); out.append(d)
    return out
CL=r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
def byte_level(name,norm,pre,ignore,pairs,flags,post=None,prefix=False):
    words=[tuple(AL[b] for b in w.encode()) for w in re.findall(r" ?\w+| ?[^\s\w]+|\s+",TEXT)]
    merges=train(words,220)
    vocab={}
    for b in range(256): vocab[AL[b]]=len(vocab)
    for a,b in merges: vocab.setdefault(a+b,len(vocab))
    if ignore:
        vocab["Ġignored"]=len(vocab)
    n=len(vocab)
    sp=added((n,"<|begin|>",{}),(n+1,"<|end|>",{}),(n+2,"<|end|>x",{}),(n+3,"<left>",dict(lstrip=True)),(n+4,"<right>",dict(rstrip=True)),(n+5,"word",dict(single_word=True,special=False)),(n+6,"Å<n>",dict(normalized=True,special=False)),(n+7,"<tool>",dict(special=False)))
    d=dict(version="1.0",truncation=None,padding=None,added_tokens=sp,normalizer=norm,pre_tokenizer=pre,post_processor=post(n) if post else None,
      decoder=dict(type="ByteLevel",add_prefix_space=True,trim_offsets=True,use_regex=True),
      model=dict(type="BPE",dropout=None,unk_token=None,continuing_subword_prefix=None,end_of_word_suffix=None,fuse_unk=False,byte_fallback=False,ignore_merges=ignore,vocab=vocab,merges=[list(m) if pairs else " ".join(m) for m in merges]))
    put(name,d)
def put(name,d):
    os.makedirs(name,exist_ok=True); json.dump(d,open(name+"/tokenizer.json","w"),ensure_ascii=False,separators=(",",":"))
BL=dict(type="ByteLevel",add_prefix_space=False,trim_offsets=True,use_regex=True)
BL0=dict(BL,use_regex=False)
SPLIT=lambda r,**k:dict(dict(type="Split",pattern=dict(Regex=r),behavior="Isolated",invert=False),**k)
SEQ=lambda *p:dict(type="Sequence",pretokenizers=list(p))
byte_level("gpt2",None,dict(BL,add_prefix_space=True),False,False,{})
byte_level("llama3",None,SEQ(SPLIT(CL%r"\p{N}{1,3}"),BL0),True,True,{},post=lambda n:dict(type="Sequence",processors=[BL,dict(type="TemplateProcessing",single=[dict(SpecialToken=dict(id="<|begin|>",type_id=0)),dict(Sequence=dict(id="A",type_id=0))],pair=[dict(Sequence=dict(id="A",type_id=0)),dict(Sequence=dict(id="B",type_id=1))],special_tokens={"<|begin|>":dict(id="<|begin|>",ids=[n],tokens=["<|begin|>"])})]))
byte_level("qwen2",dict(type="NFC"),SEQ(SPLIT(CL%r"\p{N}",behavior="Removed",invert=True),BL0),False,False,{})
byte_level("digits",None,SEQ(dict(type="Digits",individual_digits=True),BL),False,True,{})
M="▁"
def spm(name,norm,pre,dec,prepend,flags):
    t=TEXT.replace(" ",M)
    words=[tuple(w) for w in re.findall(r"▁*[^▁]+",t)]
    merges=train(words,260)
    vocab={"<unk>":0,"<s>":1,"</s>":2}
    if flags["bytes"]:
        for b in range(256): vocab["<0x%02X>"%b]=len(vocab)
    chars=collections.Counter(t)
    for a,b in [(M,M),(M+M,M+M)]+merges: vocab.setdefault(a+b,len(vocab))
    for c in sorted(chars):
        if c not in "\n\tñ界": vocab.setdefault(c,len(vocab))
    merges=[m for m in [(M,M),(M+M,M+M)]+merges if m[0] in vocab and m[1] in vocab]
    n=len(vocab)
    sp=added((0,"<unk>",flags["n"]),(1,"<s>",flags["n"]),(2,"</s>",flags["n"]),(n,"[INST]",{}),(n+1,"|||MAIL|||",dict(normalized=True,special=False)))
    d=dict(version="1.0",truncation=None,padding=None,added_tokens=sp,normalizer=norm,pre_tokenizer=pre,post_processor=None,decoder=dec,
      model=dict(type="BPE",dropout=None,unk_token="<unk>",continuing_subword_prefix=None,end_of_word_suffix=None,fuse_unk=flags["fuse"],byte_fallback=flags["bytes"],vocab=vocab,merges=[" ".join(m) for m in merges]))
    put(name,d)
R=dict(type="Replace",pattern=dict(String=" "),content=M)
DR=dict(type="Replace",pattern=dict(String=M),content=" ")
FB,FU=dict(type="ByteFallback"),dict(type="Fuse")
ST=dict(type="Strip",content=" ",start=1,stop=0)
DS=lambda *d:dict(type="Sequence",decoders=list(d))
spm("llama2",dict(type="Sequence",normalizers=[dict(type="Prepend",prepend=M),R]),None,DS(DR,FB,FU,ST),True,dict(bytes=True,fuse=True,n=dict(normalized=True)))
spm("mistral",None,dict(type="Metaspace",replacement=M,prepend_scheme="first",split=False),DS(DR,FB,FU,ST),True,dict(bytes=True,fuse=True,n={}))
spm("gemma",R,dict(type="Split",pattern=dict(String=" "),behavior="MergedWithPrevious",invert=False),DS(DR,FB,FU),True,dict(bytes=True,fuse=True,n={}))
spm("unknown",None,dict(type="Metaspace",replacement=M,prepend_scheme="always",split=True),dict(type="Metaspace",replacement=M,prepend_scheme="always",split=True),True,dict(bytes=False,fuse=True,n={}))
spm("unfused",None,dict(type="Metaspace",replacement=M,prepend_scheme="never",split=False),dict(type="Metaspace",replacement=M,prepend_scheme="never",split=True),True,dict(bytes=False,fuse=False,n={}))
