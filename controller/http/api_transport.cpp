// SPDX-License-Identifier: Apache-2.0
#include "http/api_transport.hpp"

#include <arpa/inet.h>
#include <cpprest/astreambuf.h>
#include <cpprest/http_client.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pplx/threadpool.h>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <utility>

#include "base/file.hpp"

namespace stackspec {
namespace {

using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;
namespace whttp = web::http;

constexpr std::size_t kBodyLimit = 32U << 20U;
constexpr std::size_t kLineLimit = 10U << 20U;
constexpr std::chrono::hours kForEver{24 * 365 * 10};
constexpr std::size_t kAhead = 256U << 10U;  ///< Received but not taken: then the server waits.

struct Failure {
  std::string words;
  bool unsent = false;  ///< The server cannot have seen the request.
};

/// How its caller takes an answer: each piece at once, or all of it at its end.
enum class Taken { Pieces, Whole };

/// What has come of one answer. The library's thread fills it, the caller's empties it. Shared,
/// because a cancelled request ends after its caller has gone.
class Incoming {
 public:
  explicit Incoming(Taken taken) : taken_(taken) {}

  void head(const whttp::http_response& response) {
    std::unique_lock lock(mutex_);
    response_.status = response.status_code();
    for (const auto& [name, value] : response.headers()) {
      std::string lower = name;
      for (char& letter : lower) {
        letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
      }
      response_.headers[lower] = value;
    }
    has_head_ = true;
    if (taken_ == Taken::Pieces) tell(lock);
  }

  void end(std::optional<Failure> failure) {
    std::unique_lock lock(mutex_);
    ended_ = true;
    failure_ = std::move(failure);
    tell(lock);
  }

  /// The task is done when more may come.
  pplx::task<std::size_t> put(const std::uint8_t* bytes, std::size_t count) {
    std::unique_lock lock(mutex_);
    if (abandoned_) return pplx::task_from_result(count);
    bytes_.append(reinterpret_cast<const char*>(bytes), count);
    const bool is_full = taken_ == Taken::Pieces ? bytes_.size() >= kAhead : is_too_big();
    auto done = is_full ? wait_for_room(count) : pplx::task_from_result(count);
    if (is_full || taken_ == Taken::Pieces) tell(lock);
    return done;
  }

  enum class News { Came, Late, Stopped };

  /// Waits for the head or the end.
  News wait_for_head(SteadyClock::time_point until, const std::stop_token& stop) {
    return wait(
        until, stop, [this] { return ended_ || has_head_; }, [] {});
  }

  /// Waits for bytes or the end; then `bytes` is empty.
  News wait_for_bytes(std::string& bytes, SteadyClock::time_point until,
                      const std::stop_token& stop) {
    // A watch waits most of the time, and then holds nothing of what the last burst took.
    std::string().swap(bytes);
    return wait(
        until, stop, [this] { return ended_ || !bytes_.empty(); },
        [&] {
          bytes = std::exchange(bytes_, {});
          make_room();
        });
  }

  /// Waits for the end, or for more than is taken.
  News wait_for_all(SteadyClock::time_point until, const std::stop_token& stop) {
    begin_whole();
    return wait(
        until, stop, [this] { return ended_ || is_too_big(); }, [] {});
  }

  /// Nobody will take anything more.
  void abandon() {
    const std::lock_guard lock(mutex_);
    abandoned_ = true;
    bytes_.clear();
    make_room();
  }

  bool ended() const {
    const std::lock_guard lock(mutex_);
    return ended_;
  }
  bool has_head() const {
    const std::lock_guard lock(mutex_);
    return has_head_;
  }
  std::optional<Failure> failure() const {
    const std::lock_guard lock(mutex_);
    return failure_;
  }
  HttpResponse response() const {
    const std::lock_guard lock(mutex_);
    return response_;
  }
  /// With what was not taken in pieces as its body.
  HttpResponse take_whole() {
    const std::lock_guard lock(mutex_);
    response_.body = std::exchange(bytes_, {});
    return std::move(response_);
  }

 private:
  /// Calls `take` under the lock once there is what to take.
  template <class Ready, class Take>
  News wait(SteadyClock::time_point until, const std::stop_token& stop, const Ready& ready,
            const Take& take) {
    const std::stop_callback wakes(stop, [this] {
      // Not between the caller's look and its wait.
      std::unique_lock lock(mutex_);
      tell(lock);
    });
    std::unique_lock lock(mutex_);
    const bool came =
        changed_.wait_until(lock, until, [&] { return stop.stop_requested() || ready(); });
    if (stop.stop_requested()) return News::Stopped;
    if (!came) return News::Late;
    take();
    return News::Came;
  }

  /// Whoever wakes up finds the lock free.
  void tell(std::unique_lock<std::mutex>& lock) {
    lock.unlock();
    changed_.notify_all();
  }

  void begin_whole() {
    const std::lock_guard lock(mutex_);
    taken_ = Taken::Whole;
    if (!is_too_big()) make_room();
  }

  bool is_too_big() const { return bytes_.size() > kBodyLimit; }

  pplx::task<std::size_t> wait_for_room(std::size_t count) {
    room_ = {count, pplx::task_completion_event<std::size_t>()};
    return pplx::create_task(room_->second);
  }

  void make_room() {
    if (room_) room_->second.set(room_->first);
    room_.reset();
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Taken taken_;  // guarded by mutex_, as all below
  HttpResponse response_;
  bool has_head_ = false;
  bool ended_ = false;
  bool abandoned_ = false;
  std::optional<Failure> failure_;
  std::string bytes_;
  std::optional<std::pair<std::size_t, pplx::task_completion_event<std::size_t>>> room_;
};

/// What the library reads or writes in one go, once: nothing of it can be sought or taken back.
class OneWay : public concurrency::streams::details::streambuf_state_manager<std::uint8_t> {
 public:
  using streambuf_state_manager::streambuf_state_manager;

  bool can_seek() const override { return false; }
  bool has_size() const override { return false; }
  std::size_t buffer_size(std::ios_base::openmode) const override { return 0; }
  void set_buffer_size(std::size_t, std::ios_base::openmode) override {}
  std::size_t in_avail() const override { return 0; }
  utility::size64_t size() const override { return 0; }
  pos_type getpos(std::ios_base::openmode) const override { return kNowhere; }
  pos_type seekpos(pos_type, std::ios_base::openmode) override { return kNowhere; }
  pos_type seekoff(off_type, std::ios_base::seekdir, std::ios_base::openmode) override {
    return kNowhere;
  }
  bool acquire(std::uint8_t*& bytes, std::size_t& count) override {
    bytes = nullptr;
    count = 0;
    return false;
  }
  void release(std::uint8_t*, std::size_t) override {}

 protected:
  pplx::task<int_type> _putc(std::uint8_t) override { return nothing(); }
  pplx::task<std::size_t> _putn(const std::uint8_t*, std::size_t) override {
    return pplx::task_from_result(std::size_t{0});
  }
  pplx::task<bool> _sync() override { return pplx::task_from_result(true); }
  std::uint8_t* _alloc(std::size_t) override { return nullptr; }
  void _commit(std::size_t) override {}
  pplx::task<int_type> _bumpc() override { return nothing(); }
  int_type _sbumpc() override { return traits::eof(); }
  pplx::task<int_type> _getc() override { return nothing(); }
  int_type _sgetc() override { return traits::eof(); }
  pplx::task<int_type> _nextc() override { return nothing(); }
  pplx::task<int_type> _ungetc() override { return nothing(); }
  pplx::task<std::size_t> _getn(std::uint8_t* to, std::size_t count) override {
    return pplx::task_from_result(_scopy(to, count));
  }
  std::size_t _scopy(std::uint8_t*, std::size_t) override { return 0; }

 private:
  static constexpr std::streamoff kNowhere = -1;
  static pplx::task<int_type> nothing() { return pplx::task_from_result(int_type{traits::eof()}); }
};

/// Where the library writes the body of an answer to.
class Sink final : public OneWay {
 public:
  explicit Sink(std::shared_ptr<Incoming> incoming)
      : OneWay(std::ios_base::out), incoming_(std::move(incoming)) {}

 protected:
  pplx::task<std::size_t> _putn(const std::uint8_t* bytes, std::size_t count) override {
    return incoming_->put(bytes, count);
  }

 private:
  std::shared_ptr<Incoming> incoming_;
};

/// Where the library reads the body of a request from.
class Source final : public OneWay {
 public:
  explicit Source(std::string text) : OneWay(std::ios_base::in), text_(std::move(text)) {}

 protected:
  std::size_t _scopy(std::uint8_t* to, std::size_t count) override {
    const auto copied = text_.copy(reinterpret_cast<char*>(to), count, read_);
    read_ += copied;
    return copied;
  }

 private:
  const std::string text_;
  std::size_t read_ = 0;
};

std::string words_of(const web::http::http_exception& failure) {
  const auto code = static_cast<unsigned long>(failure.error_code().value());
  const std::string what = failure.what();
  // Two codes, and a text of its own when it would have sent the request again.
  if (code == ENOENT || code == ECONNABORTED || what.find("cannot rewind") == 0) {
    return "the server closed the connection";
  }
  // Of OpenSSL's own numbers the library only says "unknown error".
  if (const char* reason = code > 4096 ? ERR_reason_error_string(code) : nullptr) {
    return std::string("TLS: ") + reason;
  }
  if (code == EHOSTUNREACH) return "cannot connect";  // whatever the reason was
  const std::string code_words = failure.error_code().message();
  if (code == 0 || what.find(code_words) != std::string::npos) return what;
  return what + ": " + code_words;
}

// ---- TLS ----

struct Free {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
};

Result<std::string> text_of(const Pem& pem) {
  if (pem.file.empty()) return pem.text;
  return read_file(pem.file, 1U << 20U);
}

std::string openssl_words() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return reason != nullptr ? reason : "it is not PEM";
}

/// Replaces all trusted authorities by those of `pem`.
Result<void> trust_only(SSL_CTX* context, const std::string& pem) {
  X509_STORE* store = X509_STORE_new();
  SSL_CTX_set_cert_store(context, store);  // takes it over
  // An intermediate authority is trusted when it is the one that was given, as in kubectl.
  X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
  const std::unique_ptr<BIO, Free> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  int count = 0;
  while (true) {
    const std::unique_ptr<X509, Free> one(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (!one) break;
    X509_STORE_add_cert(store, one.get());
    ++count;
  }
  ERR_clear_error();
  if (count == 0) return Error{ErrorKind::Invalid, "there is no certificate in it"};
  return {};
}

/// The subject's common name is never looked at.
void demand_name(SSL_CTX* context, const std::string& name) {
  X509_VERIFY_PARAM* wanted = SSL_CTX_get0_param(context);
  X509_VERIFY_PARAM_set_hostflags(
      wanted, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  if (X509_VERIFY_PARAM_set1_ip_asc(wanted, name.c_str()) == 1) return;
  X509_VERIFY_PARAM_set1_host(wanted, name.c_str(), name.size());
}

Result<ClientIdentity::Pair> identity_of(const ServerAddress& address) {
  if (address.identity) return address.identity->get();
  ClientIdentity::Pair pair;
  pair.certificate = TRY(text_of(address.certificate));
  pair.key = TRY(text_of(address.key));
  return pair;
}

Result<void> present(SSL_CTX* context, const ClientIdentity::Pair& identity) {
  const auto& [chain, key] = identity;
  const std::unique_ptr<BIO, Free> bio(
      BIO_new_mem_buf(chain.data(), static_cast<int>(chain.size())));
  const std::unique_ptr<X509, Free> leaf(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (!leaf || SSL_CTX_use_certificate(context, leaf.get()) != 1) {
    return Error{ErrorKind::Invalid, "client certificate: " + openssl_words()};
  }
  while (true) {
    std::unique_ptr<X509, Free> more(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (!more) break;
    if (SSL_CTX_add_extra_chain_cert(context, more.get()) == 1) static_cast<void>(more.release());
  }
  ERR_clear_error();
  const std::unique_ptr<BIO, Free> key_bio(
      BIO_new_mem_buf(key.data(), static_cast<int>(key.size())));
  EVP_PKEY* private_key = PEM_read_bio_PrivateKey(key_bio.get(), nullptr, nullptr, nullptr);
  const bool used = private_key != nullptr && SSL_CTX_use_PrivateKey(context, private_key) == 1;
  EVP_PKEY_free(private_key);
  if (!used) return Error{ErrorKind::Invalid, "client key: " + openssl_words()};
  return {};
}

Result<void> prepare(SSL_CTX* context, const ServerAddress& address) {
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);  // most connections are watches that wait
  const std::string authorities = TRY(text_of(address.ca));
  const std::string where = address.ca.file.empty() ? "" : " " + address.ca.file;
  auto trusted = trust_only(context, authorities);
  if (!trusted) return std::move(trusted).error().in("certificate authority" + where);
  demand_name(context, address.verify_name.empty() ? address.host : address.verify_name);
  const auto identity = TRY(identity_of(address));
  if (!identity.certificate.empty()) TRY(present(context, identity));
  return {};
}

// ---- one exchange ----

/// Lines of a body that comes in pieces.
class Lines {
 public:
  /// False: a line is too long. Ends early when stopped.
  bool feed(std::string_view bytes, const std::function<void(std::string_view)>& on_line,
            const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const auto end = bytes.find('\n');
      if (end == std::string_view::npos) {
        begun_ += bytes;
        return begun_.size() <= kLineLimit;
      }
      if (begun_.size() + end > kLineLimit) return false;
      if (begun_.empty()) {
        on_line(bytes.substr(0, end));
      } else {
        begun_ += bytes.substr(0, end);
        // Taken out first: on_line may throw.
        const std::string line = std::exchange(begun_, {});
        on_line(line);
      }
      bytes.remove_prefix(end + 1);
    }
    return true;
  }

 private:
  std::string begun_;
};

/// How many requests the library is at work on. Shared, as Incoming is.
class AtWork {
 public:
  void began() {
    const std::lock_guard lock(mutex_);
    ++count_;
  }
  void ended() {
    const std::lock_guard lock(mutex_);
    --count_;
    changed_.notify_all();
  }
  void wait_for_none(milliseconds most) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, most, [&] { return count_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;  // guarded by mutex_
};

class Exchange {
 public:
  /// `host` goes into the header of that name unless it is empty.
  Exchange(whttp::client::http_client client, const HttpRequest& request, Taken taken,
           const std::string& host, const std::string& where,
           const std::shared_ptr<AtWork>& at_work)
      : incoming_(std::make_shared<Incoming>(taken)),
        words_(request.method + " " + where + request.path.substr(0, request.path.find('?'))) {
    auto incoming = incoming_;
    auto wire = wire_request(request);
    // The library takes the name to verify and to send (SNI) from this header.
    if (!host.empty()) wire.headers()["host"] = host;
    wire.set_response_stream(concurrency::streams::ostream(
        concurrency::streams::streambuf<std::uint8_t>(std::make_shared<Sink>(incoming))));
    auto answer = client.request(wire, cancel_.get_token());
    at_work->began();
    answer
        .then([incoming](const whttp::http_response& response) {
          incoming->head(response);
          return response.content_ready();
        })
        .then([incoming, at_work](const pplx::task<whttp::http_response>& last) {
          incoming->end(how_it_ended(last));
          at_work->ended();
        });
  }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  ~Exchange() {
    if (incoming_->ended()) return;
    incoming_->abandon();
    // On the library's own thread: a cancel from another races with its use of the socket.
    boost::asio::post(crossplat::threadpool::shared_instance().service(),
                      [cancel = cancel_] { cancel.cancel(); });
  }

  /// Without a body.
  Result<HttpResponse> head(SteadyClock::time_point until, const std::stop_token& stop) {
    const News news = incoming_->wait_for_head(until, stop);
    if (news != News::Came || !incoming_->has_head()) return error(news);
    return incoming_->response();
  }

  /// The next bytes; none: that was all.
  Result<void> more(std::string& bytes, SteadyClock::time_point until,
                    const std::stop_token& stop) {
    const News news = incoming_->wait_for_bytes(bytes, until, stop);
    if (news != News::Came || (bytes.empty() && incoming_->failure())) return error(news);
    return {};
  }

  /// The answer with its body, of which nothing was taken yet.
  Result<HttpResponse> whole(SteadyClock::time_point until, const std::stop_token& stop) {
    const News news = incoming_->wait_for_all(until, stop);
    if (news != News::Came) return error(news);
    if (!incoming_->ended()) return error("the answer is over 32 MiB");
    if (incoming_->failure()) return error(news);
    return incoming_->take_whole();
  }

  bool unsent() const {
    return !incoming_->has_head() && incoming_->failure().value_or(Failure()).unsent;
  }

  Error error(std::string_view why) const {
    return {ErrorKind::Unavailable, words_ + ": " + std::string(why)};
  }

 private:
  using News = Incoming::News;

  static whttp::http_request wire_request(const HttpRequest& request) {
    whttp::http_request wire(request.method);
    wire.set_request_uri(request.path);
    std::string type = "application/json";
    for (const auto& [name, value] : request.headers) {
      if (name == "content-type") {
        type = value;
      } else {
        wire.headers().add(name, value);
      }
    }
    if (request.method == "GET") return wire;
    // A body that cannot be rewound is what keeps the library from sending a request again on
    // another connection when the first one died: the server may have acted on it.
    wire.set_body(concurrency::streams::istream(concurrency::streams::streambuf<std::uint8_t>(
                      std::make_shared<Source>(request.body))),
                  request.body.size(), type);
    return wire;
  }

  static std::optional<Failure> how_it_ended(const pplx::task<whttp::http_response>& last) {
    try {
      last.get();
      return std::nullopt;
    } catch (const whttp::http_exception& failure) {
      return Failure{words_of(failure), failure.error_code().value() == EBADF};
    } catch (const std::exception& failure) {
      return Failure{failure.what()};
    }
  }

  Error error(News news) const {
    if (news == News::Stopped) return {ErrorKind::Cancelled, words_ + ": cancelled"};
    if (news == News::Late) return error("no answer in time");
    return error(incoming_->failure().value_or(Failure{"no answer"}).words);
  }

  std::shared_ptr<Incoming> incoming_;
  std::string words_;
  pplx::cancellation_token_source cancel_;
};

class RestTransport final : public ApiTransport {
 public:
  explicit RestTransport(const ServerAddress& address)
      : address_(address),
        where_((address.plain ? "http://" : "https://") + address.host + ":" +
               std::to_string(address.port)),
        soonest_(crossplat::threadpool::shared_instance().service(), kForEver / 2),
        client_(where_, config(address)) {
    soonest_.async_wait([](const boost::system::error_code&) {});
  }
  RestTransport(const RestTransport&) = delete;
  RestTransport& operator=(const RestTransport&) = delete;
  /// A cancelled request ends on the library's thread. One still under way when the process ends
  /// would never be freed.
  ~RestTransport() override { at_work_->wait_for_none(std::chrono::seconds(10)); }

  Result<HttpResponse> send(const HttpRequest& request, milliseconds timeout,
                            std::stop_token stop) override {
    const auto until = SteadyClock::now() + timeout;
    std::optional<Exchange> exchange;
    return begin(exchange, request, Taken::Whole, stop,
                 [&] { return exchange->whole(until, stop); });
  }

  Result<HttpResponse> stream(const HttpRequest& request, milliseconds idle_timeout,
                              const std::function<void(std::string_view)>& on_line,
                              std::stop_token stop) override {
    const auto until = SteadyClock::now() + idle_timeout;
    std::optional<Exchange> exchange;
    HttpResponse head = TRY(
        begin(exchange, request, Taken::Pieces, stop, [&] { return exchange->head(until, stop); }));
    if (head.status != 200) return exchange->whole(SteadyClock::now() + idle_timeout, stop);
    Lines lines;
    std::string bytes;
    while (true) {
      TRY(exchange->more(bytes, SteadyClock::now() + idle_timeout, stop));
      if (bytes.empty()) return head;
      if (!lines.feed(bytes, on_line, stop)) return exchange->error("a line over 10 MiB");
    }
  }

 private:
  static whttp::client::http_client_config config(const ServerAddress& address) {
    whttp::client::http_client_config config;
    config.set_max_redirects(0);
    config.set_chunksize(std::size_t{8} << 10U);  // a buffer for every watch
    config.set_timeout(kForEver);                 // ours are finer, and one for each call
    if (address.plain) return config;
    config.set_ssl_context_callback([address](boost::asio::ssl::context& context) {
      const auto prepared = prepare(context.native_handle(), address);
      if (!prepared) throw std::runtime_error(prepared.error().message);
    });
    return config;
  }

  /// A connection keeps the certificate that it was opened with.
  whttp::client::http_client client() {
    if (!address_.identity) return client_;
    const std::lock_guard lock(mutex_);
    const int changes = address_.identity->changes();
    if (changes != identity_changes_)
      client_ = whttp::client::http_client(where_, config(address_));
    identity_changes_ = changes;
    return client_;
  }

  /// Sends the request and waits for its answer. Where the library could not send a request again
  /// it leaves a connection behind that was never opened, for the next one to find.
  template <class Wait>
  Result<HttpResponse> begin(std::optional<Exchange>& exchange, const HttpRequest& request,
                             Taken taken, const std::stop_token& stop, const Wait& wait) {
    constexpr int kMostNeverOpened = 20;
    try {
      for (int tried = 0;; ++tried) {
        if (stop.stop_requested()) return error(request, ErrorKind::Cancelled, "cancelled");
        exchange.emplace(client(), request, taken, address_.verify_name, where_, at_work_);
        auto answer = wait();
        if (answer || !exchange->unsent() || tried == kMostNeverOpened) return answer;
      }
    } catch (const std::exception& failure) {
      // The library throws what it does not like about a request at once.
      return error(request, ErrorKind::Unavailable, failure.what());
    }
  }

  Error error(const HttpRequest& request, ErrorKind kind, const std::string& why) const {
    return {kind, request.method + " " + where_ + ": " + why};
  }

  const ServerAddress address_;
  const std::string where_;
  std::shared_ptr<AtWork> at_work_ = std::make_shared<AtWork>();
  /// The library sets a timer anew at every step of a request. With one that is always sooner, the
  /// kernel is not told each time.
  boost::asio::steady_timer soonest_;
  std::mutex mutex_;
  int identity_changes_ = 0;           // guarded by mutex_
  whttp::client::http_client client_;  // guarded by mutex_ where there is an identity that changes
};

Result<void> check(const ServerAddress& address) {
  in6_addr ignored{};
  if (address.host.empty() || address.port < 1 || address.port > 65535) {
    return Error{ErrorKind::Invalid, "a server needs a host and a port between 1 and 65535"};
  }
  if (::inet_pton(AF_INET6, address.host.c_str(), &ignored) == 1) {
    return Error{ErrorKind::Invalid,
                 "server " + address.host + ": give its DNS name, not its IPv6 address"};
  }
  if (address.plain) return {};
  if (address.ca.empty()) {
    return Error{ErrorKind::Invalid, "server " + address.host + ": give its certificate authority"};
  }
  if (address.certificate.empty() != address.key.empty()) {
    return Error{ErrorKind::Invalid,
                 "a client certificate and its key go together: one is missing"};
  }
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()),
                                                                  &SSL_CTX_free);
  return prepare(context.get(), address);
}

}  // namespace

Result<std::unique_ptr<ApiTransport>> make_api_transport(const ServerAddress& address) {
  static std::once_flag once;
  std::call_once(once, [] {
    // Before the thread, so that at the end it is cleaned up after it.
    OPENSSL_init_ssl(0, nullptr);
    // One thread: with more the library races with itself when it cancels.
    crossplat::threadpool::initialize_with_threads(1);
    // Else the first two callers make the library's scheduler, at once perhaps.
    static_cast<void>(pplx::get_ambient_scheduler());
    ::setenv("SSL_CERT_FILE", "/dev/null", 1);
  });
  TRY(check(address));
  try {
    return std::unique_ptr<ApiTransport>(std::make_unique<RestTransport>(address));
  } catch (const std::exception& failure) {
    return Error{ErrorKind::Invalid, "server " + address.host + ": " + failure.what()};
  }
}

}  // namespace stackspec
