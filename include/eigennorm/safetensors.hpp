#pragma once

#include "eigennorm/core/requirements.hpp"

#if !__has_include(<nlohmann/json.hpp>)
#error "eigennorm/safetensors.hpp needs nlohmann_json: install nlohmann-json3-dev (Debian) or nlohmann-json (vcpkg)."
// g++ goes on after #error, into hundreds of errors of what is missing; but it stops at a file that is not there.
#include "eigennorm/safetensors.hpp needs nlohmann_json"
#else
#include "eigennorm/safetensors/file.hpp"
#include "eigennorm/safetensors/layers.hpp"
#include "eigennorm/safetensors/names.hpp"
#endif

/// \file
/// Nets from files and into them, in the format safetensors. Needs nlohmann_json: the CMake target
/// eigennorm::safetensors. Not part of eigennorm/eigennorm.hpp.
///
/// \code
/// #include <cstdio>
/// #include <eigennorm/eigennorm.hpp>
/// #include <eigennorm/safetensors.hpp>
///
/// using namespace eigennorm;
///
/// int main() {
///   BatchNorm<float> trained(3);
///   trained.forward(Eigen::MatrixXf(Eigen::MatrixXf::Random(32, 3)));
///   SafeTensors out;
///   save(trained, out, "features.1.");  // features.1.weight, .bias, .running_mean, .running_var, .num_batches_tracked
///   out.write("safetensors_program.safetensors");
///
///   const SafeTensors in = SafeTensors::read("safetensors_program.safetensors");
///   BatchNorm<float> layer(3);
///   load(layer, in, "features.1.");
///   const bool same = (layer.running->mean == trained.running->mean).all() && layer.running->batches == 1;
///   return std::remove("safetensors_program.safetensors") == 0 && same ? 0 : 1;
/// }
/// \endcode
