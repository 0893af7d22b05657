import pyarrow as pa, pyarrow.parquet as pq, json
# small fixtures for data/dataset/testdata: nested list<struct>, nulls, empty lists, several row groups, codecs
rows=[{"conversations":[{"from":"human","value":"Hi — \u4f60\u597d"},{"from":"gpt","value":"Hello\n\"you\""}],"system":None,"n":1,"blob":b"\xff\x00"},
      {"conversations":[],"system":"be brief","n":2,"blob":None},
      {"conversations":None,"system":"","n":3,"blob":b"a"},
      {"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":None},{"from":"human","value":"c"},{"from":"gpt","value":"d"}],"system":None,"n":None,"blob":b""},
      {"conversations":[{"from":"human","value":"x"*20},{"from":"gpt","value":"y"}],"system":None,"n":5,"blob":b"z"}]
s=pa.schema([("n",pa.int64()),("conversations",pa.list_(pa.struct([("from",pa.string()),("value",pa.string())]))),("blob",pa.binary()),("system",pa.string())])
pq.write_table(pa.Table.from_pylist(rows,schema=s),"sharegpt.parquet",compression="zstd",row_group_size=2)
al=[{"instruction":f"add {i}","input":None if i%3 else "","output":str(i*2),"history":[["q1","a1"],["q2","a2"]][:i%3] or None,"score":i/2} for i in range(7)]
s2=pa.schema([("instruction",pa.string()),("input",pa.string()),("output",pa.large_string()),("history",pa.list_(pa.list_(pa.string()))),("score",pa.float32())])
pq.write_table(pa.Table.from_pylist(al,schema=s2),"alpaca.parquet",compression="snappy",data_page_version="2.0",use_dictionary=["output"])
