#include "../without_kernels.inl"

namespace eigennorm {

inline bool use(const Normalization<float>& layer) {
  core::LayerFacts::check_settings(layer);
  return core::LayerFacts::may_have_running(layer) && core::LayerFacts::geometry(layer).groups == 0 &&
         core::LayerFacts::statistic(layer) == Statistic::mean;
}

}  // namespace eigennorm
