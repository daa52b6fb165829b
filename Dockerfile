# `make image` builds it and prints its size. By hand:
#   docker build --build-arg VERSION=$(git describe --tags --always) -t pillion .
# Podman and Buildah need --format docker: their own format has no HEALTHCHECK.
# How to run it: docs/operations.md, "In a container".

# The build runs on the builder's own platform and cross-compiles.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
ARG TARGETOS
ARG TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -pgo=cmd/pillion/release.pgo -ldflags "-s -w -X main.version=$VERSION" -o /pillion ./cmd/pillion

# The binary and the CA certificates (for rediss:// and https:// webhooks); no
# shell, no package manager, nothing writable.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /pillion /pillion
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
# Where `pillion run` and the health check look for the configuration.
ENV PILLION_CONFIG=/etc/pillion/config.yaml
EXPOSE 8080 9900
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/pillion", "health"]
ENTRYPOINT ["/pillion"]
CMD ["run"]
