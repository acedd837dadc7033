// SPDX-License-Identifier: Apache-2.0
#include "kube/answer.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

namespace stackspec {
namespace {

using nlohmann::json;

/// What is nested deeper could not be copied or written: that is done by recursion.
constexpr std::size_t kDeepest = 256;

/// Where the bracket is that closes the one that `text` begins with.
std::size_t closing(std::string_view text) {
  std::size_t open = 0;
  bool in_string = false;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char letter = text[at];
    if (letter == '"') in_string = !in_string;
    if (in_string) {
      if (letter == '\\') ++at;
      continue;
    }
    if (letter == '[' || letter == '{') ++open;
    if ((letter == ']' || letter == '}') && --open == 0) return at;
  }
  return std::string_view::npos;
}

/// The text that is read, which can be made shorter on the way.
struct Text {
  const char* at = nullptr;
  const char* end = nullptr;
  const char* gap = nullptr;      ///< From here it goes on
  const char* gap_end = nullptr;  ///< there.

  /// After a key: makes the array or object that follows an empty one. False: it does not end.
  bool empty_next() {
    std::string_view rest(at, static_cast<std::size_t>(end - at));
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t\r\n:"), rest.size()));
    if (!rest.starts_with('[') && !rest.starts_with('{')) return true;
    const auto closed = closing(rest);
    if (closed == std::string_view::npos) return false;
    gap = closed == 1 ? nullptr : rest.data() + 1;
    gap_end = rest.data() + closed;
    return true;
  }
};

/// How the library reads it.
class Letters {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  Letters() = default;
  explicit Letters(Text& text) : text_(&text) {}
  reference operator*() const { return *text_->at; }
  Letters& operator++() {
    if (++text_->at == text_->gap) text_->at = text_->gap_end;
    return *this;
  }
  /// Only ever compared with the end.
  friend bool operator==(const Letters& one, const Letters& other) {
    return one.is_at_end() == other.is_at_end();
  }
  friend bool operator!=(const Letters& one, const Letters& other) { return !(one == other); }

 private:
  bool is_at_end() const { return text_ == nullptr || text_->at == text_->end; }
  Text* text_ = nullptr;
};

/// Makes JSON of what the library finds in a text; its functions are what the library calls. The
/// library's own filter looks at everything that was made once more, which takes twice the time.
class Builder {
 public:
  Builder(Text& text, const Items& items) : text_(text), items_(items) {}

  bool null() { return put(nullptr) != nullptr; }
  bool boolean(bool value) { return put(value) != nullptr; }
  bool number_integer(json::number_integer_t value) { return put(value) != nullptr; }
  bool number_unsigned(json::number_unsigned_t value) { return put(value) != nullptr; }
  bool number_float(json::number_float_t value, const std::string&) {
    return put(value) != nullptr;
  }
  bool string(std::string& value) { return put(value) != nullptr; }
  bool binary(json::binary_t&) { return false; }
  bool start_object(std::size_t) { return open(json::object()); }
  bool start_array(std::size_t) { return open(json::array()); }
  bool end_array() {
    open_.pop_back();
    return true;
  }
  bool end_object() {
    json& ended = *open_.back();
    open_.pop_back();
    if (!items_.take || !in_items_ || open_.size() != 2 || !open_.back()->is_array()) return true;
    taken_ = items_.take(std::move(ended));
    open_.back()->get_ref<json::array_t&>().pop_back();
    return taken_.has_value();
  }
  bool key(std::string& name) {
    const auto depth = open_.size();
    if (depth == 1) in_items_ = name == "items";
    if (depth <= metadata_) metadata_ = 0;
    if (name == "metadata") metadata_ = depth;
    const bool dropped = (metadata_ != 0 && depth == metadata_ + 1 && name == "managedFields") ||
                         (depth == 1 && in_items_ && !items_.kept);
    slot_ = dropped ? &dropped_ : &open_.back()->get_ref<json::object_t&>()[std::move(name)];
    return !dropped || text_.empty_next();
  }
  bool parse_error(std::size_t, const std::string&, const json::exception&) { return false; }

  Result<json> result(bool whole) && {
    if (!taken_) return std::move(taken_).error();
    if (whole && root_.is_object()) return std::move(root_);
    return Error{ErrorKind::Unavailable, "the API server answered something that is not JSON"};
  }

 private:
  /// Null: nested too deep.
  template <class Value>
  json* put(Value&& value) {
    if (open_.size() > kDeepest) return nullptr;
    if (open_.empty()) return &(root_ = std::forward<Value>(value));
    if (!open_.back()->is_array()) return &(*slot_ = std::forward<Value>(value));
    return &open_.back()->get_ref<json::array_t&>().emplace_back(std::forward<Value>(value));
  }
  bool open(json&& empty) {
    json* const put_there = put(std::move(empty));
    if (put_there != nullptr) open_.push_back(put_there);
    return put_there != nullptr;
  }

  Text& text_;
  const Items& items_;
  json root_;
  json dropped_;              ///< Never holds anything.
  std::vector<json*> open_;   ///< What is being read, the outermost first.
  json* slot_ = nullptr;      ///< Of the key that was read last.
  std::size_t metadata_ = 0;  ///< Depth of the `metadata` that is being read; 0: none.
  bool in_items_ = false;
  Result<void> taken_;
};

}  // namespace

Result<json> read_answer(std::string_view text, const Items& items) {
  Text read{text.data(), text.data() + text.size()};
  Builder builder(read, items);
  const bool whole = json::sax_parse(Letters(read), Letters(), &builder);
  return std::move(builder).result(whole);
}

}  // namespace stackspec
