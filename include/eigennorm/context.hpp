#pragma once

#include <optional>
#include <type_traits>

#include "eigennorm/core/device.hpp"
#include "eigennorm/core/peers.hpp"
#include "eigennorm/moments.hpp"
#include "eigennorm/valid.hpp"

/// \file
/// What a call is given beside its tensors.

namespace eigennorm {

/// Where a call runs, and where it keeps its moments: a device, `{device}`, `{device, &moments}` or `{{}, &moments}`.
///
/// **A batch that is spread** over processes or threads: each member of `peers` makes the same call with its part of
/// the batch, any number of samples, none included. Statistics are those of the whole. Only calls talk whose groups
/// reach across samples (BatchNorm, MeanOnlyBatchNorm): `forward` and `evaluate` by the batch's statistics, and their
/// `backward`. Gradients of scale and shift are those of the member's own part: their sum over the members is yours to
/// make, with those of all other parameters. What is wrong on one member is an error on all, which names it. All
/// happens on the calling thread.
template <typename Scalar>
struct Context {
  Context() = default;
  Context(Device where, Moments<Scalar>* keep = nullptr)
      : device(where), moments(keep) {}  // NOLINT(google-explicit-constructor)
  template <typename Pool, typename = std::enable_if_t<std::is_convertible_v<const Pool&, Device>>>
  Context(const Pool& pool, Moments<Scalar>* keep = nullptr)
      : Context(Device(pool), keep) {}  // NOLINT(google-explicit-constructor)

  Device device;                       ///< default: the calling thread
  Moments<Scalar>* moments = nullptr;  ///< null: the layer's own
  Peers* peers = nullptr;              ///< null: the whole batch is here
  std::optional<Valid> valid;          ///< none: all positions are
};

}  // namespace eigennorm
