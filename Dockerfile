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
# The licences of all that is in the program: pillion's, Go's and those of the modules.
RUN { echo "github.com/pillion-proxy/pillion $PWD"; echo "go $(go env GOROOT)"; \
      go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}' ./cmd/pillion | sort -u; } | \
    while read -r module dir; do \
      mkdir -p "/licenses/$module" && \
      find "$dir" -maxdepth 1 -type f \( -iname 'licen[cs]e*' -o -iname 'notice*' -o -iname 'patents*' \) -exec cp {} "/licenses/$module/" \; || exit 1; \
    done

# The binary, the CA certificates (for rediss:// and https:// webhooks) and the licences; no
# shell, no package manager, nothing writable.
FROM scratch
LABEL org.opencontainers.image.title="pillion" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /licenses /licenses
COPY --from=build /pillion /pillion
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
# Where `pillion run` and the health check look for the configuration.
ENV PILLION_CONFIG=/etc/pillion/config.yaml
EXPOSE 8080 9900
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/pillion", "health"]
ENTRYPOINT ["/pillion"]
CMD ["run"]
