// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

// One list of fields per struct, `describe(visitor, Of<T>{})`, serves reading and writing, so that
// the two can never disagree. A name may be a path: `admin.credentialsSecretRef.name`.

namespace stackspec {

template <class T>
struct Of {};

template <class E>
struct EnumName {
  E value;
  std::string_view name;
};

namespace fields {

/// What is left after the first dot; `head` gets what is before it.
inline std::string_view split_path(std::string_view path, std::string& head) {
  const std::size_t dot = path.find('.');
  head = std::string(path.substr(0, dot));
  return dot == std::string_view::npos ? std::string_view{} : path.substr(dot + 1);
}

inline void put(nlohmann::json& object, std::string_view path, nlohmann::json value) {
  std::string head;
  const std::string_view rest = split_path(path, head);
  if (rest.empty()) {
    object[head] = std::move(value);
    return;
  }
  nlohmann::json& child = object[head];
  if (child.is_null()) child = nlohmann::json::object();
  put(child, rest, std::move(value));
}

template <class T>
concept Enum = requires {
  enum_names(Of<T>{});
};

template <class T>
nlohmann::json write(const T& value);

template <class T>
class Writer {
 public:
  explicit Writer(const T& value) : value_(value) {}

  /// Left out while it has the default of the struct.
  template <class M>
  void operator()(std::string_view path, M T::*member) {
    if (!(value_.*member == defaults_.*member)) put(json, path, write(value_.*member));
  }
  template <class M>
  void always(std::string_view path, M T::*member) {
    put(json, path, write(value_.*member));
  }
  /// A string that the user may also have written as an integer.
  template <class M>
  void quantity(std::string_view path, M T::*member) {
    (*this)(path, member);
  }
  /// `[{name: a}, {name: b}]`
  void names(std::string_view path, std::vector<std::string> T::*member) {
    if ((value_.*member).empty()) return;
    nlohmann::json list = nlohmann::json::array();
    for (const std::string& name : value_.*member) list.push_back({{"name", name}});
    put(json, path, std::move(list));
  }

  nlohmann::json json = nlohmann::json::object();

 private:
  const T& value_;
  const T defaults_{};
};

inline nlohmann::json write_list(const std::vector<std::string>& list) {
  return list;
}
template <class T>
nlohmann::json write_list(const std::vector<T>& list) {
  nlohmann::json out = nlohmann::json::array();
  for (const T& item : list) out.push_back(write(item));
  return out;
}

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};
template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <class T>
struct IsMap : std::false_type {};
template <class V>
struct IsMap<std::map<std::string, V>> : std::true_type {};

template <class T>
nlohmann::json write(const T& value) {
  if constexpr (Enum<T>) {
    for (const auto& entry : enum_names(Of<T>{})) {
      if (entry.value == value) return std::string(entry.name);
    }
    return nullptr;
  } else if constexpr (std::same_as<T, std::string> || std::is_arithmetic_v<T> || IsMap<T>::value) {
    return nlohmann::json(value);
  } else if constexpr (IsVector<T>::value) {
    return write_list(value);
  } else if constexpr (IsOptional<T>::value) {
    return value ? write(*value) : nlohmann::json();
  } else {
    Writer<T> writer(value);
    describe(writer, Of<T>{});
    return std::move(writer.json);
  }
}

/// The first thing wrong, with its path.
struct ReadError {
  std::string message;
  bool failed() const { return !message.empty(); }
  void fail(const std::string& path, std::string_view what) {
    if (!failed()) message = (path.empty() ? "object" : path) + ": " + std::string(what);
  }
};

template <class T>
void read(const nlohmann::json& json, T& out, const std::string& path, ReadError& error);

inline void read_quantity(const nlohmann::json& json, std::string& out, const std::string& path,
                          ReadError& error) {
  if (json.is_number_integer()) {
    out = json.dump();
  } else {
    read(json, out, path, error);
  }
}

inline void read_quantity(const nlohmann::json& json, std::map<std::string, std::string>& out,
                          const std::string& path, ReadError& error) {
  if (!json.is_object()) return error.fail(path, "must be an object");
  for (const auto& [key, value] : json.items()) {
    read_quantity(value, out[key], path + "." + key, error);
  }
}

template <class T>
class Reader {
 public:
  Reader(const nlohmann::json& json, T& value, const std::string& path, ReadError& error)
      : json_(json), value_(value), path_(path), error_(error) {}

  template <class M>
  void operator()(std::string_view path, M T::*member) {
    if (const auto* found = find(path)) read(*found, value_.*member, full(path), error_);
  }
  template <class M>
  void always(std::string_view path, M T::*member) {
    (*this)(path, member);
  }
  template <class M>
  void quantity(std::string_view path, M T::*member) {
    if (const auto* found = find(path)) read_quantity(*found, value_.*member, full(path), error_);
  }
  void names(std::string_view path, std::vector<std::string> T::*member) {
    const auto* found = find(path);
    if (found == nullptr) return;
    if (!found->is_array()) return error_.fail(full(path), "must be a list");
    for (const auto& item : *found) {
      if (!item.is_object() || !item.contains("name")) {
        return error_.fail(full(path), "must be a list of {name: …}");
      }
      read(item["name"], (value_.*member).emplace_back(), full(path) + ".name", error_);
    }
  }

 private:
  std::string full(std::string_view path) const {
    return path_.empty() ? std::string(path) : path_ + "." + std::string(path);
  }
  const nlohmann::json* find(std::string_view path) {
    const nlohmann::json* at = &json_;
    std::string head;
    std::string_view rest = path;
    while (!rest.empty()) {
      if (!at->is_object()) {
        error_.fail(full(path), "a parent of it is not an object");
        return nullptr;
      }
      rest = split_path(rest, head);
      const auto found = at->find(head);
      if (found == at->end() || found->is_null()) return nullptr;
      at = &*found;
    }
    return at;
  }

  const nlohmann::json& json_;
  T& value_;
  const std::string path_;
  ReadError& error_;
};

template <class T>
void read_integer(const nlohmann::json& json, T& out, const std::string& path, ReadError& error) {
  if (!json.is_number_integer()) return error.fail(path, "must be an integer");
  const bool huge =
      json.is_number_unsigned() &&
      json.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<T>::max());
  if (huge || json.get<std::int64_t>() < std::numeric_limits<T>::min()) {
    return error.fail(path, "is out of range");
  }
  out = static_cast<T>(json.get<std::int64_t>());
}

template <class T>
void read_enum(const nlohmann::json& json, T& out, const std::string& path, ReadError& error) {
  std::string text;
  read(json, text, path, error);
  for (const auto& entry : enum_names(Of<T>{})) {
    if (entry.name == text) {
      out = entry.value;
      return;
    }
  }
  error.fail(path, "`" + text + "` is not a known value");
}

template <class T>
void read(const nlohmann::json& json, T& out, const std::string& path, ReadError& error) {
  if constexpr (Enum<T>) {
    read_enum(json, out, path, error);
  } else if constexpr (std::same_as<T, std::string>) {
    if (!json.is_string()) return error.fail(path, "must be a string");
    out = json.get<std::string>();
  } else if constexpr (std::same_as<T, bool>) {
    if (!json.is_boolean()) return error.fail(path, "must be true or false");
    out = json.get<bool>();
  } else if constexpr (std::is_integral_v<T>) {
    read_integer(json, out, path, error);
  } else if constexpr (IsMap<T>::value) {
    if (!json.is_object()) return error.fail(path, "must be an object");
    for (const auto& [key, value] : json.items()) read(value, out[key], path + "." + key, error);
  } else if constexpr (IsVector<T>::value) {
    if (!json.is_array()) return error.fail(path, "must be a list");
    for (std::size_t i = 0; i < json.size(); ++i) {
      read(json[i], out.emplace_back(), path + "[" + std::to_string(i) + "]", error);
    }
  } else if constexpr (IsOptional<T>::value) {
    read(json, out.emplace(), path, error);
  } else {
    if (!json.is_object()) return error.fail(path, "must be an object");
    Reader<T> reader(json, out, path, error);
    describe(reader, Of<T>{});
  }
}

template <class T>
Result<T> from_json(const nlohmann::json& json, const char* path) {
  T value;
  ReadError error;
  read(json, value, path, error);
  if (error.failed()) return Error{ErrorKind::Invalid, error.message};
  return value;
}

}  // namespace fields
}  // namespace stackspec
