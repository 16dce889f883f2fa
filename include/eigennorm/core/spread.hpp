#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>

#include "eigennorm/core/error.hpp"
#include "eigennorm/core/loop.hpp"
#include "eigennorm/core/peers.hpp"

/// \file
/// A call whose batch is spread over members: the records that they merge, and how one that is wrong ends on all.

namespace eigennorm::core {

/// What has to be alike on all members. (Numbers of 8 bytes and a text of whole ones: no byte is left to chance.)
struct SpreadCall {
  enum Verb : std::int64_t { forward, evaluate, backward, gather };

  std::int64_t verb, merge, statistic, storage, scalar, features, groups, update, use_in_forward;
  std::int64_t biased;  ///< variances move running ones as they are
  std::int64_t activation;
  std::int64_t kept[max_rank];  ///< extents of the axes that are not averaged, in logical order
  double eps;
  double r_max, d_max;  ///< of Batch Renormalization; r_max 0: none
  double weight;        ///< of the batch in running statistics that move
  char name[48];

  /// Whether another's is the same. Who knows no features (of a population, before the first batch) takes the other's.
  bool join(SpreadCall other) {
    SpreadCall own = *this;
    SpreadCall& unsized = own.features == 0 ? own : other;
    const SpreadCall& sized = own.features == 0 ? other : own;
    if (unsized.features == 0) {
      unsized.features = sized.features;
      unsized.groups = sized.groups;
    }
    if (std::memcmp(&own, &other, sizeof own) != 0) return false;
    *this = own;
    return true;
  }

  /// As error texts show it.
  [[gnu::cold]] std::string text() const {
    static constexpr const char* verbs[] = {"forward", "evaluate", "backward", "gather"};
    static constexpr const char* statistics[] = {"mean and variance", "mean", "mean square", "sum of squares"};
    const auto word = [](const auto& words, std::int64_t i) {
      return i >= 0 && i < static_cast<std::int64_t>(sizeof words / sizeof *words) ? words[i] : "?";
    };
    const int axes = static_cast<int>(std::count_if(kept, kept + max_rank, [](std::int64_t n) { return n != 0; }));
    std::string all = text_of({word(verbs, verb), merge == 0 ? "" : " (once more)", " of ", name, ", ",
                               word(statistics, statistic), " of ", TextPart(kept, axes), ", ", features,
                               " features, eps ", eps, ", ", type(storage), " in a layer of ", type(scalar)});
    if (update != 0) all += text_of({", running statistics move by ", weight, biased != 0 ? ", biased" : ""});
    if (activation != 0) all += ", relu";
    if (use_in_forward != 0) all += ", by running statistics";
    if (r_max != 0) all += text_of({", renormalized by r_max ", r_max, " and d_max ", d_max});
    return all;
  }

 private:
  /// Types by the digits of their numbers.
  static const char* type(std::int64_t digits) {
    return digits == 8    ? "bfloat16"
           : digits == 11 ? "half"
           : digits == 24 ? "float"
           : digits == 53 ? "double"
                          : "long double";
  }
};

/// What a record begins with; numbers follow, unless there is a problem.
struct SpreadHeader {
  enum Problem : std::int64_t { none, other_call, failure, no_record };
  static constexpr std::uint64_t key = 0x0131644165727053;

  std::uint64_t magic;
  std::int64_t bytes;        ///< of the whole record
  std::int64_t first, last;  ///< the members that it is of
  std::int64_t count;        ///< their values of each group
  std::int64_t problem;
  std::int64_t culprit;  ///< the member that has it
  std::int64_t caller;   ///< the member whose call this is: the first, or the first who knows its features
  SpreadCall call;
  char text[200];  ///< what came of the culprit

  void set_problem(std::int64_t kind, std::int64_t member, const std::string& words) {
    problem = kind;
    culprit = member;
    std::snprintf(text, sizeof text, "%s", words.c_str());
  }

  /// Fails, in the name of `owner`, where there is a problem: on all members alike.
  void check(const char* owner) const {
    if (problem == other_call) {
      fail_with({owner, ": expected the call of member ", caller, " on all members, ", call.text().c_str(),
                 ", got on member ", culprit, ": ", text});
    }
    if (problem == failure)
      fail_with({owner, ": expected right calls on all members, got on member ", culprit, ": ", text});
    if (problem != none)
      fail_with({owner, ": expected records of one kind from all members, got from member ", culprit, " ", text});
  }
};
static_assert(std::is_trivially_copyable_v<SpreadHeader> && sizeof(SpreadHeader) % 16 == 0,
              "A header is sent as bytes, and numbers of any type are behind it.");

constexpr std::size_t header_bytes = sizeof(SpreadHeader);

/// Reads a header; whether there is a whole one, the record is as long as it says, and its numbers can be counted on.
inline bool read_header(const Peers::Record& record, SpreadHeader& to) {
  if (record.size() < header_bytes) return false;
  std::memcpy(&to, record.data(), header_bytes);
  to.text[sizeof to.text - 1] = to.call.name[sizeof to.call.name - 1] = 0;
  constexpr std::int64_t last = (std::numeric_limits<int>::max)();
  return to.magic == SpreadHeader::key && to.bytes == static_cast<std::int64_t>(record.size()) && to.first >= 0 &&
         to.first <= to.last && to.last <= last && to.count >= 0;
}

/// The numbers of a record. (A vector's memory is aligned for all types, and so is what comes behind a header.)
template <typename Number>
Number* numbers_of(Peers::Record& record) {
  return reinterpret_cast<Number*>(record.data() + header_bytes);
}

/// Makes a record of so many bytes of numbers, all 0.
inline void make_record(Peers::Record& record, std::int64_t bytes) {
  record.assign(header_bytes + static_cast<std::size_t>(bytes), 0);
}

/// Appends the numbers of a record to those of members before.
using AppendNumbers = void (*)(SpreadHeader& to, Peers::Record& record, const SpreadHeader& from, Peers::Record& next);

/// Appends a record of the members behind, of which nothing is believed.
[[gnu::cold]] inline void append_record(Peers::Record& record, Peers::Record& next, AppendNumbers append) {
  SpreadHeader to{}, from{};
  read_header(record, to);
  const std::int64_t behind = to.last + 1;
  to.last = behind;
  if (!read_header(next, from)) {
    const std::string words = text_of({"one of ", next.size(), " bytes"});
    if (to.problem == SpreadHeader::none) to.set_problem(SpreadHeader::no_record, behind, words);
  } else if (to.problem == SpreadHeader::none) {
    to.last = from.last;
    const bool called = from.problem == SpreadHeader::none || from.problem == SpreadHeader::other_call;
    const bool sized = to.call.features != 0;
    if (called && !to.call.join(from.call)) {
      to.set_problem(SpreadHeader::other_call, from.caller, from.call.text());
    } else if (from.problem != SpreadHeader::none) {
      to.set_problem(from.problem, from.culprit, from.text);
    } else if (from.count > (std::numeric_limits<std::int64_t>::max)() - to.count) {
      to.set_problem(SpreadHeader::no_record, from.first, text_of({"one of ", from.count, " values"}));
    } else if (from.bytes != to.bytes) {
      to.set_problem(SpreadHeader::no_record, from.first, text_of({"one of ", from.bytes, " bytes"}));
    } else {
      append(to, record, from, next);
    }
    if (!sized) to.caller = from.caller;
  }
  if (to.problem != SpreadHeader::none) record.resize(header_bytes);
  to.bytes = static_cast<std::int64_t>(record.size());
  std::memcpy(record.data(), &to, header_bytes);
}

/// One call of one member.
struct SpreadMerge {
  Peers* peers;
  const char* name;
  SpreadCall call;

  /// Merges the records of all members, and fails on all where one has a problem. `fill` makes the record and returns
  /// how many values of each group are here; what it fails with is everybody's failure. Returns how many there are in
  /// all.
  template <typename Fill>
  std::int64_t merge(Peers::Record& record, Peers::Record& next, AppendNumbers append, const Fill& fill) {
    struct Work {
      const Fill* fill;
      std::int64_t* count;
    };
    std::int64_t count = 0;
    const Work work{&fill, &count};
    const std::string failure = failure_of(
        [](const void* of) {
          const Work& given = *static_cast<const Work*>(of);
          *given.count = (*given.fill)();
        },
        &work);
    return send_and_receive(record, next, append, count, failure);
  }

 private:
  [[gnu::cold]] std::int64_t send_and_receive(Peers::Record& record, Peers::Record& next, AppendNumbers append,
                                              std::int64_t count, const std::string& failure) {
    const std::int64_t member = peers->member();
    SpreadHeader header{};
    if (!failure.empty()) {
      make_record(record, 0);
      header.set_problem(SpreadHeader::failure, member, failure);
    }
    const std::size_t size = record.size();
    header.magic = SpreadHeader::key;
    header.bytes = static_cast<std::int64_t>(size);
    header.first = header.last = header.caller = member;
    header.count = count;
    header.call = call;
    std::memcpy(record.data(), &header, header_bytes);
    merge_records(*peers, record, next,
                  [append](Peers::Record& to, Peers::Record& from) { append_record(to, from, append); });
    if (!read_header(record, header)) {
      fail_with({name, ": expected the merged record of all members, got one of ", record.size(), " bytes on member ",
                 member});
    }
    header.check(name);
    if (record.size() != size || !call.join(header.call)) {
      fail_with({name, ": expected the merged record of this call, ", size, " bytes, got ", record.size(),
                 " bytes on member ", member});
    }
    ++call.merge;
    return header.count;
  }
};

}  // namespace eigennorm::core
