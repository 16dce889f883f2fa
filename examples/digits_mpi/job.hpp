/// MPI around a program.
#pragma once

#include <mpi.h>

#include <stdexcept>

namespace digits {

/// MPI from here on. A program whose `main` returns ends it; one that is lost ends the others, too.
class MpiJob {
 public:
  MpiJob(int* argc, char*** argv) {
    int level = MPI_THREAD_SINGLE;
    MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &level);
  }
  MpiJob(const MpiJob&) = delete;
  MpiJob& operator=(const MpiJob&) = delete;
  ~MpiJob() { MPI_Finalize(); }
};

inline int rank_in(MPI_Comm communicator) {
  int rank = 0;
  MPI_Comm_rank(communicator, &rank);
  return rank;
}

inline int size_of(MPI_Comm communicator) {
  int size = 1;
  MPI_Comm_size(communicator, &size);
  return size;
}

/// The processes of the job in groups of `members` neighbours each.
class Group {
 public:
  explicit Group(int members) : number_(rank_in(MPI_COMM_WORLD) / members) {
    if (size_of(MPI_COMM_WORLD) % members != 0) throw std::runtime_error("the processes do not make whole groups");
    MPI_Comm_split(MPI_COMM_WORLD, number_, rank_in(MPI_COMM_WORLD), &communicator_);
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  ~Group() { MPI_Comm_free(&communicator_); }

  MPI_Comm communicator() const { return communicator_; }
  int number() const { return number_; }

 private:
  int number_;
  MPI_Comm communicator_ = MPI_COMM_NULL;
};

}  // namespace digits
