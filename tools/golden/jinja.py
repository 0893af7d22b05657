"""Writes data/jinja/testdata/rendered.json: what Jinja 3.1 in an immutable sandbox, set up as transformers sets
it up, makes of small templates of our own. Usage: python tools/golden/jinja.py data/jinja/testdata"""
import json, os, sys
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
import jinja2.ext

V = {"m": [{"role": "user", "content": "Hi \"you\" & <b>"}, {"role": "assistant", "content": None, "calls": [{"name": "f", "arguments": {"b": 1, "a": [1.5, True, None, "é"]}}]}],
     "n": 7, "f": 2.0, "s": "  Straße, ab  c\n", "d": {"items": 3, "b": "x", "A": "y", "k": {"z": 1}}, "e": [], "t": True, "none": None, "words": ["b", "A", "c", "b"]}
templates = ["{{ n }} {{ f }} {{ t }} {{ none }} {{ m[1].content }} {{ nope }} {{ d }} {{ words }} {{ m[1].calls }}", "{{ n / 2 }} {{ n // 2 }} {{ -n // 2 }} {{ n % 4 }} {{ -n % 4 }} {{ 2 ** 10 }} {{ 7.5 // 2 }} {{ 1e3 }} {{ 10 / 5 }}",
 "{% for x in words %}{{ loop.index }}{{ loop.first }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.revindex0 }}{{ x }}{% if not loop.last %}, {% endif %}{% else %}none{% endfor %}",
 "{% for x in e %}a{% else %}empty{% endfor %}{% for k, v in d|dictsort %}{{ k }}={{ v }};{% endfor %}{% for k, v in d.k.items() %}{{ k }}{{ v }}{% endfor %}{{ d['items'] }}",
 "{% set x = 1 %}{% for i in range(3) %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}{% set ns = namespace(x=1) %}{% for i in range(3) %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
 "  {% if t %}\n    a\n  {%- endif %}\n\n  {# c #}\n b {#- d -#}  \n {%+ if t %}x{% endif +%}\n y\n", "{% macro f(a, b=2, *c) %}no{% endmacro %}", "{% macro f(a, b=a) %}[{{ a }}{{ b }}{{ varargs }}{{ kwargs }}]{% endmacro %}{{ f(1) }}{{ f(1, 3, 4, z=5) }}{{ f(b=1) }}",
 "{{ m | tojson }}{{ m[1] | tojson(indent=2) }}{{ d | tojson(separators=(',', ':')) }}{{ d | tojson(sort_keys=true) }}", "{{ s | trim }}|{{ s.strip() }}|{{ s.split() }}|{{ s.split(',', 1) }}|{{ s.upper() }}|{{ s | title }}|{{ s.title() }}|{{ s | capitalize }}|{{ s | length }}|{{ s[2:8:2] }}|{{ s[::-1] }}|{{ s[-3] }}",
 "{{ words | sort | join(',') }} {{ words | unique | list }} {{ words | first }} {{ words | last }} {{ words | map('upper') | join }} {{ words | select('equalto', 'b') | list }} {{ words | reject('in', ['b']) | list }} {{ words | reverse | list }} {{ words | max }} {{ m | map(attribute='role') | list }} {{ m | selectattr('content') | list | length }} {{ m | selectattr('role', 'eq', 'user') | list | length }} {{ m | rejectattr('content', 'none') | list | length }}",
 "{{ x is defined }} {{ n is number }} {{ s is string }} {{ d is mapping }} {{ words is sequence }} {{ s is iterable }} {{ none is none }} {{ n is odd }} {{ n is divisibleby 7 }} {{ n is not even }} {{ t is boolean }} {{ f is float }} {{ t is true }} {{ n is sameas 7 }} {{ 'a' is in 'abc' }} {{ d is sequence }} {{ x is sequence }}",
 "{{ 'a' in 'abc' }} {{ 'items' in d }} {{ 1 in [1.0] }} {{ not t }} {{ t and n }} {{ e or 'x' }} {{ 1 < 2 < 3 }} {{ 1 == true }} {{ 'a' 'b' ~ 1 ~ none ~ nope }} {{ 'x' if nope }} {{ 'x' if nope else 'y' }} {{ n if t else 1 if f else 2 }} {{ [1, 2] + [3] }} {{ 'ab' * 2 }} {{ '%s-%d' % ('a', 3) }} {{ (1,) }} {{ (1, 2)[1] }} {{ {'a': 1}.a }}",
 "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c %}{{ a }}x {% endset %}[{{ c }}]{% set g | upper %}q{{ b }}{% endset %}{{ g }}{% with z = 3 %}{{ z }}{% endwith %}{{ z }}{% filter upper %}abc{{ n }}{% endfilter %}{% raw %}{{ x }}{% endraw %}",
 "{% for i in range(9) if i % 2 %}{% if i == 5 %}{% continue %}{% elif i > 6 %}{% break %}{% endif %}{{ i }}{{ loop.length }}{% endfor %}", "{{ nope.x }}", "{{ nope + 1 }}", "{{ n.foo.bar }}", "{{ words.append('x') }}", "{{ d.update({}) }}", "{{ none | join }}", "{{ 1 + 'a' }}", "{% set x.y = 1 %}", "{{ nope() }}", "{{ n | nofilter }}", "{% if %}", "{{ range(200000) }}", "{{ 1 // 0 }}",
 "{{ '1.5' | float }} {{ '3x' | int }} {{ '42' | int + 1 }} {{ 3.7 | int }} {{ 2.567 | round(1) }} {{ n | string ~ 'a' }} {{ words | join(', ') | replace('b', 'B', 1) }} {{ nope | default('d') }} {{ '' | default('d', true) }} {{ 'a\\nb' | indent(2) }} {{ -3 | abs }} {{ [1, 2, 3] | sum }} {{ d | items | list }} {{ d | length }} {{ 'x' | e }} {{ '<' | e }} {{ ('<' | safe) + '<' }}",
 "{{ m[0]['content'].startswith('Hi') }} {{ 'abc'.find('c') }} {{ 'a,b,,c'.split(',') }} {{ 'abcabc'.rsplit('b', 1) }} {{ 'x'.join(['a', 'b']) }} {{ 'abc'.replace('b', '') }} {{ '<think>a</think>b'.split('</think>')[-1].lstrip('\\n') }} {{ 'aXb'.lower() }} {{ d.get('q', 'no') }} {{ d.get('q') }} {{ d.keys() | list }} {{ 'a-b'.partition('-') }} {{ '{} {}'.format(1, 'x') }} {{ '007'.isdigit() }} {{ 'ab\\ncd'.splitlines() }} {{ '7'.zfill(3) }}",
 "{%- call(x) f() %}in {{ x }}{% endcall %}{% macro g() %}<{{ caller(5) }}>{% endmacro %}", "{% macro g() %}<{{ caller(5) }}>{% endmacro %}{% call(x) g() %}in {{ x }}{% endcall %}{{ [1,2,3][1:] }}{{ [1,2,3][-1:] }}{{ (words | list)[:-1] }}{{ words[5] }}{{ words[5] is undefined }}", "{{ joiner('|')() }}{{ dict(a=1, b=2) }}", "{{ 'a' \n if t \n else 'b' }}\r\n{{ 'tab\\t\\x41\\u00e9' }}"]
env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
env.filters["tojson"] = lambda x, ensure_ascii=False, indent=None, separators=None, sort_keys=False: json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
out = []
for t in templates:
    try: out.append({"template": t, "text": env.from_string(t).render(**V)})
    except Exception as e: out.append({"template": t, "error": type(e).__name__})
json.dump({"variables": V, "cases": out}, open(os.path.join(sys.argv[1], "rendered.json"), "w"), indent=1)
