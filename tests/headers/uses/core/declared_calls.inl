#include <eigennorm/normalization.hpp>

namespace eigennorm {

template struct core::Calls<float, float>;

}  // namespace eigennorm
