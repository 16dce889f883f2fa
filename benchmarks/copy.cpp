// The limits: what moving the same bytes costs, and nothing else. Compiled for the machine it runs on.

#include <immintrin.h>

#include <array>
#include <memory>

#include "pool.hpp"
#include "workload.hpp"

namespace benchmarks {
namespace {

#if defined(__AVX512F__)
using Register = __m512;
Register load(const float* p) { return _mm512_loadu_ps(p); }
Register add(Register a, Register b) { return _mm512_add_ps(a, b); }
void store(float* p, Register a) { _mm512_storeu_ps(p, a); }
void stream(float* p, Register a) { _mm512_stream_ps(p, a); }
#elif defined(__AVX__)
using Register = __m256;
Register load(const float* p) { return _mm256_loadu_ps(p); }
Register add(Register a, Register b) { return _mm256_add_ps(a, b); }
void store(float* p, Register a) { _mm256_storeu_ps(p, a); }
void stream(float* p, Register a) { _mm256_stream_ps(p, a); }
#else
using Register = __m128;
Register load(const float* p) { return _mm_loadu_ps(p); }
Register add(Register a, Register b) { return _mm_add_ps(a, b); }
void store(float* p, Register a) { _mm_storeu_ps(p, a); }
void stream(float* p, Register a) { _mm_stream_ps(p, a); }
#endif
constexpr std::int64_t width = sizeof(Register) / sizeof(float);

/// The tensors that a call has to read, and to write.
template <std::size_t Reads, std::size_t Writes>
struct Tensors {
  std::array<const float*, Reads> in;
  std::array<float*, Writes> out;
};

template <std::size_t Reads, std::size_t Writes>
void move(const Tensors<Reads, Writes>& t, bool streams, std::int64_t first, std::int64_t last) {
  std::int64_t i = first;
  for (; i + width <= last; i += width) {
    Register sum = load(t.in[0] + i);
    for (std::size_t k = 1; k < Reads; ++k) sum = add(sum, load(t.in[k] + i));
    for (std::size_t k = 0; k < Writes; ++k) streams ? stream(t.out[k] + i, sum) : store(t.out[k] + i, sum);
  }
  for (; i < last; ++i) {
    float sum = t.in[0][i];
    for (std::size_t k = 1; k < Reads; ++k) sum += t.in[k][i];
    for (std::size_t k = 0; k < Writes; ++k) t.out[k][i] = sum;
  }
  if (streams) _mm_sfence();
}

/// `tensors` finds them among the buffers.
template <typename Find>
Work make(const Workload& workload, int threads, bool streams, Find tensors) {
  const auto pool = std::make_shared<Pool>(threads);
  const std::int64_t size = workload.size();
  return [=](const Buffers& b) {
    const auto t = tensors(b);
    pool->split(size, 16, [&](std::int64_t first, std::int64_t last) { move(t, streams, first, last); });
  };
}

Work make(const Workload& workload, Pass pass, int threads, bool streams) {
  const auto with = [&](auto tensors) { return make(workload, threads, streams, tensors); };
  const bool backward = pass == Pass::backward;
  if (workload.extra == Extra::added && backward)
    return with([](const Buffers& b) { return Tensors<3, 1>{{b.x, b.dy, b.residual}, {b.y}}; });
  if (workload.extra == Extra::added)
    return with([](const Buffers& b) { return Tensors<2, 2>{{b.x, b.residual}, {b.y, b.second_result}}; });
  if (workload.has_residual() && backward)
    return with([](const Buffers& b) { return Tensors<3, 2>{{b.x, b.dy, b.residual}, {b.y, b.second_result}}; });
  if (workload.has_residual()) return with([](const Buffers& b) { return Tensors<2, 1>{{b.x, b.residual}, {b.y}}; });
  if (backward) return with([](const Buffers& b) { return Tensors<2, 1>{{b.x, b.dy}, {b.y}}; });
  return with([](const Buffers& b) { return Tensors<1, 1>{{b.x}, {b.y}}; });
}

}  // namespace

Work copy(const Workload& workload, Pass pass, int threads) { return make(workload, pass, threads, false); }
Work copy_streamed(const Workload& workload, Pass pass, int threads) { return make(workload, pass, threads, true); }

}  // namespace benchmarks
