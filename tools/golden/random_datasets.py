"""Random data sets, read by LLaMA-Factory 0.9.4 (transformers 4.52.4) and by dataflex-cli show: every row's ids and
labels must be equal. Where LLaMA-Factory fails, ours may fail or do better; it is counted. Needs a Python with both.

    python tools/golden/random_datasets.py bin/dataflex-cli MODELS_DIR [--n 2000] [--seed 1] [--only N]

MODELS_DIR is ../shared/golden/models. Prints each data set that differs, with its folder, and a count."""
import argparse, csv, json, os, random, shutil, subprocess, sys, tempfile
a = argparse.ArgumentParser(); a.add_argument("cli"); a.add_argument("models"); a.add_argument("--n", type=int, default=2000); a.add_argument("--seed", type=int, default=1); a.add_argument("--only", type=int)
o = a.parse_args()
import yaml
from llamafactory_rows import upstream

WORDS = ["hello", "world", "the", "river", "12", "3.5", "é", "汉字", "😀", "a_b", "{x}", "<b>", "\n", "\n\n", "\t", "  ", "it's", "OK?", "None", "null", "x" * 30, "<|im_end|>", "</s>", "{{content}}", "\\n", '"q"', "1e5", "-", "…"]
TEMPLATES = ["default", "qwen", "llama3", "chatml", "llama2", "mistral", "gemma", "qwen3", "qwen3_nothink", "alpaca", "vicuna", "zephyr", "deepseek", "deepseek3", "phi", "glm4", "baichuan2", "yi", "empty", "fewshot", "olmo", "granite3", "cohere", "exaone", "chatglm3", "ministral", "falcon", "llama4", "mimo", "hunyuan"]
r = None
def text(most=12): return " ".join(r.choice(WORDS) for _ in range(r.randrange(most))) if r.random() > .05 else ""
def tools(): return json.dumps([{"name": "f", "description": text(4), "parameters": {"type": "object", "properties": {"a": {"type": "string", "description": text(3)}}, "required": ["a"] if r.random() < .5 else []}}], ensure_ascii=r.random() < .5)
def call(): return json.dumps({"name": "f", "arguments": {"a": text(3)}}, ensure_ascii=r.random() < .5)
def alpaca():
    row = {"instruction": text(), "input": text(6) if r.random() < .6 else "", "output": text()}
    return row
def convo(roles, keys):
    rows, n = [], r.randrange(1, 4)
    if r.random() < .3: rows.append((roles[2], text(5)))
    for _ in range(n):
        rows.append((roles[0], text()))
        if r.random() < .2: rows += [(roles[3], call()), (roles[4], text(4))]
        rows.append((roles[1], text()))
    if r.random() < .08: rows.pop(r.randrange(len(rows)))
    return [{keys[0]: a, keys[1]: b} for a, b in rows]
def make(i, d):
    """writes data set number i and its configuration into d"""
    kind = r.choice(["alpaca", "alpaca", "sharegpt", "sharegpt", "openai", "text"])
    entry, n = {}, r.randrange(2, 9)
    if kind == "alpaca":
        rows = [alpaca() for _ in range(n)]
        columns = {}
        for c in ("system", "history", "tools"):
            if r.random() < .25: columns[c] = c
        if columns:
            entry["columns"] = {"prompt": "instruction", "query": "input", "response": "output"} | columns
            for row in rows:
                if "system" in columns and r.random() < .7: row["system"] = text(5)
                if "history" in columns and r.random() < .7: row["history"] = [[text(4), text(4)] for _ in range(r.randrange(3))]
                if "tools" in columns and r.random() < .5: row["tools"] = tools()
    elif kind == "text": rows = [{"text": text(30)} for _ in range(n)]; entry["columns"] = {"prompt": "text"}
    else:
        openai = kind == "openai" or r.random() < .4
        roles = ("user", "assistant", "system", "function" if kind == "openai" else "function_call", "tool" if kind == "openai" else "observation") if openai else ("human", "gpt", "system", "function_call", "observation")
        keys = ("role", "content") if openai else ("from", "value")
        rows = [{"conversations": convo(roles, keys)} for _ in range(n)]
        entry["formatting"] = kind; entry["columns"] = {"messages": "conversations"}
        if openai: entry["tags"] = dict(role_tag="role", content_tag="content", user_tag="user", assistant_tag="assistant", observation_tag=roles[4], function_tag=roles[3], system_tag="system")
        for c in ("system", "tools"):
            if r.random() < .3:
                entry["columns"][c] = c
                for row in rows:
                    if r.random() < .7: row[c] = text(5) if c == "system" else tools()
    for row in rows:  # null and missing
        for k in list(row):
            if k not in ("conversations", "text") and r.random() < .03: row[k] = None
            if k in ("system", "tools", "input") and r.random() < .03: row.pop(k)
    names = {k for row in rows for k in row}
    if "columns" in entry and kind != "text":
        for c in list(entry["columns"]):
            if entry["columns"][c] not in names: entry["columns"].pop(c)
    ext = r.choice(["json", "jsonl"] + (["csv"] if kind in ("alpaca", "text") and not any(isinstance(v, list) for row in rows for v in row.values()) else []))
    entry["file_name"] = f"d.{ext}"
    if r.random() < .1: entry["num_samples"] = r.randrange(1, 12)
    if r.random() < .08: entry["split"] = r.choice(["train[:2]", "train[50%:]", "train[1:]+train[:1]", "train[-3:]"])
    asc = r.random() < .5
    with open(f"{d}/d.{ext}", "w", encoding="utf-8", newline="") as f:
        if ext == "json": json.dump(rows, f, ensure_ascii=asc, indent=r.choice([None, 1]))
        elif ext == "jsonl": f.write("\n".join(json.dumps(x, ensure_ascii=asc) for x in rows) + r.choice(["", "\n"]))
        else:
            w = csv.DictWriter(f, sorted(names)); w.writeheader(); w.writerows(rows)
    json.dump({"d": entry}, open(f"{d}/dataset_info.json", "w"))
    c = dict(model_name_or_path=f"{o.models}/{r.choice(sorted(m for m in os.listdir(o.models) if os.path.exists(f'{o.models}/{m}/tokenizer.json')))}", dataset="d", dataset_dir=d, stage="pt" if kind == "text" and r.random() < .8 else "sft",
             template=r.choice(TEMPLATES), cutoff_len=r.choice([16, 64, 256, 1024]), do_train=True, finetuning_type="lora", output_dir=f"{d}/out")
    for k, p, v in [("train_on_prompt", .1, True), ("mask_history", .1, True), ("packing", .12, True), ("neat_packing", .06, True), ("max_samples", .1, r.randrange(1, 6)), ("enable_thinking", .1, r.choice([True, False])), ("default_system", .08, text(3)), ("tool_format", .05, r.choice(["default", "qwen", "llama3", "glm4"]))]:
        if r.random() < p: c[k] = v
    if c["stage"] == "pt": c = {k: v for k, v in c.items() if k not in ("train_on_prompt", "neat_packing", "mask_history")}
    if c.get("train_on_prompt") and c.get("mask_history"): c.pop("mask_history")
    yaml.safe_dump(c, open(f"{d}/c.yaml", "w"), allow_unicode=True)
    return c
bad = failed = done = better = 0
for i in range(o.n):
    if o.only is not None and i != o.only: continue
    r = random.Random(o.seed * 1000003 + i)
    d = tempfile.mkdtemp(prefix=f"random{i}-"); c = make(i, d)
    try: want, error = upstream(c), None
    except Exception as e: want, error = None, f"{type(e).__name__}: {e}"
    p = subprocess.run([o.cli, "show", f"{d}/c.yaml", "--json"], capture_output=True, text=True, env=os.environ | {"DATAFLEX_CACHE": f"{d}/cache"})
    got = [json.loads(l) for l in p.stdout.split("\n") if l] if p.returncode == 0 else None
    done += 1; why = ""
    if want is None: failed += 1; better += got is not None
    elif got is None: why = p.stderr.strip()[:300]
    elif len(got) != len(want): why = f"{len(got)} rows, upstream {len(want)}"
    else:
        for k, (g, w) in enumerate(zip(got, want)):
            if (g["input_ids"], g["labels"]) != w: why = f"row {k} differs"; break
    if why: bad += 1; print(f"{i}: {d}: {why} ({ {k: c[k] for k in ('stage', 'template')} })", flush=True)
    else: shutil.rmtree(d, ignore_errors=True)
    shutil.rmtree(os.path.expanduser("~/.cache/huggingface/datasets"), ignore_errors=True) if done % 50 == 0 else None
print(f"{done} data sets: {bad} differ; LLaMA-Factory fails on {failed}, of which ours reads {better}")
sys.exit(bad > 0)
