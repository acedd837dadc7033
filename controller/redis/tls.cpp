// SPDX-License-Identifier: Apache-2.0
#include "redis/tls.hpp"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <cerrno>
#include <utility>

namespace stackspec {
namespace {

struct ContextDeleter {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};

Error unavailable(std::string why) {
  return {ErrorKind::Unavailable, std::move(why)};
}

/// What OpenSSL says about the last call, which returned `result`.
Error failure(const SSL* ssl, int result) {
  const int number = errno;
  if (const long verdict = SSL_get_verify_result(ssl); verdict != X509_V_OK) {
    return unavailable(std::string("certificate verify failed: ") +
                       X509_verify_cert_error_string(verdict));
  }
  switch (SSL_get_error(ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: return unavailable("no answer in time");
    case SSL_ERROR_ZERO_RETURN: return unavailable("the server closed the connection");
    case SSL_ERROR_SYSCALL:
      if (number == EAGAIN) return unavailable("no answer in time");
      return unavailable("the connection broke");
    default: break;
  }
  const char* reason = ERR_reason_error_string(ERR_peek_error());
  return unavailable(reason == nullptr ? "not understood" : reason);
}

}  // namespace

Result<std::unique_ptr<Tls>> Tls::open(int socket, const std::string& host,
                                       const std::string& authorities) {
  ERR_clear_error();
  const std::unique_ptr<SSL_CTX, ContextDeleter> context(SSL_CTX_new(TLS_client_method()));
  if (!context) return unavailable("out of memory");
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  if (SSL_CTX_load_verify_locations(context.get(), authorities.c_str(), nullptr) != 1) {
    return unavailable("no authorities in " + authorities);
  }
  std::unique_ptr<Tls> tls(new Tls(SSL_new(context.get())));
  SSL* const ssl = tls->ssl_.get();
  if (ssl == nullptr || SSL_set_fd(ssl, socket) != 1) return unavailable("out of memory");
  if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str()) != 1) {
    ERR_clear_error();
    if (SSL_set1_host(ssl, host.c_str()) != 1) return unavailable("not a host: " + host);
    // What SSL_set_tlsext_host_name() is, without its casts.
    SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
             const_cast<char*>(host.c_str()));
  }
  const int done = SSL_connect(ssl);
  if (done != 1) return failure(ssl, done);
  return tls;
}

Result<void> Tls::send(std::string_view bytes) {
  ERR_clear_error();
  const int sent = SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()));
  if (sent <= 0) return failure(ssl_.get(), sent);
  return {};
}

Result<std::string_view> Tls::receive() {
  ERR_clear_error();
  const int size = SSL_read(ssl_.get(), buffer_.data(), static_cast<int>(buffer_.size()));
  if (size <= 0) return failure(ssl_.get(), size);
  return std::string_view(buffer_.data(), static_cast<std::size_t>(size));
}

}  // namespace stackspec
