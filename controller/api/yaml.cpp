// SPDX-License-Identifier: Apache-2.0
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <istream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <streambuf>

#include "api/codec.hpp"
#include "api/utf8.hpp"
#include "api/yaml_scalar.hpp"

namespace stackspec {
namespace {

using nlohmann::json;

// The caps that keep a hostile text from costing more than a moment (measured: a text of 330 bytes
// can stand for 12 million nodes).
constexpr std::size_t kMaxBytes = 1024 * 1024;
constexpr std::size_t kMaxDepth = 64;
constexpr int kMaxNodes = 100'000;
constexpr int kMaxAliasNodes = 10'000;
constexpr std::size_t kMaxAliasBytes = 1024 * 1024;
// Longer paths get no line of their own, so that a long key with many children stays cheap.
constexpr std::size_t kMaxPath = 512;

struct Refused {
  int line;
  std::string what;
};

int count_nodes(const json& value) {
  int nodes = 1;
  if (value.is_structured()) {
    for (const json& child : value) nodes += count_nodes(child);
  }
  return nodes;
}

std::size_t count_bytes(const json& value) {
  std::size_t bytes = value.is_string() ? value.get_ref<const std::string&>().size() : 0;
  if (value.is_object()) {
    for (const auto& [key, child] : value.items()) bytes += key.size() + count_bytes(child);
  } else if (value.is_array()) {
    for (const json& child : value) bytes += count_bytes(child);
  }
  return bytes;
}

/// Builds JSON from the parser's events; throws Refused.
class Builder : public YAML::EventHandler {
 public:
  std::vector<Document> documents;

  void OnDocumentStart(const YAML::Mark&) override {
    frames_.clear();
    anchors_.clear();
    lines_.clear();
    root_ = json();
  }

  void OnDocumentEnd() override {
    if (!root_.is_null()) documents.push_back({root_.dump(), std::move(lines_)});
  }

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add(json(), mark, anchor, "null");
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    Result<json> value = yaml_scalar(tag, text);
    if (!value) refuse(mark, value.error().message);
    add(std::move(*value), mark, anchor, text);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    // An anchor is known once its node is complete, so a node that contains itself is unknown here.
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) {
      refuse(mark, "alias to a node that contains it; write the value out");
    }
    if (wants_key()) refuse(mark, "an alias as a key; write the key out");
    const int nodes = count_nodes(found->second);
    alias_nodes_ += nodes;
    alias_bytes_ += count_bytes(found->second);
    if (alias_nodes_ > kMaxAliasNodes || alias_bytes_ > kMaxAliasBytes) {
      refuse(mark, "aliases stand for more than 10000 values or 1 MiB; write them out");
    }
    count(mark, nodes);
    if (depth_of(found->second) + frames_.size() > kMaxDepth) refuse_depth(mark);
    note_item(mark);
    place(found->second);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(json::array(), mark, anchor);
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(json::object(), mark, anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    json value;
    YAML::anchor_t anchor = 0;
    std::optional<std::string> path;  ///< None: too long to keep.
    std::string key;
    bool has_key = false;
  };

  [[noreturn]] static void refuse(const YAML::Mark& mark, std::string what) {
    throw Refused{mark.line + 1, std::move(what)};
  }
  [[noreturn]] static void refuse_depth(const YAML::Mark& mark) {
    refuse(mark, "nested deeper than 64 levels; a stack needs fewer than 10");
  }

  static std::size_t depth_of(const json& value) {
    std::size_t deepest = 0;
    if (value.is_structured()) {
      for (const json& child : value) deepest = std::max(deepest, depth_of(child));
    }
    return deepest + 1;
  }

  bool wants_key() const {
    return !frames_.empty() && frames_.back().value.is_object() && !frames_.back().has_key;
  }

  void count(const YAML::Mark& mark, int nodes) {
    nodes_ += nodes;
    if (nodes_ > kMaxNodes) refuse(mark, "more than 100000 values; split the file");
  }

  std::optional<std::string> path_of_next() const {
    if (frames_.empty()) return "";
    const Frame& frame = frames_.back();
    if (!frame.path || frame.path->size() + frame.key.size() > kMaxPath) return std::nullopt;
    if (frame.value.is_array()) {
      return *frame.path + "[" + std::to_string(frame.value.size()) + "]";
    }
    return frame.path->empty() ? frame.key : *frame.path + "." + frame.key;
  }

  void note_line(const YAML::Mark& mark) {
    if (auto path = path_of_next()) lines_.emplace_back(std::move(*path), mark.line + 1);
  }

  void take_key(const json& value, const YAML::Mark& mark, const std::string& text) {
    Frame& frame = frames_.back();
    frame.key = yaml_key(value, text);
    frame.has_key = true;
    if (frame.key == "<<")
      refuse(mark, "merge keys (`<<`) are not supported; write the fields out");
    if (frame.value.contains(frame.key)) {
      refuse(mark, "`" + frame.key.substr(0, 100) + "` is given twice; remove one of the two");
    }
    note_line(mark);
  }

  void add(json value, const YAML::Mark& mark, YAML::anchor_t anchor, const std::string& text) {
    count(mark, 1);
    if (wants_key()) return take_key(value, mark, text);
    note_item(mark);
    if (anchor != 0) anchors_[anchor] = value;
    place(std::move(value));
  }

  // A field has the line of its key, noted already; an item of a list has its own.
  void note_item(const YAML::Mark& mark) {
    if (frames_.empty() || frames_.back().value.is_array()) note_line(mark);
  }

  void open(json empty, const YAML::Mark& mark, YAML::anchor_t anchor) {
    count(mark, 1);
    if (wants_key()) refuse(mark, "a key must be a plain word");
    if (frames_.size() >= kMaxDepth) refuse_depth(mark);
    note_item(mark);
    auto path = path_of_next();
    frames_.push_back({std::move(empty), anchor, std::move(path), "", false});
  }

  void close() {
    Frame done = std::move(frames_.back());
    frames_.pop_back();
    if (done.anchor != 0) anchors_[done.anchor] = done.value;
    place(std::move(done.value));
  }

  void place(json value) {
    if (frames_.empty()) {
      root_ = std::move(value);
      return;
    }
    Frame& frame = frames_.back();
    if (frame.value.is_array()) {
      frame.value.push_back(std::move(value));
    } else {
      frame.value[frame.key] = std::move(value);
      frame.has_key = false;
    }
  }

  std::vector<Frame> frames_;
  std::map<YAML::anchor_t, json> anchors_;
  std::vector<std::pair<std::string, int>> lines_;
  json root_;
  int nodes_ = 0;
  int alias_nodes_ = 0;
  std::size_t alias_bytes_ = 0;
};

/// Reads from a string_view without a copy of it.
class ViewBuffer : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());
    setg(begin, begin, begin + text.size());
  }
};

/// YAML and JSON alike allow none of these but as an escape.
bool is_control(char byte) {
  return byte >= 0 && byte < ' ' && byte != '\t' && byte != '\n' && byte != '\r';
}

int line_at(std::string_view text, std::size_t offset) {
  return 1 +
         static_cast<int>(std::count(text.begin(), text.begin() + static_cast<long>(offset), '\n'));
}

Error at_line(int line, const std::string& what) {
  return {ErrorKind::Invalid, std::to_string(line) + ": " + what};
}

}  // namespace

int Document::line_of(std::string_view field) const {
  std::string_view at = field;
  while (!at.empty()) {
    for (const auto& [path, line] : lines) {
      if (path == at) return line;
    }
    const std::size_t cut = at.find_last_of(".[");
    at = cut == std::string_view::npos ? std::string_view{} : at.substr(0, cut);
  }
  return lines.empty() ? 1 : lines.front().second;
}

Result<std::vector<Document>> parse_yaml(std::string_view text) {
  if (text.size() > kMaxBytes) {
    return at_line(1, "the file is larger than 1 MiB; split it into smaller ones");
  }
  if (const auto bad = first_bad_utf8(text)) {
    return at_line(line_at(text, *bad), "not UTF-8; save the file as UTF-8");
  }
  const auto control = std::find_if(text.begin(), text.end(), is_control);
  if (control != text.end()) {
    return at_line(line_at(text, static_cast<std::size_t>(control - text.begin())),
                   "a control character; remove it or write it as an escape in double quotes");
  }
  Builder builder;
  try {
    ViewBuffer buffer(text);
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Refused& refused) {
    return at_line(refused.line, refused.what);
  } catch (const YAML::Exception& failure) {
    return at_line(failure.mark.is_null() ? 1 : failure.mark.line + 1,
                   "not YAML: " + failure.msg + "; check indentation and quotes");
  } catch (const std::exception& failure) {
    return at_line(1, std::string("not YAML: ") + failure.what() + "; check the text");
  }
  return std::move(builder.documents);
}

}  // namespace stackspec
