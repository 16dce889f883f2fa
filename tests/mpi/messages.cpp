// Records go from member to member as they should: whole, in order, in two communicators at once.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <eigennorm/mpi.hpp>
#include <optional>
#include <stdexcept>
#include <string>

#include "job.hpp"
#include "members.hpp"

namespace {

using eigennorm::MpiPeers;
using eigennorm::Peers;

Peers::Record bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

/// Every member's number in a tree of brackets: it tells order and shape.
Peers::Record merged(Peers& peers) {
  Peers::Record record = bytes_of(std::to_string(peers.member())), next;
  const auto merge = [](Peers::Record& one, const Peers::Record& other) {
    one.insert(one.begin(), '(');
    one.push_back(' ');
    one.insert(one.end(), other.begin(), other.end());
    one.push_back(')');
  };
  eigennorm::core::merge_records(peers, record, next, merge);
  return record;
}

void check_merge() {
  MpiPeers peers;
  Peers::Record in_process;
  test::Post post(peers.members());
  test::on_members(post, [&](Peers& thread) {
    const Peers::Record record = merged(thread);
    if (thread.member() == thread.members() - 1) in_process = record;
  });
  for (int again = 0; again < 100; ++again) expect(merged(peers) == in_process, "all have what threads have");
}

/// All pieces but the last are full, so lengths around a multiple of a piece are the hard ones.
void check_pieces() {
  MPI_Comm communicator = MPI_COMM_NULL;
  MPI_Comm_dup(MPI_COMM_WORLD, &communicator);
  int rank = 0, ranks = 1;
  MPI_Comm_rank(communicator, &rank);
  MPI_Comm_size(communicator, &ranks);
  constexpr std::int64_t piece = 4;
  for (std::size_t length = 0; length < 14 && ranks > 1; ++length) {
    Peers::Record sent(length), received(100, 'x');
    for (std::size_t i = 0; i < length; ++i) sent[i] = static_cast<char>(i + 1);
    if (rank == 0) eigennorm::core::send_pieces(sent, piece, communicator, 1);
    if (rank == 1) {
      eigennorm::core::receive_pieces(received, piece, communicator, 0);
      expect(received == sent, "a record in pieces comes whole");
    }
  }
  MPI_Comm_free(&communicator);
}

/// Records long enough that MPI waits for the receiver, shorter ones after them, empty ones.
void check_lengths() {
  MpiPeers peers;
  const int next = (peers.member() + 1) % peers.members(),
            last = (peers.member() + peers.members() - 1) % peers.members();
  if (peers.members() == 1) return;
  Peers::Record record;
  for (const std::size_t length : {std::size_t{3'000'000}, std::size_t{7}, std::size_t{0}, std::size_t{70'000}}) {
    const Peers::Record sent(length, static_cast<char>(length % 11));
    if (peers.member() % 2 == 0) {
      peers.send(next, sent);
      peers.receive(last, record);
    } else {
      peers.receive(last, record);
      peers.send(next, sent);
    }
    expect(record == sent, "a record has its length and its bytes");
  }
}

/// Even and odd ranks, and all of them: messages of one do not reach the other, nor those of the program.
void check_two_communicators() {
  MpiPeers world;
  int rank = world.member();
  MPI_Comm half = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, rank % 2, rank, &half);
  MpiPeers peers(half), twin(half);
  MPI_Comm_free(&half);  // the peers have their own
  expect(peers.member() == rank / 2, "members of a half are numbered from 0");
  expect(peers.members() == (world.members() + 1 - rank % 2) / 2, "a half has half of the members");
  if (peers.members() > 1) {
    // Sent by one, looked for in another order: only communicators of their own keep these apart.
    Peers::Record record;
    if (peers.member() == 0) {
      peers.send(1, bytes_of("first"));
      twin.send(1, bytes_of("second"));
      world.send(rank + 2, bytes_of("third"));
      const int number = 4;
      MPI_Send(&number, 1, MPI_INT, rank + 2, 0, MPI_COMM_WORLD);
    } else if (peers.member() == 1) {
      int number = 0;
      MPI_Recv(&number, 1, MPI_INT, rank - 2, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      expect(number == 4, "the program's own message");
      world.receive(rank - 2, record);
      expect(record == bytes_of("third"), "the world's message");
      twin.receive(0, record);
      expect(record == bytes_of("second"), "the twin's message");
      peers.receive(0, record);
      expect(record == bytes_of("first"), "the half's message");
    }
  }
  const Peers::Record of_half = merged(peers), of_all = merged(world);
  expect(std::count(of_half.begin(), of_half.end(), '(') == peers.members() - 1, "a half merges its own");
  expect(std::count(of_all.begin(), of_all.end(), '(') == world.members() - 1, "the world merges all");
}

template <typename Make>
void check_refused(const Make& make, const std::string& text) {
  std::string said;
  try {
    make();
  } catch (const std::invalid_argument& error) {
    said = error.what();
  }
  expect(said == text, text.c_str());
}

void check_refusals() {
  check_refused([] { MpiPeers peers(MPI_COMM_NULL); }, "MpiPeers: expected a communicator, got MPI_COMM_NULL");
  int rank = 0, ranks = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  if (ranks == 1) return;
  MPI_Comm half = MPI_COMM_NULL, between = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, rank % 2, rank, &half);
  MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, 1 - rank % 2, 0, &between);
  check_refused([&] { MpiPeers peers(between); },
                "MpiPeers: expected a communicator of one group, got an intercommunicator");
  MPI_Comm_free(&between);
  MPI_Comm_free(&half);
}

}  // namespace

int main(int argc, char** argv) {
  std::optional<MpiPeers> outlives_mpi;
  const Job job(&argc, &argv);
  outlives_mpi.emplace();
  check_merge();
  check_pieces();
  check_lengths();
  check_two_communicators();
  check_refusals();
  expect(merged(*outlives_mpi) == merged(*outlives_mpi), "peers that outlive MPI work while it is there");
}
