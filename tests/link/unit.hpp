#pragma once

#include <eigennorm/eigennorm.hpp>
#include <memory>
#include <vector>

// Values that cross the border between two translation units, in both directions.
struct Layers {
  explicit Layers(int channels)
      : batch(channels), layer(channels), weight(channels), list{batch, layer}, doubles(channels) {}

  eigennorm::BatchNorm<float> batch;
  eigennorm::LayerNorm<float> layer;
  eigennorm::WeightNorm<float> weight;
  std::vector<eigennorm::Normalization<float>> list;
  eigennorm::RMSNorm<double> doubles;
  eigennorm::Moments<float> moments;
  eigennorm::PopulationStatistics<float> population;
};

// What one translation unit does with them. The code is the same in both (unit.inl), the compiler's flags are not.
struct Unit {
  const char* name;
  std::unique_ptr<Layers> (*make)(int channels);
  std::unique_ptr<Layers> (*copy)(const Layers&);
  void (*resize)(Layers&, int channels);
  std::vector<double> (*use)(Layers&);
  void (*destroy)(std::unique_ptr<Layers>);
};

extern const Unit first_unit;
extern const Unit second_unit;
