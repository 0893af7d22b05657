const {Tokenizer}=require('tokenizers');const fs=require('fs');
const dir=process.argv[2], texts=JSON.parse(fs.readFileSync(process.argv[3])), out=process.argv[4];
(async()=>{
 const t=Tokenizer.fromFile? Tokenizer.fromFile(dir+'/tokenizer.json'):null;
 let o='';
 for(const s of texts){ const e=await t.encode(s,null,{addSpecialTokens:false}); const ids=e.getIds(); const e2=await t.encode(s,null,{addSpecialTokens:true});
  const d=await t.decode(ids,false), d2=await t.decode(e2.getIds(),true);
  o+=JSON.stringify({text:s,ids,ids_with_special:e2.getIds(),decoded_with_special:d,decoded_without_special:d2})+'\n'; }
 fs.writeFileSync(out,o);
})();
