// What libFuzzer calls. Each input is a short program of calls (api/session.hpp).

#ifndef EIGEN_USE_THREADS
#define EIGEN_USE_THREADS
#endif
#include <cstddef>
#include <cstdint>
#include <cstdio>

#include "api/count.hpp"
#include "api/session.hpp"
#include "replay.hpp"

namespace {

/// How many calls there were, in the end.
struct Account {
  Account() = default;
  Account(const Account&) = delete;
  Account& operator=(const Account&) = delete;
  ~Account() {
    std::fprintf(stderr, "%llu calls accepted, %llu refused\n",
                 static_cast<unsigned long long>(fuzz::call_count.accepted),
                 static_cast<unsigned long long>(fuzz::call_count.refused));
  }
};
const Account account;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Bytes bytes(data, size);
  switch (bytes.below(4)) {
    case 0:
      fuzz::Session<Eigen::half>(bytes).run();
      break;
    case 1:
      fuzz::Session<double>(bytes).run();
      break;
    default:
      fuzz::Session<float>(bytes).run();
  }
  return 0;
}

bool has_tested(std::size_t inputs) {
  // Programs that call nothing, or are only refused, test nothing.
  return fuzz::call_count.accepted > 10 * inputs && fuzz::call_count.refused > inputs;
}
