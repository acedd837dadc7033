// SPDX-License-Identifier: Apache-2.0
#include "kube/initial_events.hpp"

#include <utility>

#include "kube/wire.hpp"

namespace stackspec {

bool InitialEvents::take(std::string_view line) {
  if (line.empty()) return true;
  auto event = parse_event(line);
  if (!event) return false;
  if (event->type == "ADDED") {
    auto object = object_of(kind_, std::move(event->object));
    if (!object) return false;
    ++count_;
    on_object_(std::move(object).value());
    return true;
  }
  refused_ = event->type == "ERROR" && count_ == 0;
  if (event->type != "BOOKMARK") return false;
  const auto end = nlohmann::json::json_pointer("/metadata/annotations/k8s.io~1initial-events-end");
  if (!event->object.contains(end) || event->object.at(end) != "true") return true;
  const auto version = version_of(event->object.at("metadata"));
  if (version && *version > 0) version_ = *version;
  return false;
}

}  // namespace stackspec
