// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <stop_token>
#include <string>

#include "kube/kinds.hpp"
#include "kube/requests.hpp"
#include "objects/object_api.hpp"

namespace stackspec {

/// Watches one collection (`path` ends with `?` and what selects in it) from a version for as long
/// as it takes: an ended or broken watch goes on from the last event or bookmark, after a pause
/// where something was wrong. Errors: Expired, Cancelled.
Result<void> run_watch(ApiRequests& requests, const KindInfo& kind, const std::string& path,
                       std::int64_t from, const std::function<void(const WatchEvent&)>& on_event,
                       const std::stop_token& stop);

}  // namespace stackspec
