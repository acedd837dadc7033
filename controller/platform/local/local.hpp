// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "platform/platform.hpp"
#include "redis/redis.hpp"

namespace stackspec {

struct LocalOptions {
  std::string data_folder;     ///< Created when absent; everything of every stack lies below it.
  std::string release_folder;  ///< Holds `<tag>/` and `fundraising/<version>/`.
  /// User the stack's processes run as. Empty: `nobody` when we are root, ourselves otherwise.
  std::string run_as;
};

/// Stacks as supervised processes of this host, on loopback. The processes are not tied to this
/// program: they outlive it and are found again by their record files. Every start is guarded by a
/// lock that the process itself holds, so nothing ever runs twice.
///
/// Besides looking, observe() does what is the platform's own business and decides nothing: it
/// makes the folders and chooses the ports of a new stack, ends what a dead task left behind or a
/// task past its deadline, finishes a gateway switch that was cut short, and rotates logs.
class LocalPlatform : public Platform {
 public:
  /// Stops everything that runs for the stack, tasks first, then worker, server, fundraising,
  /// gateway, redis, postgres; returns when it is gone. What the stack was told to run is kept, so
  /// a later controller starts it again.
  virtual Result<void> stop_stack(const StackKey& stack, std::stop_token stop) = 0;
};

/// Takes the data folder's lock. `redis` and `clock` must outlive the platform. Errors: Conflict
/// when another controller holds the folder, Invalid when the user cannot enter it or is not known.
Result<std::unique_ptr<LocalPlatform>> make_local_platform(LocalOptions options, Redis& redis,
                                                           const Clock& clock);

}  // namespace stackspec
