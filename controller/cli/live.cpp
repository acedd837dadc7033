// SPDX-License-Identifier: Apache-2.0
#include "cli/live.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <string_view>

#include "plan/plan.hpp"

namespace stackspec {

namespace {

using std::chrono::seconds;

enum class Mark { Done, Running, Failed, Waiting, None };

/// One line of the tree.
struct Row {
  Mark mark = Mark::None;
  std::string name;
  std::string detail;
  std::string took;
};

constexpr int kNameWidth = 12;
constexpr int kMaxDetailLines = 4;

// ---- text ----

struct Plainer {
  std::string_view fancy;
  std::string_view plain;
};
constexpr Plainer kPlainer[] = {{"→", "->"}, {"✔", "+"}, {"●", "*"},   {"✖", "x"},
                                {"○", "."},  {"·", "-"}, {"…", "..."}, {"–", "-"}};

std::string to_ascii(std::string text) {
  for (const auto& [fancy, plain] : kPlainer) {
    for (auto at = text.find(fancy); at != std::string::npos; at = text.find(fancy, at)) {
      text.replace(at, fancy.size(), plain);
      at += plain.size();
    }
  }
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) > 126; }, '?');
  return text;
}

/// Words a terminal cannot be moved by: status may hold text of other programs.
std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 32; }, ' ');
  return text;
}

std::size_t columns(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  }));
}

std::string cut(const std::string& text, std::size_t limit, std::string_view ellipsis) {
  if (columns(text) <= limit) return text;
  const std::size_t kept = limit - columns(ellipsis);
  std::size_t end = 0;
  for (std::size_t seen = 0; end < text.size(); ++end) {
    const bool begins = (static_cast<unsigned char>(text[end]) & 0xC0U) != 0x80U;
    if (begins && seen++ == kept) break;
  }
  return text.substr(0, end) + std::string(ellipsis);
}

std::string padded(const std::string& text, std::size_t width) {
  const std::size_t have = columns(text);
  return have >= width ? text : text + std::string(width - have, ' ');
}

/// At most kMaxDetailLines lines of `width` columns, broken between words.
std::vector<std::string> wrapped(const std::string& text, std::size_t width) {
  std::vector<std::string> lines(1);
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    at = end + 1;
    if (word.empty()) continue;
    const std::size_t with_word = columns(lines.back()) + 1 + columns(word);
    if (!lines.back().empty() && with_word > width) {
      if (lines.size() == kMaxDetailLines) {
        lines.back() = cut(lines.back(), width - 4, "") + " ...";
        break;
      }
      lines.emplace_back();
    }
    lines.back() += (lines.back().empty() ? "" : " ") + word;
  }
  return lines;
}

std::string joined(const std::vector<std::string>& parts, std::string_view between) {
  std::string text;
  for (const std::string& part : parts) {
    if (part.empty()) continue;
    if (!text.empty()) text += between;
    text += part;
  }
  return text;
}

std::string clock_text(const std::string& rfc3339) {
  return rfc3339.size() == 20 ? rfc3339.substr(11, 8) : rfc3339;
}

std::string size_text(std::int64_t bytes) {
  const double value = static_cast<double>(bytes);
  std::array<char, 32> text{};
  if (bytes >= 1'000'000'000) {
    std::snprintf(text.data(), text.size(), "%.1f GB", value / 1e9);
  } else if (bytes >= 1'000'000) {
    std::snprintf(text.data(), text.size(), "%.1f MB", value / 1e6);
  } else {
    std::snprintf(text.data(), text.size(), "%.0f kB", value / 1e3);
  }
  return text.data();
}

/// Between two times of status; nothing when one is missing.
std::optional<seconds> between(const std::string& from, const std::string& to) {
  const auto start = parse_rfc3339(from);
  const auto end = parse_rfc3339(to);
  if (!start || !end || *end < *start) return std::nullopt;
  return *end - *start;
}

std::string took_text(std::optional<seconds> took) {
  return took && took->count() > 0 ? duration_text(*took) : "";
}

// ---- what the status says ----

const Condition* condition(const Stack& stack, std::string_view type) {
  for (const Condition& found : stack.status.conditions) {
    if (found.type == type) return &found;
  }
  return nullptr;
}

bool is_hop_step(std::string_view step) {
  return step == "Backup" || step == "Prove" || step == "Migrate" || step == "Verify" ||
         step == "Install";
}

bool is_way_back(std::string_view step) {
  return step == "Unfence" || step == "RollBack";
}

std::string hop_start(const UpgradeStatus& journey) {
  const std::size_t hop = static_cast<std::size_t>(std::max(0, journey.hop));
  return hop == 0 || hop > journey.path.size() ? journey.from : journey.path[hop - 1];
}

std::string path_text(const UpgradeStatus& journey) {
  std::vector<std::string> tags = {journey.from};
  tags.insert(tags.end(), journey.path.begin(), journey.path.end());
  if (journey.path.empty()) tags.push_back(journey.to);
  return joined(tags, " → ");
}

std::string gate_text(const Blocked& gate) {
  if (gate.gate == "Task") return gate.seen;
  return gate.gate + ": " + gate.seen + ", wanted " + gate.wanted;
}

/// What a finished rung left behind, as far as status tells.
std::string done_text(const Stack& stack, const UpgradeStatus& journey, const StepRecord& record) {
  if (record.name == "Plan") return path_text(journey);
  if (record.name == "Fence") return "worker and server stopped, users see the maintenance page";
  if (record.name == "Backup") return journey.backup;
  const auto& last = stack.status.last_backup;
  if (record.name == "Prove") {
    const bool same = last && last->name == journey.backup;
    return same ? "restored elsewhere and compared · " + last->proof + " · " +
                      size_text(last->size_bytes)
                : "restored elsewhere and compared";
  }
  if (record.name == "Open") return "users are back";
  return record.hop;
}

Row row_of(const Stack& stack, const UpgradeStatus& journey, const StepRecord& record,
           WallTime now) {
  Row row{.mark = Mark::Done, .name = record.name, .detail = {}, .took = {}};
  row.took = took_text(between(record.started_at, record.finished_at));
  if (record.state == "Failed") {
    row.mark = Mark::Failed;
    row.detail = joined({record.hop, record.message}, " · ");
  } else if (record.state == "Running") {
    row.mark = Mark::Running;
    const auto& gates = stack.status.blocked_by;
    row.detail = joined({record.hop, gates.empty() ? "" : gate_text(gates.front())}, " · ");
    row.took = took_text(between(record.started_at, to_rfc3339(now)));
  } else {
    row.detail = joined({record.message, done_text(stack, journey, record)}, " · ");
  }
  return row;
}

/// The rungs of a hop that is behind us, on one line.
Row hop_row(const UpgradeStatus& journey, const std::string& hop) {
  Row row{.mark = Mark::Done, .name = hop, .detail = {}, .took = {}};
  std::vector<std::string> parts;
  seconds total{0};
  for (const StepRecord& record : journey.steps) {
    if (record.hop != hop) continue;
    const auto took = between(record.started_at, record.finished_at);
    parts.push_back(joined({record.name, took_text(took)}, " "));
    total += took.value_or(seconds(0));
  }
  row.detail = joined(parts, " · ");
  row.took = took_text(total);
  return row;
}

std::string settle_text(const Stack& stack) {
  std::vector<std::string> flags;
  for (const auto& [name, on] : stack.spec.flags) flags.push_back(name);
  std::vector<std::string> smoke;
  for (const SmokeCheck& check : stack.spec.smoke) smoke.push_back(check.name);
  return joined({flags.empty() ? "" : "flags " + joined(flags, ", "), "crons",
                 smoke.empty() ? "" : "smoke " + joined(smoke, ", "),
                 std::to_string(stack.spec.upgrade.soak_seconds) + " s green"},
                " · ");
}

std::vector<std::string> ladder_of(const UpgradeStatus& journey) {
  if (journey.kind == "Install") {
    return {"Plan", "Preflight", "Install", "Verify", "Open", "Settle"};
  }
  if (journey.kind == "Restore") return {"Plan", "Preflight", "Fence", "RollBack"};
  return {"Plan", "Preflight", "Fence", "Backup", "Prove", "Migrate", "Verify", "Open", "Settle"};
}

/// What is still to come after the rung that runs.
std::vector<Row> rows_to_come(const Stack& stack, const UpgradeStatus& journey) {
  std::vector<Row> rows;
  const auto ladder = ladder_of(journey);
  const auto here = std::find(ladder.begin(), ladder.end(), journey.step);
  if (here == ladder.end()) return rows;  // On a way back there is nothing beyond it.
  const auto add_hops = [&] {
    for (std::size_t hop = static_cast<std::size_t>(journey.hop) + 1; hop < journey.path.size();
         ++hop) {
      rows.push_back({.mark = Mark::Waiting,
                      .name = "… then",
                      .detail = journey.path[hop] + ": Backup, Prove, Migrate, Verify",
                      .took = {}});
    }
  };
  if (*here == "Verify") add_hops();
  for (auto next = here + 1; next != ladder.end(); ++next) {
    std::string detail = *next == "Settle" ? settle_text(stack) : "";
    if (*next == "Migrate" || *next == "Install") detail = journey.hop_to;
    rows.push_back({.mark = Mark::Waiting, .name = *next, .detail = detail, .took = {}});
    if (*next == "Verify") add_hops();
  }
  return rows;
}

std::vector<Row> journey_rows(const Stack& stack, const UpgradeStatus& journey, WallTime now) {
  std::vector<Row> rows;
  std::string summed;
  for (const StepRecord& record : journey.steps) {
    const bool behind = is_hop_step(record.name) && !record.hop.empty() &&
                        record.hop != journey.hop_to && record.state == "Done";
    if (behind && record.hop == summed) continue;
    if (behind) summed = record.hop;
    rows.push_back(behind ? hop_row(journey, record.hop) : row_of(stack, journey, record, now));
  }
  for (Row& row : rows_to_come(stack, journey)) rows.push_back(std::move(row));
  return rows;
}

std::vector<Row> history_rows(const Stack& stack) {
  std::vector<Row> rows;
  for (const HistoryEntry& entry : stack.status.history) {
    const bool good =
        entry.result == "Installed" || entry.result == "Upgraded" || entry.result == "Restored";
    const bool said_below = rows.empty() && stack.status.latch.has_value();
    rows.push_back(
        {.mark = good ? Mark::Done : Mark::Failed,
         .name = entry.result,
         .detail = joined({joined({entry.from, entry.to}, " → "), clock_text(entry.finished_at),
                           said_below ? "" : entry.message},
                          " · "),
         .took = {}});
  }
  return rows;
}

std::string users_see(const Stack& stack) {
  const auto& journey = stack.status.upgrade;
  if (journey && !journey->fenced_at.empty() && journey->opened_at.empty()) {
    return "503 maintenance since " + clock_text(journey->fenced_at);
  }
  if (stack.status.version.empty()) return "nothing yet";
  return joined({stack.status.version, stack.status.url}, " at ");
}

std::string if_it_fails(const Stack& stack) {
  if (!stack.status.upgrade) return "";
  const UpgradeStatus& journey = *stack.status.upgrade;
  if (journey.kind == "Install") return "it stops and says why; nobody was served before";
  if (!journey.opened_at.empty()) {
    return "nothing is put back by itself, because users are writing again: you decide";
  }
  if (is_way_back(journey.step)) return "it stays closed and says why; the backup is kept";
  if (!journey.point_of_no_return && journey.hop == 0) {
    return "the stack opens on " + journey.from + " as it was; nothing has been changed";
  }
  if (stack.spec.upgrade.on_failure == OnFailure::Stall) {
    return "it stays closed and asks (upgrade.onFailure is Stall)";
  }
  return "the stack opens on " + hop_start(journey) + " with the data of " +
         clock_text(journey.fenced_at) + "; nothing can be lost while the gateway is closed";
}

std::string outage_text(const UpgradeStatus& journey, WallTime now) {
  if (journey.fenced_at.empty()) return "";
  const std::string end = journey.opened_at.empty() ? to_rfc3339(now) : journey.opened_at;
  const auto outage = between(journey.fenced_at, end);
  return outage ? "outage " + duration_text(*outage) : "";
}

std::string headline(const Stack& stack, WallTime now) {
  const StackStatus& status = stack.status;
  const std::string stalled = stalled_reason(stack);
  const std::string phase =
      stalled.empty() ? std::string(to_string(status.phase)) : "Stalled: " + stalled;
  std::vector<std::string> parts = {stack.key.name};
  if (status.upgrade) {
    const UpgradeStatus& journey = *status.upgrade;
    parts.push_back(joined({journey.from, journey.to}, " → "));
    parts.push_back(phase);
    if (journey.path.size() > 1) {
      parts.push_back("hop " + std::to_string(journey.hop + 1) + "/" +
                      std::to_string(journey.path.size()) + " → " + journey.hop_to);
    }
    parts.push_back(outage_text(journey, now));
  } else {
    parts.push_back(status.version.empty() ? "not installed" : status.version);
    parts.push_back(phase);
    if (status.latch && status.latch->target != status.version && !status.version.empty()) {
      parts.push_back("target " + status.latch->target + " refused, " + status.version + " serves");
    } else if (!status.target_version.empty() && status.target_version != status.version) {
      parts.push_back("target " + status.target_version);
    }
  }
  return joined(parts, "     ");
}

// ---- the page ----

class Page {
 public:
  explicit Page(const LiveStyle& style) : style_(style) {}

  void blank() { text_ += "\n"; }
  void head(const std::string& line) { text_ += "  " + bold(fit(line, width() - 2)) + "\n"; }
  void row(const Row& row);
  /// A label and a sentence; the sentence may take more lines.
  void say(const std::string& label, const std::string& sentence);
  std::string take() { return std::move(text_); }

 private:
  std::size_t width() const { return static_cast<std::size_t>(std::max(40, style_.width)); }
  std::string plain(const std::string& text) const {
    return style_.unicode ? printable(text) : to_ascii(printable(text));
  }
  std::string fit(const std::string& text, std::size_t limit) const {
    return cut(plain(text), limit, style_.unicode ? "…" : "...");
  }
  std::string paint(const char* code, const std::string& text) const {
    return style_.colour ? std::string("\033[") + code + "m" + text + "\033[0m" : text;
  }
  std::string bold(const std::string& text) const { return paint("1", text); }
  std::string mark(Mark mark) const;

  LiveStyle style_;
  std::string text_;
};

std::string Page::mark(Mark mark) const {
  switch (mark) {
    case Mark::Done: return paint("32", plain("✔"));
    case Mark::Running: return paint("33", plain("●"));
    case Mark::Failed: return paint("31", plain("✖"));
    case Mark::Waiting: return paint("2", plain("○"));
    case Mark::None: break;
  }
  return " ";
}

void Page::row(const Row& row) {
  const std::size_t indent = 4 + kNameWidth;
  const std::size_t took_width = row.took.empty() ? 0 : columns(row.took) + 2;
  const std::size_t room = width() - indent - took_width;
  std::vector<std::string> lines = {fit(row.detail, room)};
  if (row.mark == Mark::Failed) lines = wrapped(plain(row.detail), room);
  std::string first = padded(plain(row.name), kNameWidth) + lines.front();
  if (!row.took.empty()) {
    const std::size_t used = columns(first) + 4 + columns(row.took);
    first += std::string(used < width() ? width() - used : 1, ' ') + row.took;
  }
  while (!first.empty() && first.back() == ' ') first.pop_back();
  text_ +=
      "  " + mark(row.mark) + " " + (row.mark == Mark::Waiting ? paint("2", first) : first) + "\n";
  for (std::size_t line = 1; line < lines.size(); ++line) {
    text_ += std::string(indent, ' ') + lines[line] + "\n";
  }
}

void Page::say(const std::string& label, const std::string& sentence) {
  if (sentence.empty()) return;
  const std::size_t indent = 4 + kNameWidth;
  const auto lines = wrapped(plain(sentence), width() - indent);
  text_ += "  " + paint("2", padded(label, kNameWidth + 2)) + lines.front() + "\n";
  for (std::size_t line = 1; line < lines.size(); ++line) {
    text_ += std::string(indent, ' ') + lines[line] + "\n";
  }
}

void say_waits(Page& page, const Stack& stack) {
  for (const Blocked& gate : stack.status.blocked_by) {
    if (gate.next.empty() && stack.status.upgrade) continue;  // The running row says it.
    page.say("waits for", gate.gate + ": " + gate.seen + " (wanted " + gate.wanted + ")");
    page.say("next", gate.next);
  }
}

// ---- plain lines ----

std::string stamp(const std::string& time, const Stack& stack, const std::string& text) {
  return joined({clock_text(time), stack.key.name, printable(text)}, "  ");
}

void say_step(std::vector<std::string>& lines, const Stack& stack, const StepRecord* before,
              const StepRecord& record) {
  const std::string what = joined({record.name, record.hop}, " ");
  if (before == nullptr) lines.push_back(stamp(record.started_at, stack, what + " …"));
  if (record.state == "Running" || (before != nullptr && before->state == record.state)) return;
  const std::string took = took_text(between(record.started_at, record.finished_at));
  const std::string verb = record.state == "Failed" ? "failed" : "done";
  lines.push_back(stamp(record.finished_at, stack,
                        joined({joined({what, verb}, " "), took, record.message}, " · ")));
}

void say_journey(std::vector<std::string>& lines, const Stack& before, const Stack& after) {
  const auto& old = before.status.upgrade;
  const UpgradeStatus& journey = *after.status.upgrade;
  const bool fresh = !old || old->id != journey.id;
  if (fresh) {
    lines.push_back(stamp(
        journey.started_at, after,
        joined({journey.kind, journey.kind == "Restore" ? journey.backup : path_text(journey)},
               " ")));
  }
  for (std::size_t i = 0; i < journey.steps.size(); ++i) {
    const bool known = !fresh && i < old->steps.size() &&
                       old->steps[i].name == journey.steps[i].name &&
                       old->steps[i].hop == journey.steps[i].hop;
    say_step(lines, after, known ? &old->steps[i] : nullptr, journey.steps[i]);
  }
  if (!journey.fenced_at.empty() && (fresh || old->fenced_at.empty())) {
    lines.push_back(stamp(journey.fenced_at, after, "users see 503 maintenance"));
  }
  if (!journey.opened_at.empty() && (fresh || old->opened_at.empty())) {
    const auto outage = between(journey.fenced_at, journey.opened_at);
    lines.push_back(
        stamp(journey.opened_at, after,
              joined({journey.hop_to + " serves", outage ? "outage " + duration_text(*outage) : ""},
                     " · ")));
  }
}

void say_history(std::vector<std::string>& lines, const Stack& before, const Stack& after) {
  const auto& old = before.status.history;
  const auto& now = after.status.history;
  std::size_t fresh = 0;
  while (fresh < now.size() && (old.empty() || now[fresh].id != old.front().id ||
                                now[fresh].result != old.front().result)) {
    ++fresh;
  }
  for (std::size_t i = fresh; i-- > 0;) {
    const std::string hops = joined({now[i].from, now[i].to}, " → ");
    lines.push_back(stamp(now[i].finished_at, after,
                          joined({joined({now[i].result, hops}, " "), now[i].message}, " · ")));
  }
}

void say_gates(std::vector<std::string>& lines, const Stack& before, const Stack& after,
               const std::string& now) {
  for (const Blocked& gate : after.status.blocked_by) {
    if (gate.gate == "Task" && gate.seen.find(": ") == std::string::npos) continue;
    const auto& old = before.status.blocked_by;
    if (std::find(old.begin(), old.end(), gate) != old.end()) continue;
    lines.push_back(
        stamp(now, after,
              joined({gate.gate == "Task" ? gate.seen : "waits for " + gate_text(gate), gate.next},
                     "; ")));
  }
}

}  // namespace

std::string duration_text(seconds duration) {
  const auto total = duration.count();
  std::array<char, 32> text{};
  if (total < 60) {
    std::snprintf(text.data(), text.size(), "%lld s", static_cast<long long>(total));
  } else if (total < 3600) {
    std::snprintf(text.data(), text.size(), "%lld:%02lld", static_cast<long long>(total / 60),
                  static_cast<long long>(total % 60));
  } else {
    std::snprintf(text.data(), text.size(), "%lld h %02lld", static_cast<long long>(total / 3600),
                  static_cast<long long>(total / 60 % 60));
  }
  return text.data();
}

std::string stalled_reason(const Stack& stack) {
  const Condition* stalled = condition(stack, "Stalled");
  return stalled != nullptr && stalled->status == "True" ? stalled->reason : "";
}

bool at_rest(const Stack& stack) {
  if (stack.status.observed_generation != stack.generation) return false;
  if (!stalled_reason(stack).empty()) return true;
  return stack.status.phase == Phase::Ready || stack.status.phase == Phase::Suspended;
}

std::string render(const Stack& stack, WallTime now, const LiveStyle& style) {
  Page page(style);
  page.head(headline(stack, now));
  page.blank();
  const auto& journey = stack.status.upgrade;
  for (const Row& row : journey ? journey_rows(stack, *journey, now) : history_rows(stack)) {
    page.row(row);
  }
  page.blank();
  if (journey || stack.status.phase != Phase::Ready) say_waits(page, stack);
  page.say("users see", users_see(stack));
  page.say("if it fails", if_it_fails(stack));
  if (stack.status.latch) {
    page.say("why", stack.status.latch->message);
    page.say("next", "set another tag, or try the same again: stackspec retry " + stack.key.name);
  }
  return page.take();
}

std::vector<std::string> changes(const Stack& before, const Stack& after, WallTime now) {
  const std::string now_text = to_rfc3339(now);
  std::vector<std::string> lines;
  if (after.status.upgrade) say_journey(lines, before, after);
  if (!before.key.name.empty()) say_history(lines, before, after);
  say_gates(lines, before, after, now_text);
  const std::string reason = stalled_reason(after);
  if (!reason.empty() && reason != stalled_reason(before)) {
    lines.push_back(stamp(now_text, after, "Stalled: " + reason + " · " + after.status.message));
  } else if (before.key.name.empty() || before.status.phase != after.status.phase) {
    const std::string version = after.status.upgrade ? "" : after.status.version;
    lines.push_back(
        stamp(now_text, after, joined({std::string(to_string(after.status.phase)), version}, " ")));
  }
  return lines;
}

}  // namespace stackspec
