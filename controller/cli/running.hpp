// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <signal.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "catalog/catalog.hpp"
#include "http/http.hpp"
#include "telemetry/telemetry.hpp"

// What every long-running command needs: its signals, its catalog, and what it tells over HTTP.

namespace stackspec {

/// /metrics, /healthz, /readyz and /version of this program.
class Listener {
 public:
  /// At `ADDRESS:PORT`, as --http takes it. `healthy` is asked by another thread. Errors: Invalid,
  /// and those of make_http_server().
  static Result<std::unique_ptr<Listener>> open(const std::string& address,
                                                std::function<bool()> healthy);

  Telemetry& telemetry() { return telemetry_; }
  std::string address() const;  ///< With the port that was chosen.
  void set_ready(bool ready) { ready_ = ready; }

 private:
  Listener();

  Telemetry telemetry_;
  std::atomic<bool> ready_{false};
  std::string host_;
  std::unique_ptr<HttpServer> server_;  // the last member: it ends before what it reads
};

/// The catalog of a file; that of the program when no file is named. Errors: NotFound, Invalid.
Result<Catalog> catalog_of(const std::string& file);

/// SIGINT and SIGTERM for sigwait(), in this thread and every one that it starts: call it before
/// there are others. SIGHUP and SIGPIPE end nothing. Children get their own defaults back before
/// they run.
sigset_t hold_signals();

/// Is ready until one of `signals` comes, and not any more before the work ends by `end`: whoever
/// sends requests or counts replicas looks elsewhere first.
void serve_until_signal(Listener& listener, const sigset_t& signals,
                        const std::function<void()>& end);

}  // namespace stackspec
