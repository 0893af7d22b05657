// Package protoimpl is imported by parquet-go's tests alone; go mod tidy wants it to exist.
package protoimpl
