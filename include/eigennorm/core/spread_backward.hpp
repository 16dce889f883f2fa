#pragma once

#include <algorithm>
#include <cstdint>

#include "eigennorm/core/backward.hpp"
#include "eigennorm/core/gradient.hpp"
#include "eigennorm/core/spread.hpp"

/// \file
/// The gradients of a batch that is spread over members: each sums its part, all merge the sums in member order.

#include "eigennorm/kernels/strict_begin.inl"

namespace eigennorm::core {

/// The sums of groups in a record.
template <typename Scalar>
GradientTotals<Scalar> gradients_in(Peers::Record& record, std::int64_t groups) {
  return GradientTotals<Scalar>(numbers_of<Wide<Scalar>>(record), groups);
}

/// Appends the sums of the members behind. Who has no values changes nothing.
template <typename Scalar>
[[gnu::cold]] void append_gradients(SpreadHeader& to, Peers::Record& record, const SpreadHeader& from,
                                    Peers::Record& next) {
  if (from.count == 0) return;
  const auto numbers = static_cast<std::int64_t>((record.size() - header_bytes) / sizeof(Wide<Scalar>));
  const std::int64_t groups = numbers / GradientTotals<Scalar>::room(1);
  const auto all = gradients_in<Scalar>(record, groups), more = gradients_in<Scalar>(next, groups);
  for (std::int64_t i = 0; i < groups; ++i) {
    GradientSums<Scalar> sum = more.get(i);
    if (to.count != 0) {
      sum = all.get(i);
      sum.add(more.get(i));
    }
    all.put(i, sum);
  }
  to.count += from.count;
}

/// The sums of this member's part, in a record, and those of its features. Returns how many values a group has here.
template <typename Storage, typename Scalar>
std::int64_t sum_part(BackwardCall<Storage, Scalar>& call, Peers::Record& record, const Device& device) {
  const std::int64_t groups = call.partition->groups.kept.size;
  make_record(record, GradientTotals<Scalar>::room(groups) * static_cast<std::int64_t>(sizeof(Wide<Scalar>)));
  if (call.partition->size == 0) return 0;
  call.half = Half::sums;
  call.all = gradients_in<Scalar>(record, groups);
  input_gradient(call, device);
  return call.partition->count;
}

/// dx by the sums of all, which are in the record; before it the part's own share of the parameter gradients.
template <typename Storage, typename Scalar>
void finish_part(BackwardCall<Storage, Scalar>& call, const AffineGradients<Scalar>& gradients, Peers::Record& record,
                 const Device& device) {
  // (A record may have come in other memory than the one that was sent.)
  call.all = gradients_in<Scalar>(record, call.partition->groups.kept.size);
  call.half = Half::results;
  if (gradients.wanted() && call.partition->features_kept) add_kept(call, gradients);
  if (gradients.wanted() && !call.partition->features_kept) sum_features(call, gradients, device);
  input_gradient(call, device);
}

}  // namespace eigennorm::core

#include "eigennorm/kernels/strict_end.inl"
