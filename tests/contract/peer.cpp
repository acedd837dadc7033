// SPDX-License-Identifier: Apache-2.0
#include "contract/peer.hpp"

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <cctype>
#include <csignal>
#include <cstdio>

#ifdef __SANITIZE_THREAD__
// cpprestsdk and OpenSSL are the system's, which ThreadSanitizer cannot see into.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "race:std::__exception_ptr\nrace:__cxa_\n"
         "called_from_lib:libcrypto.so.3\n";
}
#endif

namespace stackspec::testing {

using namespace std::chrono_literals;

namespace {

void free_context(SSL_CTX* context) {
  SSL_CTX_free(context);
}

SSL_CTX* context_of(const PeerTls& tls) {
  std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes without MSG_NOSIGNAL
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
  SSL_CTX_use_certificate_chain_file(context, tls.certificate.c_str());
  SSL_CTX_use_PrivateKey_file(context, tls.key.c_str(), SSL_FILETYPE_PEM);
  if (!tls.client_ca.empty()) {
    SSL_CTX_load_verify_file(context, tls.client_ca.c_str());
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  return context;
}

std::string trimmed(std::string text) {
  const auto first = text.find_first_not_of(' ');
  return first == std::string::npos ? "" : text.substr(first);
}

}  // namespace

Conversation::Conversation(Socket socket, ssl_ctx_st* tls) : socket_(std::move(socket)) {
  if (tls == nullptr) return;
  ssl_ = SSL_new(tls);
  SSL_set_fd(ssl_, socket_.get());
}

Conversation::~Conversation() {
  SSL_free(ssl_);
}

std::string Conversation::client_name() const {
  if (ssl_ == nullptr) return "";
  X509* certificate = SSL_get1_peer_certificate(ssl_);
  if (certificate == nullptr) return "";
  char name[256] = {};
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name, sizeof name);
  X509_free(certificate);
  return name;
}

void Conversation::shut() {
  ::shutdown(socket_.get(), SHUT_RDWR);
}

std::size_t Conversation::receive(char* bytes, std::size_t count) {
  if (ssl_ != nullptr) {
    if (!SSL_is_init_finished(ssl_)) {
      ok_ = SSL_accept(ssl_) == 1;
      if (!ok_) return 0;
    }
    const int got = SSL_read(ssl_, bytes, static_cast<int>(count));
    return got > 0 ? static_cast<std::size_t>(got) : 0;
  }
  if (!socket_.wait_readable(10s)) return 0;
  const auto got = ::recv(socket_.get(), bytes, count, 0);
  return got > 0 ? static_cast<std::size_t>(got) : 0;
}

std::optional<PeerRequest> Conversation::read() {
  char part[4096];
  const auto more = [&] {
    const auto got = receive(part, sizeof part);
    ahead_.append(part, got);
    return got > 0;
  };
  auto end = ahead_.find("\r\n\r\n");
  while (end == std::string::npos) {
    if (!more()) return std::nullopt;
    end = ahead_.find("\r\n\r\n");
  }
  PeerRequest request;
  const std::string head = ahead_.substr(0, end);
  ahead_.erase(0, end + 4);
  const auto first = head.substr(0, head.find("\r\n"));
  request.method = first.substr(0, first.find(' '));
  const auto target = first.find(' ') + 1;
  request.target = first.substr(target, first.rfind(' ') - target);
  for (auto at = head.find("\r\n"); at != std::string::npos;) {
    const auto next = head.find("\r\n", at + 2);
    const auto line = head.substr(at + 2, next == std::string::npos ? next : next - at - 2);
    auto name = line.substr(0, line.find(':'));
    for (char& letter : name) {
      letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    }
    request.headers[name] = trimmed(line.substr(line.find(':') + 1));
    at = next;
  }
  const auto length = request.headers.find("content-length");
  const auto wanted = length == request.headers.end() ? 0 : std::stoul(length->second);
  while (ahead_.size() < wanted) {
    if (!more()) return std::nullopt;
  }
  request.body = ahead_.substr(0, wanted);
  ahead_.erase(0, wanted);
  return request;
}

bool Conversation::send(std::string_view bytes) {
  if (ssl_ == nullptr) return socket_.send(bytes);
  return SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())) > 0;
}

void Conversation::answer(int status, std::string_view body, std::string_view headers) {
  send("HTTP/1.1 " + std::to_string(status) + " X\r\n" + std::string(headers) +
       "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body));
}

void Conversation::begin_chunks() {
  send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
}

bool Conversation::chunk(std::string_view bytes) {
  char size[32];
  std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
  return send(size + std::string(bytes) + "\r\n");
}

Peer::Peer(Talk talk, const std::optional<PeerTls>& tls)
    : talk_(std::move(talk)),
      tls_(tls ? context_of(*tls) : nullptr, free_context),
      accepting_([this](const std::stop_token& stop) { accept(stop); }) {}

Peer::~Peer() {
  accepting_.request_stop();
  accepting_.join();
  for (auto& talk : talks_) talk.request_stop();
  for (const auto& conversation : conversations_) conversation->shut();
  talks_.clear();
}

void Peer::accept(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    if (!listener_.wait_readable(10ms)) continue;
    Conversation* conversation = nullptr;
    int number = 0;
    {
      const std::lock_guard lock(mutex_);
      conversations_.push_back(std::make_unique<Conversation>(listener_.accept(), tls_.get()));
      conversation = conversations_.back().get();
      number = static_cast<int>(conversations_.size());
    }
    talks_.emplace_back([this, conversation, number](const std::stop_token& ended) {
      talk_(*conversation, number, ended);
      conversation->shut();
    });
  }
}

int Peer::connections() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(conversations_.size());
}

std::vector<PeerRequest> Peer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

std::optional<PeerRequest> Peer::hear(Conversation& conversation) {
  auto request = conversation.read();
  const std::lock_guard lock(mutex_);
  if (request) requests_.push_back(*request);
  return request;
}

}  // namespace stackspec::testing
