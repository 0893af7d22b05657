#!/bin/sh
# A weighter of your own: a row counts as much as it has labelled tokens.
while read -r line; do
	weights=$(printf '%s' "$line" | tr '{' '\n' | sed -n 's/.*"labels":\([0-9]*\).*/\1/p' | paste -s -d , -)
	printf '{"weights":[%s]}\n' "$weights"
done
