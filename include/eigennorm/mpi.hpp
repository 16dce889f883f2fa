#pragma once

#include "eigennorm/core/requirements.hpp"

#if !__has_include(<mpi.h>)
#error "eigennorm/mpi.hpp needs MPI: install libopenmpi-dev or libmpich-dev (Debian), or compile with mpicxx."
// g++ goes on after #error, into errors of what is missing; but it stops at a file that is not there.
#include "eigennorm/mpi.hpp needs MPI"
#else
#include <mpi.h>

#include <cstddef>
#include <cstdint>

#include "eigennorm/core/error.hpp"
#include "eigennorm/core/peers.hpp"

/// \file
/// Batches that are spread over the processes of an MPI job. Needs MPI: the CMake target eigennorm::mpi. Not part of
/// eigennorm/eigennorm.hpp.
///
/// \code
/// #include <eigennorm/eigennorm.hpp>
/// #include <eigennorm/mpi.hpp>
///
/// int main(int argc, char** argv) {
///   int level = 0;
///   MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
///   int failures = 0;
///   {
///     eigennorm::MpiPeers peers;  // all of MPI_COMM_WORLD
///     eigennorm::Context<float> context;
///     context.peers = &peers;
///     const Eigen::MatrixXf x = Eigen::MatrixXf::Random(16, 3).array() + static_cast<float>(peers.member());
///     eigennorm::BatchNorm<float> layer(3);
///     const Eigen::MatrixXf y = layer.forward(x, context);  // by the statistics of all parts
///     const Eigen::MatrixXf dx = layer.backward(x, y, context);
///     // dscale and dshift are this part's own: add them up with the gradients of the other parameters.
///     MPI_Allreduce(MPI_IN_PLACE, layer.shift.grad.data(), 3, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
///     failures = layer.shift.grad.abs().maxCoeff() < 1e-3F ? 0 : 1;  // here the sum of y over all, which is 0
///   }
///   MPI_Finalize();
///   return failures;
/// }
/// \endcode

namespace eigennorm {

namespace core {

/// MPI counts in int, so a record goes in pieces: all but the last are full, and the last one is not, if it has to be
/// empty for that. So the receiver needs no length ahead.
constexpr std::int64_t mpi_piece = std::int64_t{1} << 30;
constexpr int mpi_tag = 0;  // the communicator is nobody else's

inline void send_pieces(const Peers::Record& record, std::int64_t piece, MPI_Comm communicator, int to) {
  const auto size = static_cast<std::int64_t>(record.size());
  for (std::int64_t done = 0; done <= size; done += piece) {
    const std::int64_t count = size - done < piece ? size - done : piece;
    MPI_Send(record.data() + done, static_cast<int>(count), MPI_BYTE, to, mpi_tag, communicator);
  }
}

inline void receive_pieces(Peers::Record& record, std::int64_t piece, MPI_Comm communicator, int from) {
  std::int64_t done = 0;
  int count = 0;
  do {
    MPI_Status status;
    MPI_Probe(from, mpi_tag, communicator, &status);
    MPI_Get_count(&status, MPI_BYTE, &count);
    record.resize(static_cast<std::size_t>(done + count));
    MPI_Recv(record.data() + done, count, MPI_BYTE, from, mpi_tag, communicator, MPI_STATUS_IGNORE);
    done += count;
  } while (count == piece);
}

/// Fails where MPI cannot be used as these peers use it.
inline void check_mpi(MPI_Comm communicator) {
  int is_true = 0;
  MPI_Initialized(&is_true);
  if (is_true == 0) fail_with({"MpiPeers: expected MPI to be initialized, by MPI_Init_thread, and it is not yet"});
  MPI_Finalized(&is_true);
  if (is_true != 0) fail_with({"MpiPeers: expected MPI to be initialized, and MPI_Finalize has ended it"});
  int level = MPI_THREAD_SINGLE;
  MPI_Query_thread(&level);
  if (level == MPI_THREAD_SINGLE) {
    fail_with({"MpiPeers: expected MPI_Init_thread to have given MPI_THREAD_FUNNELED or more, got MPI_THREAD_SINGLE"});
  }
  if (communicator == MPI_COMM_NULL) fail_with({"MpiPeers: expected a communicator, got MPI_COMM_NULL"});
  MPI_Comm_test_inter(communicator, &is_true);
  if (is_true != 0) fail_with({"MpiPeers: expected a communicator of one group, got an intercommunicator"});
}

}  // namespace core

/// The processes of a communicator, as members of a spread batch. Made and destroyed by all of them, like a
/// communicator; it has messages of its own, so that others over the same processes do not disturb it. Calls come from
/// one thread at a time: where MPI has the level MPI_THREAD_FUNNELED, from the one that initialized it. (A layer calls
/// from the thread that calls the layer, also where it computes on a pool.)
///
/// An error of MPI, as when a member has died, ends the whole job, whatever handler the communicator has: the others
/// would wait forever.
class MpiPeers final : public Peers {
 public:
  explicit MpiPeers(MPI_Comm communicator = MPI_COMM_WORLD) {
    core::check_mpi(communicator);
    if (MPI_Comm_dup(communicator, &communicator_) != MPI_SUCCESS) core::fail_with({"MpiPeers: MPI_Comm_dup failed"});
    MPI_Comm_set_errhandler(communicator_, MPI_ERRORS_ARE_FATAL);
    MPI_Comm_size(communicator_, &members_);
    MPI_Comm_rank(communicator_, &member_);
  }

  /// After MPI_Finalize, too.
  ~MpiPeers() override {
    int is_finalized = 0;
    MPI_Finalized(&is_finalized);
    if (is_finalized == 0) MPI_Comm_free(&communicator_);
  }

  int members() const override { return members_; }
  int member() const override { return member_; }

  void send(int to, const Record& record) override { core::send_pieces(record, core::mpi_piece, communicator_, to); }
  void receive(int from, Record& record) override {
    core::receive_pieces(record, core::mpi_piece, communicator_, from);
  }

 private:
  MPI_Comm communicator_ = MPI_COMM_NULL;
  int members_ = 1;
  int member_ = 0;
};

}  // namespace eigennorm
#endif
