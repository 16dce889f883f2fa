// Times a BatchNorm on the processes of an MPI job: each by its own statistics, and by those of the whole batch. Prints
// the rows of a table.

#include <mpi.h>

#include <Eigen/Core>
#include <algorithm>
#include <cstdio>
#include <eigennorm/batch_norm.hpp>
#include <eigennorm/mpi.hpp>
#include <vector>

namespace {

using Eigen::MatrixXf;

/// In microseconds.
struct Times {
  double least = 0, median = 0;
};

/// Of some calls that all begin at once, the time until the last is through.
template <typename Call>
Times time(int calls, const Call& call) {
  std::vector<double> seconds;
  for (int i = 0; i < calls; ++i) {
    MPI_Barrier(MPI_COMM_WORLD);
    const double start = MPI_Wtime();
    call();
    double took = MPI_Wtime() - start;
    MPI_Allreduce(MPI_IN_PLACE, &took, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    seconds.push_back(took);
  }
  std::sort(seconds.begin(), seconds.end());
  return {1e6 * seconds.front(), 1e6 * seconds[seconds.size() / 2]};
}

void measure(Eigen::Index samples, Eigen::Index channels, eigennorm::Peers& peers) {
  const int calls = samples * channels > 100'000 ? 60 : 300;
  const MatrixXf x = MatrixXf::Random(samples, channels), dy = MatrixXf::Random(samples, channels);
  MatrixXf y = x, dx = x;
  Times forward[2], backward[2];
  for (const bool spread : {false, true}) {
    eigennorm::BatchNorm<float> layer(channels);
    eigennorm::Context<float> context;
    if (spread) context.peers = &peers;
    time(10, [&] { layer.forward(x, y, context); });
    forward[spread ? 1 : 0] = time(calls, [&] { layer.forward(x, y, context); });
    backward[spread ? 1 : 0] = time(calls, [&] { layer.backward(x, dy, dx, context); });
  }
  if (peers.member() != 0) return;
  std::printf("| %d | %d x %d |", peers.members(), static_cast<int>(samples), static_cast<int>(channels));
  for (const Times& times : {forward[0], forward[1], backward[0], backward[1]})
    std::printf(" %.0f (%.0f) |", times.least, times.median);
  std::puts("");
}

}  // namespace

int main(int argc, char** argv) {
  int level = MPI_THREAD_SINGLE;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
  {
    eigennorm::MpiPeers peers;
    measure(32, 256, peers);
    measure(4096, 256, peers);
  }
  MPI_Finalize();
  return 0;
}
