// Decode attention over a paged KV cache: each lane's new K is rotated and written with its V, and its query heads
// attend to everything before and to it. One launch a layer.
//
// A block has one piece of one lane (`Piece`) and one KV head. Its warps take tiles of tokens in turn, each with copies of
// its own under way and results of its own, so that none waits for another before the end. Scores are computed with a
// tile's tokens as rows and the query heads that share the KV head as columns (mma.m16n8k16): there are rarely more than
// eight. Of a lane in several pieces, the block that is last to finish adds the sums up, in the order of the pieces: what
// comes out depends neither on which that is, nor on how many SMs there are.
//
// The compiler's command line gives DTYPE, DIM (head dimension), KV_HEADS and GROUP (query heads that share a KV head).

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "tvm_ffi_utils.h"

namespace {

using T = DTYPE;

struct alignas(16) Piece {  // one row of the array `pieces`, written by `WorkList`
  int lane;      // -1: of nobody
  int position;  // of the lane's new token
  int begin;     // the piece's first token
  int end;       // the first that is not the piece's, the new one not counted
  int slot;      // of its results, among those of all pieces
  int first;     // the slot of the lane's first piece
  int count;     // of the lane's pieces; the last of them has the new token
  int unused;
};

struct Step {
  const T *q, *k, *v;       // rows of the lanes, `*_row` elements apart
  T *kv;                    // [pages, 2, page_size, KV_HEADS, DIM]
  T *out;                   // [lanes, KV_HEADS * GROUP, DIM]
  const float *cos_sin;     // [positions, DIM]: cosines, then sines
  const int *tables;        // [lanes, table_pages]
  const Piece *pieces;
  float *sums;              // [pieces, KV_HEADS, GROUP, DIM]
  float2 *states;           // [pieces, KV_HEADS, GROUP]: what weights are relative to, and their sum
  int *arrived;             // [lanes, KV_HEADS], all 0 before and after
  int64_t q_row, k_row, v_row;
  int table_pages, page_size;
  float scale;              // of scores, times log2(e)
};

constexpr int kHalf = DIM / 2;
constexpr int kTile = 16;         // tokens
constexpr int kSteps = DIM / 16;  // of a product over the head dimension; also tiles of 16 dimensions
constexpr int kColumns = (GROUP + 7) / 8 * 8;
constexpr int kColumnTiles = kColumns / 8;
constexpr int kChunks = DIM * 2 / 16;  // of 16 bytes in a row
constexpr int kRowsAtOnce = 32 / kChunks;
constexpr int64_t kRow = KV_HEADS * DIM;  // from a token to the next; V is a page of them behind K
constexpr int kTileBytes = kTile * DIM * 2;
constexpr int kStageBytes = 2 * kTileBytes;
constexpr int kSumRow = DIM + 4;  // so that threads write to different banks
constexpr float kGrowth = 8.f;  // in powers of 2: how far scores may exceed what weights are relative to
constexpr unsigned kAll = 0xffffffffu;

// How a block is made: its warps, and tiles of each in shared memory.
template <int WARPS, int STAGES>
struct Block {
  static constexpr int kWarps = WARPS, kStages = STAGES, kThreads = 32 * WARPS;
  static constexpr int kAdvance = WARPS * kTile;  // tokens, from a warp's tile to its next
  static constexpr int kMergeBytes = WARPS * kColumns * (kSumRow + 2) * 4;
  static constexpr int kSharedBytes = std::max(WARPS * STAGES * kStageBytes, kMergeBytes);
  static constexpr int kMostPieces = kSharedBytes / (4 * GROUP);  // of a lane: a weight of each is put there
};
using Narrow = Block<3, 2>;  // four on an SM: the more warps, the better few SMs are used
using Wide = Block<8, 3>;    // where there are fewer blocks than SMs
constexpr int kFewBlocks = 272;  // of all pieces and heads, those of nobody with them: one or two lanes of most models

__device__ __forceinline__ void copy_async(uint32_t to, const void *from, int bytes) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes));
}

__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;"); }

template <int LEFT>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

// After this, what the kernel before has written may be read.
__device__ __forceinline__ void wait_for_the_kernel_before() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ __forceinline__ void let_the_next_kernel_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

__device__ __forceinline__ void load_matrices(uint32_t (&m)[4], uint32_t at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(at));
}

__device__ __forceinline__ void load_transposed(uint32_t (&m)[4], uint32_t at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(at));
}

__device__ __forceinline__ uint32_t transposed(uint32_t m) {
  uint32_t result;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(m));
  return result;
}

__device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], nv_bfloat16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], half) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ float as_float(nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float as_float(half x) { return __half2float(x); }
__device__ __forceinline__ void round_to(nv_bfloat16 &to, float x) { to = __float2bfloat16_rn(x); }
__device__ __forceinline__ void round_to(half &to, float x) { to = __float2half_rn(x); }

union Pair {
  uint32_t bits;
  T values[2];
};

__device__ __forceinline__ uint32_t packed(float low, float high) {
  Pair pair;
  round_to(pair.values[0], low);
  round_to(pair.values[1], high);
  return pair.bits;
}

__device__ __forceinline__ float greatest_in_warp(float x) {
#pragma unroll
  for (int apart = 1; apart < 32; apart *= 2) x = fmaxf(x, __shfl_xor_sync(kAll, x, apart));
  return x;
}

__device__ __forceinline__ float sum_in_warp(float x) {
#pragma unroll
  for (int apart = 1; apart < 32; apart *= 2) x += __shfl_xor_sync(kAll, x, apart);
  return x;
}

// Two neighbouring numbers of a head's first half, and those of its second half that turn with them.
__device__ __forceinline__ void rotate(uint32_t &first, uint32_t &second, const float *cos_sin, int dim) {
  const Pair x{first}, y{second};
  const float2 cosine = *reinterpret_cast<const float2 *>(cos_sin + dim);
  const float2 sine = *reinterpret_cast<const float2 *>(cos_sin + kHalf + dim);
  const float x0 = as_float(x.values[0]), x1 = as_float(x.values[1]);
  const float y0 = as_float(y.values[0]), y1 = as_float(y.values[1]);
  first = packed(x0 * cosine.x - y0 * sine.x, x1 * cosine.y - y1 * sine.y);
  second = packed(y0 * cosine.x + x0 * sine.x, y1 * cosine.y + x1 * sine.y);
}

// The query heads of a KV head as columns of a product: of each eight this thread has head g (lane of the warp / 4).
using Queries = uint32_t[kSteps][kColumnTiles][2];

__device__ __forceinline__ void load_queries(Queries &q, const T *heads, const float *cos_sin) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
  for (int n = 0; n < kColumnTiles; ++n)
#pragma unroll
    for (int s = 0; s < kSteps / 2; ++s)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int dim = 16 * s + 8 * i + 2 * t;
        uint32_t first = 0, second = 0;
        if (n * 8 + g < GROUP) {
          const T *head = heads + (n * 8 + g) * DIM;
          first = *reinterpret_cast<const uint32_t *>(head + dim);
          second = *reinterpret_cast<const uint32_t *>(head + kHalf + dim);
          rotate(first, second, cos_sin, dim);
        }
        q[s][n][i] = first;
        q[s + kSteps / 2][n][i] = second;
      }
}

// What a warp knows of its tokens so far. This thread has columns 2t and 2t + 1 of each eight (t: lane % 4), and of
// sixteen rows g and g + 8.
struct Sums {
  float best[kColumnTiles][2];              // what weights are relative to: no score exceeded it by more than kGrowth
  float total[kColumnTiles][2];             // of weights; this thread's share until `share_totals`
  float weighted[kSteps][kColumnTiles][4];  // sums of V, dimensions as rows

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) {
      best[n][0] = best[n][1] = -INFINITY;
      total[n][0] = total[n][1] = 0.f;
#pragma unroll
      for (int m = 0; m < kSteps; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i) weighted[m][n][i] = 0.f;
    }
  }

  // Weights are relative to the greatest score from now on.
  __device__ __forceinline__ void rise(const float (&scores)[kColumnTiles][4]) {
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float greatest = fmaxf(best[n][i], fmaxf(scores[n][i], scores[n][i + 2]));
#pragma unroll
        for (int apart = 4; apart < 32; apart *= 2) greatest = fmaxf(greatest, __shfl_xor_sync(kAll, greatest, apart));
        const float shrink = exp2f(best[n][i] - greatest);
        best[n][i] = greatest;
        total[n][i] *= shrink;
#pragma unroll
        for (int m = 0; m < kSteps; ++m) {
          weighted[m][n][i] *= shrink;
          weighted[m][n][i + 2] *= shrink;
        }
      }
  }

  __device__ __forceinline__ void share_totals() {
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int apart = 4; apart < 32; apart *= 2) total[n][i] += __shfl_xor_sync(kAll, total[n][i], apart);
  }
};

// A warp writes the new token's K, rotated, and V to their page, and attends to it: weight 1.
__device__ __forceinline__ void begin_with_new_token(Sums &sums, const Queries &q, const T *k, const T *v, T *k_cell,
                                                     T *v_cell, const float *cos_sin, float scale) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  float score[kColumnTiles] = {};
#pragma unroll
  for (int s = 0; s < kSteps / 2; ++s)
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int dim = 16 * s + 8 * i + 2 * t;
      Pair first{*reinterpret_cast<const uint32_t *>(k + dim)};
      Pair second{*reinterpret_cast<const uint32_t *>(k + kHalf + dim)};
      rotate(first.bits, second.bits, cos_sin, dim);
      if (g == 0) {
        *reinterpret_cast<uint32_t *>(k_cell + dim) = first.bits;
        *reinterpret_cast<uint32_t *>(k_cell + kHalf + dim) = second.bits;
        *reinterpret_cast<uint32_t *>(v_cell + dim) = *reinterpret_cast<const uint32_t *>(v + dim);
        *reinterpret_cast<uint32_t *>(v_cell + kHalf + dim) = *reinterpret_cast<const uint32_t *>(v + kHalf + dim);
      }
#pragma unroll
      for (int n = 0; n < kColumnTiles; ++n) {
        const Pair low{q[s][n][i]}, high{q[s + kSteps / 2][n][i]};
#pragma unroll
        for (int j = 0; j < 2; ++j)
          score[n] += as_float(low.values[j]) * as_float(first.values[j]) +
                      as_float(high.values[j]) * as_float(second.values[j]);
      }
    }
#pragma unroll
  for (int n = 0; n < kColumnTiles; ++n) {
    score[n] += __shfl_xor_sync(kAll, score[n], 1);
    score[n] += __shfl_xor_sync(kAll, score[n], 2);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      sums.best[n][i] = __shfl_sync(kAll, score[n], (2 * t + i) * 4) * scale;
      sums.total[n][i] = g == 0 ? 1.f : 0.f;
    }
#pragma unroll
    for (int m = 0; m < kSteps; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i) sums.weighted[m][n][i] = as_float(v[16 * m + g + i / 2 * 8]);
  }
}

// Row `token` of a tile in shared memory, of which `chunk` are 16 bytes: eight rows of a chunk are in different banks.
__device__ __forceinline__ uint32_t place(uint32_t tile, int token, int chunk) {
  return tile + token * DIM * 2 + (chunk ^ (token & 7)) * 16;
}

// Copies tiles of a lane's K and V for one KV head. RUN: of how many tokens it is known that one page has them, 16 or 1.
template <int RUN>
struct Tiles {
  static constexpr int kRuns = kTile / RUN;
  const T *kv_of_head;
  const int *table;
  int page_size, position;

  // Where in the KV cache the tile from `start` is, in rows: this thread knows it of run lane % kRuns.
  __device__ __forceinline__ int row_of_run(int start) const {
    const int token = min(start + static_cast<int>(threadIdx.x) % 32 % kRuns * RUN, position), at = token / page_size;
    return table[at] * 2 * page_size + token - at * page_size;
  }

  // Start copying. What is beyond `end` becomes 0.
  __device__ __forceinline__ void copy(uint32_t stage, int row, int start, int end) const {
    if (end - start >= kTile) {
      copy_rows<true>(stage, row, kTile);
    } else if (end > start) {
      copy_rows<false>(stage, row, end - start);
    }
  }

  template <bool IS_FULL>
  __device__ __forceinline__ void copy_rows(uint32_t stage, int row, int tokens) const {
    const int lane = threadIdx.x % 32, chunk = lane % kChunks;
    const T *mine = kv_of_head + (RUN == kTile ? row * kRow : 0) + chunk * 8;
#pragma unroll
    for (int i = 0; i < kTile / kRowsAtOnce; ++i) {
      const int token = i * kRowsAtOnce + lane / kChunks;
      const T *from = mine + (RUN == kTile ? token : __shfl_sync(kAll, row, token)) * kRow;
      const uint32_t to = place(stage, token, chunk);
      const int bytes = IS_FULL || token < tokens ? 16 : 0;
      copy_async(to, from, bytes);
      copy_async(to + kTileBytes, from + page_size * kRow, bytes);
    }
  }
};

// Attend to a tile in shared memory, of which the first `tokens` count.
__device__ __forceinline__ void attend_to_tile(Sums &sums, const Queries &q, uint32_t stage, int tokens, float scale) {
  const int lane = threadIdx.x % 32, g = lane / 4;
  float scores[kColumnTiles][4] = {}, others[kColumnTiles][4] = {};  // two short chains instead of a long one
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
    uint32_t k[4];
    load_matrices(k, place(stage, lane % 16, 2 * s + lane / 16));
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) multiply(s % 2 ? others[n] : scores[n], k, q[s][n], T{});
  }

  bool exceeds = false;
#pragma unroll
  for (int n = 0; n < kColumnTiles; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const bool counts = g + i / 2 * 8 < tokens;
      scores[n][i] = counts ? (scores[n][i] + others[n][i]) * scale : -INFINITY;
      exceeds |= scores[n][i] > sums.best[n][i % 2] + kGrowth;
    }
  if (__any_sync(kAll, exceeds)) sums.rise(scores);

  uint32_t weights[kColumnTiles][2];
#pragma unroll
  for (int n = 0; n < kColumnTiles; ++n) {
    float weight[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      weight[i] = exp2f(scores[n][i] - sums.best[n][i % 2]);
      sums.total[n][i % 2] += weight[i];
    }
    weights[n][0] = transposed(packed(weight[0], weight[1]));
    weights[n][1] = transposed(packed(weight[2], weight[3]));
  }

#pragma unroll
  for (int d = 0; d < kSteps; ++d) {
    uint32_t v[4];
    load_transposed(v, place(stage + kTileBytes, lane % 8 + lane / 16 * 8, 2 * d + lane / 8 % 2));
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) multiply(sums.weighted[d][n], v, weights[n], T{});
  }
}

// The block's own sum over its warps, to `out` if `is_whole`, else to `sums` and `states`. Uses all shared memory.
template <typename B>
__device__ __forceinline__ void join_warps(const Sums &mine, uint8_t *shared, bool is_whole, T *out, float *sums,
                                           float2 *states) {
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  float *weighted = reinterpret_cast<float *>(shared);                                   // [warps, kColumns, kSumRow]
  float2 *of_warps = reinterpret_cast<float2 *>(weighted + B::kWarps * kColumns * kSumRow);  // [warps, kColumns]
  __syncthreads();
#pragma unroll
  for (int n = 0; n < kColumnTiles; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = warp * kColumns + 8 * n + 2 * t + i % 2;
      if (i < 2 && g == 0) of_warps[row] = {mine.best[n][i], mine.total[n][i]};
#pragma unroll
      for (int m = 0; m < kSteps; ++m) weighted[row * kSumRow + 16 * m + g + i / 2 * 8] = mine.weighted[m][n][i];
    }
  __syncthreads();
  for (int i = threadIdx.x; i < GROUP * DIM; i += B::kThreads) {
    const int column = i / DIM, dim = i % DIM;
    float best = -INFINITY, total = 0.f, sum = 0.f;
#pragma unroll
    for (int w = 0; w < B::kWarps; ++w) best = fmaxf(best, of_warps[w * kColumns + column].x);
#pragma unroll
    for (int w = 0; w < B::kWarps; ++w) {
      const float weight = exp2f(of_warps[w * kColumns + column].x - best);
      total += of_warps[w * kColumns + column].y * weight;
      sum += weighted[(w * kColumns + column) * kSumRow + dim] * weight;
    }
    if (is_whole) {
      round_to(out[i], sum / total);
    } else {
      sums[i] = sum;
      if (dim == 0) states[column] = {best, total};
    }
  }
}

// True in one block of `count`: it sees what the others have written before. The counter is 0 again.
__device__ __forceinline__ bool is_last_to_arrive(int *counter, int count) {
  __shared__ int arrived;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) arrived = atomicAdd(counter, 1);
  __syncthreads();
  if (arrived != count - 1) return false;
  if (threadIdx.x == 0) *counter = 0;
  __threadfence();
  return true;
}

// The sum over a lane's pieces for one KV head, in their order. `weights`: shared memory, [GROUP, count].
template <typename B>
__device__ __forceinline__ void join_pieces(T *out, const float *sums, const float2 *states, int count, float *weights) {
  constexpr int64_t kPiece = KV_HEADS * GROUP;  // from a piece to the next
  const int lane = threadIdx.x % 32;
  for (int column = threadIdx.x / 32; column < GROUP; column += B::kWarps) {
    float best = -INFINITY, total = 0.f;
    for (int p = lane; p < count; p += 32) best = fmaxf(best, __ldcg(states + p * kPiece + column).x);
    best = greatest_in_warp(best);
    for (int p = lane; p < count; p += 32) {
      const float2 state = __ldcg(states + p * kPiece + column);
      weights[column * count + p] = exp2f(state.x - best);
      total += state.y * weights[column * count + p];
    }
    total = sum_in_warp(total);
    for (int p = lane; p < count; p += 32) weights[column * count + p] /= total;
  }
  __syncthreads();
  for (int i = threadIdx.x * 4; i < GROUP * DIM; i += B::kThreads * 4) {
    float4 sum = {};
#pragma unroll 8
    for (int p = 0; p < count; ++p) {
      const float4 part = __ldcg(reinterpret_cast<const float4 *>(sums + p * kPiece * DIM + i));
      const float weight = weights[i / DIM * count + p];
      sum.x += part.x * weight, sum.y += part.y * weight, sum.z += part.z * weight, sum.w += part.w * weight;
    }
    *reinterpret_cast<uint2 *>(out + i) = {packed(sum.x, sum.y), packed(sum.z, sum.w)};
  }
}

template <int RUN, typename B>
__global__ void __launch_bounds__(B::kThreads) attend(const __grid_constant__ Step step) {
  extern __shared__ __align__(128) uint8_t shared[];
  let_the_next_kernel_begin();
  const Piece piece = step.pieces[blockIdx.y];
  if (piece.lane < 0) return;
  const int head = blockIdx.x, warp = threadIdx.x / 32;
  const int *table = step.tables + static_cast<int64_t>(piece.lane) * step.table_pages;
  const Tiles<RUN> tiles{step.kv + head * DIM, table, step.page_size, piece.position};
  const uint32_t stages = static_cast<uint32_t>(__cvta_generic_to_shared(shared)) + warp * B::kStages * kStageBytes;

  // What earlier steps have written is there whatever the kernel before is doing.
  const int begin = piece.begin + warp * kTile;
  int ahead = begin;
#pragma unroll
  for (int i = 0; i < B::kStages - 1; ++i, ahead += B::kAdvance) {
    if (ahead < piece.end) tiles.copy(stages + i * kStageBytes, tiles.row_of_run(ahead), ahead, piece.end);
    commit_copies();
  }
  int row_ahead = tiles.row_of_run(ahead);
  const float *cos_sin = step.cos_sin + static_cast<int64_t>(piece.position) * DIM;
  wait_for_the_kernel_before();

  Queries q;
  load_queries(q, step.q + piece.lane * step.q_row + head * GROUP * DIM, cos_sin);
  Sums sums;
  if (warp == 0 && piece.slot == piece.first + piece.count - 1) {
    const int64_t page = table[piece.position / step.page_size];
    T *cell = step.kv + ((page * 2) * step.page_size + piece.position % step.page_size) * kRow + head * DIM;
    begin_with_new_token(sums, q, step.k + piece.lane * step.k_row + head * DIM,
                         step.v + piece.lane * step.v_row + head * DIM, cell, cell + step.page_size * kRow, cos_sin,
                         step.scale);
  } else {
    sums.clear();
  }

  int now = 0, next = B::kStages - 1;
  for (int start = begin; start < piece.end; start += B::kAdvance, ahead += B::kAdvance) {
    wait_for_copies<B::kStages - 2>();
    __syncwarp();
    tiles.copy(stages + next * kStageBytes, row_ahead, ahead, piece.end);
    commit_copies();
    row_ahead = tiles.row_of_run(ahead + B::kAdvance);
    attend_to_tile(sums, q, stages + now * kStageBytes, piece.end - start, step.scale);
    now = now + 1 == B::kStages ? 0 : now + 1;
    next = next + 1 == B::kStages ? 0 : next + 1;
  }
  wait_for_copies<0>();
  sums.share_totals();

  const int64_t mine = (static_cast<int64_t>(piece.slot) * KV_HEADS + head) * GROUP;
  const int64_t first = (static_cast<int64_t>(piece.first) * KV_HEADS + head) * GROUP;
  T *out = step.out + (static_cast<int64_t>(piece.lane) * KV_HEADS + head) * GROUP * DIM;
  join_warps<B>(sums, shared, piece.count == 1, out, step.sums + mine * DIM, step.states + mine);
  if (piece.count > 1 && is_last_to_arrive(step.arrived + piece.lane * KV_HEADS + head, piece.count))
    join_pieces<B>(out, step.sums + first * DIM, step.states + first, piece.count, reinterpret_cast<float *>(shared));
}

int device_attribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&value, attribute, device);
  return value;
}

template <int RUN, typename B>
void launch(const Step &step, int pieces, cudaStream_t stream) {
  static const cudaError_t allowed =
      cudaFuncSetAttribute(attend<RUN, B>, cudaFuncAttributeMaxDynamicSharedMemorySize, B::kSharedBytes);
  static const bool begins_early = device_attribute(cudaDevAttrComputeCapabilityMajor) >= 9;
  TVM_FFI_ICHECK(allowed == cudaSuccess) << "decode attention: " << cudaGetErrorString(allowed);
  TVM_FFI_ICHECK(pieces <= B::kMostPieces) << "decode attention: more than " << B::kMostPieces << " pieces";
  cudaLaunchAttribute early;
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(KV_HEADS, pieces);  // heads of a piece side by side: they read the same pages
  config.blockDim = dim3(B::kThreads);
  config.dynamicSmemBytes = B::kSharedBytes;
  config.stream = stream;
  config.attrs = &early;
  config.numAttrs = begins_early;
  const cudaError_t status = cudaLaunchKernelEx(&config, attend<RUN, B>, step);
  TVM_FFI_ICHECK(status == cudaSuccess) << "decode attention: " << cudaGetErrorString(status);
}

template <typename B>
void launch(const Step &step, int pieces, cudaStream_t stream) {
  // Pieces begin at whole tiles: a page of whole tiles has all of each.
  const auto launch_it = step.page_size % kTile == 0 ? launch<kTile, B> : launch<1, B>;
  launch_it(step, pieces, stream);
}

}  // namespace

void run(TensorView q, TensorView k, TensorView v, TensorView kv, TensorView out, TensorView cos_sin, TensorView tables,
         TensorView pieces, TensorView sums, TensorView states, TensorView arrived, double scale) {
  TVM_FFI_ICHECK(kv.size(3) == KV_HEADS && kv.size(4) == DIM && q.size(1) == KV_HEADS * GROUP);
  TVM_FFI_ICHECK(q.stride(1) == DIM && k.stride(1) == DIM && v.stride(1) == DIM);
  TVM_FFI_ICHECK(pieces.size(1) * 4 == sizeof(Piece));
  Step step;
  step.q = static_cast<const T *>(q.data_ptr());
  step.k = static_cast<const T *>(k.data_ptr());
  step.v = static_cast<const T *>(v.data_ptr());
  step.kv = static_cast<T *>(kv.data_ptr());
  step.out = static_cast<T *>(out.data_ptr());
  step.cos_sin = static_cast<const float *>(cos_sin.data_ptr());
  step.tables = static_cast<const int *>(tables.data_ptr());
  step.pieces = static_cast<const Piece *>(pieces.data_ptr());
  step.sums = static_cast<float *>(sums.data_ptr());
  step.states = static_cast<float2 *>(states.data_ptr());
  step.arrived = static_cast<int *>(arrived.data_ptr());
  step.q_row = q.stride(0);
  step.k_row = k.stride(0);
  step.v_row = v.stride(0);
  step.table_pages = tables.size(1);
  step.page_size = kv.size(2);
  step.scale = static_cast<float>(scale * 1.4426950408889634);
  ffi::CUDADeviceGuard device_guard(q.device().device_id);
  static const int shared = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  const bool is_wide = pieces.size(0) * KV_HEADS <= kFewBlocks && Wide::kSharedBytes + 1024 <= shared;
  const auto launch_it = is_wide ? launch<Wide> : launch<Narrow>;
  launch_it(step, pieces.size(0), get_stream(q.device()));
}

TVM_FFI_DLL_EXPORT_TYPED_FUNC(run, run);
