"""Writes data/tokenizer/testdata/folders.json: folders made of the demo's tokenizer with files that contradict each other or add
to it (added_tokens.json, added_tokens_decoder, special_tokens_map.json, chat templates), and what transformers reads of them.
Usage: python tools/golden/tokenizer_folders.py > data/tokenizer/testdata/folders.json   (transformers 4.52.4)"""
import json, os, shutil, tempfile
from transformers import AutoTokenizer
S = "tools/dataflex-demo/model"
base, conf = (json.load(open(f"{S}/{f}")) for f in ("tokenizer.json", "tokenizer_config.json"))
n = max([*base["model"]["vocab"].values(), *(t["id"] for t in base["added_tokens"])]) + 1
def copy(o): return json.loads(json.dumps(o))
def dec(c, special=True, **k): return dict(content=c, single_word=False, lstrip=False, rstrip=False, normalized=False, special=special) | k
def tok(i, c, special=True, **k): return dict(id=i) | dec(c, special, **k)
TEXTS = ["a <x>b", "the <y> cat <x> <z>end", "hello  <|endoftext|> world <tool>  x", "<bos>hi<e>", "plain text\n\nhere <x><y>"]
BOS = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
       "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [n - 2], "tokens": ["<|im_start|>"]}}}
out = []
def case(name, t=None, c=None, files={}):
    T, C = copy(base), copy(conf)
    if t: t(T)
    if c: c(C)
    files = {"tokenizer_config.json": json.dumps(C)} | {f: v if isinstance(v, str) else json.dumps(v) for f, v in files.items()}
    with tempfile.TemporaryDirectory() as d:
        json.dump(T, open(d + "/tokenizer.json", "w")); shutil.copy(S + "/config.json", d)
        for f, v in files.items():
            os.makedirs(os.path.dirname(f"{d}/{f}"), exist_ok=True); open(f"{d}/{f}", "w").write(v)
        k = AutoTokenizer.from_pretrained(d)
        k.save_pretrained(d + "/saved")
        saved = sorted(os.path.relpath(os.path.join(p, f), d + "/saved") for p, _, fs in os.walk(d + "/saved") for f in fs)
    chat, named = k.chat_template, isinstance(k.chat_template, dict)
    out.append({"name": name, "added": T["added_tokens"], "post": T["post_processor"], "files": files, "len": len(k), "ids": [k(x)["input_ids"] for x in TEXTS], "bos": k.bos_token_id, "eos": k.eos_token_id, "pad": k.pad_token_id,
                "chat": (chat.get("default") if named else chat) or "", "named": named, "saved": [f for f in saved if f.endswith(".jinja")]})
def nodec(C): C.pop('added_tokens_decoder')
case('listed-next',c=nodec,files={'added_tokens.json':{'<x>':n,'<y>':n+1}})
case('listed-gap',c=nodec,files={'added_tokens.json':{'<x>':n+4,'<y>':n+2}})
case('listed-same-id',t=lambda T:T['added_tokens'].append(tok(n,'<y>')),c=nodec,files={'added_tokens.json':{'<x>':n}})
case('listed-other-id',t=lambda T:T['added_tokens'].append(tok(n,'<y>')),c=nodec,files={'added_tokens.json':{'<y>':n+3,'<x>':n+1}})
case('listed-special',c=nodec,files={'added_tokens.json':{'<x>':n},'special_tokens_map.json':{'additional_special_tokens':['<x>'],'eos_token':'<|endoftext|>'}})
case('listed-with-decoder',files={'added_tokens.json':{'<x>':n}})
case('listed-in-vocab',c=nodec,files={'added_tokens.json':{'the':5,'<x>':n}})
case('decoder-same-id',t=lambda T:T['added_tokens'].append(tok(n,'<y>')),c=lambda C:C['added_tokens_decoder'].update({str(n):dec('<x>')}))
case('decoder-flags',t=lambda T:T['added_tokens'].append(tok(n,'<x>')),c=lambda C:C['added_tokens_decoder'].update({str(n):dec('<x>',lstrip=True,rstrip=True)}))
case('decoder-not-special',t=lambda T:T['added_tokens'].append(tok(n,'<x>')),c=lambda C:C['added_tokens_decoder'].update({str(n):dec('<x>',special=False)}))
case('decoder-lacks',t=lambda T:T['added_tokens'].append(tok(n,'<x>')))
case('decoder-more',c=lambda C:C['added_tokens_decoder'].update({str(n):dec('<x>'),str(n+1):dec('<y>',special=False)}))
case('decoder-moved',t=lambda T:T['added_tokens'].append(tok(n,'<x>')),c=lambda C:C['added_tokens_decoder'].update({str(n+2):dec('<x>')}))
case('map-eos-decoder',c=lambda C:C['added_tokens_decoder'].update({str(n):dec('<e>')}),files={'special_tokens_map.json':{'eos_token':'<e>','bos_token':'<bos>'}})
case('map-eos-legacy',c=nodec,files={'special_tokens_map.json':{'eos_token':'<e>','bos_token':{'content':'<bos>','lstrip':True,'rstrip':False,'normalized':False,'single_word':False}}})
case('additional-strings',c=lambda C:C.update(additional_special_tokens=['<x>','<y>']))
case('additional-objects',c=lambda C:C.update(additional_special_tokens=[dict(dec('<x>',lstrip=True),__type='AddedToken')]))
case('eos-object',c=lambda C:C.update(eos_token=dict(dec('<e>',rstrip=True),__type='AddedToken')))
case('eos-in-vocab',c=lambda C:C.update(eos_token='the',bos_token='<bos>'))
case('eos-null',c=lambda C:C.update(eos_token=None,pad_token=None))
case('pad-new',c=lambda C:C.update(pad_token='<pad>',unk_token='<unk>'))
case('chat-list',c=lambda C:C.update(chat_template=[{'name':'default','template':'D{{messages}}'},{'name':'tool_use','template':'T'}]))
case('chat-list-one',c=lambda C:C.update(chat_template=[{'name':'default','template':'D'}]))
case('chat-list-no-default',c=lambda C:C.update(chat_template=[{'name':'rag','template':'R'}]))
case('chat-jinja-and-list',c=lambda C:C.update(chat_template=[{'name':'default','template':'D'}]),files={'chat_template.jinja':'J'})
case('chat-jinja-and-config',c=lambda C:C.update(chat_template='C'),files={'chat_template.jinja':'J\n'})
case('chat-extra',files={'chat_template.jinja':'J','additional_chat_templates/tool_use.jinja':'T'})
case('chat-extra-only',c=lambda C:C.update(chat_template='C'),files={'additional_chat_templates/rag.jinja':'R'})
case('chat-json',files={'chat_template.json':{'chat_template':'X'}})
case('normalized-added',t=lambda T:T['added_tokens'].append(tok(n,'<x>',special=False,normalized=True)),c=lambda C:C['added_tokens_decoder'].update({str(n):dec('<x>',special=False,normalized=True)}))
case('single-word',t=lambda T:T['added_tokens'].append(tok(n,'cat',special=False,single_word=True)),c=lambda C:C['added_tokens_decoder'].update({str(n):dec('cat',special=False,single_word=True)}))
case('prefix-of-other',c=lambda C:C['added_tokens_decoder'].update({str(n):dec('<x',special=False),str(n+1):dec('<x>')}))
case('gap-in-file',t=lambda T:T['added_tokens'].append(tok(n+3,'<x>')),c=nodec)
case('add-bos',c=lambda C:C.update(add_bos_token=True,bos_token='<bos>'))
case('llama-class',c=lambda C:C.update(tokenizer_class='LlamaTokenizerFast',bos_token='<bos>',add_bos_token=True,add_eos_token=True))
case('llama-no-bos',c=lambda C:C.update(tokenizer_class='LlamaTokenizer',bos_token='<bos>',add_bos_token=False),t=lambda T:T.update(post_processor=BOS))
case('neox-class',c=lambda C:C.update(tokenizer_class='GPTNeoXTokenizerFast',add_eos_token=True),t=lambda T:T.update(post_processor=BOS))
case('gemma-class',c=lambda C:C.update(tokenizer_class='GemmaTokenizer',bos_token='<bos>'))
case('plain-class',t=lambda T:T.update(post_processor=BOS))
case('gpt2-class',c=lambda C:C.update(tokenizer_class='GPT2TokenizerFast',add_prefix_space=True))
case('qwen-class',c=lambda C:C.update(tokenizer_class='Qwen2Tokenizer'))
print(json.dumps({"texts": TEXTS, "cases": out}, indent=None, separators=(",", ":")))
