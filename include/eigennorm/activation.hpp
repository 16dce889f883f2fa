#pragma once

/// \file
/// What a layer does to its result.

namespace eigennorm {

/// What a layer does to its result, in the same pass. `backward` finds out by itself where it passed anything on, from
/// x and the residual, so nothing has to be stored for it.
enum class Activation {
  none,
  relu,  ///< max(y, 0): +0 where y is 0, -0 or below, NaN where y is NaN; a gradient passes where the result is above 0
};

}  // namespace eigennorm
