// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <stop_token>

namespace stackspec {

/// Waits on the calling thread. False: stopped before the time was over.
bool pause_for(std::chrono::milliseconds time, const std::stop_token& stop);

}  // namespace stackspec
