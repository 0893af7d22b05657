"""Names and defaults of every configuration key upstream knows, for the test of algo/config's table.

    pip download --no-deps llamafactory==0.9.4 dataflex==1.1.0, unzip both, then with transformers 4.52.4 installed:
    python tools/golden/config_keys.py LLAMAFACTORY_DIR DATAFLEX_DIR    # rewrites algo/config/testdata/upstream_keys.json

    python tools/golden/config_keys.py --later DIR...    # rewrites algo/config/testdata/later_keys.txt

--later takes folders of newer versions (LLaMA-Factory 0.9.5 and main, transformers 5.6.0; 4.57.3 was installed) and writes the names alone that upstream_keys.json
has not. LLaMA-Factory's and DataFlex's dataclasses are read as source: nothing of theirs is imported.
"""
import ast
import dataclasses
import glob
import enum
import json
import os
import sys

SKIP = {"compute_dtype", "device_map", "model_max_length", "block_diag_attn"}  # init=False


def class_fields(path):
    out = {}
    enums = {"RopeScaling": {}, "AttentionFunction": {"AUTO": "auto"}, "EngineName": {"HF": "huggingface"}, "QuantizationMethod": {"BNB": "bnb"}}
    for cls in [n for n in ast.parse(open(path).read()).body if isinstance(n, ast.ClassDef)]:
        for st in cls.body:
            if isinstance(st, ast.AnnAssign) and isinstance(st.value, ast.Call) and getattr(st.value.func, "id", "") == "field" and st.target.id not in SKIP:
                d = next((k.value for k in st.value.keywords if k.arg == "default"), None)
                if isinstance(d, ast.Attribute):
                    out[st.target.id] = enums[d.value.id][d.attr]
                elif d is None:
                    out[st.target.id] = None  # default_factory
                else:
                    out[st.target.id] = eval(compile(ast.Expression(d), path, "eval"))
    return out


def training_fields():
    from transformers import Seq2SeqTrainingArguments

    out = {}
    for f in dataclasses.fields(Seq2SeqTrainingArguments):
        d = None if f.default is dataclasses.MISSING else f.default
        out[f.name] = d.value if isinstance(d, enum.Enum) else d
    return out


def later(folders):
    testdata = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "algo", "config", "testdata")
    names = set(training_fields())
    for path in [p for f in folders for p in glob.glob(f + "/llamafactory/hparams/*.py") + glob.glob(f + "/transformers/training_args*.py")]:
        for cls in [n for n in ast.parse(open(path).read()).body if isinstance(n, ast.ClassDef)]:
            names |= {st.target.id for st in cls.body if isinstance(st, ast.AnnAssign) and not "init=False" in ast.unparse(st)}
    names -= set(json.load(open(testdata + "/upstream_keys.json"))) | SKIP
    with open(testdata + "/later_keys.txt", "w") as f:
        f.write("\n".join(sorted(names)) + "\n")
    print(len(names), "names")


if __name__ == "__main__":
    if sys.argv[1] == "--later":
        sys.exit(later(sys.argv[2:]))
    lf, df = sys.argv[1:3]
    keys = training_fields()
    for path in [lf + "/llamafactory/hparams/" + n for n in ("model_args.py", "data_args.py", "finetuning_args.py", "generating_args.py", "training_args.py")] + [
        df + "/dataflex/train/hparams/" + n for n in ("dynamic_params.py", "dynamic_data_params.py")
    ]:
        keys.update(class_fields(path))
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    with open(os.path.join(root, "algo/config/testdata/upstream_keys.json"), "w") as f:
        json.dump(keys, f, indent=0, sort_keys=True)
        f.write("\n")
    print(len(keys), "keys")
