// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stop_token>

#include "platform/local/programs.hpp"
#include "platform/local/supervisor.hpp"

namespace stackspec::local {

/// The gateway's configuration on disk and in the running nginx. What it is set to is remembered in
/// run/gateway.state: first as an intent, then, when nginx serves by it, as a fact.
class Gateway {
 public:
  Gateway(const Host& host, const StackFolder& folder, const Supervisor& supervisor)
      : host_(host), folder_(folder), supervisor_(supervisor) {}

  bool is_open() const;

  /// Writes the configuration nginx will start with; closed when it was never switched.
  Result<void> prepare(const Endpoints& endpoints, bool has_fundraising) const;

  /// Returns when every new connection is served by the new configuration.
  /// Errors: Invalid (nginx refuses the configuration; nothing has changed), Unavailable.
  Result<void> switch_to(bool open, const Endpoints& endpoints, bool has_fundraising,
                         std::stop_token stop) const;

  /// Ends a switch that a crash cut short: afterwards is_open() is true to what users reach.
  Result<void> settle(std::stop_token stop) const;

 private:
  Result<void> write_configuration(const std::string& text) const;
  Result<void> reload(std::stop_token stop) const;

  const Host& host_;
  const StackFolder& folder_;
  const Supervisor& supervisor_;
};

}  // namespace stackspec::local
