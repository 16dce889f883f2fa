/// A net that the processes of a communicator train together: each has a part of every batch.
#pragma once

#include <mpi.h>

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <eigennorm/eigennorm.hpp>
#include <eigennorm/mpi.hpp>
#include <eigennorm/safetensors.hpp>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "data.hpp"
#include "network.hpp"
#include "progress.hpp"

namespace digits {

struct SpreadSettings {
  Eigen::Index local_batch = 15;  // samples of each process
  bool synchronized = true;       // statistics of the whole batch, or of each process's part
  float rate = 1;
  unsigned seed = 1;
};

class SpreadTraining {
 public:
  SpreadTraining(const Data& data, const SpreadSettings& settings, MPI_Comm communicator)
      : settings_(settings),
        communicator_(communicator),
        peers_(communicator),
        generator_(settings.seed),
        network_(Method::batch_norm, data.training.inputs.cols(), generator_),
        batches_(data.training, settings.local_batch * peers_.members(), generator_) {
    if (settings.synchronized) network_.spread_over(peers_);
  }

  /// How many steps it has made, those before it was stored included.
  int steps() const { return steps_; }
  const Network& network() const { return network_; }

  /// One step along the gradients of the whole batch; gives its loss.
  double step() {
    const Dataset whole = batches_.next();  // everybody deals alike
    const Eigen::Index first = peers_.member() * settings_.local_batch;
    const Dataset part{whole.inputs.middleRows(first, settings_.local_batch),
                       whole.labels.segment(first, settings_.local_batch)};
    const double share = network_.backward(part, whole.size());
    const double loss = sum_over_members(share);
    network_.descend(settings_.rate);
    ++steps_;
    return loss;
  }

  /// Where the whole job may be killed at any time: the file is the last one or this one.
  void store(const std::string& path) const {
    if (peers_.member() != 0) return;
    eigennorm::SafeTensors file;
    network_.write_to(file, "");
    file.set_metadata("training", description());
    file.set_metadata("steps", std::to_string(steps_));
    file.write(path);
  }

  /// Goes on where a job alike stored; where there is nothing yet, from the beginning. The batches are dealt once more.
  void resume(const std::string& path) {
    if (!std::filesystem::exists(path)) return;
    const eigennorm::SafeTensors file = eigennorm::SafeTensors::read(path);
    const std::string& other = file.metadata().at("training");
    if (other != description()) {
      throw std::runtime_error(path + ": expected a training with " + description() + ", got one with " + other);
    }
    network_.read_from(file, "");
    steps_ = std::stoi(file.metadata().at("steps"));
    for (int step = 0; step < steps_; ++step) batches_.next();
  }

 private:
  std::string description() const {
    return std::to_string(peers_.members()) + " processes, " + std::to_string(settings_.local_batch) +
           " images each, " + (settings_.synchronized ? "synchronized" : "local") + " statistics, rate " +
           short_text(settings_.rate, 9) + ", seed " + std::to_string(settings_.seed);
  }

  /// All gradients, and the loss behind them, in one message.
  double sum_over_members(double loss) {
    sums_.clear();
    network_.for_each_gradient(
        [&](const float* values, Eigen::Index count) { sums_.insert(sums_.end(), values, values + count); });
    sums_.push_back(static_cast<float>(loss));
    MPI_Allreduce(MPI_IN_PLACE, sums_.data(), static_cast<int>(sums_.size()), MPI_FLOAT, MPI_SUM, communicator_);
    const float* next = sums_.data();
    network_.for_each_gradient([&](float* values, Eigen::Index count) {
      std::copy_n(next, count, values);
      next += count;
    });
    return static_cast<double>(sums_.back());
  }

  SpreadSettings settings_;
  MPI_Comm communicator_;
  eigennorm::MpiPeers peers_;
  Generator generator_;
  Network network_;
  Batches batches_;
  std::vector<float> sums_;
  int steps_ = 0;
};

}  // namespace digits
