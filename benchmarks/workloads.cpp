// Which layers are timed, on which shapes and which values.

#include "workload.hpp"

namespace benchmarks {
namespace {

const std::vector<Pass> train = {Pass::forward, Pass::backward};
const std::vector<Pass> all = {Pass::forward, Pass::backward, Pass::evaluate};
const std::vector<Pass> evaluate_only = {Pass::evaluate};

using L = Layer;

std::vector<Workload> plain_workloads() {
  return {
      {L::layer_norm, "LayerNorm 1 x 64", {1, 64}, true, all},
      {L::layer_norm, "LayerNorm 8 x 64", {8, 64}, true, train},
      {L::layer_norm, "LayerNorm 32 x 256", {32, 256}, true, train},
      {L::layer_norm, "LayerNorm 128 x 512", {128, 512}, true, train},
      {L::layer_norm, "LayerNorm 64 x 768", {64, 768}, true, train},
      {L::layer_norm, "LayerNorm 4096 x 1024", {4096, 1024}, false, train},
      {L::layer_norm, "LayerNorm 8192 x 4096", {8192, 4096}, false, train},
      {L::layer_norm, "LayerNorm 128 x 8191", {128, 8191}, false, train},
      {L::layer_norm, "LayerNorm 262144 x 32", {262144, 32}, false, train},
      {L::layer_norm, "LayerNorm 16 x 262144", {16, 262144}, false, train},
      {L::rms_norm, "RMSNorm 1 x 4096", {1, 4096}, true, train},
      {L::rms_norm, "RMSNorm 64 x 768", {64, 768}, true, train},
      {L::rms_norm, "RMSNorm 4096 x 1024", {4096, 1024}, false, train},
      {L::batch_norm, "BatchNorm 32 x 16 x 8 x 8", {32, 16, 8, 8}, true, all},
      {L::batch_norm, "BatchNorm 8 x 32 x 32 x 32", {8, 32, 32, 32}, true, all},
      {L::batch_norm, "BatchNorm 32 x 64 x 56 x 56", {32, 64, 56, 56}, false, all},
      {L::batch_norm, "BatchNorm 8 x 3 x 224 x 224", {8, 3, 224, 224}, false, all},
      {L::batch_norm, "BatchNorm 32 x 256 x 14 x 14", {32, 256, 14, 14}, false, all},
      {L::batch_norm, "BatchNorm 64 x 2048 x 7 x 7", {64, 2048, 7, 7}, false, all},
      {L::batch_norm_last, "BatchNorm 1 x 64", {1, 64}, true, evaluate_only},
      {L::batch_norm_last, "BatchNorm 1 x 256", {1, 256}, true, evaluate_only},
      {L::batch_norm_last, "BatchNorm 1 x 1024", {1, 1024}, true, evaluate_only},
      {L::batch_norm_last, "BatchNorm 16 x 30", {16, 30}, true, all},
      {L::batch_norm_last, "BatchNorm 32 x 64", {32, 64}, true, all},
      {L::batch_norm_last, "BatchNorm 60 x 100", {60, 100}, true, all},
      {L::batch_norm_last, "BatchNorm 128 x 256", {128, 256}, true, all},
      {L::batch_norm_last, "BatchNorm 256 x 1024", {256, 1024}, true, all},
      {L::batch_norm_last, "BatchNorm 256 x 1024", {256, 1024}, false, all},
      {L::batch_norm_last, "BatchNorm 8192 x 512", {8192, 512}, false, all},
      {L::batch_norm_last, "BatchNorm 32 x 56 x 56 x 64, NHWC", {32, 56, 56, 64}, false, all},
      {L::group_norm, "GroupNorm 8 x 256 x 28 x 28", {8, 256, 28, 28}, false, train},
      {L::instance_norm, "InstanceNorm 8 x 64 x 56 x 56", {8, 64, 56, 56}, false, train},
      {L::weight_norm, "WeightNorm 1024 x 1024", {1024, 1024}, false, train},
      {L::weight_norm, "WeightNorm 4096 x 4096", {4096, 4096}, false, train},
  };
}

/// With an activation, or a residual.
std::vector<Workload> fused_workloads() {
  const Workload planes{L::batch_norm, "BatchNorm 32 x 64 x 56 x 56", {32, 64, 56, 56}, false, all};
  const Workload last{L::batch_norm_last, "BatchNorm 32 x 56 x 56 x 64, NHWC", {32, 56, 56, 64}, false, all};
  std::vector<Workload> result;
  const auto add = [&](Workload workload, Extra extra, const char* text, const std::vector<Pass>& passes) {
    workload.extra = extra;
    workload.name += text;
    workload.passes = passes;
    result.push_back(workload);
  };
  for (const Workload& workload : {planes, last}) {
    add(workload, Extra::relu, ", relu", all);
    add(workload, Extra::residual_relu, ", residual, relu", train);
  }
  add({L::layer_norm, "LayerNorm 4096 x 1024", {4096, 1024}, false, train}, Extra::added, ", added residual", train);
  return result;
}

/// Sequences, without a mask and with each.
std::vector<Workload> sequence_workloads() {
  std::vector<Workload> result;
  const std::vector<Workload> shapes = {
      {L::batch_norm_last, "BatchNorm N x T x C 256 x 256 x 64", {256, 256, 64}, false, all},
      {L::batch_norm_last, "BatchNorm N x T x C 16 x 32 x 64", {16, 32, 64}, true, all},
      {L::batch_norm, "BatchNorm N x C x T 128 x 64 x 1024", {128, 64, 1024}, false, all},
      {L::layer_norm, "LayerNorm N x T x C 64 x 256 x 512", {64, 256, 512}, false, train},
  };
  for (const Workload& shape : shapes) {
    result.push_back(shape);
    for (const Extra extra : {Extra::lengths, Extra::random}) {
      result.push_back(shape);
      result.back().extra = extra;
      result.back().name += std::string(valid_text) + (extra == Extra::lengths ? ", lengths" : ", random");
    }
  }
  return result;
}

}  // namespace

std::vector<Workload> workloads() {
  std::vector<Workload> result = plain_workloads();
  for (const auto& more : {fused_workloads(), sequence_workloads()})
    result.insert(result.end(), more.begin(), more.end());
  return result;
}

std::vector<ValueWorkload> value_workloads() {
  const Values zeros{"zeros", 0, 0, false};
  // Has no short binary form, so that sums of it are rounded.
  const Values constant{"one constant", 0.1F, 0, false};
  const Values rows{"half the rows zero", 0, 1, true}, channels{"every second channel zero", 0, 1, true};
  const Values tiny{"1e-17", 0, 1e-17F, false}, tinier{"1e-30", 0, 1e-30F, false}, huge{"1e25", 0, 1e25F, false};
  const Values subnormal{"subnormal", 0, 1e-39F, false};
  return {
      {{L::layer_norm, "LayerNorm 256 x 768", {256, 768}, true, train},
       {zeros, constant, rows, tiny, tinier, huge, subnormal}},
      {{L::layer_norm, "LayerNorm 1 x 512", {1, 512}, true, train}, {zeros, constant, tiny, tinier}},
      {{L::rms_norm, "RMSNorm 256 x 768", {256, 768}, true, train}, {zeros, tiny}},
      {{L::batch_norm_last, "BatchNorm 256 x 768", {256, 768}, true, all}, {zeros, constant, channels}},
      {{L::batch_norm, "BatchNorm 8 x 32 x 32 x 32", {8, 32, 32, 32}, true, all}, {zeros, constant, channels}},
  };
}

}  // namespace benchmarks
