#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <eigennorm/core/peers.hpp>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

// Members of a batch in one process: each is a thread, records go from one to another through a queue.

namespace test {

using eigennorm::Peers;

/// What members have sent each other.
class Post {
 public:
  explicit Post(int members) : members_(members) {}

  int members() const { return members_; }

  /// Before each record of a member is sent, it sleeps for a random time of up to so many microseconds.
  int longest_delay = 0;
  std::uint64_t seed = 1;
  /// What becomes of a record on its way.
  std::function<void(int from, int to, Peers::Record& record)> change;

  void send(int from, int to, Peers::Record record) {
    if (change) change(from, to, record);
    const std::lock_guard<std::mutex> lock(mutex_);
    ++messages_;
    ++sent_[from];
    bytes_ += record.size();
    largest_ = (std::max)(largest_, record.size());
    queues_[{from, to}].push_back(std::move(record));
    arrived_.notify_all();
  }
  /// Who waits for too long is told so, instead of for ever.
  void receive(int from, int to, Peers::Record& record) {
    std::unique_lock<std::mutex> lock(mutex_);
    auto& queue = queues_[{from, to}];
    if (!arrived_.wait_for(lock, std::chrono::seconds(60), [&] { return !queue.empty(); }))
      throw std::runtime_error("no record came");
    record = std::move(queue.front());
    queue.pop_front();
  }

  std::size_t messages() const { return messages_; }
  std::size_t sent_by(int member) const { return sent_.count(member) == 0 ? 0 : sent_.at(member); }
  std::size_t bytes() const { return bytes_; }
  std::size_t largest() const { return largest_; }
  bool all_read() const {
    return std::all_of(queues_.begin(), queues_.end(), [](const auto& each) { return each.second.empty(); });
  }

 private:
  int members_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::map<std::pair<int, int>, std::deque<Peers::Record>> queues_;
  std::map<int, std::size_t> sent_;
  std::size_t messages_ = 0, bytes_ = 0, largest_ = 0;
};

class Member : public Peers {
 public:
  Member(Post& post, int number)
      : post_(post), number_(number), random_(post.seed * 1000 + static_cast<std::uint64_t>(number)) {}

  int members() const override { return post_.members(); }
  int member() const override { return number_; }
  void send(int to, const Record& record) override {
    if (thread_ != std::this_thread::get_id()) throw std::logic_error("not the thread that calls");
    if (post_.longest_delay > 0) {
      std::uniform_int_distribution<int> delay(0, post_.longest_delay);
      std::this_thread::sleep_for(std::chrono::microseconds(delay(random_)));
    }
    post_.send(number_, to, record);
  }
  void receive(int from, Record& record) override {
    if (thread_ != std::this_thread::get_id()) throw std::logic_error("not the thread that calls");
    post_.receive(from, number_, record);
  }

 private:
  Post& post_;
  int number_;
  std::thread::id thread_ = std::this_thread::get_id();
  std::mt19937_64 random_;
};

/// Calls `f(peers)` for each member at once. Returns what each failed with; nothing where it did not.
template <typename F>
std::vector<std::string> on_members(Post& post, const F& f) {
  std::vector<std::string> failures(static_cast<std::size_t>(post.members()));
  std::vector<std::thread> threads;
  for (int i = 0; i < post.members(); ++i) {
    threads.emplace_back([&, i] {
      Member member(post, i);
      try {
        f(static_cast<Peers&>(member));
      } catch (const std::invalid_argument& failure) {
        failures[static_cast<std::size_t>(i)] = failure.what();
      } catch (const std::exception& failure) {
        failures[static_cast<std::size_t>(i)] = std::string("NOT OF THE LIBRARY: ") + failure.what();
      }
    });
  }
  for (std::thread& each : threads) each.join();
  return failures;
}

}  // namespace test
