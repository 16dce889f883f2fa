#pragma once

#include <mpi.h>

#include <cstdio>
#include <cstdlib>

/// Ends the whole job where something is not as it should be.
inline void expect(bool holds, const char* what) {
  if (holds) return;
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  std::fprintf(stderr, "rank %d: not so: %s\n", rank, what);
  MPI_Abort(MPI_COMM_WORLD, 1);
  std::abort();
}

/// MPI from here to the end of main, with the level that layers need.
struct Job {
  Job(int* argc, char*** argv) {
    int level = MPI_THREAD_SINGLE;
    MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &level);
    expect(level >= MPI_THREAD_FUNNELED, "MPI has the level MPI_THREAD_FUNNELED");
  }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;
  ~Job() { MPI_Finalize(); }
};
