// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <signal.h>

#include <string>

#include "base/result.hpp"
#include "catalog/catalog.hpp"

// What every long-running command needs: its signals, its listener's address, its catalog.

namespace stackspec {

struct Address {
  std::string host;
  int port = 0;
};

/// `ADDRESS:PORT`, as --http takes it. Error: Invalid.
Result<Address> parse_address(const std::string& text);

/// The catalog of a file; that of the program when no file is named. Errors: NotFound, Invalid.
Result<Catalog> catalog_of(const std::string& file);

/// SIGINT and SIGTERM for sigwait(), in this thread and every one that it starts: call it before
/// there are others. SIGHUP and SIGPIPE end nothing. Children get their own defaults back before
/// they run.
sigset_t hold_signals();

/// Waits for one of `signals` and tells which.
int wait_for_signal(const sigset_t& signals);

}  // namespace stackspec
