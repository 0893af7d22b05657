import random,json,sys
seed,n,out=int(sys.argv[1]),int(sys.argv[2]),sys.argv[3]
extra=sys.argv[4:]
r=random.Random(seed)
W=["The"," cat"," sat","the","It's","IT'S","we'lL","'ſ","you've","365","2024"," 1","12345"," ","  ","   ","\n","\n\n"," \n","\t","\r\n","\u00a0","\u2003",".","...","!!!!!!"," ,","?","Café","Cafe\u0301","Å","A\u030a","\u212b","\u2000","你好","世界","界界","ñ","Привет"," мир","🦙","👩‍👩‍👧","é","def"," main():","    print","ran","away","ignored"," ignored"," ignoredx","aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","今天天气很好"*20,"\u0000","\ufffd","\u0e01\u0e33","\U00010d40","\U0001e5d0","1️⃣","½","²","Ⅷ","_","a_b","-"]
W+=extra
T=["".join(r.choice(W) for _ in range(r.randint(1,14))) for _ in range(n)]
for _ in range(n//4):
    T.append("".join(chr(r.choice([r.randint(1,0x7f),r.randint(0xa0,0x24f),r.randint(0x300,0x36f),r.randint(0x400,0x1fff),r.randint(0x2000,0x206f),r.randint(0x3000,0x9fff),r.randint(0x10000,0x1ffff)])) for _ in range(r.randint(1,12))))
json.dump(T,open(out,"w"))
