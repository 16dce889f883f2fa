/// The common framework: which values of a small tensor share a mean and a sigma, layer by layer, as the library itself
/// cuts them.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <eigennorm/core/layer_facts.hpp>
#include <eigennorm/eigennorm.hpp>
#include <filesystem>
#include <ostream>
#include <sstream>
#include <string>
#include <unsupported/Eigen/CXX11/Tensor>
#include <vector>

#include "experiment.hpp"
#include "svg.hpp"

namespace digits::experiments {

/// The tensor of the picture: N, C, H, W.
constexpr std::array<std::int64_t, 4> picture_shape{3, 4, 2, 2};
using SmallTensor = Eigen::Tensor<double, 4, Eigen::RowMajor>;

struct Framed {
  std::string title, code, axes;  // for people; as it is written; what it averages over
  std::string parameters;         // along which scale and shift vary
  eigennorm::Normalization<double> layer;
};

inline std::vector<Framed> framed_layers() {
  using namespace eigennorm;
  const auto [n, c, h, w] = picture_shape;
  return {
      {"BatchNorm", "BatchNorm(C)", "over N, H, W", "scale, shift: per C", BatchNorm<double>(c)},
      {"LayerNorm", "LayerNorm({C, H, W})", "over C, H, W", "scale, shift: per C, H, W",
       LayerNorm<double>({c, h, w}, over(1, 2, 3))},
      {"LayerNorm of channels", "LayerNorm(C, over(1))", "over C", "scale, shift: per C",
       LayerNorm<double>(c, over(1))},
      {"InstanceNorm", "InstanceNorm(C)", "over H, W", "scale, shift: per C", InstanceNorm<double>(c)},
      {"GroupNorm, 2 groups", "GroupNorm(2, C)", "over C / 2, H, W", "scale, shift: per C", GroupNorm<double>(2, c)},
      {"RMSNorm", "RMSNorm({C, H, W})", "over C, H, W", "scale: per C, H, W",
       RMSNorm<double>({c, h, w}, over(1, 2, 3))},
      {"MeanOnlyBatchNorm", "MeanOnlyBatchNorm(C)", "over N, H, W", "shift: per C", MeanOnlyBatchNorm<double>(c)},
      {"WeightNorm (a weight)", "WeightNorm(N)", "over C, H, W", "g: per output N", WeightNorm<double>(n)},
  };
}

/// The group of each value, in the order of memory.
inline std::vector<std::int64_t> group_numbers(const eigennorm::core::Partition& partition) {
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(partition.size));
  const auto& groups = partition.groups;
  for (std::int64_t group = 0; group < groups.kept.size; ++group) {
    const eigennorm::core::Offsets first = groups.kept.at(group);
    for (std::int64_t value = 0; value < groups.reduced.size; ++value)
      numbers[static_cast<std::size_t>(first.tensor[0] + groups.reduced.at(value).tensor[0])] = first.group;
  }
  return numbers;
}

inline eigennorm::core::Partition partition_of(const Framed& framed, const SmallTensor& x) {
  const auto view = eigennorm::core::view(x);
  return eigennorm::core::partition(eigennorm::core::LayerFacts::geometry(framed.layer), view.shape, view.order,
                                    {view.strides, view.strides, view.strides});
}

/// By how much `forward` differs from scale * (x - mu) / sigma + shift, with mu and sigma of the cells of one colour.
inline double error_of_colours(Framed& framed, const SmallTensor& x, const std::vector<std::int64_t>& numbers) {
  using namespace eigennorm;
  const Statistic statistic = core::LayerFacts::statistic(framed.layer);
  const SmallTensor y = framed.layer.forward(x);
  double error = 0;
  for (Eigen::Index i = 0; i < x.size(); ++i) {
    double sum = 0, squares = 0, count = 0;
    for (Eigen::Index j = 0; j < x.size(); ++j) {
      if (numbers[static_cast<std::size_t>(i)] != numbers[static_cast<std::size_t>(j)]) continue;
      sum += x.data()[j];
      squares += x.data()[j] * x.data()[j];
      count += 1;
    }
    const bool centred = core::is_centred(statistic);
    const double mu = centred ? sum / count : 0;
    double sigma = 1;
    if (statistic == Statistic::sum_square) sigma = std::sqrt(squares);
    if (statistic == Statistic::mean_square) sigma = std::sqrt(squares / count + framed.layer.eps);
    if (statistic == Statistic::mean_variance) sigma = std::sqrt(squares / count - mu * mu + framed.layer.eps);
    error = std::max(error, std::abs(y.data()[i] - (x.data()[i] - mu) / sigma));
  }
  return error;
}

/// Samples stand below each other, channels side by side; in each cell is the number of its group.
inline void draw_layer(Svg& svg, const Framed& framed, const std::vector<std::int64_t>& numbers, double left,
                       double top) {
  static constexpr std::array<const char*, 8> fills{"#0072B2", "#E69F00", "#56B4E9", "#D55E00",
                                                    "#009E73", "#F0E442", "#CC79A7", "#CCCCCC"};
  constexpr double cell = 27, gap = 10;
  const std::int64_t groups = *std::max_element(numbers.begin(), numbers.end()) + 1;
  svg.write(left, top, framed.title, "font-size=\"20\" font-weight=\"bold\"");
  svg.write(left, top + 23, framed.axes + ": M = " + std::to_string(numbers.size() / static_cast<std::size_t>(groups)),
            "font-size=\"17\"");
  svg.write(left, top + 45, framed.parameters, "font-size=\"17\" fill=\"#444444\"");
  const auto [samples, channels, height, width] = picture_shape;
  std::size_t at = 0;
  for (std::int64_t n = 0; n < samples; ++n) {
    for (std::int64_t c = 0; c < channels; ++c) {
      for (std::int64_t pixel = 0; pixel < height * width; ++pixel, ++at) {
        const double x = left + static_cast<double>(c) * (2 * cell + gap) + static_cast<double>(pixel % width) * cell;
        const double y =
            top + 58 + static_cast<double>(n) * (2 * cell + gap) + static_cast<double>(pixel / width) * cell;
        const auto number = static_cast<std::size_t>(numbers[at]);
        const std::string fill = fills[number % fills.size()];
        svg.rectangle(x, y, cell, cell, "fill=\"" + fill + "\" stroke=\"#ffffff\"");
        const bool dark = fill == "#0072B2" || fill == "#D55E00" || fill == "#009E73";
        svg.write(x + cell / 2, y + cell / 2 + 5, std::to_string(number + 1),
                  std::string("font-size=\"15\" text-anchor=\"middle\" fill=\"") + (dark ? "#ffffff\"" : "#000000\""));
      }
    }
  }
}

inline const char* mu_text(eigennorm::Statistic statistic) {
  return eigennorm::core::is_centred(statistic) ? "mean" : "0";
}
inline const char* sigma_text(eigennorm::Statistic statistic) {
  switch (statistic) {
    case eigennorm::Statistic::mean_variance:
      return "sqrt(variance + eps)";
    case eigennorm::Statistic::mean_square:
      return "sqrt(mean of squares + eps)";
    case eigennorm::Statistic::sum_square:
      return "norm";
    case eigennorm::Statistic::mean:
      break;
  }
  return "1";
}

inline Result framework(const Options& options, const Data&) {
  SmallTensor x(picture_shape[0], picture_shape[1], picture_shape[2], picture_shape[3]);
  for (Eigen::Index i = 0; i < x.size(); ++i) x.data()[i] = std::sin(static_cast<double>(i * i + 1));
  Result result;
  Table table{"A tensor (N, C, H, W) of shape (3, 4, 2, 2):",
              {{"layer", "averaged", "groups", "M", "mu", "sigma", "features"}}};
  Svg svg(610, 1220);
  svg.write(20, 32, "y = scale * (x - mu) / sigma + shift", "font-size=\"20\"");
  svg.write(20, 56, "Cells of one number and colour share mu and sigma.", "font-size=\"17\"");
  svg.write(20, 78, "Three rows: samples N. Four columns: channels C. 2 x 2 cells: H, W.", "font-size=\"17\"");
  std::ostringstream csv;
  csv << "layer,n,c,h,w,group\n";
  double worst = 0;
  std::size_t place = 0;
  for (Framed& framed : framed_layers()) {
    const auto partition = partition_of(framed, x);
    const std::vector<std::int64_t> numbers = group_numbers(partition);
    const eigennorm::Statistic statistic = eigennorm::core::LayerFacts::statistic(framed.layer);
    worst = std::max(worst, error_of_colours(framed, x, numbers));
    table.rows.push_back({framed.code, framed.axes.substr(5), std::to_string(partition.groups.kept.size),
                          std::to_string(partition.count), mu_text(statistic), sigma_text(statistic),
                          std::to_string(partition.features.kept.size)});
    draw_layer(svg, framed, numbers, place % 2 == 0 ? 20 : 320, 120 + static_cast<double>(place / 2) * 280);
    for (std::size_t i = 0; i < numbers.size(); ++i)
      csv << '"' << framed.code << "\"," << i / 16 << ',' << i / 4 % 4 << ',' << i / 2 % 2 << ',' << i % 2 << ','
          << numbers[i] + 1 << '\n';
    ++place;
  }
  const std::filesystem::path folder = options.out;
  write_file(folder / "framework.svg", [&](std::ostream& out) { svg.write_to(out); });
  write_file(folder / "framework.csv", [&](std::ostream& out) { out << csv.str(); });
  result.tables.push_back(table);
  result.claims.push_back({"all layers are one formula, read with different axes",
                           "largest difference of eight layers " + short_text(worst, 2),
                           worst < 1e-12 ? Verdict::reproduced : Verdict::not_reproduced, true});
  return result;
}

}  // namespace digits::experiments
