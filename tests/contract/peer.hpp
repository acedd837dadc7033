// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "contract/raw_peer.hpp"

struct ssl_st;
struct ssl_ctx_st;

// A server for tests that says what it is told to, byte by byte, with TLS or without.

namespace stackspec::testing {

struct PeerRequest {
  std::string method;
  std::string target;
  std::map<std::string, std::string> headers;  ///< Names in lower case.
  std::string body;
};

/// One connection, on the peer's side.
class Conversation {
 public:
  Conversation(Socket socket, ssl_ctx_st* tls);
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;
  ~Conversation();

  bool secured() const { return ok_; }  ///< The TLS handshake went well, or there is none.
  std::string client_name() const;      ///< Subject of the client's certificate.
  std::optional<PeerRequest> read();    ///< Nothing: closed, or silent for 10 s.
  bool send(std::string_view bytes);
  void answer(int status, std::string_view body, std::string_view headers = "");
  void begin_chunks();  ///< The head of a 200 whose body comes by chunk().
  bool chunk(std::string_view bytes);
  bool end_chunks() { return send("0\r\n\r\n"); }
  bool closed_within(std::chrono::milliseconds timeout) { return socket_.closed_within(timeout); }
  void shut();  ///< From any thread: whoever reads or writes here ends.

 private:
  std::size_t receive(char* bytes, std::size_t count);

  Socket socket_;
  ssl_st* ssl_ = nullptr;
  bool ok_ = true;
  std::string ahead_;
};

struct PeerTls {
  std::string certificate;  ///< Files.
  std::string key;
  std::string client_ca = {};  ///< When given, clients must show a certificate of it.
};

class Peer {
 public:
  /// Talks to one connection, on a thread of its own; `number` counts them from 1.
  using Talk = std::function<void(Conversation&, int number, const std::stop_token&)>;

  explicit Peer(Talk talk, const std::optional<PeerTls>& tls = std::nullopt);
  ~Peer();

  int port() const { return listener_.port(); }
  int connections() const;
  std::vector<PeerRequest> requests() const;  ///< All that Conversations of this peer have read.

 private:
  void accept(const std::stop_token& stop);

  Talk talk_;
  std::unique_ptr<ssl_ctx_st, void (*)(ssl_ctx_st*)> tls_;
  Listener listener_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Conversation>> conversations_;  // guarded by mutex_
  std::vector<PeerRequest> requests_;                         // guarded by mutex_
  std::vector<std::jthread> talks_;                           // the accepting thread's own
  std::jthread accepting_;

 public:
  /// read() that is remembered in requests().
  std::optional<PeerRequest> hear(Conversation& conversation);
};

}  // namespace stackspec::testing
