#!/bin/sh
# An example of a weighter: a row's weight is the number of its labelled tokens.
while read -r line; do
	weights=$(printf '%s' "$line" | tr '{' '\n' | sed -n 's/.*"labels":\([0-9]*\).*/\1/p' | paste -s -d , -)
	printf '{"weights":[%s]}\n' "$weights"
done
