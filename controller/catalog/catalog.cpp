// SPDX-License-Identifier: Apache-2.0
#include "catalog/catalog.hpp"

#include <algorithm>
#include <cstdlib>
#include <span>

#include "base/embedded.hpp"

namespace stackspec {

std::span<const EmbeddedFile> embedded_catalog();

namespace {

std::string range_text(const DeniedRange& range) {
  const std::string first = to_string(range.first).substr(1);
  if (range.first == range.last) return first;
  return first + "-" + to_string(range.last).substr(1);
}

bool follows(const Version& before, const Version& after) {
  return after.major == before.major && after.minor == before.minor + 1;
}

}  // namespace

const Catalog& Catalog::builtin() {
  static const Catalog catalog = [] {
    auto parsed = parse(embedded_catalog().front().text);
    if (!parsed) std::abort();  // A unit test parses the same text and shows the error.
    return std::move(parsed).value();
  }();
  return catalog;
}

const Release* Catalog::find(const Version& version) const {
  const auto found = std::find_if(releases_.begin(), releases_.end(), [&](const Release& release) {
    return release.minor.same_minor(version);
  });
  return found == releases_.end() ? nullptr : &*found;
}

const DeniedRange* Catalog::denied(const Version& version) const {
  const auto found = std::find_if(denied_.begin(), denied_.end(), [&](const DeniedRange& range) {
    return version >= range.first && version <= range.last;
  });
  return found == denied_.end() ? nullptr : &*found;
}

Version Catalog::resolve(const Version& target) const {
  if (target.has_patch()) return target;
  const Release* release = find(target);
  return release == nullptr ? target : release->recommended;
}

Result<void> Catalog::place(const Version& target) const {
  const Version exact = resolve(target);
  if (const DeniedRange* range = denied(exact)) {
    const Release* release = find(exact);
    std::string instead = "choose another release";
    if (release != nullptr) instead = "use " + to_string(release->recommended);
    return Error{ErrorKind::Forbidden, to_string(exact) + " is denied (" + range_text(*range) +
                                           ": " + range->why + "); " + instead};
  }
  if (find(exact) != nullptr) return {};
  const auto newest = std::find_if(releases_.rbegin(), releases_.rend(),
                                   [](const Release& release) { return !release.tail; });
  return Error{ErrorKind::NotFound,
               to_string(target) + " is not a release of the catalog, which " + "goes from " +
                   to_string(releases_.front().minor) + " to " + to_string(newest->minor) +
                   "; correct the tag, or give a catalog that has it in " + "spec.catalogRef"};
}

std::string Catalog::why(std::size_t previous, std::size_t here, const Version& to) const {
  const Release& release = releases_[here];
  std::string text = "next minor";
  if (release.tail) text += ", newer than this catalog";
  for (std::size_t i = previous + 1; i < here; ++i) {
    text += "; " + minor_of(releases_[i].minor) + " left out: " + releases_[i].skip_why;
  }
  if (const Version& before = releases_[here - 1].minor; !follows(before, release.minor)) {
    text +=
        "; nothing was released between " + minor_of(before) + " and " + minor_of(release.minor);
  }
  if (to != release.recommended) {
    return text + "; asked for instead of " + to_string(release.recommended);
  }
  for (const DeniedRange& range : denied_) {
    if (!range.first.same_minor(release.minor)) continue;
    text += "; " + range_text(range) + (range.first == range.last ? " is" : " are") +
            " denied: " + range.why;
  }
  return text;
}

Result<std::vector<Hop>> Catalog::path(const Version& from, const Version& target) const {
  const Version to = resolve(target);
  TRY(place(to));
  if (to == from) return std::vector<Hop>{};
  if (to < from) {
    return Error{ErrorKind::Invalid, to_string(to) + " is older than " + to_string(from) +
                                         ", which is running; a release is never left backwards, " +
                                         "restore a backup instead"};
  }
  const Release* start = find(from);
  if (start == nullptr) {
    return Error{ErrorKind::NotFound, to_string(from) + ", which is running, is not a release of " +
                                          "the catalog; give a catalog that has it in " +
                                          "spec.catalogRef"};
  }
  std::vector<Hop> hops;
  if (to.same_minor(from)) {
    hops.push_back({to, "another patch of " + minor_of(from)});
    return hops;
  }
  auto previous = static_cast<std::size_t>(start - releases_.data());
  for (std::size_t i = previous + 1; i < releases_.size() && releases_[i].minor < to; ++i) {
    const Release& release = releases_[i];
    const bool is_target = release.minor.same_minor(to);
    if (release.skippable && !is_target) continue;
    const Version exact = is_target ? to : release.recommended;
    hops.push_back({exact, why(previous, i, exact)});
    previous = i;
  }
  return hops;
}

}  // namespace stackspec
