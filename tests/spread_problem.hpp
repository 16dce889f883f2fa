#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "catch.hpp"
#include "members.hpp"
#include "problem.hpp"
#include "same_bits.hpp"

// A problem whose batch is cut into parts, one for each member.

namespace test {

using Parts = std::vector<std::ptrdiff_t>;  // samples of each member

/// Samples [first, first + n) along an axis, of numbers in logical order.
inline Numbers samples_of(const Numbers& whole, const Sizes& shape, std::size_t axis, std::ptrdiff_t first,
                          std::ptrdiff_t n) {
  std::size_t inner = 1, outer = 1;
  for (std::size_t i = 0; i < shape.size(); ++i)
    (i < axis ? outer : inner) *= static_cast<std::size_t>(i == axis ? 1 : shape[i]);
  Numbers part;
  for (std::size_t o = 0; o < outer; ++o) {
    const std::size_t start = (o * static_cast<std::size_t>(shape[axis]) + static_cast<std::size_t>(first)) * inner;
    for (std::size_t i = 0; i < static_cast<std::size_t>(n) * inner; ++i) part.push_back(whole[start + i]);
  }
  return part;
}
inline void put_samples(Numbers& whole, const Sizes& shape, std::size_t axis, std::ptrdiff_t first,
                        const Numbers& part) {
  std::size_t inner = 1, outer = 1;
  for (std::size_t i = 0; i < shape.size(); ++i)
    (i < axis ? outer : inner) *= static_cast<std::size_t>(i == axis ? 1 : shape[i]);
  const std::size_t each = outer == 0 ? 0 : part.size() / outer;
  for (std::size_t o = 0; o < outer; ++o) {
    const std::size_t start = (o * static_cast<std::size_t>(shape[axis]) + static_cast<std::size_t>(first)) * inner;
    for (std::size_t i = 0; i < each; ++i) whole[start + i] = part[o * each + i];
  }
}

/// What one member has.
template <typename FieldType>
struct Share {
  using Scalar = typename FieldType::Scalar;

  Share(const eigennorm::Normalization<Scalar>& of, Sizes shape, const Numbers& x_numbers, const Numbers& dy_numbers)
      : layer(of), x(shape, x_numbers), dy(shape, dy_numbers), y(shape), dx(shape) {}

  void forward(Peers& peers, const eigennorm::Device& device = {}) {
    test::forward(layer, x, y, context(peers, device));
  }
  void backward(Peers& peers, const eigennorm::Device& device = {}) {
    test::backward(layer, x, dy, dx, context(peers, device));
  }
  static eigennorm::Context<Scalar> context(Peers& peers, const eigennorm::Device& device = {}) {
    eigennorm::Context<Scalar> context(device);
    context.peers = &peers;
    return context;
  }

  eigennorm::Normalization<Scalar> layer;
  FieldType x, dy, y, dx;
};

/// A problem in parts.
template <typename FieldType>
struct Spread {
  using Scalar = typename FieldType::Scalar;

  Spread(const Problem<FieldType>& whole, const Parts& cut)
      : axis(reference::contains(whole.formula.features, 0) ? 1 : 0), shape(whole.x.shape()), parts(cut) {
    std::ptrdiff_t first = 0;
    for (const std::ptrdiff_t n : parts) {
      Sizes own = shape;
      own[axis] = n;
      shares.emplace_back(whole.layer, own, samples_of(whole.x_numbers, shape, axis, first, n),
                          samples_of(whole.dy_numbers, shape, axis, first, n));
      first += n;
    }
  }

  Share<FieldType>& of(Peers& peers) { return shares[static_cast<std::size_t>(peers.member())]; }

  /// One step of training.
  void step(Post& post) {
    const auto failures = on_members(post, [&](Peers& peers) {
      of(peers).forward(peers);
      of(peers).backward(peers);
    });
    for (const std::string& failure : failures) CHECK(failure == "");
    CHECK(post.all_read());
  }

  /// What the members made, put together into the problem: y and dx, the sums of dscale and dshift, and the state of
  /// the first.
  void gather(Problem<FieldType>& into) const {
    Numbers y(into.y.size()), dx(into.dx.size());
    std::ptrdiff_t first = 0;
    into.layer = shares[0].layer;
    for (std::size_t i = 0; i < shares.size(); ++i) {
      put_samples(y, shape, axis, first, shares[i].y.numbers());
      put_samples(dx, shape, axis, first, shares[i].dx.numbers());
      first += parts[i];
      if (i == 0) continue;
      for (Eigen::Index k = 0; k < into.layer.scale.grad.size(); ++k)
        into.layer.scale.grad[k] += shares[i].layer.scale.grad[k];
      for (Eigen::Index k = 0; k < into.layer.shift.grad.size(); ++k)
        into.layer.shift.grad[k] += shares[i].layer.shift.grad[k];
    }
    into.y = FieldType(shape, y);
    into.dx = FieldType(shape, dx);
  }

  std::size_t axis;
  Sizes shape;
  Parts parts;
  std::vector<Share<FieldType>> shares;
};

/// Whether two layers have the same moments and running statistics.
template <typename Scalar>
bool same_statistics(const eigennorm::Normalization<Scalar>& a, const eigennorm::Normalization<Scalar>& b) {
  const auto &m = a.moments(), &n = b.moments();
  bool same = m.count() == n.count() && same_bits(m.mean(), n.mean()) && same_bits(m.rstd(), n.rstd()) &&
              same_bits(m.variance(), n.variance()) && same_bits(m.r(), n.r()) && same_bits(m.d(), n.d());
  if (a.running) {
    same = same && same_bits(a.running->mean, b.running->mean) && same_bits(a.running->variance, b.running->variance) &&
           a.running->batches == b.running->batches && a.running->rejected_batches == b.running->rejected_batches;
  }
  return same;
}

}  // namespace test
