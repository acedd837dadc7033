// SPDX-License-Identifier: Apache-2.0
#include "cli/running.hpp"

#include <charconv>
#include <system_error>
#include <utility>

#include "base/file.hpp"
#include "base/log.hpp"

namespace stackspec {
namespace {

struct Address {
  std::string host;
  int port = 0;
};

Result<Address> parse_address(const std::string& text) {
  const auto colon = text.rfind(':');
  Address address;
  if (colon != std::string::npos) {
    address.host = text.substr(0, colon);
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data() + colon + 1, end, address.port);
    const bool good = parsed.ec == std::errc() && parsed.ptr == end && address.port >= 0 &&
                      address.port <= 65535 && !address.host.empty();
    if (good) return address;
  }
  return Error{ErrorKind::Invalid,
               "--http " + text + ": must be ADDRESS:PORT, such as 127.0.0.1:0"};
}

}  // namespace

Result<Catalog> catalog_of(const std::string& file) {
  if (file.empty()) return Catalog::builtin();
  auto text = read_file(file);
  if (!text) return std::move(text).error().in("--catalog");
  auto catalog = Catalog::parse(*text);
  if (!catalog) return std::move(catalog).error().in(file);
  return catalog;
}

sigset_t hold_signals() {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGINT);
  sigaddset(&wanted, SIGTERM);
  sigset_t held = wanted;
  sigaddset(&held, SIGHUP);   // A terminal that goes does not end the controller.
  sigaddset(&held, SIGPIPE);  // Broken connections are error codes.
  pthread_sigmask(SIG_BLOCK, &held, nullptr);
  return wanted;
}

Listener::Listener() : telemetry_(STACKSPEC_VERSION, STACKSPEC_COMMIT) {}

Result<std::unique_ptr<Listener>> Listener::open(const std::string& address,
                                                 std::function<bool()> healthy) {
  const Address parsed = TRY(parse_address(address));
  std::unique_ptr<Listener> listener(new Listener);
  listener->host_ = parsed.host;
  listener->server_ =
      TRY(make_http_server(parsed.host, parsed.port,
                           telemetry_routes(listener->telemetry_, std::move(healthy),
                                            [&ready = listener->ready_] { return ready.load(); })));
  return listener;
}

std::string Listener::address() const {
  return host_ + ":" + std::to_string(server_->port());
}

void serve_until_signal(Listener& listener, const sigset_t& signals,
                        const std::function<void()>& end) {
  listener.set_ready(true);
  int signal = 0;
  sigwait(&signals, &signal);
  listener.set_ready(false);
  log::info("controller stops", {{"signal", signal}});
  end();
}

}  // namespace stackspec
