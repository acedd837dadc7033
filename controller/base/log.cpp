// SPDX-License-Identifier: Apache-2.0
#include "base/log.hpp"

#include <spdlog/formatter.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <chrono>
#include <string>

#include "base/base64.hpp"
#include "base/clock.hpp"
#include "base/secret_index.hpp"

namespace stackspec::log {

namespace {

std::string dump(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string json_escaped(std::string_view text) {
  const std::string quoted = dump(nlohmann::json(std::string(text)));
  return quoted.substr(1, quoted.size() - 2);
}

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kPlain = "-._~";
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool letter = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (letter || kPlain.find(c) != std::string_view::npos) {
      encoded += c;
    } else {
      encoded += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return encoded;
}

/// Without padding, so that it is also found in text that left it out.
std::string unpadded_base64(std::string_view text) {
  std::string encoded = base64(text);
  while (!encoded.empty() && encoded.back() == '=') encoded.pop_back();
  return encoded;
}

/// What must not get out, in every form in which it is likely to appear.
void add_forms(SecretIndex& secrets, std::string_view secret) {
  if (secret.size() < SecretIndex::kShortest) return;
  secrets.add(secret);
  secrets.add(json_escaped(secret));
  secrets.add(percent_encoded(secret));
  secrets.add(unpadded_base64(secret));
}

/// Masks before the text is escaped: in a finished line a match could cut an escape in two.
nlohmann::json masked_json(const SecretIndex& secrets, const nlohmann::json& value) {
  if (value.is_string()) return secrets.masked(value.get_ref<const std::string&>());
  if (value.is_array()) {
    auto clean = nlohmann::json::array();
    for (const auto& item : value) clean.push_back(masked_json(secrets, item));
    return clean;
  }
  if (!value.is_object()) return value;
  auto clean = nlohmann::json::object();
  for (const auto& [key, item] : value.items()) {
    clean[secrets.masked(key)] = masked_json(secrets, item);
  }
  return clean;
}

std::string_view name_of(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::trace:
    case spdlog::level::debug: return "debug";
    case spdlog::level::warn: return "warn";
    case spdlog::level::err:
    case spdlog::level::critical: return "error";
    default: return "info";
  }
}

std::string timestamp(std::chrono::system_clock::time_point time) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  const auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(time - seconds).count();
  std::string text = to_rfc3339(seconds);
  const std::string digits = std::to_string(1000 + milliseconds);
  text.replace(text.size() - 1, 1, "." + digits.substr(1) + "Z");
  return text;
}

/// The payload is the rest of a JSON object, already escaped: spdlog's own patterns escape nothing.
class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    append(out, R"({"timestamp":")");
    append(out, timestamp(message.time));
    append(out, R"(","level":")");
    append(out, name_of(message.level));
    append(out, "\",");
    append(out, {message.payload.data(), message.payload.size()});
    append(out, "\n");
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }

 private:
  static void append(spdlog::memory_buf_t& out, std::string_view text) {
    out.append(text.data(), text.data() + text.size());
  }
};

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::Debug: return spdlog::level::debug;
    case Level::Info: return spdlog::level::info;
    case Level::Warn: return spdlog::level::warn;
    case Level::Error: return spdlog::level::err;
  }
  return spdlog::level::info;
}

SecretIndex& secrets() {
  static SecretIndex instance;
  return instance;
}

spdlog::logger& logger() {
  static spdlog::logger instance = [] {
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    spdlog::logger made("stackspec", std::move(sink));
    made.set_formatter(std::make_unique<JsonFormatter>());
    made.flush_on(spdlog::level::trace);
    // A log that cannot be written must not become noise, or worse, a failure of the work.
    made.set_error_handler([](const std::string&) {});
    return made;
  }();
  return instance;
}

/// `"message":…, …fields}`: all of the object but what the formatter puts in front.
std::string payload(std::string_view message, const nlohmann::json& fields) {
  auto members = nlohmann::json::object();
  if (fields.is_object()) {
    members = masked_json(secrets(), fields);
  } else if (!fields.is_null()) {
    members["fields"] = masked_json(secrets(), fields);
  }
  for (const auto* taken : {"timestamp", "level", "message"}) members.erase(taken);
  std::string text = "\"message\":" + dump(nlohmann::json(masked(message)));
  const std::string rest = dump(members);
  if (!members.empty()) text += ',';
  return text + rest.substr(1);
}

}  // namespace

void write(Level level, std::string_view message, const nlohmann::json& fields) {
  const auto spdlog_level = to_spdlog(level);
  if (!logger().should_log(spdlog_level)) return;
  logger().log(spdlog_level, spdlog::string_view_t(payload(message, fields)));
}

void set_level(Level level) {
  logger().set_level(to_spdlog(level));
}

std::string masked(std::string_view text) {
  return secrets().masked(text);
}

void mask(std::string_view secret) {
  add_forms(secrets(), secret);
}

}  // namespace stackspec::log
