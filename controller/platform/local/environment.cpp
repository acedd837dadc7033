// SPDX-License-Identifier: Apache-2.0
#include "platform/local/environment.hpp"

#include <sstream>

#include "base/file.hpp"

namespace stackspec::local {

void Environment::add_image(const std::string& image_env_file) {
  const auto text = read_file(image_env_file);
  if (!text) return;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    const auto equals = line.find('=');
    if (line.empty() || line[0] == '#' || equals == std::string::npos || equals == 0) continue;
    set(line.substr(0, equals), line.substr(equals + 1));
  }
}

Result<void> Environment::add_from(const std::vector<EnvFrom>& sources,
                                   const SecretValues& secrets) {
  for (const auto& source : sources) {
    const bool is_secret = !source.secret.empty();
    const std::string& name = is_secret ? source.secret : source.config_map;
    const auto found = secrets.find(name);
    if (found == secrets.end()) {
      return Error{ErrorKind::NotFound,
                   (is_secret ? "no Secret " : "no ConfigMap ") + name + "; create it"};
    }
    for (const auto& [key, value] : found->second) set(key, value);
  }
  return {};
}

Result<void> Environment::add(const std::vector<EnvVar>& variables, const SecretValues& secrets) {
  for (const auto& variable : variables) {
    if (variable.secret) {
      set(variable.name, TRY(secret_value(*variable.secret, secrets)));
    } else {
      set(variable.name, expanded(variable.value));
    }
  }
  return {};
}

std::string Environment::expanded(const std::string& text) const {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    if (text.compare(at, 2, "$$") == 0) {
      out += '$';
      at += 2;
      continue;
    }
    const auto end = text.compare(at, 2, "$(") == 0 ? text.find(')', at) : std::string::npos;
    const auto known =
        end == std::string::npos ? values_.end() : values_.find(text.substr(at + 2, end - at - 2));
    if (known == values_.end()) {
      out += text[at++];
      continue;
    }
    out += known->second;
    at = end + 1;
  }
  return out;
}

Result<std::vector<std::string>> Environment::rendered() const {
  std::vector<std::string> lines;
  for (const auto& [name, value] : values_) {
    if (value.find('\0') != std::string::npos) {
      return Error{ErrorKind::Invalid, "environment variable " + name + " holds a zero byte"};
    }
    lines.push_back(name + "=" + value);
  }
  return lines;
}

Result<std::string> secret_value(const SecretKeyRef& ref, const SecretValues& secrets) {
  const auto secret = secrets.find(ref.name);
  if (secret == secrets.end()) {
    return Error{ErrorKind::NotFound, "no Secret " + ref.name + "; create it"};
  }
  const auto value = secret->second.find(ref.key);
  if (value == secret->second.end()) {
    return Error{ErrorKind::NotFound, "Secret " + ref.name + " has no key " + ref.key};
  }
  return value->second;
}

}  // namespace stackspec::local
