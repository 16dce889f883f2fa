/// The images and labels a run works on: read, scaled, split, and dealt out in batches.
#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <filesystem>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "idx.hpp"

namespace digits {

constexpr int classes = 10;

/// One sample a row. Row-major, so that a batch of consecutive samples is one piece of memory.
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Labels = Eigen::VectorXi;

struct Dataset {
  Matrix inputs;
  Labels labels;

  Eigen::Index size() const { return inputs.rows(); }
};

struct Data {
  std::string name;                    // of the files a run writes
  std::string title;                   // for people
  Dataset training, validation, test;  // validation chooses the learning rates; no run trains on it
};

using Generator = std::mt19937;

/// std::shuffle gives another order with another standard library; this one does not.
inline std::vector<Eigen::Index> shuffled(Eigen::Index count, Generator& generator) {
  std::vector<Eigen::Index> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), Eigen::Index{0});
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[generator() % i]);
  return order;
}

inline Dataset select(const Dataset& from, const std::vector<Eigen::Index>& rows) {
  const auto count = static_cast<Eigen::Index>(rows.size());
  Dataset selected{Matrix(count, from.inputs.cols()), Labels(count)};
  for (Eigen::Index i = 0; i < count; ++i) {
    selected.inputs.row(i) = from.inputs.row(rows[static_cast<std::size_t>(i)]);
    selected.labels(i) = from.labels(rows[static_cast<std::size_t>(i)]);
  }
  return selected;
}

/// Pixels divided by `largest`, the pixel value that stands for full ink.
inline Dataset read_dataset(const std::filesystem::path& images_path, const std::filesystem::path& labels_path,
                            float largest) {
  const IdxImages images = read_idx_images(images_path);
  const IdxLabels labels = read_idx_labels(labels_path, images.rows(), classes);
  return {images.cast<float>() / largest, labels.cast<int>()};
}

/// The first `count` rows of `order`, which loses them.
inline std::vector<Eigen::Index> take(std::vector<Eigen::Index>& order, std::size_t count) {
  if (order.size() <= count) throw std::runtime_error("too few images to split: " + std::to_string(order.size()));
  const auto middle = order.begin() + static_cast<std::ptrdiff_t>(count);
  std::vector<Eigen::Index> taken(order.begin(), middle);
  order.erase(order.begin(), middle);
  return taken;
}

/// The 1,797 digits in a fixed random order: 397 to test, 200 to validate, 1,200 to train. Pixels are 0
/// to 16.
inline Data read_digits(const std::filesystem::path& folder) {
  const Dataset all = read_dataset(folder / "digits-images.idx3-ubyte", folder / "digits-labels.idx1-ubyte", 16.0F);
  Generator generator(1998);
  std::vector<Eigen::Index> order = shuffled(all.size(), generator);
  const std::vector<Eigen::Index> test = take(order, 397);
  const std::vector<Eigen::Index> validation = take(order, 200);
  return {"digits", "1,797 handwritten digits of 8 x 8 pixels", select(all, order), select(all, validation),
          select(all, test)};
}

/// MNIST's own 60,000 and 10,000; 5,000 of the former, drawn at random once and for all, validate. Pixels are
/// 0 to 255.
inline Data read_mnist(const std::filesystem::path& folder) {
  const Dataset all = read_dataset(folder / "train-images-idx3-ubyte", folder / "train-labels-idx1-ubyte", 255.0F);
  Dataset test = read_dataset(folder / "t10k-images-idx3-ubyte", folder / "t10k-labels-idx1-ubyte", 255.0F);
  if (test.inputs.cols() != all.inputs.cols()) {
    throw std::runtime_error(folder.string() + ": training images have " + std::to_string(all.inputs.cols()) +
                             " pixels, test images " + std::to_string(test.inputs.cols()));
  }
  Generator generator(1998);
  std::vector<Eigen::Index> order = shuffled(all.size(), generator);
  const std::vector<Eigen::Index> validation = take(order, 5000);
  return {"mnist", "MNIST, 70,000 handwritten digits of 28 x 28 pixels", select(all, order), select(all, validation),
          std::move(test)};
}

/// Deals out the samples in random order, again and again; what is too few for a batch at an epoch's end is
/// left out.
class Batches {
 public:
  Batches(const Dataset& from, Eigen::Index batch_size, Generator generator)
      : from_(from), batch_size_(batch_size), generator_(generator) {
    if (from.size() < batch_size) throw std::runtime_error("fewer training images than a batch holds");
  }

  Dataset next() {
    if (static_cast<Eigen::Index>(order_.size()) < batch_size_) order_ = shuffled(from_.size(), generator_);
    const std::vector<Eigen::Index> rows(order_.end() - batch_size_, order_.end());
    order_.resize(order_.size() - rows.size());
    return select(from_, rows);
  }

 private:
  const Dataset& from_;
  Eigen::Index batch_size_;
  Generator generator_;
  std::vector<Eigen::Index> order_;
};

}  // namespace digits
