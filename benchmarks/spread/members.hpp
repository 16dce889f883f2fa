/// Members of a spread batch that are threads of one process, and count what they send each other.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <eigennorm/core/peers.hpp>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace spread {

struct Counts {
  std::int64_t messages = 0;  ///< sent
  std::int64_t bytes = 0;     ///< in them
  std::int64_t largest = 0;   ///< of one of them
  std::int64_t depth = 0;     ///< messages that followed one another up to here, whoever sent them
};

class Members {
 public:
  explicit Members(int count) {
    for (int i = 0; i < count; ++i) members_.push_back(std::make_unique<Member>(*this, i));
  }

  /// Calls `body(peers)` for all members at once. Every one has a thread, since each may wait for any other.
  template <typename Body>
  void run(const Body& body) {
    std::vector<std::thread> threads;
    std::vector<std::exception_ptr> thrown(members_.size());
    for (std::size_t i = 0; i < members_.size(); ++i) {
      threads.emplace_back([&, i] {
        try {
          body(static_cast<eigennorm::Peers&>(*members_[i]));
        } catch (...) {
          thrown[i] = std::current_exception();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const std::exception_ptr& one : thrown) {
      if (one) std::rethrow_exception(one);
    }
  }

  /// What was sent since the last call: by all, or by the one that sent most; the longest chain.
  struct Summary {
    Counts all, most;
  };
  Summary take_counts() {
    Summary summary;
    for (const auto& member : members_) {
      Counts& counts = member->counts;
      summary.all.messages += counts.messages;
      summary.all.bytes += counts.bytes;
      summary.most.messages = std::max(summary.most.messages, counts.messages);
      summary.most.bytes = std::max(summary.most.bytes, counts.bytes);
      summary.most.largest = std::max(summary.most.largest, counts.largest);
      summary.most.depth = std::max(summary.most.depth, counts.depth);
      counts = {};
    }
    return summary;
  }

 private:
  struct Message {
    int from;
    std::int64_t depth;
    eigennorm::Peers::Record record;
  };

  struct Member final : eigennorm::Peers {
    Member(Members& of, int number) : all(of), own_number(number) {}

    int members() const override { return static_cast<int>(all.members_.size()); }
    int member() const override { return own_number; }

    void send(int to, const Record& record) override {
      const auto bytes = static_cast<std::int64_t>(record.size());
      ++counts.messages;
      counts.bytes += bytes;
      counts.largest = std::max(counts.largest, bytes);
      Member& other = *all.members_[static_cast<std::size_t>(to)];
      const std::lock_guard<std::mutex> lock(other.mutex);
      other.mail.push_back({own_number, counts.depth + 1, record});
      other.arrived.notify_one();
    }

    void receive(int from, Record& record) override {
      std::unique_lock<std::mutex> lock(mutex);
      auto found = mail.end();
      arrived.wait(lock, [&] {
        found = std::find_if(mail.begin(), mail.end(), [from](const Message& message) { return message.from == from; });
        return found != mail.end();
      });
      counts.depth = std::max(counts.depth, found->depth);
      record = std::move(found->record);
      mail.erase(found);
    }

    Members& all;
    int own_number;
    Counts counts;
    std::mutex mutex;
    std::condition_variable arrived;
    std::deque<Message> mail;
  };

  std::vector<std::unique_ptr<Member>> members_;
};

}  // namespace spread
