// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "contract/raw_peer.hpp"

namespace stackspec::testing {

/// A pooler of PostgreSQL that has one connection and hands it to whoever has a statement: the
/// worst that pooling by transaction can do to what a session holds.
class Pooler {
 public:
  explicit Pooler(int server_port)
      : server_port_(server_port), thread_([this](const std::stop_token& stop) { run(stop); }) {}
  int port() const { return listener_.port(); }

 private:
  /// One message of the protocol; the first of a client has no type. Empty: the other side left.
  static std::string message(const Socket& from, bool typed) {
    std::string text;
    const std::size_t head = typed ? 5 : 4;
    std::size_t wanted = head;
    while (text.size() < wanted) {
      char part[4096];
      const auto got = ::recv(from.get(), part, std::min(sizeof part, wanted - text.size()), 0);
      if (got <= 0) return {};
      text.append(part, static_cast<std::size_t>(got));
      if (text.size() != head) continue;
      std::size_t length = 0;
      for (std::size_t i = head - 4; i < head; ++i) {
        length = length * 256 + static_cast<unsigned char>(text[i]);
      }
      wanted = length + head - 4;
    }
    return text;
  }

  void log_in(const Socket& client, const std::string& startup) {
    server_ = connect_to(server_port_);
    server_.send(startup);
    for (std::string told = "?"; !told.empty() && told[0] != 'Z';) {
      told = message(server_, true);
      client.send(told);
      const bool asks = told.size() > 8 && told[0] == 'R' && (told[8] == 10 || told[8] == 11);
      if (asks) server_.send(message(client, true));
    }
  }

  void welcome(Socket client) {
    const std::string startup = message(client, false);
    if (server_.get() < 0) {
      log_in(client, startup);
    } else {
      client.send(std::string("R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", 15));
    }
    clients_.push_back(std::move(client));
  }

  /// One statement with its answer. False: the client left.
  bool serve(const Socket& client) const {
    for (std::string said = "?"; said[0] != 'S' && said[0] != 'Q';) {
      said = message(client, true);
      if (said.empty() || said[0] == 'X') return false;
      server_.send(said);
    }
    for (std::string told = "?"; !told.empty() && told[0] != 'Z';) {
      told = message(server_, true);
      client.send(told);
    }
    return true;
  }

  void run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      if (listener_.wait_readable(std::chrono::milliseconds(5))) welcome(listener_.accept());
      std::erase_if(clients_, [&](const Socket& client) {
        return client.wait_readable(std::chrono::milliseconds(1)) && !serve(client);
      });
    }
  }

  Listener listener_;
  int server_port_;
  Socket server_;
  std::vector<Socket> clients_;
  std::jthread thread_;  ///< The last member: it uses the others.
};

}  // namespace stackspec::testing
