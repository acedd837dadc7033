// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "contract/raw_peer.hpp"

namespace stackspec::testing {

/// An address behind which one server can take the place of another, and which counts how often a
/// client had to wait for an answer.
class Relay {
 public:
  explicit Relay(int server_port)
      : server_port_(server_port), thread_([this](const std::stop_token& stop) { run(stop); }) {}
  int port() const { return listener_.port(); }
  int round_trips() const { return round_trips_; }

  /// Everybody is sent away; who comes again finds the other server.
  void lead_to(int server_port) {
    server_port_ = server_port;
    cut_ = true;
    while (cut_) std::this_thread::yield();
  }

 private:
  struct Pair {
    Socket client, server;
    bool answered = true;
  };

  /// False: the other side left.
  static bool pass(const Socket& from, const Socket& to) {
    char part[65536];
    const auto got = ::recv(from.get(), part, sizeof part, 0);
    return got > 0 && to.send({part, static_cast<std::size_t>(got)});
  }

  bool serve(Pair& pair) {
    using std::chrono::milliseconds;
    if (pair.client.wait_readable(milliseconds(0))) {
      if (std::exchange(pair.answered, false)) ++round_trips_;
      if (!pass(pair.client, pair.server)) return false;
    }
    if (!pair.server.wait_readable(milliseconds(0))) return true;
    pair.answered = true;
    return pass(pair.server, pair.client);
  }

  void run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      if (cut_) pairs_.clear();
      cut_ = false;
      if (listener_.wait_readable(std::chrono::milliseconds(1))) {
        Socket client = listener_.accept();
        pairs_.push_back({std::move(client), connect_to(server_port_)});
      }
      std::erase_if(pairs_, [this](Pair& pair) { return !serve(pair); });
    }
  }

  Listener listener_;
  std::atomic<int> server_port_;
  std::atomic<int> round_trips_ = 0;
  std::atomic<bool> cut_ = false;
  std::vector<Pair> pairs_;
  std::jthread thread_;  ///< The last member: it uses the others.
};

}  // namespace stackspec::testing
