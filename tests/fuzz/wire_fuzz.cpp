// SPDX-License-Identifier: Apache-2.0
// Everything that an API server says: answers, lines of a watch, refusals. With STACKSPEC_FUZZ it
// is a libFuzzer target; without, it replays the files and folders it is given.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "fuzz/replay.hpp"
#include "kube/initial_events.hpp"
#include "kube/wire.hpp"

namespace {

using nlohmann::json;
using namespace stackspec;

void require(bool true_, const char* what, std::string_view text) {
  if (true_) return;
  std::fprintf(stderr, "wire_fuzz: %s\n%.*s\n", what, static_cast<int>(text.size()), text.data());
  std::abort();
}

/// What was read is written so that it is read as the same object.
void try_object(const KindInfo& kind, json answer, std::string_view text) {
  const auto object = object_of(kind, std::move(answer));
  if (!object) {
    require(!object.error().message.empty(), "an error without words", text);
    return;
  }
  const auto written = wire_text_with_status(kind, *object);
  require(static_cast<bool>(written), "what was read cannot be written", text);
  auto again = parse_answer(*written);
  require(static_cast<bool>(again), "what was written cannot be read", *written);
  const auto same = object_of(kind, std::move(again).value());
  require(static_cast<bool>(same), "what was written is no object", *written);
  require(same->key == object->key && same->content == object->content &&
              same->status == object->status && same->labels == object->labels &&
              same->annotations == object->annotations && same->owners == object->owners &&
              same->resource_version == object->resource_version,
          "another object than was written", *written);
}

void try_refusal(const Refusal& refusal, const KindInfo& kind, std::string_view text) {
  const Error error = error_of(refusal, kind, "get it");
  require(error.message.starts_with("get it: "), "an error that says nothing", text);
}

void try_stream(const KindInfo& kind, std::string_view text) {
  int objects = 0;
  const std::function<void(Object &&)> count = [&objects](Object&&) { ++objects; };
  InitialEvents initial(kind, count);
  for (auto rest = text; !rest.empty();) {
    const auto end = std::min(rest.find('\n'), rest.size());
    if (!initial.take(rest.substr(0, end))) break;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  require(initial.version().value_or(1) > 0, "a list without a version", text);
  require(initial.count() == objects, "another number of objects than were handed out", text);
}

/// What is kept of an answer, said once more with the library's own filter.
struct Filter {
  int inside = -2;  ///< Depth of the `metadata` that is being read.
  bool too_deep = false;

  bool operator()(int depth, json::parse_event_t event, const json& parsed) {
    too_deep = too_deep || depth > 256;
    if (too_deep) return false;
    if (event != json::parse_event_t::key) return true;
    if (depth <= inside) inside = -2;
    if (parsed == "metadata") inside = depth;
    return depth != inside + 1 || parsed != "managedFields";
  }
};

void try_answer(const Result<json>& answer, std::string_view text) {
  Filter filter;
  const auto wanted = json::parse(text, std::ref(filter), false);
  if (!wanted.is_object() || filter.too_deep) return;
  require(answer && *answer == wanted, "another answer than there is", text);
}

void try_text(std::string_view text) {
  const KindInfo& kind = *find_kind("StackSpec");
  for (const int status : {404, 409, 503}) try_refusal(refusal_of(status, text), kind, text);
  try_stream(kind, text);
  if (auto event = parse_event(text)) {
    try_refusal(refusal_of(event->object), kind, text);
    try_object(kind, std::move(event->object), text);
  }
  const auto head = parse_list_head(text);
  require(!head || head->version >= 0, "a list of a version before all", text);
  const auto listed = each_item(text, [&](nlohmann::json&& item) -> Result<void> {
    try_object(*find_kind("Job"), std::move(item), text);
    return {};
  });
  auto answer = parse_answer(text);
  require(!listed || answer, "a list of what is no JSON", text);
  require(!listed || (head && head->version == listed->version && head->next == listed->next),
          "a head alone is another", text);
  try_answer(answer, text);
  if (!answer) return;
  const auto metadata = answer->find("metadata");
  if (metadata != answer->end() && metadata->is_object()) {
    static_cast<void>(version_of(*metadata));
    static_cast<void>(text_at(*metadata, "continue"));
  }
  try_object(kind, std::move(answer).value(), text);
}

}  // namespace

STACKSPEC_FUZZ_TARGET(try_text)
