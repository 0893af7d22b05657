#!/bin/sh
# An example of a selector: rows in the order of their losses, the easiest first, continuing
# with every update. Any language will do: one JSON line comes in, one goes out.
while read -r line; do
	n=$(printf '%s' "$line" | sed 's/.*"num_samples":\([0-9]*\).*/\1/')
	update=$(printf '%s' "$line" | sed 's/.*"update":\([0-9]*\).*/\1/')
	picked=$(printf '%s' "$line" | sed 's/.*"losses":\[\([^]]*\)\].*/\1/' | tr ',' '\n' |
		awk '$1 != "null" { print $1, NR - 1 }' | sort -g | cut -d ' ' -f 2 |
		awk -v n="$n" -v u="$update" '{ row[NR - 1] = $1 } END { for (i = 0; i < n; i++) print row[((u - 1) * n + i) % NR] }' | paste -s -d , -)
	printf '{"indices":[%s]}\n' "$picked"
done
