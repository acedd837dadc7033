// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>
#include <string>

struct ssl_st;
struct ssl_ctx_st;
struct ssl_session_st;

namespace stackspec {

/// The newest TLS session with one server. A connection that goes on with it shows and checks no
/// certificates, which is most of the work of a handshake, for both sides. Any thread.
class TlsSessions {
 public:
  TlsSessions() = default;
  TlsSessions(const TlsSessions&) = delete;
  TlsSessions& operator=(const TlsSessions&) = delete;
  ~TlsSessions();

  /// Keeps what connections of `context` agree on, and lets offer() go on with it. `trust` says who
  /// is trusted and who we are: a session is offered only where it is the same text.
  static void keep(const std::shared_ptr<TlsSessions>& sessions, ssl_ctx_st* context,
                   const std::string& trust);
  /// Before the handshake of a connection; nothing once it has begun.
  static void offer(ssl_st* connection);

 private:
  struct Use;
  static int use_index();
  static int keep_newest(ssl_st* connection, ssl_session_st* session);

  std::mutex mutex_;
  ssl_session_st* newest_ = nullptr;  // guarded by mutex_
  std::string trust_;                 // guarded by mutex_; that of the newest
};

}  // namespace stackspec
