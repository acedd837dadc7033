# SPDX-License-Identifier: Apache-2.0
# The controller's image, from a clean clone: docker build -t REGISTRY/stackspec:v0.1.0 .
FROM debian:12 AS build
COPY . /src
WORKDIR /src
# ./dev knows the packages and the way to build; the tree is all that the program needs to run.
RUN apt-get update -q && ./dev build && cmake/runtime-tree build/release/stackspec /runtime

FROM scratch
COPY --from=build /runtime/ /
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/bin/stackspec"]
CMD ["controller"]
LABEL org.opencontainers.image.title="stackspec" \
      org.opencontainers.image.description="Keeps self-hosted Twenty CRM stacks as their StackSpec says" \
      org.opencontainers.image.licenses="Apache-2.0"
