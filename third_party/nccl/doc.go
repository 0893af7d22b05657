// Package nccl opens NVIDIA's NCCL at run time: building and starting need neither NCCL nor
// CUDA. It binds calls and decides nothing: driver/nccl does. Communicators do not block: a
// call returns when it is queued or begun, Busy says whether it still begins, and Abort ends
// what a peer never answers.
//
// The header is our own; abicheck holds it against NVIDIA's. Without cgo the package is empty.
package nccl
