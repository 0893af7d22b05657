"""Writes data/tokenizer/testdata/kinds.json: what transformers 4.52.4 (tokenizers 0.21.4, sentencepiece) makes
of short texts with small tokenizers of every kind of folder, normalizer and pre-tokenizer that data/tokenizer reads.
Usage: python tools/golden/tokenizer_kinds.py data/tokenizer/testdata"""
import base64, io, json, os, sys, tempfile
import sentencepiece
from transformers import AutoTokenizer
from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

alphabet = [c for _, c in sorted(bytes_to_unicode().items())]
merges = "h e|l l|he ll|hell o|Ġ w|Ġ hello|1 2|12 3|a b|H e|Ġ Ġ|o r|Ġw or|4 5|' s".split("|")
vocab = {t: i for i, t in enumerate(["<eos>"] + alphabet)}
for m in merges: vocab[m.replace(" ", "")] = len(vocab)
texts = ["hello hello", "Hello  WORLD's 12345!?\r\n ab_ab", " don't\tWE'LL (x) [1|2], a…b。你好 世界 ひらがな٣½²", "HTTPServer camelCase éa\u0301 ﬁ  ", "", "a<tool>b <tool> hello", "12 123 1234 0x12\n\n  \n x"]
split = lambda p, b="Isolated", i=False, k="Regex": {"type": "Split", "pattern": {k: p}, "behavior": b, "invert": i}
level = lambda prefix=False, regex=True: {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}
seq = lambda *s: {"type": "Sequence", "pretokenizers": list(s)}
nseq = lambda *s: {"type": "Sequence", "normalizers": list(s)}
o200k = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
kinds = {
    "gpt2": dict(pre=level()),
    "prefix space in the file": dict(pre=level(True)),
    "prefix space in the config": dict(pre=level(), config={"add_prefix_space": True}),
    "prefix space after a step": dict(pre=seq(split(r"\p{N}+"), level(True))),
    "o200k": dict(pre=seq(split(o200k), level(regex=False))),
    "falcon": dict(pre=seq({"type": "Punctuation", "behavior": "Contiguous"}, level(), {"type": "Digits", "individual_digits": False}, split("[0-9][0-9][0-9]"))),
    "bloom": dict(pre=seq(split(" ?[^(\\s|[.,!?…。，、।۔،])]+"), level(regex=False))),
    "smollm": dict(pre=seq({"type": "Digits", "individual_digits": True}, level())),
    "punctuation": dict(pre=seq({"type": "Punctuation", "behavior": "MergedWithPrevious"}, level())),
    "merged with next": dict(pre=seq(split("l+", "MergedWithNext"), split("[aeo]", "MergedWithPrevious"), level(regex=False))),
    "removed, inverted": dict(pre=seq(split(r"\w+|\s", "Removed", True), level(regex=False))),
    "contiguous, inverted": dict(pre=seq(split("o", "Contiguous", True), level(regex=False))),
    "string": dict(pre=seq(split("lo", "Isolated", False, "String"), {"type": "WhitespaceSplit"}, level())),
    "whitespace": dict(pre=seq({"type": "Whitespace"}, level())),
    "bert": dict(pre=seq({"type": "BertPreTokenizer"}, level())),
    "lowercase, strip, replace": dict(normalizer=nseq({"type": "Lowercase"}, {"type": "Strip", "strip_left": True, "strip_right": True}, {"type": "Replace", "pattern": {"Regex": "\\s{2,}"}, "content": " "}), pre=level()),
    "no accents": dict(normalizer=nseq({"type": "NFD"}, {"type": "StripAccents"}), pre=level()),
    "nfkc": dict(normalizer={"type": "NFKC"}, pre=level()),
    "roberta": dict(pre=level(), post={"type": "RobertaProcessing", "sep": ["<eos>", 0], "cls": ["he", 257], "trim_offsets": True, "add_prefix_space": False}),
    "added_tokens.json": dict(pre=level(), added={"<tool>": 300, "hello": 299}),
    "whitespace, Rust's words": dict(pre=seq({"type": "Whitespace"}, level(regex=False)), extra="a½b²c x\u200dy\u200cz ⓐ_b"),
    "lowercase of a letter that becomes two": dict(normalizer={"type": "Lowercase"}, pre=level(), extra="ÇA İSTANBUL ß ΑΣ"),
    "a prefix space in the file, llama's class": dict(pre=level(True), config={"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": False}),
    "tokens of the class that the vocabulary lacks": dict(pre=level(), config={"tokenizer_class": "GPT2Tokenizer", "additional_special_tokens": ["<tool>"]}, extra="<|endoftext|> <tool>"),
    "special tokens of both files": dict(pre=level(), config={"additional_special_tokens": ["<tool>"]}, map={"eos_token": "<eos>", "additional_special_tokens": ["ab", "<tool>"]}),
    "ids with a gap": dict(pre=level(), tokens=[{"id": 900, "content": "<tool>", "single_word": False, "lstrip": True, "rstrip": False, "normalized": False, "special": False}]),
}
eos = {"id": 0, "content": "<eos>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}

def record(files):
    with tempfile.TemporaryDirectory() as d:
        for n, b in files.items(): open(f"{d}/{n}", "wb").write(b)
        t = AutoTokenizer.from_pretrained(d, use_fast=True)
        return {"ids": [t(x, add_special_tokens=False)["input_ids"] for x in texts], "special": t(texts[0])["input_ids"],
                "decoded": [t.decode(t(x, add_special_tokens=False)["input_ids"]) for x in texts]}

out = []
for name, k in kinds.items():
    tj = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [eos] + k.get("tokens", []), "normalizer": k.get("normalizer"), "pre_tokenizer": k["pre"],
          "post_processor": k.get("post"), "decoder": level(True), "model": {"type": "BPE", "dropout": None, "unk_token": None, "vocab": vocab, "merges": merges}}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<eos>", "clean_up_tokenization_spaces": False} | k.get("config", {})
    files = {"tokenizer.json": json.dumps(tj).encode(), "tokenizer_config.json": json.dumps(config).encode()}
    if "added" in k: files["added_tokens.json"] = json.dumps(k["added"]).encode()
    if "map" in k: files["special_tokens_map.json"] = json.dumps(k["map"]).encode()
    tj["model"] = None  # the test puts it back
    kept = {n: b.decode() for n, b in files.items() if n != "tokenizer.json"} | {"tokenizer.json": json.dumps(tj)}
    texts_before, texts = texts, texts + ([k["extra"]] if "extra" in k else [])
    r = record(files)
    texts = texts_before
    extra = {"extra": {"text": k["extra"], "ids": r["ids"].pop(), "decoded": r["decoded"].pop()}} if "extra" in k else {}
    out.append({"name": name, "files": kept} | extra | r)
text_merges = "#version: 0.2\n" + "\n".join(merges) + "\n"
for name, cls, m in [("vocab.json and merges.txt", "GPT2Tokenizer", text_merges), ("merges.txt without its last line end", "GPT2Tokenizer", text_merges[:-1]), ("qwen2's", "Qwen2Tokenizer", text_merges[:-1])]:
    config = json.dumps({"tokenizer_class": cls, "eos_token": "<eos>", "unk_token": "<eos>", "bos_token": "<eos>", "pad_token": "<eos>", "clean_up_tokenization_spaces": False})
    files = {"vocab.json": json.dumps(vocab).encode(), "merges.txt": m.encode(), "tokenizer_config.json": config.encode()}
    out.append({"name": name, "files": {"merges.txt": m, "tokenizer_config.json": config}} | record(files))
corpus = ["hello world hello", "the server says hello", "a b c d e f g", "12345 67890", "don't we'll it's", "你好 世界", "red green blue", "world wide web server", "the cat sat on the mat"] * 3
models = {}
for kind, extra in {"llama": {}, "gemma": {"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3, "bos_piece": "<bos>", "eos_piece": "<eos>", "add_dummy_prefix": False}}.items():
    w = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus), model_writer=w, vocab_size=330, model_type="bpe", byte_fallback=True, split_digits=True, normalization_rule_name="identity",
        remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, user_defined_symbols=["<tool>"], character_coverage=0.99, hard_vocab_limit=False, minloglevel=2, **extra)
    models[kind] = w.getvalue()
for name, cls, kind, more in [("llama's tokenizer.model", "LlamaTokenizer", "llama", {}), ("llama, not legacy", "LlamaTokenizer", "llama", {"legacy": False}), ("gemma's tokenizer.model", "GemmaTokenizer", "gemma", {})]:
    config = json.dumps({"tokenizer_class": cls, "clean_up_tokenization_spaces": False} | more)
    files = {"tokenizer.model": models[kind], "tokenizer_config.json": config.encode()}
    out.append({"name": name, "files": {"tokenizer_config.json": config}, "pieces": kind} | record(files))
rules = tempfile.mkstemp()[1]  # full-width letters, a space, a ligature, digits in circles, a composed letter, nothing
open(rules, "w").write("".join("%s\t%s\n" % r for r in [("FF48", "68"), ("FF45", "65"), ("FF4C", "6C"), ("FF4F", "6F"), ("3000", "20"), ("A0", "20"), ("FB01", "66 69"), ("2460", "31"), ("2461", "32"), ("61 301", "E1"), ("200B", "")]))
w = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus), model_writer=w, vocab_size=320, model_type="unigram", byte_fallback=True, normalization_rule_tsv=rules, character_coverage=0.99, hard_vocab_limit=False, minloglevel=2)
models["unigram"] = w.getvalue()
config = json.dumps({"tokenizer_class": "LlamaTokenizer", "clean_up_tokenization_spaces": False})
out.append({"name": "a unigram tokenizer.model", "files": {"tokenizer_config.json": config}, "pieces": "unigram"} | record({"tokenizer.model": models["unigram"], "tokenizer_config.json": config.encode()}))
# The same model as T5Tokenizer reads it: with its compiled normalisation, without bytes.
from transformers import T5TokenizerFast
with tempfile.TemporaryDirectory() as d:
    open(f"{d}/spiece.model", "wb").write(models["unigram"])
    t5 = T5TokenizerFast(vocab_file=f"{d}/spiece.model", extra_ids=0, legacy=False)
    tj = json.loads(t5.backend_tokenizer.to_str())
config = json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "unk_token": "<unk>", "clean_up_tokenization_spaces": False})
texts_before, texts = texts, texts + ["ｈｅｌｌｏ　①②  ﬁ a\u0301\u00a0x\u200b"]
r = record({"tokenizer.json": json.dumps(tj).encode(), "tokenizer_config.json": config.encode()})
texts = texts_before
extra = {"text": "ｈｅｌｌｏ　①②  ﬁ a\u0301\u00a0x\u200b", "ids": r["ids"].pop(), "decoded": r["decoded"].pop()}
import zlib
out.append({"name": "unigram with a compiled normalisation", "packed": base64.b64encode(zlib.compress(json.dumps(tj).encode(), 9)).decode(), "files": {"tokenizer_config.json": config}, "extra": extra} | r)
json.dump({"texts": texts, "vocab": vocab, "merges": merges, "models": {k: base64.b64encode(v).decode() for k, v in models.items()}, "kinds": out},
          open(os.path.join(sys.argv[1], "kinds.json"), "w"), separators=(",", ":"))
