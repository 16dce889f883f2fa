// The limits: what moving the same bytes costs, and nothing else. Compiled for the machine it runs on.

#include <immintrin.h>

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

void move(const Buffers& b, bool adds, bool streams, std::int64_t first, std::int64_t last) {
  std::int64_t i = first;
  if (adds) {
    for (; i + width <= last; i += width) {
      const Register sum = add(load(b.x + i), load(b.dy + i));
      streams ? stream(b.y + i, sum) : store(b.y + i, sum);
    }
  } else {
    for (; i + width <= last; i += width) {
      streams ? stream(b.y + i, load(b.x + i)) : store(b.y + i, load(b.x + i));
    }
  }
  for (; i < last; ++i) b.y[i] = adds ? b.x[i] + b.dy[i] : b.x[i];
  if (streams) _mm_sfence();
}

Work make(const Workload& workload, Pass pass, int threads, bool streams) {
  const auto pool = std::make_shared<Pool>(threads);
  const std::int64_t size = workload.size();
  const bool adds = pass == Pass::backward;
  return [=](const Buffers& b) {
    pool->split(size, 16, [&](std::int64_t first, std::int64_t last) { move(b, adds, streams, first, last); });
  };
}

}  // namespace

Work copy(const Workload& workload, Pass pass, int threads) { return make(workload, pass, threads, false); }
Work copy_streamed(const Workload& workload, Pass pass, int threads) { return make(workload, pass, threads, true); }

}  // namespace benchmarks
