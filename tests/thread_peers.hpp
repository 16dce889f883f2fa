#pragma once

#include <condition_variable>
#include <deque>
#include <eigennorm/core/peers.hpp>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace test {

/// Members of a spread batch that are threads of this process.
class Threads {
 public:
  explicit Threads(int members) : members_(members) {}

  /// Calls `body(peers)` once for each member, at once; throws what a member threw.
  template <typename Body>
  void run(const Body& body) {
    std::vector<std::exception_ptr> thrown(static_cast<std::size_t>(members_));
    std::vector<std::thread> threads;
    for (int member = 0; member < members_; ++member) {
      threads.emplace_back([&, member] {
        Member peers(*this, member);
        try {
          body(static_cast<eigennorm::Peers&>(peers));
        } catch (...) {
          thrown[static_cast<std::size_t>(member)] = std::current_exception();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const std::exception_ptr& one : thrown) {
      if (one) std::rethrow_exception(one);
    }
  }

 private:
  class Member final : public eigennorm::Peers {
   public:
    Member(Threads& threads, int member) : threads_(threads), member_(member) {}
    int members() const override { return threads_.members_; }
    int member() const override { return member_; }
    void send(int to, const Record& record) override {
      const std::lock_guard<std::mutex> lock(threads_.mutex_);
      threads_.mail_[{member_, to}].push_back(record);
      threads_.arrived_.notify_all();
    }
    void receive(int from, Record& record) override {
      std::unique_lock<std::mutex> lock(threads_.mutex_);
      std::deque<Record>& mail = threads_.mail_[{from, member_}];
      threads_.arrived_.wait(lock, [&] { return !mail.empty(); });
      record = std::move(mail.front());
      mail.pop_front();
    }

   private:
    Threads& threads_;
    int member_;
  };

  int members_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::map<std::pair<int, int>, std::deque<eigennorm::Peers::Record>> mail_;
};

}  // namespace test
