"""Reference values for data/yamlfile: how OmegaConf 2.3.0 (PyYAML 6.0) reads scalars and dotlists.

    pip install omegaconf==2.3.0 pyyaml && python tools/golden/yaml_scalars.py    # rewrites data/yamlfile/testdata/omegaconf.json

A value is written as its type and Python's repr; what raises is "error".
"""
import json
import os

import yaml
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader

SCALARS = r"""
yes|Yes|YES|no|NO|on|On|ON|off|OFF|y|Y|n|N|true|True|TRUE|tRUE|false|False|~|null|Null|NULL|nUll|nil|None||
0|-0|+0|7|+7|-7|017|010|0o10|08|09|-017|0x1F|0XFF|-0x1f|0b101|0b2|1_000|1__0|_1|1_|0_|00|1:30|-1:30|1:99|190:20:30|190:20:30.15|18446744073709551616|-9223372036854775808|1,000
1e-4|1E-4|1e5|1e+05|-1e-4|5e8|1e|e5|1.|5.|.5|.5e3|.5e+3|.|..|-.5|+.5|1.5|-1.5|+1.5|1.0E5|1.0e5|1.0e-04|1.e-5|12.3e03|685.230_15e+03|1_0e3|1__0e3|1_0.5|1__0.5|._5|0.1.2|1.0.0|1e400|-1e400|1e-400|1.10
.inf|-.inf|+.inf|.Inf|.INF|inf|.nan|.NaN|.NAN|-.nan|nan
2001-12-14|2001-12-14t21:59:43.10-05:00|12:30:45|12:30
''|'1'|"1e-4"|'yes'|"a\tb"|"\u00e9\n"|'it''s'|!!str 1|!!str yes|!!int 3|!!float 1|!!float 1e-4|!!bool yes|!!null x|!x 1|!!python/none 1
=|<<|%a|@a|`a|a:b|a: b|#a|a #b|a#b|&a|&a 1|*a|?a|-a|- a|[a, b]|[1, 1e-4, no]|{a: 1}|{a: 1, a: 2}|[a|{a|a,b|${x}|日本語|q_proj,v_proj|C:\x|a=b|?|-|:a|a:
"""
DOTLISTS = [["a="], ["a"], ["a=x,y"], ["a=b=c"], ["a=on"], ["a=[q_proj,v_proj]"], ["a={x: 1}"], ["a[0]=1"], ["a.0=1"], ["a=1e-4"], ['a="x y"'], ["a=x y"],
            ["a.b=1", "a.c=2"], ["a=1", "a.b=2"], ["a.b=1", "a=2"], ["a={x: 1}", "a={y: 2}"], ["a[b].c=1"], ["a='1'"], ["a=null"], ["a=#x"], ["a=x: y"], ["a=[1"],
            ["a=1", "a=2"], ["--a=1"], ["a.b.c=[1, 2]"], ["a=- 1"], ["a=/tmp/x"], ["a={}"]]


def show(v):
    if isinstance(v, dict):
        return "{" + ", ".join(f"{k}: {show(x)}" for k, x in sorted((str(k), x) for k, x in v.items())) + "}"
    if isinstance(v, list):
        return "[" + ", ".join(show(x) for x in v) + "]"
    return "null" if v is None else f"{type(v).__name__} {v if isinstance(v, str) else repr(v)}"


def scalar(s):
    try:
        return show(yaml.load("k: " + s + "\n", Loader=get_yaml_loader())["k"])
    except Exception:
        return "error"


def dotlist(args):
    try:
        return show(OmegaConf.to_container(OmegaConf.from_cli(args)))
    except Exception:
        return "error"


if __name__ == "__main__":
    scalars = [s for line in SCALARS.strip("\n").split("\n") for s in line.split("|")]
    out = {"scalars": [[s, scalar(s)] for s in scalars], "dotlists": [[a, dotlist(a)] for a in DOTLISTS]}
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "data", "yamlfile", "testdata", "omegaconf.json")
    with open(path, "w") as f:
        json.dump(out, f, indent=0, ensure_ascii=False)
        f.write("\n")
