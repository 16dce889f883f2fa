#pragma once

#include "eigennorm/normalization.hpp"

/// \file
/// What functions beside a layer, such as those that save or fold it, may know of it.

namespace eigennorm::core {

struct LayerFacts {
  template <typename Scalar>
  static const Geometry& geometry(const Normalization<Scalar>& layer) {
    return layer.geometry_;
  }
  template <typename Scalar>
  static Statistic statistic(const Normalization<Scalar>& layer) {
    return layer.statistic_;
  }
  /// Fails as a call would, but takes running statistics as they are: whoever loads others mends them.
  template <typename Scalar>
  static void check_settings(const Normalization<Scalar>& layer) {
    layer.check_settings();
  }
  /// Whether running statistics would be allowed.
  template <typename Scalar>
  static bool may_have_running(const Normalization<Scalar>& layer) {
    const Geometry& geometry = layer.geometry_;
    return is_centred(layer.statistic_) && geometry.groups == 0 && !(geometry.averaged == geometry.features);
  }
};

}  // namespace eigennorm::core
