// experts.cuh: what the products of all experts in one launch share (experts.go): which expert
// a block works for, and where that expert's matrices are.
#pragma once
#include "../dev/cuda.cuh"

constexpr int most_experts = 224;  // of a launch, whose parameters are 4 KiB at most
constexpr int list_rows = 128;     // of an entry of the list of tiles

template <class Problem> struct experts {
  Problem p;           // without what differs from expert to expert
  const int* offsets;  // expert e has rows offsets[e] to offsets[e + 1]
  const int* tiles;    // an expert and a first row for every tile of list_rows; expert -1: none
  int first, count;    // the launch's experts
  void* own[most_experts];    // NN, NT: their B; TN: their C
  void* other[most_experts];  // their L
};

// expert_of is the launch's number of the expert of an entry of the list, negative if the
// launch does not compute it.
template <class Problem> DEV int expert_of(const experts<Problem>& x, int entry) {
  const int e = x.tiles[2 * entry] - x.first;
  return e < x.count ? e : -1;
}
