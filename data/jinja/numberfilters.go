package jinja

import (
	"math"
	"strconv"
	"strings"
)

func round(_ *renderer, v any, a called) any {
	n, ok := number(v)
	if !ok {
		if attr := text(a.get(1, "method", "common")); attr != "common" {
			refuse(v)
		}
		raise("TypeError", "type %s doesn't define __round__ method", typeName(v))
	}
	digits, _ := number(a.get(0, "precision", int64(0)))
	scale := math.Pow(10, asFloat(digits))
	switch text(a.get(1, "method", "common")) {
	case "ceil":
		return math.Ceil(asFloat(n)*scale) / scale
	case "floor":
		return math.Floor(asFloat(n)*scale) / scale
	}
	if i, whole := n.(int64); whole && asFloat(digits) >= 0 {
		return i
	}
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(asFloat(n), 'f', int(max(asFloat(digits), 0)), 64), 64)
	return rounded
}

func toInt(_ *renderer, v any, a called) any {
	refuse(v)
	fallback := a.get(0, "default", int64(0))
	if n, ok := number(v); ok {
		if f := asFloat(n); math.IsNaN(f) || math.Abs(f) >= 1<<63 {
			return fallback
		}
		if i, whole := n.(int64); whole {
			return i
		}
		return int64(n.(float64))
	}
	s, ok := asString(v)
	if !ok {
		return fallback
	}
	s = strings.TrimSpace(s)
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return i
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
		return int64(f)
	}
	return fallback
}

func toFloat(_ *renderer, v any, a called) any {
	refuse(v)
	if n, ok := number(v); ok {
		return asFloat(n)
	}
	if s, ok := asString(v); ok {
		if f, err := strconv.ParseFloat(strings.TrimSpace(s), 64); err == nil {
			return f
		}
	}
	return a.get(0, "default", 0.0)
}
