// Threads, output memory of your own, and one layer used many times before going back.

#define EIGEN_USE_THREADS  // before Eigen, for its thread pool; the library itself does not need it

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <eigennorm/eigennorm.hpp>
#include <vector>

using namespace eigennorm;
using Matrix = Eigen::MatrixXd;

/// The shortest of five runs, in milliseconds.
template <typename Function>
double milliseconds(Function&& function) {
  double shortest = 1e9;
  for (int run = 0; run < 5; ++run) {
    const auto start = std::chrono::steady_clock::now();
    function();
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
    shortest = std::min(shortest, time.count());
  }
  return shortest;
}

/// Whether a pool changes anything: no bit of y, dx or the parameters' gradients.
bool threads_give_the_same_bits() {
  Eigen::ThreadPool pool(2);
  const Eigen::ThreadPoolDevice device(&pool, 2);

  const Eigen::MatrixXf x = Eigen::MatrixXf::Random(4096, 512);
  const Eigen::MatrixXf dy = Eigen::MatrixXf::Random(4096, 512);
  Eigen::MatrixXf y(4096, 512), dx(4096, 512);  // results are written into these, not allocated
  Eigen::MatrixXf y_pool(4096, 512), dx_pool(4096, 512);
  LayerNorm<float> alone(512);
  LayerNorm<float> shared(512);

  alone.forward(x, y);
  alone.backward(x, dy, dx);
  shared.forward(x, y_pool, {device});
  shared.backward(x, dy, dx_pool, {device});
  const bool same = y == y_pool && dx == dx_pool && (alone.scale.grad == shared.scale.grad).all() &&
                    (alone.shift.grad == shared.shift.grad).all();

  std::printf("LayerNorm forward on 4096 x 512: %.1f ms alone, %.1f ms on two threads; same bits: %s\n",
              milliseconds([&] { alone.evaluate(x, y); }), milliseconds([&] { shared.evaluate(x, y, {device}); }),
              same ? "yes" : "NO");
  return same;
}

/// A recurrent net: state[t + 1] = tanh(LayerNorm(state[t] * weight + inputs[t])), one layer for all steps.
/// The layer keeps the moments of one forward; here the caller keeps those of every step.
class RecurrentNet {
 public:
  RecurrentNet(Eigen::Index units, std::size_t steps) : norm(units), moments_(steps), sums_(steps), states_(steps + 1) {
    weight = Matrix::Random(units, units);
    gradient = Matrix::Zero(units, units);
  }

  const Matrix& forward(const std::vector<Matrix>& inputs) {
    states_[0] = Matrix::Zero(inputs[0].rows(), inputs[0].cols());
    for (std::size_t t = 0; t < inputs.size(); ++t) {
      sums_[t] = states_[t] * weight + inputs[t];
      Matrix& next = states_[t + 1];
      next.resizeLike(sums_[t]);
      norm.forward(sums_[t], next, {{}, &moments_[t]});
      next = next.array().tanh();
    }
    return states_.back();
  }

  /// From the gradient with respect to the last state: adds to `gradient` and to the layer's gradients.
  void backward(Matrix by_state) {
    for (std::size_t t = sums_.size(); t-- > 0;) {
      by_state.array() *= 1 - states_[t + 1].array().square();
      norm.backward(sums_[t], by_state, by_state, {{}, &moments_[t]});  // dx may be written over dy
      gradient += states_[t].transpose() * by_state;
      by_state = by_state * weight.transpose();
    }
  }

  LayerNorm<double> norm;
  Matrix weight, gradient;

 private:
  std::vector<Moments<double>> moments_;  // per step, mean and 1 / sigma of each sample: no copy of the sums
  std::vector<Matrix> sums_, states_;
};

/// Whether the gradient through twelve steps is right, by differences.
bool recurrent_gradients_are_right() {
  const std::size_t steps = 12;
  std::vector<Matrix> inputs(steps);
  for (Matrix& input : inputs) input = Matrix::Random(5, 8);
  const Matrix direction = Matrix::Random(5, 8);  // the loss is <direction, last state>
  RecurrentNet net(8, steps);
  net.norm.scale.value.setLinSpaced(0.5, 1.5);

  net.forward(inputs);
  net.backward(direction);

  const auto loss_at = [&](double& parameter, double value) {
    const double before = parameter;
    parameter = value;
    const double loss = net.forward(inputs).cwiseProduct(direction).sum();
    parameter = before;
    return loss;
  };
  double worst = 0;
  const auto compare = [&](double& parameter, double gradient) {
    const double h = 1e-4;
    const double near = loss_at(parameter, parameter + h) - loss_at(parameter, parameter - h);
    const double far = loss_at(parameter, parameter + 2 * h) - loss_at(parameter, parameter - 2 * h);
    worst = std::max(worst, std::abs((8 * near - far) / (12 * h) - gradient));
  };
  for (Eigen::Index i = 0; i < net.weight.size(); ++i) compare(net.weight.data()[i], net.gradient.data()[i]);
  for (Eigen::Index i = 0; i < 8; ++i) {
    compare(net.norm.scale.value[i], net.norm.scale.grad[i]);
    compare(net.norm.shift.value[i], net.norm.shift.grad[i]);
  }
  std::printf("Recurrent net, %zu steps through one LayerNorm: gradients off by at most %.1e\n", steps, worst);
  return worst < 1e-7;
}

int main() {
  const bool same = threads_give_the_same_bits();
  const bool right = recurrent_gradients_are_right();
  return same && right ? 0 : 1;
}
