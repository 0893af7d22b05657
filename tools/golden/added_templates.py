"""What LLaMA-Factory makes of random conversations with the templates that 0.9.5 and its main branch added to 0.9.4's, and
with minimax2, whose calls 0.9.4 cannot format: ids and labels of a training row, prompt and answer of a generation.

    PYTHONPATH=LLAMAFACTORY/src python tools/golden/added_templates.py [--n 3] [--seed 1] [--tokenizer DIR] > data/processor/testdata/added_templates.jsonl

Recorded with main of 2026-08-18 (ff6d4d12, transformers 4.57.3); 0.9.5 gives the same for the templates that it has. Without
--tokenizer a token is a byte (the tests' toy tokenizer); with it, the folder's tokenizer as the template adapts it. More
cases, of either kind: DATAFLEX_TEMPLATES=FILE go test ./data/processor -run TestAddedTemplates."""
import argparse, copy, importlib.machinery, json, logging, os, random, sys, types, warnings
os.environ["DISABLE_VERSION_CHECK"] = "1"; os.environ["HF_HUB_OFFLINE"] = "1"; os.environ["LLAMAFACTORY_VERBOSITY"] = "ERROR"; warnings.filterwarnings("ignore")
try:
    import torchaudio
except Exception:  # only its name is needed
    sys.modules["torchaudio"] = types.ModuleType("torchaudio"); sys.modules["torchaudio"].__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
from llamafactory.data.processor.supervised import SupervisedDatasetProcessor
from llamafactory.data.template import TEMPLATES
from llamafactory.hparams import DataArguments
logging.disable(logging.CRITICAL)

a = argparse.ArgumentParser(); a.add_argument("--n", type=int, default=3); a.add_argument("--seed", type=int, default=1); a.add_argument("--tokenizer")
o = a.parse_args()
ADDED = ["aeva", "gemma4", "gemma4n", "glm4_7", "glm_ocr", "hunyuan_small", "hy3", "hy_dense_1_8b", "hy_dense_7b", "lfm2", "lfm2_vl", "minicpm_v_4_6", "minimax2",
         "moss_vl", "phi4_mini", "qwen3_5", "qwen3_5_nothink", "qwen3_6", "youtu", "youtu_vl"]
WORDS = ["hello", "the", "river", "12", "3.5", "é", "汉字", "😀", "{x}", "\n", "\n\n", "it's", "<|im_end|>", "{{content}}", "{{idx}}", "\\n", '"q"', "</s>", "<tool_call>", "…"]


class Processor:  # templates of multimodal models ask for one, and read settings that nothing follows from without images
    def __getattr__(self, name):
        if name.endswith(("processor", "extractor")): return Processor()
        if name.endswith("_token"): return ""
        if name in ("merge_size", "image_seq_length"): return 2
        raise AttributeError(name)


class Bytes:
    """a token is a byte; <pad> is 0, <s> 1, </s> 2, and what has these values as bytes is 256 more"""
    bos_token_id, eos_token_id, pad_token_id, padding_side = 1, 2, 0, "right"
    def encode(self, text, add_special_tokens=False):
        out = []
        for i, part in enumerate(text.split("</s>")):
            out += [2] * (i > 0) + [b if b > 2 else 256 + b for b in part.encode()]
        return out


r = None
def text(most=8): return " ".join(r.choice(WORDS) for _ in range(r.randrange(1, most))) if r.random() > .07 else ""
def value(depth=0):
    return r.choice([text(4), 7, -2, 1.0, 1e20, 2.5e-7, True, False, None] + ([] if depth > 1 else [[value(depth + 1), value(depth + 1)], {"b": value(depth + 1), "a": value(depth + 1)}, {}, []]))
def call(): return {"name": r.choice(["f", "get_weather"]), "arguments": {k: value() for k in r.sample(["z", "city", "é", "n"], r.randrange(4))}}
def calls(t):
    body = json.dumps([call() for _ in range(r.randrange(1, 3))] if r.random() < .4 else call() if r.random() < .9 else {"name": "f", "arguments": r.choice(['{"a": 1}', "x", 3, None])}, ensure_ascii=r.random() < .5)
    if r.random() < .04: body += " and more"
    if r.random() < .3: body = t.tool_call_words[0] + body + t.tool_call_words[1]
    return (thought(t) if r.random() < .4 else "") + body
def thought(t):
    first, last = t.thought_words if r.random() < .8 else r.choice([("<think>", "</think>"), ("<think>\n", "\n</think>\n\n")])
    return first + text(4) + (last if r.random() < .9 else "") + r.choice(["", "\n", "\n\n"])
def tool():
    properties = {k: {m: v for m, v in (("type", r.choice(["string", "integer", ["string", "null"]])), ("description", text(3)), ("enum", ["a", "b"])) if r.random() < .7} for k in r.sample(["city", "n", "é"], r.randrange(3))}
    parameters = {"type": "object", "properties": properties} | ({"required": list(properties)[:1]} if r.random() < .5 else {})
    out = {"name": r.choice(["f", "get_weather"]), "description": text(4), "parameters": parameters}
    if r.random() < .2: del out["description"]
    if r.random() < .1: del out["parameters"]
    if r.random() < .2: out["response"] = {"type": r.choice(["object", "string"])} | ({"description": text(3)} if r.random() < .5 else {})
    return {"type": "function", "function": out} if r.random() < .5 else out
def conversation(t):
    turns, after_call = [], False
    for _ in range(r.randrange(1, 4)):
        turns.append(("observation" if after_call else "user", text()))
        after_call = r.random() < .3
        turns.append(("function", calls(t)) if after_call else ("assistant", (thought(t) if r.random() < .4 else "") + text()))
    return turns


def record(name, number):
    global r
    r = random.Random(f"{o.seed} {name} {number}")
    t = copy.deepcopy(TEMPLATES[name])
    c = {"template": name}
    thinking = r.choice([True, True, False, None]); preserve = r.choice([False, True] if name == "minimax2" else [None, False, True]); history = r.random() < .4
    t.enable_thinking, t.preserve_thinking = thinking, bool(preserve)
    c |= {"thinking": thinking, "mask_history": history} | ({} if preserve is None else {"preserve": preserve})
    tok = Bytes()
    if o.tokenizer:
        from transformers import AutoTokenizer
        tok = AutoTokenizer.from_pretrained(o.tokenizer); t.fix_special_tokens(tok); c["tokenizer"] = o.tokenizer
    system = text(5) if r.random() < .4 else ""
    tools = json.dumps([tool() for _ in range(r.randrange(3))], ensure_ascii=r.random() < .5) if r.random() < .5 else ""
    turns = conversation(t)
    if system: c["system"] = system
    if tools: c["tools"] = tools
    c["turns"] = turns
    messages = [{"role": a, "content": b} for a, b in turns]
    p = SupervisedDatasetProcessor(template=t, tokenizer=tok, processor=Processor(), data_args=DataArguments(cutoff_len=100000, mask_history=history))
    try:
        messages = t.mm_plugin.process_messages(messages, [], [], [], Processor())
        c["ids"], c["labels"] = p._encode_data_example(messages[:-1], messages[-1:], system, tools, [], [], [])
        c["prompt"], c["answer"] = t.encode_oneturn(tok, messages, system, tools)
    except Exception as e:
        c.pop("ids", None); c.pop("labels", None); c["error"] = type(e).__name__
    return c


def shortened(c):
    """ids of bytes as text, which takes a third of the room: ⟦bos⟧, ⟦eos⟧, and in labels ⟦n⟧ for n ids that have none"""
    def spell(ids):
        out, k = b"", 0
        while k < len(ids):
            if ids[k] == -100:
                n = next((j for j in range(k, len(ids)) if ids[j] != -100), len(ids)) - k
                out += f"⟦{n}⟧".encode(); k += n
                continue
            out += {1: "⟦bos⟧".encode(), 2: "⟦eos⟧".encode()}.get(ids[k]) or bytes([ids[k] % 256]); k += 1
        return out.decode()
    return {k: spell(v) if k in ("ids", "labels", "prompt", "answer") else v for k, v in c.items()}


for name in ADDED:
    if name not in TEMPLATES: continue
    for number in range(o.n):
        c = record(name, number)
        print(json.dumps(c if o.tokenizer else shortened(c), ensure_ascii=False))
