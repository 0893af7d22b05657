"""Writes tools/dataflex-cli/testdata/odd_files.json: what LLaMA-Factory 0.9.4 (transformers 4.52.4) makes of small files of
unusual habits: missing values, line ends, byte order marks, halves of surrogate pairs, optional columns, tool calls, splits.
A case has the file's bytes (base64), its entry in dataset_info.json, keys of the configuration, and upstream's rows as
[input_ids, labels], or none where upstream fails. The tokenizer is that of tools/dataflex-demo/model.
Usage: python tools/golden/odd_files.py tools/dataflex-demo/model tools/dataflex-cli/testdata/odd_files.json"""
import base64, gzip, json, os, shutil, sys, tempfile
os.environ["HF_HOME"] = tempfile.mkdtemp()
from llamafactory_rows import upstream
A = {"prompt": "instruction", "query": "input", "response": "output"}
C=[]
def case(name, file, data, entry=None, conf=None):
    C.append((name, file, data if isinstance(data,bytes) else data.encode("utf-8","surrogatepass"), entry or {}, conf or {}))
def al(*rows): return "instruction,input,output\n"+"".join(r+"\n" for r in rows)
# CSV
for w in ["NA","N/A","n/a","null","NULL","NaN","nan","-NaN","-nan","None","none","<NA>","#N/A","#NA","1.#IND","-1.#QNAN","#N/A N/A",""," NA","NA ","true","1.0"]:
    case(f"csv_na[{w}]","d.csv",al(f"a,{w},b","c,d,e"))
case("csv_na_quoted","d.csv",al('a,"NA",b','c,"null",e','x,y,"NA"'))
case("csv_na_output","d.csv",al('a,x,NA','c,d,e'))
case("csv_na_prompt","d.csv",al('NA,x,b','c,d,e'))
case("csv_bom","d.csv",b"\xef\xbb\xbf"+al("a,b,c").encode())
case("csv_blank_lines","d.csv","instruction,input,output\n\na,b,c\n\n  \nd,e,f\n\n")
case("csv_short_rows","d.csv",al("a,b,c","d","e,f"))
case("csv_space_quote","d.csv",al('a, "b",c','d,e ,  f'))
case("csv_dq","d.csv",al('a,"say ""hi"", ok",c','d,"line1\nline2",f'))
case("csv_cr_in_quotes","d.csv",'instruction,input,output\r\na,"x\ry",c\r\nd,"p\r\nq",f\r\n')
case("csv_mixed_ends","d.csv",'instruction,input,output\r\na,b,c\nd,e,f\rg,h,i\n')
case("csv_dup_header","d.csv","instruction,input,output,input\na,b,c,d\n")
case("csv_extra_col_index","d.csv","instruction,input,output\n")
case("csv_trailing_comma","d.csv","instruction,input,output,\na,b,c,\nd,e,f,\n")
case("csv_only_header_and_space","d.csv","instruction,input,output\n \n")
case("csv_bool_some","d.csv",al("a,True,b","c,x,e"))
case("csv_tab_inside","d.csv",al("a\tb,c\td,e"))
case("csv_nul_text","d.csv",al("a,b\\n,c"))
case("csv_unicode","d.csv",al("汉,😀,é\u2028x"))
case("csv_quote_mid","d.csv",al('a"b,c"d"e,f'))
case("csv_quote_start_tail","d.csv",al('"ab"cd,"x" y,z'))
case("csv_quote_unclosed","d.csv",al('a,"bc,d'))
case("csv_backslash","d.csv",al('a,"b\\"c",d'))
case("csv_no_last_newline","d.csv","instruction,input,output\na,b,c")
case("csv_vt_ff","d.csv",al("a\x0bq,b\x0cw,c\x1d"))
# JSON
row='{"instruction":"a","input":"b","output":"c"}'
case("json_bom","d.json",b"\xef\xbb\xbf["+row.encode()+b"]")
case("jsonl_bom","d.jsonl",b"\xef\xbb\xbf"+row.encode()+b"\n"+row.encode())
case("json_single_object","d.json",row)
case("json_pretty_object","d.json",json.dumps(json.loads(row),indent=2))
case("jsonl_pretty_objects","d.jsonl",json.dumps(json.loads(row),indent=2)+"\n"+json.dumps(json.loads(row),indent=2))
case("jsonl_blank","d.jsonl",row+"\n\n   \n"+row+"\n\n")
case("jsonl_crlf","d.jsonl",row+"\r\n"+row+"\r\n")
case("jsonl_cr","d.jsonl",row+"\r"+row+"\r")
case("json_neginf","d.json",'[{"instruction":"a","input":"b","output":"c","s":-Infinity},{"instruction":"a","input":"b","output":"d","s":1}]')
case("jsonl_nan_used","d.jsonl",'{"instruction":"a","input":NaN,"output":"c"}\n'+row)
case("json_nan_used","d.json",'[{"instruction":"a","input":NaN,"output":"c"},'+row+']')
case("json_surr_half_low","d.json",'[{"instruction":"a\\udc00b","input":"b","output":"c"}]')
case("jsonl_surr_half","d.jsonl",'{"instruction":"a\\ud83db","input":"b","output":"c"}\n'+row)
case("jsonl_surr_pair","d.jsonl",'{"instruction":"a\\ud83d\\ude00b","input":"b","output":"c"}\n')
case("json_ctrl","d.json",'[{"instruction":"a\tb","input":"b\x01","output":"c"}]')
case("jsonl_ctrl","d.jsonl",'{"instruction":"a\tb","input":"b","output":"c"}\n')
case("json_u0000","d.json",'[{"instruction":"a\\u0000b","input":"b","output":"c"}]')
case("jsonl_dup","d.jsonl",'{"instruction":"a","input":"b","output":"c","output":"z"}\n')
case("json_bigint","d.json",'[{"instruction":"a","input":"b","output":"c","id":123456789012345678901234567890}]')
case("json_num_text","d.json",'[{"instruction":"a","input":1,"output":2.5},{"instruction":"b","input":2,"output":3}]')
case("json_mixed_type","d.json",'[{"instruction":"a","input":1,"output":"x"},{"instruction":"b","input":"q","output":"y"}]')
case("jsonl_mixed_type","d.jsonl",'{"instruction":"a","input":1,"output":"x"}\n{"instruction":"b","input":"q","output":"y"}\n')
case("json_bool_text","d.json",'[{"instruction":"a","input":true,"output":"x"}]')
case("json_list_of_text","d.json",'[{"instruction":"a","input":["p","q"],"output":"x"}]')
case("json_extra_null","d.json",'[null,'+row+']')
case("jsonl_null_row","d.jsonl",row+"\nnull\n"+row)
case("json_empty_string_keys","d.json",'[{"instruction":"a","input":"","output":"x","":"e"}]')
case("json_trailing_text","d.json",'['+row+']\n\n')
case("jsonl_array_lines","d.jsonl",'['+row+']\n['+row+']\n')
case("json_field_data","d.json",'{"data":['+row+'],"version":1}')
case("jsonl_two_per_line_space","d.jsonl",row+" "+row+"\n"+row)
case("jsonl_gz_plain","d.jsonl",gzip.compress((row+"\n"+row).encode(), mtime=0))
case("json_gz_plain","d.json",gzip.compress(("["+row+"]").encode(), mtime=0))
case("csv_gz_plain","d.csv",gzip.compress(al("a,b,c").encode(), mtime=0))
case("jsonl_missing_then_there","d.jsonl",'{"instruction":"a","output":"c"}\n{"instruction":"a","input":"q","output":"c","system":"S"}\n',{"columns":{**A,"system":"system"}})
case("json_null_output","d.json",'[{"instruction":"a","input":"b","output":null},'+row+']')
case("json_null_all","d.json",'[{"instruction":null,"input":null,"output":null},'+row+']')
case("json_null_instr_input","d.json",'[{"instruction":null,"input":"full","output":"o"},{"instruction":"","input":"full","output":"o"}]')
case("json_history_null","d.json",'[{"instruction":"a","input":"b","output":"c","history":null},{"instruction":"a","input":"b","output":"c","history":[["q","r"]]}]',{"columns":{**A,"history":"history"}})
case("json_history_null_inner","d.json",'[{"instruction":"a","input":"b","output":"c","history":[["q",null]]}]',{"columns":{**A,"history":"history"}})
case("json_history_three","d.json",'[{"instruction":"a","input":"b","output":"c","history":[["q","r","s"]]}]',{"columns":{**A,"history":"history"}})
# images etc.
for k in ("images","videos","audios"):
    case(f"{k}_null","d.json",'[{"instruction":"a","input":"b","output":"c","m":null},{"instruction":"a","input":"b","output":"c","m":[]}]',{"columns":{**A,k:"m"}})
    case(f"{k}_absent_some","d.jsonl",'{"instruction":"a","input":"b","output":"c"}\n{"instruction":"a","input":"b","output":"c","m":[]}\n',{"columns":{**A,k:"m"}})
# sharegpt / openai
SG={"formatting":"sharegpt","columns":{"messages":"conversations"}}
def sg(name,convs,entry=None,conf=None,**more): case(name,"d.json",json.dumps([{"conversations":c,**more} for c in convs]),entry or SG,conf)
h=lambda v:{"from":"human","value":v}; g=lambda v:{"from":"gpt","value":v}
sg("sg_odd",[[h("a"),g("b"),h("c")],[h("a"),g("b")]])
sg("sg_starts_gpt",[[g("b"),h("a")],[h("a"),g("b")]])
sg("sg_two_human",[[h("a"),h("c"),g("b")],[h("a"),g("b")]])
sg("sg_empty",[[],[h("a"),g("b")]])
sg("sg_null_value",[[h(None),g("b")],[h("a"),g("b")]])
sg("sg_null_conv",[None,[h("a"),g("b")]])
sg("sg_unknown_role",[[{"from":"user","value":"a"},g("b")],[h("a"),g("b")]])
sg("sg_system_twice",[[{"from":"system","value":"S"},h("a"),g("b")],[{"from":"system","value":"S"},{"from":"system","value":"T"},h("a"),g("b")]])
sg("sg_system_both",[[{"from":"system","value":"S"},h("a"),g("b")]],{**SG,"columns":{"messages":"conversations","system":"sys"}},sys="COL")
sg("sg_system_last",[[h("a"),g("b"),{"from":"system","value":"S"}]])
sg("sg_fn",[[h("a"),{"from":"function_call","value":'{"name":"f","arguments":{"x":1}}'},{"from":"observation","value":"ok"},g("b")]],conf={"template":"qwen"})
sg("sg_fn_list",[[h("a"),{"from":"function_call","value":'[{"name":"f","arguments":{"x":1}},{"name":"g","arguments":{}}]'},{"from":"observation","value":"ok"},g("b")]],conf={"template":"qwen"})
sg("sg_fn_bad",[[h("a"),{"from":"function_call","value":'f(x)'},{"from":"observation","value":"ok"},g("b")],[h("a"),g("b")]],conf={"template":"qwen"})
sg("sg_fn_strargs",[[h("a"),{"from":"function_call","value":'{"name":"f","arguments":"{\\"x\\":1}"}'},{"from":"observation","value":"ok"},g("b")]],conf={"template":"qwen"})
sg("sg_tools_str",[[h("a"),g("b")]],{**SG,"columns":{"messages":"conversations","tools":"tools"}},conf={"template":"qwen"},tools='[{"name":"f","description":"d","parameters":{"type":"object","properties":{"x":{"type":"integer","description":"e"}},"required":["x"]}}]')
sg("sg_tools_wrapped",[[h("a"),g("b")]],{**SG,"columns":{"messages":"conversations","tools":"tools"}},conf={"template":"qwen"},tools='[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{},"required":[]}}}]')
sg("sg_tools_empty",[[h("a"),g("b")]],{**SG,"columns":{"messages":"conversations","tools":"tools"}},conf={"template":"qwen"},tools='')
sg("sg_tools_list",[[h("a"),g("b")]],{**SG,"columns":{"messages":"conversations","tools":"tools"}},conf={"template":"qwen"},tools=[{"name":"f","description":"d","parameters":{"type":"object","properties":{"x":{"type":"integer","description":"e"}},"required":["x"]}}])
sg("sg_think",[[h("a"),g("<think>\nhm\n</think>\n\nb"),h("c"),g("<think>\n\n</think>\n\nd")]],conf={"template":"qwen3"})
sg("sg_think_off",[[h("a"),g("<think>\nhm\n</think>\n\nb")]],conf={"template":"qwen3","enable_thinking":False})
OA={"formatting":"openai","columns":{"messages":"messages"},"tags":{"role_tag":"role","content_tag":"content","user_tag":"user","assistant_tag":"assistant","observation_tag":"tool","function_tag":"function_call","system_tag":"system"}}
OS={"formatting":"sharegpt","columns":{"messages":"messages"},"tags":{"role_tag":"role","content_tag":"content","user_tag":"user","assistant_tag":"assistant","observation_tag":"tool","function_tag":"function_call","system_tag":"system"}}
u=lambda v:{"role":"user","content":v}; s=lambda v,**k:{"role":"assistant","content":v,**k}
def tc(*calls): return [{"id":f"c{i}","type":"function","function":{"name":n,"arguments":a}} for i,(n,a) in enumerate(calls)]
for nm,E in (("oa",OA),("os",OS)):
    def oa(name,msgs,entry=None,conf=None,**more): case(f"{nm}_{name}","d.jsonl","\n".join(json.dumps({"messages":m,**more}) for m in msgs),entry or E,conf or {"template":"qwen"})
    oa("plain",[[u("a"),s("b")]])
    oa("toolcalls_str",[[u("a"),s(None,tool_calls=tc(("f",'{"x": 1}'))),{"role":"tool","content":"ok"},s("b")]])
    oa("toolcalls_two",[[u("a"),s("",tool_calls=tc(("f",'{"x": 1}'),("g",'{}'))),{"role":"tool","content":"ok"},{"role":"tool","content":"ok2"},s("b")]])
    oa("toolcalls_dict",[[u("a"),s("",tool_calls=tc(("f",{"x":1}))),{"role":"tool","content":"ok"},s("b")]])
    oa("toolcalls_content",[[u("a"),s("let me",tool_calls=tc(("f",'{"x": 1}'))),{"role":"tool","content":"ok"},s("b")]])
    oa("toolcalls_null_field",[[u("a"),s("b",tool_calls=None)],[u("a"),s("",tool_calls=tc(("f",'{"x": 1}'))),{"role":"tool","content":"ok"},s("b")]])
    oa("system_first",[[{"role":"system","content":"S"},u("a"),s("b")]])
    oa("tool_last",[[u("a"),s("",tool_calls=tc(("f",'{"x": 1}'))),{"role":"tool","content":"ok"}],[u("a"),s("b")]])
    oa("weight_field",[[u("a"),{"role":"assistant","content":"b","weight":0},u("c"),s("d")]])
    oa("content_list",[[{"role":"user","content":[{"type":"text","text":"a"}]},s("b")]])
    oa("developer",[[{"role":"developer","content":"S"},u("a"),s("b")],[u("a"),s("b")]])
# splits
J="\n".join(json.dumps({"instruction":f"i{k}","input":"","output":f"o{k}"}) for k in range(7))
for sp in ["train[:3]","train[50%:]","train[-2:]","train[2:4]+train[:1]","train[:33%]","train[10%:90%]","train[:-5]","train+train","train[:150%]","train[9:]","train[:50%](pct1_dropremainder)","all","validation","train [:2]","train[ :2]","train[0:0]","train[:1]+validation","TRAIN"]:
    case(f"split[{sp}]","d.jsonl",J,{"split":sp})
case("num_samples_more","d.jsonl",J,{"num_samples":12})
case("num_samples_less","d.jsonl",J,{"num_samples":3})
case("max_samples","d.jsonl",J,{"num_samples":5},{"max_samples":2})
case("val_size","d.jsonl",J,{},{"val_size":0.3})
# PT
PT={"stage":"pt","packing":False}
T={"columns":{"prompt":"text"}}
case("pt_txt","d.txt","one\ntwo\n\nthree",T,PT)
case("pt_txt_crlf","d.txt","one\r\ntwo\r\n\r\nthree\r\n",T,PT)
case("pt_txt_cr_mid","d.txt","one\rtwo\n\rthree\r",T,PT)
case("pt_txt_seps","d.txt","a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g\nh",T,PT)
case("pt_txt_bom","d.txt",b"\xef\xbb\xbfone\ntwo",T,PT)
case("pt_txt_nul","d.txt","a\x00b\nc",T,PT)
case("pt_txt_pack","d.txt","one\ntwo\n\nthree\n"*5,T,{"stage":"pt","packing":True,"cutoff_len":8})
case("pt_null","d.jsonl",'{"text":null}\n{"text":"a"}\n{"text":""}\n',T,PT)
case("pt_number","d.jsonl",'{"text":1}\n{"text":2}\n',T,PT)
case("pt_missing_some","d.jsonl",'{"text":"a"}\n{"x":"b"}\n',T,PT)
case("pt_csv","d.csv","text\na\n\nNA\nb c\n",T,PT)
case("pt_sharegpt","d.json",json.dumps([{"conversations":[h("a"),g("b")]}]),SG,PT)
model, target = os.path.abspath(sys.argv[1]), sys.argv[2]
cases = []
for name, file, data, entry, conf in C:
    with tempfile.TemporaryDirectory() as d:
        open(f"{d}/{file}", "wb").write(data)
        json.dump({"d": {"file_name": file, **entry}}, open(f"{d}/dataset_info.json", "w"))
        conf = {"stage": "sft", "template": "qwen3_nothink"} | conf
        c = dict(model_name_or_path=model, dataset="d", dataset_dir=d, cutoff_len=512, do_train=True, finetuning_type="lora", output_dir=f"{d}/out") | conf
        shutil.rmtree(f"{os.environ['HF_HOME']}/datasets", ignore_errors=True)
        try: rows = upstream(c)
        except BaseException: rows = None
        cases.append(dict(name=name, file=file, bytes=base64.b64encode(data).decode(), entry=entry, conf=conf, rows=rows))
with open(target, "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")
print(len(cases), "cases,", sum(c["rows"] is None for c in cases), "of which upstream fails on")
