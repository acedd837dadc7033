// SPDX-License-Identifier: Apache-2.0
#include "http/tls_sessions.hpp"

#include <openssl/ssl.h>

#include "base/hash.hpp"

namespace stackspec {

/// What a context knows of it; ends with the context.
struct TlsSessions::Use {
  std::shared_ptr<TlsSessions> sessions;
  std::string trust;
};

TlsSessions::~TlsSessions() {
  SSL_SESSION_free(newest_);
}

int TlsSessions::use_index() {
  static const int index = SSL_CTX_get_ex_new_index(
      0, nullptr, nullptr, nullptr,
      [](void*, void* use, CRYPTO_EX_DATA*, int, long, void*) { delete static_cast<Use*>(use); });
  return index;
}

void TlsSessions::keep(const std::shared_ptr<TlsSessions>& sessions, ssl_ctx_st* context,
                       const std::string& trust) {
  auto use = std::make_unique<Use>(Use{sessions, sha256_hex(trust)});
  if (SSL_CTX_set_ex_data(context, use_index(), use.get()) != 1) return;
  static_cast<void>(use.release());
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context, &TlsSessions::keep_newest);
}

int TlsSessions::keep_newest(ssl_st* connection, ssl_session_st* session) {
  const auto* use =
      static_cast<const Use*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(connection), use_index()));
  // A copy: OpenSSL spoils that of a connection which ends without good-bye.
  SSL_SESSION* copy = SSL_SESSION_dup(session);
  if (copy == nullptr) return 0;
  const std::lock_guard lock(use->sessions->mutex_);
  SSL_SESSION_free(use->sessions->newest_);
  use->sessions->newest_ = copy;
  use->sessions->trust_ = use->trust;
  return 0;
}

void TlsSessions::offer(ssl_st* connection) {
  if (SSL_in_before(connection) == 0) return;
  const auto* use =
      static_cast<const Use*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(connection), use_index()));
  if (use == nullptr) return;
  const std::lock_guard lock(use->sessions->mutex_);
  if (use->sessions->newest_ == nullptr || use->sessions->trust_ != use->trust) return;
  SSL_SESSION* copy = SSL_SESSION_dup(use->sessions->newest_);
  if (copy == nullptr) return;
  SSL_set_session(connection, copy);
  SSL_SESSION_free(copy);
}

}  // namespace stackspec
