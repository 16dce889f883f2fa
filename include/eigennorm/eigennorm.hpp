#pragma once

#include "eigennorm/core/requirements.hpp"

// For whoever has tensors. Each layer's own header does without.
#if __has_include(<unsupported/Eigen/CXX11/Tensor>)
#include <unsupported/Eigen/CXX11/Tensor>
#endif

#include "eigennorm/batch_norm.hpp"
#include "eigennorm/gather.hpp"
#include "eigennorm/group_norm.hpp"
#include "eigennorm/instance_norm.hpp"
#include "eigennorm/instruction_set.hpp"
#include "eigennorm/layer_norm.hpp"
#include "eigennorm/normalization.hpp"
#include "eigennorm/population_statistics.hpp"
#include "eigennorm/rms_norm.hpp"
#include "eigennorm/streaming.hpp"
#include "eigennorm/version.hpp"
#include "eigennorm/weight_norm.hpp"

#if defined(EIGENNORM_IMPLEMENTATION)
#include "eigennorm/implementation.hpp"
#endif

/// \mainpage EigenNorm
///
/// Trainable normalization layers for Eigen. A normalization is two sets of axes and a statistic: the axes it averages
/// over, the axes along which its scale and shift vary, and what it divides by: `y = scale * (x - mu) / sigma + shift`.
///
/// | layer | averaged over | features (scale, shift) | statistic | also |
/// |---|---|---|---|---|
/// | eigennorm::BatchNorm | all but the channel axis | the channel axis (1) | mean, variance | running statistics |
/// | eigennorm::MeanOnlyBatchNorm | all but the channel axis | the channel axis (1) | mean (sigma = 1) | running mean; shift only |
/// | eigennorm::LayerNorm | the last axis, or any set | the same axes | mean, variance | |
/// | eigennorm::InstanceNorm | all but samples (0) and channels (1) | the channel axis | mean, variance | running statistics on request |
/// | eigennorm::GroupNorm | as InstanceNorm, the channel axis cut into groups | the channel axis | mean, variance | |
/// | eigennorm::RMSNorm | the last axis, or any set | the same axes | mean square (mu = 0) | scale only by default |
/// | eigennorm::WeightNorm, on a parameter | all but the output axis (0), or the whole tensor | the output axis | sum of squares (mu = 0) | scale is g; eps 0 |
///
/// What they share is in eigennorm::Normalization. Statistics for evaluation: eigennorm::RunningStatistics,
/// eigennorm::PopulationStatistics. A batch over several processes: eigennorm::Context, eigennorm::gather.
