// Counts the messages of a BatchNorm whose batch is spread over 1 to 1,024 members, looks whether its results are as
// right as those of one, and says what the messages would take on a thousand machines. Ends with 1 where a bound does
// not hold.
//
//   spread_counts [MOST MEMBERS]

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <eigennorm/batch_norm.hpp>
#include <limits>
#include <utility>
#include <vector>

#include "members.hpp"

namespace {

using Eigen::MatrixXd;
using Eigen::MatrixXf;

constexpr Eigen::Index samples_each = 8;

/// The part of one member: with a mean that is not 0, and another one on each.
MatrixXf part(Eigen::Index channels, int member, float mean) {
  auto seed = static_cast<std::uint32_t>(member) * 2654435761U + 12345U;
  const auto next = [&seed, mean] {
    seed = seed * 1664525U + 1013904223U;
    return static_cast<float>(seed >> 8) / 8388608.0F - 1.0F + mean;
  };
  const MatrixXf values = MatrixXf::NullaryExpr(samples_each, channels, next);
  return values.array() + 0.01F * static_cast<float>(member % 7);
}

struct Share {
  eigennorm::BatchNorm<float> layer;
  MatrixXf x, dy, y, dx;
};

struct Result {
  spread::Members::Summary forward, backward;
  double y_error = 0, dx_error = 0;  // largest, in u of float, of the size of the summands
  bool alike = true;                 // all members have the same statistics, to the bit
};

/// The formula in double over all parts, and how far they are from it.
void judge(const std::vector<Share>& shares, Result& result) {
  const auto members = static_cast<Eigen::Index>(shares.size()), count = members * samples_each;
  const Eigen::Index channels = shares[0].x.cols();
  MatrixXd x(count, channels), dy(count, channels), y(count, channels), dx(count, channels);
  for (Eigen::Index i = 0; i < members; ++i) {
    const Share& share = shares[static_cast<std::size_t>(i)];
    x.middleRows(i * samples_each, samples_each) = share.x.cast<double>();
    dy.middleRows(i * samples_each, samples_each) = share.dy.cast<double>();
    y.middleRows(i * samples_each, samples_each) = share.y.cast<double>();
    dx.middleRows(i * samples_each, samples_each) = share.dx.cast<double>();
    result.alike &= (share.layer.running->mean == shares[0].layer.running->mean).all() &&
                    (share.layer.running->variance == shares[0].layer.running->variance).all();
  }
  constexpr double u = std::numeric_limits<float>::epsilon() / 2;
  for (Eigen::Index c = 0; c < channels; ++c) {
    const Eigen::ArrayXd centred = x.col(c).array() - x.col(c).mean(), by_y = dy.col(c).array();
    const double rstd = 1 / std::sqrt(centred.square().mean() + 1e-5);
    const Eigen::ArrayXd xhat = centred * rstd;
    const double mean = by_y.mean(), along = (by_y * xhat).mean();
    const Eigen::ArrayXd true_dx = rstd * (by_y - mean - xhat * along);
    const Eigen::ArrayXd dx_size = rstd * (by_y.abs() + by_y.abs().mean() + xhat.abs() * (by_y * xhat).abs().mean());
    const auto y_error = ((y.col(c).array() - xhat).abs() / (xhat.abs() + 1)).maxCoeff();
    const auto dx_error = ((dx.col(c).array() - true_dx).abs() / dx_size).maxCoeff();
    result.y_error = std::max(result.y_error, y_error / u);
    result.dx_error = std::max(result.dx_error, dx_error / u);
  }
}

Result count(int members, Eigen::Index channels) {
  std::vector<Share> shares;
  for (int i = 0; i < members; ++i) {
    MatrixXf x = part(channels, i, 3.0F), dy = part(channels, i + 100'000, 0.1F);
    shares.push_back({eigennorm::BatchNorm<float>(channels), x, dy, x, x});
  }
  spread::Members job(members);
  Result result;
  const auto call = [&](const auto& verb) {
    job.run([&](eigennorm::Peers& peers) {
      eigennorm::Context<float> context;
      context.peers = &peers;
      verb(shares[static_cast<std::size_t>(peers.member())], context);
    });
    return job.take_counts();
  };
  result.forward = call([](Share& share, const auto& context) { share.layer.forward(share.x, share.y, context); });
  result.backward =
      call([](Share& share, const auto& context) { share.layer.backward(share.x, share.dy, share.dx, context); });
  judge(shares, result);
  return result;
}

/// How often members have to be halved until one is left.
int levels(int members) {
  int levels = 0;
  while ((std::int64_t{1} << levels) < members) ++levels;
  return levels;
}

/// Results within 4 u, as docs/accuracy.md promises; a chain of messages that grows as the logarithm.
bool is_right(int members, const Result& result) {
  const auto chain = [&](const spread::Members::Summary& of) {
    return of.most.depth <= 2 * levels(members) && of.most.messages <= levels(members) + 1;
  };
  return result.alike && result.y_error <= 4 && result.dx_error <= 4 && chain(result.forward) && chain(result.backward);
}

bool write_counts(int most) {
  std::puts(
      "| members | messages of forward | by one, at most | one after another | of backward | one after another | "
      "error of y, u | of dx, u |");
  std::puts("|---|---|---|---|---|---|---|---|");
  std::vector<int> sizes;
  for (int members = 1; members <= most; members *= 2) sizes.push_back(members);
  if (most >= 1000) sizes.insert(sizes.end() - 1, 1000);
  bool right = true;
  for (const int members : sizes) {
    const Result result = count(members, 64);
    const auto &forward = result.forward, &backward = result.backward;
    std::printf("| %d | %lld | %lld | %lld | %lld | %lld | %.1f | %.1f |\n", members,
                static_cast<long long>(forward.all.messages), static_cast<long long>(forward.most.messages),
                static_cast<long long>(forward.most.depth), static_cast<long long>(backward.all.messages),
                static_cast<long long>(backward.most.depth), result.y_error, result.dx_error);
    if (is_right(members, result)) continue;
    std::printf("\n%d members: a bound does not hold.\n", members);
    right = false;
  }
  return right;
}

/// What the messages of one layer take where each waits for the one before it: latency and transfer, nothing else.
void write_model(int machines) {
  struct Network {
    double seconds, bytes_a_second;
  };
  constexpr Network networks[] = {{2e-6, 100e9 / 8}, {25e-6, 10e9 / 8}};
  std::printf("\nForward and backward of one layer on %d machines, by these counts:\n\n", machines);
  std::puts("| channels | bytes of a message: forward | backward | 2 us, 100 Gbit/s: us | 25 us, 10 Gbit/s: us |");
  std::puts("|---|---|---|---|---|");
  for (const int channels : {64, 256, 1024, 4096}) {
    const Result result = count(8, channels);
    std::printf("| %d | %lld | %lld |", channels, static_cast<long long>(result.forward.most.largest),
                static_cast<long long>(result.backward.most.largest));
    for (const Network& network : networks) {
      double seconds = 0;
      for (const auto* verb : {&result.forward, &result.backward}) {
        // Eight members have three levels; of the messages in a row, so many there go with each.
        const double in_a_row = static_cast<double>(verb->most.depth) / levels(8) * levels(machines);
        seconds += in_a_row * (network.seconds + static_cast<double>(verb->most.largest) / network.bytes_a_second);
      }
      std::printf(" %.0f |", 1e6 * seconds);
    }
    std::puts("");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int most = argc > 1 ? std::atoi(argv[1]) : 1024;
  const bool right = write_counts(most);
  write_model(1000);
  return right ? 0 : 1;
}
