// SPDX-License-Identifier: Apache-2.0
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <array>
#include <cerrno>

#include "redis/connection.hpp"

namespace stackspec {
namespace {

struct ContextDeleter {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
struct SslDeleter {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
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

class OpenSslTls final : public Tls {
 public:
  Result<void> connect(int socket, const std::string& host, const std::string& authorities) {
    ERR_clear_error();
    context_.reset(SSL_CTX_new(TLS_client_method()));
    if (!context_) return unavailable("out of memory");
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_2_VERSION);
    SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
    if (SSL_CTX_load_verify_locations(context_.get(), authorities.c_str(), nullptr) != 1) {
      return unavailable("no authorities in " + authorities);
    }
    ssl_.reset(SSL_new(context_.get()));
    if (!ssl_ || SSL_set_fd(ssl_.get(), socket) != 1) return unavailable("out of memory");
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_.get()), host.c_str()) != 1) {
      ERR_clear_error();
      if (SSL_set1_host(ssl_.get(), host.c_str()) != 1) return unavailable("not a host: " + host);
      // What SSL_set_tlsext_host_name() is, without its casts.
      SSL_ctrl(ssl_.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
               const_cast<char*>(host.c_str()));
    }
    const int done = SSL_connect(ssl_.get());
    if (done != 1) return failure(ssl_.get(), done);
    return {};
  }

  Result<void> send(std::string_view bytes) override {
    ERR_clear_error();
    const int sent = SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()));
    if (sent <= 0) return failure(ssl_.get(), sent);
    return {};
  }

  Result<std::string_view> receive() override {
    ERR_clear_error();
    const int size = SSL_read(ssl_.get(), buffer_.data(), static_cast<int>(buffer_.size()));
    if (size <= 0) return failure(ssl_.get(), size);
    return std::string_view(buffer_.data(), static_cast<std::size_t>(size));
  }

 private:
  std::unique_ptr<SSL_CTX, ContextDeleter> context_;
  std::unique_ptr<SSL, SslDeleter> ssl_;
  std::array<char, 16384> buffer_;
};

}  // namespace

Result<std::unique_ptr<Tls>> Tls::open(int socket, const std::string& host,
                                       const std::string& authorities) {
  auto tls = std::make_unique<OpenSslTls>();
  TRY(tls->connect(socket, host, authorities));
  return std::unique_ptr<Tls>(std::move(tls));
}

}  // namespace stackspec
