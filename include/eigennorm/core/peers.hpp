#pragma once

#include <vector>

/// \file
/// A batch that is spread over several processes, or threads: what a layer needs of the others.

namespace eigennorm {

/// The members that share a batch: each calls a layer with its part of it. Anything that can carry bytes from one to
/// another: MPI (mpi.hpp), threads of one process, an engine of your own.
class Peers {
 public:
  /// Bytes, whose meaning is the sender's. They may be of another length than the receiver thinks.
  using Record = std::vector<char>;

  Peers() = default;
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;
  virtual ~Peers() = default;

  /// How many members there are: at least one.
  virtual int members() const = 0;
  /// The number of this one, from 0.
  virtual int member() const = 0;

  /// Sends a record to another member.
  virtual void send(int to, const Record& record) = 0;
  /// Waits for the next record that `from` sent to this one; those of one member come in the order in which they were
  /// sent.
  virtual void receive(int from, Record& record) = 0;
};

namespace core {

/// Merges the records of all members in member order, along a binary tree: `merge(record, next)` appends those of the
/// members behind. All get the result, the same bytes on each. Every member sends and receives two records at most for
/// each level of the tree. (`next` is room for what comes.)
template <typename Merge>
void merge_records(Peers& peers, Peers::Record& record, Peers::Record& next, const Merge& merge) {
  const int members = peers.members(), member = peers.member();
  int level = 1;
  for (; level < members && member % (2 * level) == 0; level *= 2) {
    if (member + level >= members) continue;
    peers.receive(member + level, next);
    merge(record, next);
  }
  // Member 0 has all; every other one hands over what it has, and gets the result from where that went.
  if (member != 0) {
    peers.send(member - level, record);
    peers.receive(member - level, record);
  }
  for (level /= 2; level >= 1; level /= 2) {
    if (member + level < members) peers.send(member + level, record);
  }
}

}  // namespace core
}  // namespace eigennorm
