"""Recorded runs for algo/report/page, and what its panels must show, computed here from
the other files that a run leaves: step files, journals, the scores of `dataflex-cli
score` at a checkpoint, `dataflex-cli show`, trainer_state.json.

    make && python3 tools/golden/report_runs.py            # writes algo/report/page/testdata/runs
    make && python3 tools/golden/report_runs.py reorder    # of it, these runs alone

Needs Python alone."""
import json, math, os, shutil, subprocess, sys, unicodedata

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
OUT = os.path.join(TOP, "algo", "report", "page", "testdata", "runs")
WORK = "/tmp/report-runs"
CLI = os.path.join(TOP, "bin", "dataflex-cli")

HOSTILE = [
    ("</script><script>document.title='owned'</script>", "<img src=x onerror=\"document.title='owned'\">"),
    ("\u202egnp.exe and \u0007bell \u001b[31mred", "a\u0000b \u200bzero\u2066isolate"),
    ("<!--<script>", "]]> --> &lt;b&gt; ${1} {{.}} javascript:alert(1)"),
]


def rows():
    """48 rows of two data sets: sums, capitals twice over, Chinese, Arabic, markup."""
    add, words = [], []
    for i in range(30):
        add.append({"instruction": f"Add {i} and {7 * i % 13}", "input": "", "output": str(i + 7 * i % 13)})
    for i in range(8):
        words.append({"instruction": "Write in capitals: mola" + "la" * (i // 2), "input": "", "output": "MOLA" + "LA" * (i // 2)})
    words[1]["instruction"] = "  WRITE in capitals:\nmola "  # as row 0, but for case and space
    for s, t in [("把这句话翻成英文：你好，世界", "Hello, world"), ("用中文写出十二", "十二"), ("اكتب كلمة سلام", "سلام"), ("こんにちは、漢字とかな", "はい")]:
        words.append({"instruction": s, "input": "", "output": t})
    for s, t in HOSTILE:
        words.append({"instruction": s, "input": "", "output": t})
    words += [{"instruction": "Say " + "very " * 40 + "much", "input": "", "output": "much " * 30}] * 3
    return add, words


def difficulty(i):
    """a row's score for an order: all different, and in no order of their own"""
    return (i * 29 + 11) % 48 / 4


def run(name, extra, components):
    """trains into WORK/NAME/out"""
    dir = os.path.join(WORK, name)
    os.makedirs(dir)
    add, words = rows()
    if name in ("reorder", "lego"):
        words = [dict(r) for r in words]  # the last three are one
        for i, r in enumerate(add + words):
            r["difficulty"] = difficulty(i)
    for file, content in {"add.json": add, "words.json": words, "eval.json": add[:4] + words[:2],
                          "dataset_info.json": {k: {"file_name": k + ".json"} for k in ("add", "words", "eval")}}.items():
        json.dump(content, open(os.path.join(dir, file), "w"), ensure_ascii=False, indent=1)
    with open(os.path.join(dir, "components.yaml"), "w") as f:
        f.write(components.replace("DIR", dir))
    config = {
        "model_name_or_path": os.path.join(TOP, "tools/dataflex-demo/model"), "stage": "sft", "do_train": True, "finetuning_type": "lora",
        "lora_target": "all", "lora_rank": 4, "dataset_dir": dir, "dataset": "add,words", "eval_dataset": "eval", "template": "chatml", "cutoff_len": 512,
        "output_dir": dir + "/out", "overwrite_output_dir": True, "per_device_train_batch_size": 4, "per_device_eval_batch_size": 4, "gradient_accumulation_steps": 1,
        "learning_rate": 2e-3, "logging_steps": 1, "seed": 7, "num_train_epochs": 1, "components_cfg_file": dir + "/components.yaml", "component_name": "it", "save_steps": 1000,
        "eval_strategy": "steps", "eval_steps": 3, "hf_hub_token": "hf_secret",
    }
    config.update(extra)
    with open(os.path.join(dir, "run.yaml"), "w") as f:
        json.dump(config, f)
    subprocess.run([CLI, "train", dir + "/run.yaml"], check=True, stderr=open(dir + "/log.txt", "w"))
    return dir


def read_lines(path):
    return [json.loads(l) for l in open(path)]


def script(text):
    """the script of most letters, by Unicode's names"""
    count = {}
    for c in text:
        if not c.isalpha():
            continue
        word = unicodedata.name(c, "OTHER").split()[0]
        name = {"LATIN": "Latin", "CJK": "Han", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "ARABIC": "Arabic", "CYRILLIC": "Cyrillic"}.get(word, "other")
        count[name] = count.get(name, 0) + 1
    if "Japanese" in count:
        count["Japanese"] += count.get("Han", 0)
    return max(sorted(count), key=lambda k: count[k]) if count else "none"


def counts(items):
    out = {}
    for i in items:
        out[i] = out.get(i, 0) + 1
    return out


def expect_select(dir):
    add, words = rows()
    text = {("add", i): r for i, r in enumerate(add)} | {("words", i): r for i, r in enumerate(words)}
    shown = [json.loads(l) for l in subprocess.run([CLI, "show", dir + "/run.yaml", "--json"], check=True, capture_output=True, text=True).stdout.splitlines()]
    ids = [(r["dataset"], r["row"]) for r in shown]
    tokens = {i: len(r["input_ids"]) for i, r in zip(ids, shown)}
    picks = {}
    for l in read_lines(dir + "/out/selected_rows.jsonl"):
        picks.setdefault(l["step"], []).append(l)
    steps = sorted(picks)
    sets = [{(l["dataset"], l["row"]) for l in picks[s]} for s in steps]
    all_picks = [(l["dataset"], l["row"]) for s in steps for l in picks[s]]
    out = {"selections": [], "choices": len(all_picks), "distinct": len(set(all_picks))}
    before = set()
    for k, s in enumerate(steps):
        stepfile = json.load(open(f"{dir}/cache/step_{s}.json"))
        assert stepfile["indices"] == [l["index"] for l in picks[s]]
        last = sets[k - 1] if k else set()
        out["selections"].append({"step": s, "rows": len(picks[s]), "distinct": len(sets[k]), "overlap": len(sets[k] & last), "new": len(sets[k] - before), "dropped": len(last - sets[k])})
        before |= sets[k]
    out["jaccard"] = [[len(a & b) / len(a | b) for b in sets] for a in sets]
    out["times"] = sorted(counts(counts(all_picks).values()).items())
    group = lambda f: {"all": counts(map(f, ids)), "chosen": counts(map(f, all_picks)), "last": counts(f((l["dataset"], l["row"])) for l in picks[steps[-1]])}
    def length(i):
        n, high = tokens[i], 32
        if n <= 32:
            return "up to 32"
        while n > high:
            high *= 2
        return f"{high // 2 + 1} to {high}"
    out["shares"] = {"data set": group(lambda i: i[0]), "length": group(length), "language script": group(lambda i: script(text[i]["instruction"] + " " + text[i]["output"]))}
    same = {}
    for i in sorted(set(all_picks)):
        same.setdefault(" ".join((text[i]["instruction"] + " | " + text[i]["output"]).lower().split()), []).append(list(i))
    out["duplicates"] = sorted(g for g in same.values() if len(g) > 1)
    # Scores of all rows, made again from the checkpoints of the selections.
    out["scores"] = {}
    for s in steps:
        scored = f"{dir}/scores-{s}"
        subprocess.run([CLI, "score", dir + "/run.yaml", "--out", scored, f"resume_from_checkpoint={dir}/out/checkpoint-{s}"], check=True, stderr=subprocess.DEVNULL)
        score = [l["score"] for l in read_lines(scored + "/scores.jsonl")]
        low, high = min(score), max(score)
        bins, chosen = [0] * 60, [0] * 60
        now = {l["index"] for l in picks[s]}
        for i, v in enumerate(score):
            b = min(int((v - low) / (high - low) * 60), 59)
            bins[b] += 1
            chosen[b] += i in now
        out["scores"][s] = {"low": low, "high": high, "all": bins, "chosen": chosen}
    order = sorted(range(len(ids)), key=lambda i: -score[i])
    out["passed"] = [[*ids[i], score[i]] for i in order if ids[i] not in set(all_picks)]
    out["rows"] = {f"{d} {r}": {"times": n, "prompt": text[d, r]["instruction"], "answer": text[d, r]["output"]} for (d, r), n in counts(all_picks).items()}
    return out


def expect_mix(dir):
    log = [l for l in read_lines(dir + "/out/trainer_log.jsonl") if "loss" in l]
    return {"odm": read_lines(dir + "/out/odm_weights.jsonl"), "loss": {l["current_steps"]: l["loss"] for l in log}}


def expect_doremi(dir):
    return {"journal": read_lines(dir + "/out/doremi_weights.jsonl")}


def expect_reorder(dir):
    """Folding of three layers, easy to hard: every third row of the sorted ones, three
    times. The rows are 30 of add and then 18 of words; a batch is four."""
    order = sorted(range(48), key=difficulty)
    folded = order[0::3] + order[1::3] + order[2::3]
    picked = [l["index"] for l in read_lines(dir + "/out/selected_rows.jsonl")]
    assert picked == folded + folded, "two passes of the pattern"
    return [[(k + 0.5) / 4, difficulty(i)] for k, i in enumerate(picked)]


def expect_overlap(dirs):
    """how alike the choices of two runs are, over the 48 rows of the pool"""
    times, last = [], []
    for d in dirs:
        lines = read_lines(d + "/out/selected_rows.jsonl")
        times.append([sum(l["index"] == i for l in lines) for i in range(48)])
        last.append({l["index"] for l in lines if l["step"] == lines[-1]["step"]})
    a, b = [{i for i in range(48) if t[i]} for t in times]
    def ranks(t):
        return [sum(x < v for x in t) + (sum(x == v for x in t) + 1) / 2 for v in t]
    x, y = map(ranks, times)
    mean = 49 / 2
    rho = sum((p - mean) * (q - mean) for p, q in zip(x, y)) / math.sqrt(sum((p - mean) ** 2 for p in x) * sum((q - mean) ** 2 for q in y))
    return {"both": len(a & b), "jaccard": len(a & b) / len(a | b), "last": len(last[0] & last[1]) / len(last[0] | last[1]), "rank": rho}


def expect_weight(dir):
    """Upstream's linupper from the losses that the page names: one micro-batch of four
    rows a step, of which a line names the three heaviest and the three lightest."""
    lines = [l["weights"] for l in read_lines(dir + "/out/report_data.jsonl") if "weights" in l]
    delta, out = 1.0, {}
    for l in lines:
        loss = {(r["dataset"], r["row"]): r["loss"] for r in l["heavy"] + l["light"]}
        if len(loss) != 4:
            continue  # a row twice in a batch
        low, high = min(loss.values()), max(loss.values())
        x = {k: min((2 * v - high - low) / max(high - low, 1e-6) * delta + delta, delta) for k, v in loss.items()}
        total = sum(math.exp(v) for v in x.values())
        out[l["step"]] = {f"{d} {r}": 4 * math.exp(x[d, r]) / total for d, r in loss}
    return out


def expect_ledger(dir):
    """what the run's own last words say of its rows"""
    line = [l for l in open(dir + "/log.txt") if "rows trained on" in l][0]
    return {k: int(v) for k, v in (w.split("=") for w in line.split() if "=" in w)}


def expect_curves(dir):
    history = json.load(open(dir + "/out/trainer_state.json"))["log_history"][:-1]
    out = {}
    for h in history:
        for k in ("loss", "learning_rate", "grad_norm", "eval_loss"):
            if k in h:
                out.setdefault(k, []).append([h["step"], h[k]])
    return out


def keep(name, dir, expected):
    """keeps what the page reads, with the folder's name taken out"""
    to = os.path.join(OUT, name)
    os.makedirs(to)
    for f in ("report_data.jsonl", "selected_rows.jsonl", "trainer_log.jsonl", "trainer_state.json"):
        if os.path.exists(dir + "/out/" + f):
            open(os.path.join(to, f), "w").write(open(dir + "/out/" + f).read().replace(dir, "@DIR@").replace(TOP, "@TOP@"))
    for f in ("add.json", "words.json", "dataset_info.json"):
        shutil.copy2(os.path.join(dir, f), to)
    json.dump(expected, open(os.path.join(to, "expected.json"), "w"), ensure_ascii=False, indent=1)


LESS = "selectors: {it: {name: less, params: {cache_dir: DIR/cache, seed: 3}}}\n"
RANDOM = "selectors: {it: {name: random, params: {seed: 3}}}\n"
DOREMI = "mixers: {it: {name: doremi, params: {reference_model_path: %s}}}\n"
ORDER = "reorders: {it: {name: order, params: {pattern: folding, pattern_params: {layers: 3}, score_params: {score_field: difficulty}}}}\n"


LEGO = """selectors: {some: {name: random, params: {seed: 3}}}
mixers: {even: {name: static, params: {proportions: [0.5, 0.5]}}}
reorders: {sorted: {name: sorted, params: {pattern: sorting, score_params: {score_field: difficulty}}}}
weighters: {weigh: {name: loss, params: {strategy: linupper, delta: 1.0}}}
pipelines: {it: {params: {stages: [{family: selector, component: some}, {family: mixer, component: even}, {family: reorder, component: sorted}, {family: weighter, component: weigh}]}}}
"""


def select():
    d = run("select", {"train_type": "dynamic_select", "warmup_step": 3, "update_step": 3, "update_times": 3, "save_steps": 3, "save_total_limit": 9}, LESS)
    return d, {"choice": expect_select(d)}


def chance():
    """beside select, for how alike two choices are; its scores are none"""
    d = run("random", {"train_type": "dynamic_select", "warmup_step": 3, "update_step": 3, "update_times": 3}, RANDOM)
    other = os.path.join(WORK, "kept")
    shutil.copytree(os.path.join(OUT, "select"), other + "/out")
    return d, {"overlap": expect_overlap([other, d])}


def mix():
    d = run("mix", {"train_type": "dynamic_mix", "warmup_step": 2, "update_step": 2, "max_steps": 10}, "mixers: {it: {name: odm, params: {warmup_steps: 1}}}\n")
    return d, {"mix": expect_mix(d)}


def doremi():
    reference = run("reference", {"max_steps": 4}, "selectors: {}\n")
    d = run("doremi", {"train_type": "dynamic_mix", "mixture_sample_rule": "uniform", "warmup_step": 2, "update_step": 2, "max_steps": 8}, DOREMI % (reference + "/out"))
    return d, {"doremi": expect_doremi(d)}


def weight():
    d = run("weight", {"train_type": "dynamic_weight", "warmup_step": 1, "max_steps": 8}, "weighters: {it: {name: loss, params: {strategy: linupper, delta: 1.0}}}\n")
    return d, {"weight": expect_weight(d)}


def reorder():
    d = run("reorder", {"train_type": "dynamic_reorder", "num_train_epochs": 2}, ORDER)
    return d, {"order": expect_reorder(d)}


def lego():
    """all four kinds of stages: the rows of a decision are sorted by their column"""
    d = run("lego", {"train_type": "dynamic_lego", "mixture_sample_rule": "uniform", "warmup_step": 2, "update_step": 3, "max_steps": 11}, LEGO)
    picks = {}
    for l in read_lines(d + "/out/selected_rows.jsonl"):
        picks.setdefault(l["step"], []).append(l["index"])
    for rows_ in picks.values():
        assert [difficulty(i) for i in rows_] == sorted(difficulty(i) for i in rows_), "in the order of their column"
    return d, {"order": [[s + (k + 0.5) / 4, difficulty(i)] for s, p in picks.items() for k, i in enumerate(p)], "choices": sum(map(len, picks.values()))}


def static():
    return run("static", {"max_steps": 6}, "selectors: {}\n"), {}


def main(names):
    runs = {"select": select, "random": chance, "mix": mix, "doremi": doremi, "weight": weight, "reorder": reorder, "lego": lego, "static": static}
    shutil.rmtree(WORK, ignore_errors=True)
    for name in names or runs:
        shutil.rmtree(os.path.join(OUT, name), ignore_errors=True)
        dir, expected = runs[name]()
        keep(name, dir, expected | {"curves": expect_curves(dir), "ledger": expect_ledger(dir)})


main(sys.argv[1:])
