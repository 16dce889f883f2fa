#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "eigennorm/core/written_once.hpp"

/// \file
/// What running statistics remember of the first evaluation since they changed: of one sample, to find 1 / sigma takes
/// several times as long as to use it.

namespace eigennorm::core {

/// 1 / sigma of means and variances that were found to be good, with copies of those and of eps: whoever writes to
/// running statistics need not tell, because these are compared. The first evaluation leaves them (see WrittenOnce).
template <typename Scalar>
class KnownRoots {
 public:
  /// All its room, because evaluate allocates nothing.
  explicit KnownRoots(std::int64_t features) : kept_(3 * static_cast<std::size_t>(features)) {}
  // A copy will be changed: it finds its own.
  KnownRoots(const KnownRoots& other) : kept_(other.kept_.size()) {}
  KnownRoots(KnownRoots&& other) noexcept : kept_(std::move(other.kept_)) { other.forget(); }
  KnownRoots& operator=(const KnownRoots& other) {
    forget();
    kept_.resize(other.kept_.size());
    return *this;
  }
  KnownRoots& operator=(KnownRoots&& other) noexcept {
    forget();
    other.forget();
    if (this != &other) kept_ = std::move(other.kept_);
    return *this;
  }
  ~KnownRoots() = default;

  /// Null: not of these, so many each.
  const Scalar* find(const Scalar* mean, const Scalar* variance, std::int64_t n, double eps) const {
    if (!roots_.is_there() || !has_room(n) || eps != eps_) return nullptr;
    const auto bytes = static_cast<std::size_t>(n) * sizeof(Scalar);
    const bool same = std::memcmp(mean, at(0, n), bytes) == 0 && std::memcmp(variance, at(1, n), bytes) == 0;
    return same ? at(2, n) : nullptr;
  }

  /// Keeps what `roots(variance, n, rstd)` finds; null where others do or did.
  template <typename Roots>
  const Scalar* keep(const Scalar* mean, const Scalar* variance, std::int64_t n, double eps, const Roots& roots) const {
    const bool kept = has_room(n) && roots_.try_write([&] {
      std::copy(mean, mean + n, at(0, n));
      std::copy(variance, variance + n, at(1, n));
      roots(variance, n, at(2, n));
      eps_ = eps;
    });
    return kept ? at(2, n) : nullptr;
  }

  /// For whoever alone holds them.
  void forget() { roots_.forget(); }

 private:
  bool has_room(std::int64_t n) const { return kept_.size() == 3 * static_cast<std::size_t>(n); }
  Scalar* at(std::int64_t which, std::int64_t n) const { return kept_.data() + which * n; }

  mutable std::vector<Scalar> kept_;  // means, variances and roots
  mutable double eps_ = 0;
  mutable WrittenOnce roots_;
};

}  // namespace eigennorm::core
