// Layers whose batch is spread over processes have the bits of layers whose batch is spread over threads of one.

#include <cstdint>
#include <eigennorm/eigennorm.hpp>
#include <eigennorm/mpi.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "job.hpp"
#include "members.hpp"
#include "pool.hpp"
#include "same_bits.hpp"

namespace {

using Eigen::MatrixXf;
using eigennorm::BatchNorm;
using eigennorm::Context;
using eigennorm::Device;
using eigennorm::MpiPeers;
using eigennorm::Peers;
using test::same_bits;

/// The same on every process, and another one for each member.
MatrixXf values(Eigen::Index rows, Eigen::Index channels, std::uint32_t seed) {
  const auto next = [&seed] {
    seed = seed * 1664525 + 1013904223;
    return static_cast<float>(seed >> 8) / 16777216.0F + 3.0F;
  };
  return MatrixXf::NullaryExpr(rows, channels, next);
}

/// Two steps of one member, whose part is larger than that of the member before.
struct Share {
  Share(Eigen::Index rows, Eigen::Index channels, Peers& peers, const Device& device = {}) : layer(channels) {
    const auto seed = static_cast<std::uint32_t>(100 + peers.member());
    const MatrixXf x = values(rows + 3 * peers.member(), channels, seed);
    const MatrixXf dy = values(x.rows(), channels, seed + 50).array() - 3.25F;
    y = dx = x;
    Context<float> context(device);
    context.peers = &peers;
    for (int step = 0; step < 2; ++step) {
      layer.forward(x, y, context);
      layer.backward(x, dy, dx, context);
    }
  }

  BatchNorm<float> layer;
  MatrixXf y, dx;
};

bool operator==(const Share& a, const Share& b) {
  return same_bits(a.y, b.y) && same_bits(a.dx, b.dx) && same_bits(a.layer.scale.grad, b.layer.scale.grad) &&
         same_bits(a.layer.shift.grad, b.layer.shift.grad) && same_bits(a.layer.running->mean, b.layer.running->mean) &&
         same_bits(a.layer.running->variance, b.layer.running->variance);
}

/// What threads of this process have, in the place of these members.
Share of_threads(Eigen::Index rows, Eigen::Index channels, const Peers& peers) {
  test::Post post(peers.members());
  std::vector<std::optional<Share>> shares(static_cast<std::size_t>(peers.members()));
  const auto failures = test::on_members(
      post, [&](Peers& thread) { shares[static_cast<std::size_t>(thread.member())].emplace(rows, channels, thread); });
  for (const std::string& failure : failures) expect(failure.empty(), failure.c_str());
  return *shares[static_cast<std::size_t>(peers.member())];
}

/// Whether this is what all processes have.
bool is_alike(const Eigen::ArrayXf& values) {
  Eigen::ArrayXf first = values;
  MPI_Bcast(first.data(), static_cast<int>(first.size()), MPI_FLOAT, 0, MPI_COMM_WORLD);
  return same_bits(first, values);
}

void check_bits() {
  MpiPeers peers;
  const Share share(5, 7, peers);
  expect(share == of_threads(5, 7, peers), "processes have the bits of threads");
  const BatchNorm<float> alone = [&] {
    BatchNorm<float> layer(7);
    layer.forward(values(5 + 3 * peers.member(), 7, static_cast<std::uint32_t>(100 + peers.member())));
    return layer;
  }();
  const bool own = same_bits(share.layer.moments().mean(), alone.moments().mean());
  expect(own == (peers.members() == 1), "statistics are those of the whole, not of a part");
  expect(is_alike(share.layer.running->mean.cast<float>()), "all have the same running mean");
  expect(is_alike(share.layer.running->variance.cast<float>()), "all have the same running variance");
}

/// A pool computes, and the thread that calls sends: MPI_THREAD_FUNNELED is enough.
void check_pool() {
  MpiPeers peers;
  test::Pool pool(2);
  const Share share(3000, 64, peers, pool.device());
  expect(share == of_threads(3000, 64, peers), "a pool has the bits of one thread");
}

void check_two_communicators() {
  MpiPeers world;
  MPI_Comm half = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, world.member() % 2, world.member(), &half);
  MpiPeers peers(half);
  const Share of_half(6, 3, peers), of_all(6, 3, world), again(6, 3, peers);
  expect(of_half == of_threads(6, 3, peers), "a half has the bits of threads");
  expect(of_all == of_threads(6, 3, world), "the world has the bits of threads");
  expect(again == of_half, "a half has the same bits again");
  MPI_Comm_free(&half);
}

/// Wrong on one is an error on all, and none waits for another; afterwards all go on.
void check_error() {
  MpiPeers peers;
  const bool last = peers.member() == peers.members() - 1;
  Context<float> context;
  context.peers = &peers;
  BatchNorm<float> layer(4);
  std::string said;
  try {
    layer.forward(values(6, last ? 5 : 4, 1), context);
  } catch (const std::invalid_argument& error) {
    said = error.what();
  }
  expect(said.find("made for 4 channels") != std::string::npos, "all hear of an error");
  expect(Share(6, 3, peers) == of_threads(6, 3, peers), "after an error all go on");
}

}  // namespace

int main(int argc, char** argv) {
  const Job job(&argc, &argv);
  check_bits();
  check_pool();
  check_two_communicators();
  check_error();
}
